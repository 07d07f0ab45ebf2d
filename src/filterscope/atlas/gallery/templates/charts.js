// Small charts as SVG: the curve of an ascent, the distribution of natural activations.
"use strict";
window.filterscope = window.filterscope || {};
(function (fs) {
  const SPACE = "http://www.w3.org/2000/svg";

  // An element with attributes and children; text is only ever text.
  fs.h = function (tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "onclick") node.addEventListener("click", value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((c) => c !== null && c !== undefined));
    return node;
  };

  function s(tag, attributes, text) {
    const node = document.createElementNS(SPACE, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }
  fs.s = s;

  fs.number = function (value, digits) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
    return value.toLocaleString("en", { maximumSignificantDigits: digits || 4 });
  };

  const W = 560, LEFT = 4, RIGHT = 4;

  function frame(height, label) {
    return s("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": label, class: "chart" });
  }

  // pairs: [[step, activation], ...]; best: the largest natural activation, or null.
  fs.curve = function (pairs, best) {
    const H = 150, top = 14, bottom = 20;
    const steps = pairs[pairs.length - 1][0], values = pairs.map((p) => p[1]);
    const marks = best === null ? values : values.concat(best);
    const low = Math.min(0, ...marks), high = Math.max(...marks, low + 1e-9);
    const x = (step) => LEFT + ((step - 1) / Math.max(1, steps - 1)) * (W - LEFT - RIGHT);
    const y = (value) => H - bottom - ((value - low) / (high - low)) * (H - top - bottom);
    const last = values[values.length - 1];
    const svg = frame(H, `Activation at each step, from ${fs.number(values[0])} to ${fs.number(last)} in ${steps} steps`);
    svg.append(s("line", { x1: LEFT, x2: W - RIGHT, y1: y(low), y2: y(low), class: "axis" }));
    const points = pairs.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`);
    svg.append(s("polygon", { points: `${x(pairs[0][0])},${y(low)} ${points.join(" ")} ${x(steps)},${y(low)}`, class: "area" }));
    if (best !== null && best > 0) {
      svg.append(s("line", { x1: LEFT, x2: W - RIGHT, y1: y(best), y2: y(best), class: "mark" }));
      const above = y(best) - 5 > 10;
      svg.append(s("text", { x: W - RIGHT, y: above ? y(best) - 5 : y(best) + 13, class: "tick end" }, "best photograph"));
    }
    svg.append(s("polyline", { points: points.join(" "), class: "line" }));
    svg.append(s("circle", { cx: x(steps), cy: y(last), r: 3, class: "dot" }));
    svg.append(s("text", { x: LEFT, y: H - 5, class: "tick" }, "step 1"));
    svg.append(s("text", { x: W - RIGHT, y: H - 5, class: "tick end" }, `step ${steps.toLocaleString("en")}`));
    return svg;
  };

  // found: {counts, low, high}; own: the picture's activation; natural: {mean, p99, best} or null.
  fs.histogram = function (found, own, natural) {
    const H = 150, top = 20, bottom = 20;
    const low = Math.min(found.low, own ?? found.low), high = Math.max(found.high, own ?? found.high);
    const x = (value) => LEFT + ((value - low) / (high - low)) * (W - LEFT - RIGHT);
    const tallest = Math.log1p(Math.max(...found.counts));
    const images = found.counts.reduce((a, b) => a + b, 0);
    const svg = frame(H, `Activations of ${images.toLocaleString("en")} natural images, from ${fs.number(found.low)} to `
      + `${fs.number(found.high)}; of this picture ${fs.number(own)}`);
    const width = (found.high - found.low) / found.counts.length;
    found.counts.forEach((count, i) => {
      if (!count) return;
      const height = (Math.log1p(count) / tallest) * (H - top - bottom);
      const left = x(found.low + i * width), right = x(found.low + (i + 1) * width);
      svg.append(s("rect", { x: left.toFixed(2), y: (H - bottom - height).toFixed(2), height: height.toFixed(2),
        width: Math.max(0.6, right - left - Math.min(1, (right - left) / 4)).toFixed(2), class: "bar-fill" }));
    });
    svg.append(s("line", { x1: LEFT, x2: W - RIGHT, y1: H - bottom, y2: H - bottom, class: "axis" }));
    if (own !== null && own !== undefined) {
      const at = x(own), end = at > W / 2;
      svg.append(s("line", { x1: at, x2: at, y1: top - 8, y2: H - bottom, class: "own" }));
      svg.append(s("text", { x: end ? at - 5 : at + 5, y: top - 4, class: end ? "tick end strong" : "tick strong" },
        `this picture ${fs.number(own, 3)}`));
    }
    svg.append(s("text", { x: LEFT, y: H - 5, class: "tick" }, fs.number(low, 3)));
    svg.append(s("text", { x: W - RIGHT, y: H - 5, class: "tick end" }, fs.number(high, 3)));
    if (natural && natural.best !== null && high > natural.best * 1.25) {
      const at = x(natural.best);
      if (at > 60 && at < W - 70) svg.append(s("text", { x: at, y: H - 5, class: "tick middle" }, `best ${fs.number(natural.best, 3)}`));
    }
    return svg;
  };
})(window.filterscope);
