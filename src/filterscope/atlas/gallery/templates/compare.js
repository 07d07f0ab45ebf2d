// Pairs of pictures: search, order, the keyboard, a panel for each.
"use strict";
(function (fs) {
  const h = fs.h, $ = (id) => document.getElementById(id);
  const panel = $("panel"), grid = $("grid");
  const nodes = [...grid.children];
  const simple = (text) => text.toLowerCase().replace(/[\s_-]+/g, " ");
  let pairs = [], names = [], shown = [], open = -1;

  fs.pairs = function (rows, both) {
    pairs = rows;
    names = both;
    show();
    fromHash();
  };

  function show() {
    const words = simple($("search").value.trim()).split(/[\s:]+/).filter(Boolean);
    shown = pairs.map((_, i) => i).filter((i) => {
      const text = simple(`${pairs[i].layer} ${pairs[i].name}`);
      return words.every((word) => pairs[i].unit.split("@")[0] === word || text.includes(word));
    });
    const value = (i) => (pairs[i].change === null ? -1 : pairs[i].change);
    if ($("sort").value === "least") shown.sort((a, b) => value(a) - value(b));
    if ($("sort").value === "layer") shown.sort((a, b) => pairs[a].layer.localeCompare(pairs[b].layer, "en", { numeric: true })
      || parseInt(pairs[a].unit, 10) - parseInt(pairs[b].unit, 10));
    grid.replaceChildren(...shown.map((i) => nodes[i]));
    nodes.forEach((node) => { node.firstElementChild.tabIndex = -1; });
    if (shown.length) nodes[shown[0]].firstElementChild.tabIndex = 0;
    $("count").textContent = shown.length === pairs.length ? `${pairs.length} ${pairs.length === 1 ? "pair" : "pairs"}`
      : shown.length ? `${shown.length} of ${pairs.length} pairs` : "No pair is called that";
  }

  function focus(i) {
    if (i === undefined) return;
    nodes.forEach((node) => { node.firstElementChild.tabIndex = -1; });
    nodes[i].firstElementChild.tabIndex = 0;
    nodes[i].firstElementChild.focus();
  }

  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(0)} %`);

  function side(pair, i) {
    const own = pair.sides[i], letter = "AB"[i], other = "BA"[i];
    const rows = [["Excitation", own.excitation === null ? null : `×${own.excitation.toFixed(own.excitation < 10 ? 2 : 1)}`],
      ["Activation", fs.number(own.activation)],
      ["Probability", own.probability === null ? null : `${(100 * own.probability).toFixed(1)} %`],
      [`For ${other}'s picture`, fs.number(pair.crossed[i])],
      ["Of its own", percent(pair.reach[i])]];
    return h("section", { "aria-label": names[i] },
      h("h3", {}, h("span", { class: "letter", "aria-hidden": "true" }, letter), " ", names[i]),
      h("img", { class: "picture", src: own.file.split("/").map(encodeURIComponent).join("/"), alt: `What excites ${pair.target} of ${names[i]} most` }),
      h("dl", { class: "facts" }, ...rows.filter((row) => row[1] !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      pair.curves[i].length > 1 ? fs.curve(pair.curves[i], null) : null);
  }

  function openPair(i) {
    open = i;
    const pair = pairs[i], at = shown.indexOf(i);
    $("panel-layer").textContent = pair.target === pair.target_b ? pair.layer : `${pair.target} and ${pair.target_b}`;
    $("panel-title").replaceChildren(`Unit ${pair.unit} `, h("span", { class: "class-name" }, pair.name));
    $("previous").disabled = at <= 0;
    $("next").disabled = at === shown.length - 1;
    $("panel-body").replaceChildren(
      h("dl", { class: "scores below" }, h("div", {}, h("dt", {}, "Change"), h("dd", {}, percent(pair.change))),
        h("div", {}, h("dt", {}, "Difference of the pictures"), h("dd", {}, percent(pair.difference), h("small", {}, "root mean square, of the full range")))),
      side(pair, 0), side(pair, 1));
    if (!panel.open) panel.showModal();
    try { history.replaceState(null, "", `#${i}`); } catch { location.hash = i; }
  }

  function step(by) {
    const to = shown[shown.indexOf(open) + by];
    if (open >= 0 && to !== undefined) openPair(to);
  }

  function fromHash() {
    const i = /^#\d+$/.test(location.hash) ? +location.hash.slice(1) : -1;
    if (pairs[i]) openPair(i);
  }

  $("search").addEventListener("input", show);
  $("sort").addEventListener("change", show);
  document.querySelector(".toolbar").addEventListener("submit", (event) => { event.preventDefault(); focus(shown[0]); });
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  panel.addEventListener("close", () => {
    const was = open;
    open = -1;
    try { history.replaceState(null, "", location.pathname + location.search); } catch { /* the hash stays */ }
    if (was >= 0 && nodes[was].isConnected) focus(was);
  });
  window.addEventListener("hashchange", fromHash);
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT)$/.test(document.activeElement.tagName);
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (panel.open) {
      if (event.key === "ArrowLeft") step(-1);
      else if (event.key === "ArrowRight") step(1);
      else return;
    } else if (event.key === "/" && !typing) { $("search").focus(); $("search").select(); } else if (event.key === "Escape" && typing) { $("search").value = ""; show(); } else {
      const at = shown.findIndex((i) => nodes[i].contains(document.activeElement));
      const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
      const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
      if (at < 0 || !(event.key in moves)) return;
      focus(shown[at + moves[event.key]]);
    }
    event.preventDefault();
  });
})(window.filterscope);
