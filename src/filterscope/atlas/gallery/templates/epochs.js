// A training: units by epochs, one slider over time, curves, dead units.
"use strict";
(function (fs) {
  const h = fs.h, s = fs.s, $ = (id) => document.getElementById(id);
  const panel = $("panel"), time = $("time");
  const link = (path) => path.split("/").map(encodeURIComponent).join("/");
  const FRAME = 400; // milliseconds that an epoch is shown for
  let data = null, at = 0, open = -1, playing = 0;
  let rows = []; // of each unit what changes with time

  fs.epochs = function (found) {
    data = found;
    $("notes").replaceChildren(...data.notes.map((note) => h("li", {}, note)));
    rows = data.units.map(row);
    $("rows").replaceChildren(...rows.map((one) => one.node));
    time.max = String(data.epochs.length - 1);
    $("timeline").hidden = data.epochs.length < 2;
    relus();
    show(data.epochs.length - 1);
  };

  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(0)} %`);
  const times = (value) => (value === null ? "–" : `×${value.toFixed(value < 10 ? 2 : 1)}`);

  // What a unit is judged by: its excitation where photographs were measured, else its activation.
  function strength(unit) {
    return unit.excitation.some((v) => v !== null) ? ["Excitation", unit.excitation] : ["Activation", unit.activation];
  }

  function row(unit, i) {
    const big = h("img", { class: "picture", alt: "" }), status = h("span", { class: "unit-status" });
    const thumbs = unit.files.map((file, t) => h("button", { type: "button", class: "moment", tabindex: "-1",
      "aria-label": `${unit.target}, epoch ${data.epochs[t]}`, onclick: () => show(t) },
      file ? h("img", { src: link(file), alt: "", loading: "lazy" }) : h("span", { class: "picture none" }), h("small", {}, String(data.epochs[t]))));
    const [name, values] = strength(unit), gone = unit.change.slice();
    const charts = [chart(name, [{ values }], 200, 64), chart("Change", [{ values: gone }], 200, 64, 1)];
    const node = h("article", { class: "unit-row", "aria-label": unit.target },
      h("button", { type: "button", class: "big-button", "aria-label": `${unit.target}: animation and curves`, onclick: () => openUnit(i) }, big),
      h("div", { class: "unit-words" }, h("h2", {}, unit.class || unit.target), unit.class ? h("p", { class: "small muted" }, unit.target) : null,
        status),
      h("div", { class: "unit-charts" }, ...charts.map((one, k) => h("figure", {}, one.node, h("figcaption", {}, [name, "Change"][k])))),
      h("div", { class: "strip-of-epochs" }, ...thumbs));
    return { node, big, status, thumbs, charts };
  }

  function show(t) {
    at = Math.max(0, Math.min(data.epochs.length - 1, t));
    time.value = String(at);
    time.setAttribute("aria-valuetext", `epoch ${data.epochs[at]}`);
    $("now").textContent = `epoch ${data.epochs[at]} of ${data.epochs[data.epochs.length - 1]}`;
    data.units.forEach((unit, i) => {
      const one = rows[i], file = unit.files[at];
      one.big.hidden = !file;
      if (file) one.big.src = link(file);
      one.status.textContent = words(unit, at);
      one.status.className = `unit-status ${unit.status[at] || ""}`;
      one.thumbs.forEach((thumb, k) => thumb.setAttribute("aria-pressed", String(k === at)));
      one.charts.forEach((c) => c.mark(at));
      const thumb = one.thumbs[at], strip = thumb.parentElement;
      strip.scrollLeft = thumb.offsetLeft - strip.offsetLeft - (strip.clientWidth - thumb.offsetWidth) / 2;
    });
    for (const c of marks) c.mark(at);
    const dead = data.units.filter((unit) => unit.status[at] === "dead").map((unit) => unit.target);
    const seconds = data.seconds[at];
    $("count").textContent = `${data.units.length} units; `
      + (dead.length ? `dead at epoch ${data.epochs[at]}: ${dead.join(", ")}` : `none of them dead at epoch ${data.epochs[at]}`)
      + (seconds === null ? "" : `; drawn in ${fs.number(seconds, 2)} s`);
  }

  function words(unit, t) {
    const [name, values] = strength(unit);
    if (unit.status[t] === null) return "not drawn";
    if (unit.status[t] === "dead") return "dead";
    const value = name === "Excitation" ? times(values[t]) : fs.number(values[t], 3);
    return `${name.toLowerCase()} ${value}${unit.change[t] === null ? "" : `, changed by ${percent(unit.change[t])}`}`;
  }

  // series: [{values, label}], null where a value is not known; `mark` moves the line that shows the time.
  function chart(label, series, W, H, most) {
    const left = 4, right = 4, top = 6, bottom = 6, count = data.epochs.length;
    const known = series.flatMap((one) => one.values).filter((v) => v !== null);
    const low = Math.min(0, ...known), high = most || Math.max(...known, low + 1e-9);
    const x = (t) => left + (count < 2 ? 0.5 : t / (count - 1)) * (W - left - right);
    const y = (v) => H - bottom - ((Math.min(v, high) - low) / (high - low)) * (H - top - bottom);
    const first = known[0], last = known[known.length - 1];
    const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", class: "chart",
      "aria-label": known.length ? `${label} by epoch, from ${fs.number(first, 3)} to ${fs.number(last, 3)}` : `${label}: not known` });
    svg.append(s("line", { x1: left, x2: W - right, y1: y(low), y2: y(low), class: "axis" }));
    const cursor = s("line", { x1: x(0), x2: x(0), y1: top, y2: H - bottom, class: "mark" });
    svg.append(cursor);
    for (const one of series) {
      for (const part of parts(one.values)) {
        const points = part.map(([t, v]) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
        svg.append(part.length > 1 ? s("polyline", { points, class: "line" }) : s("circle", { cx: x(part[0][0]), cy: y(part[0][1]), r: 2, class: "dot" }));
      }
    }
    const dots = series.map(() => svg.appendChild(s("circle", { r: 3, class: "dot" })));
    return { node: svg, mark(t) {
      cursor.setAttribute("x1", x(t));
      cursor.setAttribute("x2", x(t));
      series.forEach((one, k) => {
        const value = one.values[t];
        dots[k].setAttribute("visibility", value === null || value === undefined ? "hidden" : "visible");
        if (value !== null && value !== undefined) { dots[k].setAttribute("cx", x(t)); dots[k].setAttribute("cy", y(value)); }
      });
    } };
  }

  function parts(values) { // runs of known values
    const found = [];
    values.forEach((v, t) => {
      if (v === null) return;
      const last = found[found.length - 1];
      if (last && last[last.length - 1][0] === t - 1) last.push([t, v]);
      else found.push([[t, v]]);
    });
    return found;
  }

  let marks = []; // charts beside those of the rows that show the time

  function relus() {
    $("relus").hidden = !data.relus.length;
    marks = [];
    $("relu-charts").replaceChildren(...data.relus.map((one) => {
      const c = chart(`Dead units of ${one.layer}`, [{ values: one.dead }], 260, 80, one.units);
      const told = h("span", { class: "muted" });
      marks.push({ mark(t) { c.mark(t); told.textContent = one.dead[t] === null ? "not measured" : `${one.dead[t]} of ${one.units} dead`; } });
      return h("figure", {}, h("figcaption", {}, h("strong", {}, one.layer), " ", told), c.node);
    }));
  }

  function openUnit(i) {
    open = i;
    const unit = data.units[i], [name, values] = strength(unit);
    $("panel-layer").textContent = data.network;
    $("panel-title").replaceChildren(unit.target, " ", h("span", { class: "class-name" }, unit.class));
    $("previous").disabled = i === 0;
    $("next").disabled = i === data.units.length - 1;
    const kinds = [[name, values], ["Change since the turn before", unit.change, 1], ...(unit.probability.some((v) => v !== null) ? [["Probability", unit.probability, 1]] : [])];
    const charts = kinds.map(([label, own, most]) => [label, chart(label, [{ values: own }], 560, 130, most)]);
    for (const [, c] of charts) c.mark(at);
    const cells = (...all) => all.map((text) => h("td", {}, text));
    $("panel-body").replaceChildren(
      h("figure", { class: "big" }, h("img", { class: "picture", src: `${link(unit.animation)}?${data.epochs.length}`, alt: `${unit.target}, epoch after epoch` }),
        h("figcaption", { class: "small muted" }, `epochs ${data.epochs[0]} to ${data.epochs[data.epochs.length - 1]}`)),
      h("div", { class: "side" }, ...charts.map(([label, c]) => h("div", {}, h("h3", {}, label), c.node)),
        h("table", { class: "numbers" }, h("thead", {}, h("tr", {}, ...["Epoch", name, "Change", "Verdict"].map((text) => h("th", {}, text)))),
          h("tbody", {}, ...data.epochs.map((epoch, t) => h("tr", {}, ...cells(String(epoch), name === "Excitation" ? times(values[t]) : fs.number(values[t], 3),
            percent(unit.change[t]), (unit.status[t] || "not drawn").replace("-", " ")))))) ));
    if (!panel.open) panel.showModal();
  }

  function play(on) {
    clearInterval(playing);
    playing = 0;
    $("play").setAttribute("aria-pressed", String(on));
    $("play").setAttribute("aria-label", on ? "Stop" : "Play");
    $("play").firstElementChild.textContent = on ? "■" : "▶";
    if (!on) return;
    if (at === data.epochs.length - 1) show(0);
    playing = setInterval(() => {
      if (at === data.epochs.length - 1) play(false);
      else show(at + 1);
    }, FRAME);
  }

  const move = (by) => { if (data.units[open + by]) openUnit(open + by); };
  time.addEventListener("input", () => { play(false); show(+time.value); });
  $("play").addEventListener("click", () => play(!playing));
  $("timeline").addEventListener("submit", (event) => event.preventDefault());
  $("previous").addEventListener("click", () => move(-1));
  $("next").addEventListener("click", () => move(1));
  $("close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  panel.addEventListener("close", () => {
    const was = rows[open];
    open = -1;
    if (was) was.node.querySelector(".big-button").focus();
  });
  document.addEventListener("keydown", (event) => {
    if (!data || event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && panel.open) move(by);
    else if (by && document.activeElement !== time) { play(false); show(at + by); } else if (event.key === " " && !/^(BUTTON|INPUT)$/.test(document.activeElement.tagName)) play(!playing);
    else return;
    event.preventDefault();
  });
})(window.filterscope);
