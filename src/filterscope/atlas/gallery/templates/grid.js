// Grids of units: search, filter, sort, the keyboard. Names are untrusted: they are only ever set as text.
"use strict";
window.filterscope = window.filterscope || {};
(function (fs) {
  const STATUSES = ["ok", "no-gain", "dead", "failed"];
  const SAID = { ok: "ok", "no-gain": "no gain", dead: "dead", failed: "failed" };
  const NUMBERS = { // what units can be sorted by where it is known: the option's text, whether the largest comes first
    selectivity: "Most selective first", sparsity: "Sparsest first", clarity: "Clearest first",
    polysemanticity: "Most polysemantic first",
  };
  const FIRST = 240; // results of a search over a whole network that are shown at once
  const page = document.body.dataset.page;
  const $ = (id) => document.getElementById(id);
  const simple = (text) => text.toLowerCase().replace(/[\s_-]+/g, " ");

  fs.layers = [];
  fs.items = [];
  fs.shown = [];

  // Called by catalog.js or layer.js with the layers' columns.
  fs.catalog = function (layers) {
    fs.layers = layers;
    fs.items = layers.flatMap((layer) => layer.units.map((unit, i) => ({
      layer, i, unit,
      name: layer.classes ? layer.classes[i] : "",
      status: STATUSES[+layer.status[i]],
      excitation: layer.excitation[i],
      label: layer.labels ? layer.labels[i] : "",
      best: layer.best && layer.best.of[i] >= 0 ? layer.best.names[layer.best.of[i]] : "",
    })));
    start();
  };

  // Puts a unit's thumbnail on an element; leaves it hatched where there is no picture.
  fs.thumb = function (node, layer, i, prefix) {
    const sheets = layer.sheets;
    if (sheets.shown[i] !== "1") return node.classList.add("none"), node;
    const sheet = Math.floor(i / sheets.per), place = i % sheets.per;
    node.style.backgroundImage = `url("${prefix}${encodeURIComponent(sheets.files[sheet])}")`;
    node.style.setProperty("--c", place % sheets.columns);
    node.style.setProperty("--r", Math.floor(place / sheets.columns));
    node.style.setProperty("--rows", sheets.rows[sheet]);
    return node;
  };

  // An excitation: "×4.02".
  fs.times = (value) => `×${value.toFixed(value < 10 ? 2 : 1)}`;

  // A name that may break behind its underscores.
  fs.breaking = function (node, name) {
    for (const part of String(name).split(/(?<=[_-])/)) node.append(part, document.createElement("wbr"));
    return node;
  };

  // A number of a unit, null where it is not known.
  fs.numberOf = (item, key) => (item.layer.numbers && item.layer.numbers[key] ? item.layer.numbers[key][item.i] : null);

  fs.title = (item) => item.name || `unit ${item.unit}`;

  function tile(item) {
    if (item.node) return item.node;
    const here = page === "layer";
    const prefix = here ? "" : `${encodeURIComponent(item.layer.folder)}/`;
    const link = document.createElement("a");
    link.className = item.name ? "tile named" : "tile";
    const told = [item.name, item.label, item.best && `most by ${item.best}`].filter(Boolean).join(" · ");
    if (told) link.title = told;
    link.href = `${here ? "" : prefix + "index.html"}#${item.unit}`;
    const thumb = document.createElement("span");
    thumb.className = "thumb";
    const name = document.createElement("span");
    name.className = "tile-name";
    fs.breaking(name, item.name || item.unit);
    const score = document.createElement("span");
    score.className = "tile-score";
    const excited = item.excitation === null ? "" : fs.times(item.excitation);
    score.textContent = item.status === "ok" ? excited : SAID[item.status];
    if (item.status !== "ok") score.classList.add(item.status);
    const said = [here ? "" : item.layer.name, `unit ${item.unit}`, item.name, item.label, SAID[item.status], excited && `excitation ${item.excitation}`];
    link.setAttribute("aria-label", said.filter(Boolean).join(", "));
    link.tabIndex = -1;
    link.append(fs.thumb(thumb, item.layer, item.i, prefix), name, score);
    if (item.label) link.append(Object.assign(document.createElement("span"), { className: "tile-label", textContent: item.label }));
    if (!here) link.append(Object.assign(document.createElement("span"), { className: "tile-layer", textContent: item.layer.name }));
    const node = document.createElement("li");
    node.append(link);
    item.node = node;
    item.link = link;
    return node;
  }

  // A tile with the number that units are sorted by, else with its excitation.
  function scored(node, item, sort) {
    const value = sort in NUMBERS ? fs.numberOf(item, sort) : null;
    const excited = item.excitation === null ? "" : fs.times(item.excitation);
    const score = node.querySelector(".tile-score");
    score.textContent = value !== null ? value.toFixed(2) : item.status === "ok" ? excited : SAID[item.status];
    return node;
  }

  // "34", "goldfish", "block3 34", "block3_conv1:34": every word must be found, in the unit's class, its label, the class
  // that excites it most, or the layer.
  function matcher(text) {
    const words = simple(text).split(/[\s:]+/).filter(Boolean);
    return function (item) {
      const layer = page === "layer" ? "" : simple(item.layer.name);
      const name = simple([item.name, item.label, item.best].filter(Boolean).join(" "));
      return words.every((word) => (/^\d+$/.test(word) ? String(item.unit) === word || name.split(" ").includes(word)
        : name.includes(word)) || layer.includes(word));
    };
  }

  const last = (a) => (a === null ? -Infinity : a);
  const orders = {
    number: null, // the catalogue's own order
    strong: (a, b) => last(b.excitation) - last(a.excitation) || a.unit - b.unit,
    weak: (a, b) => (a.excitation ?? Infinity) - (b.excitation ?? Infinity) || a.unit - b.unit,
    name: (a, b) => {
      const [one, other] = [a, b].map((item) => item.name || item.label);
      return (one ? 0 : 1) - (other ? 0 : 1) || one.localeCompare(other) || a.unit - b.unit;
    },
  };
  for (const key of Object.keys(NUMBERS)) orders[key] = (a, b) => last(fs.numberOf(b, key)) - last(fs.numberOf(a, key)) || a.unit - b.unit;

  function wanted() {
    const status = document.querySelector("#status input:checked").value;
    return { text: $("search").value.trim(), status, sort: $("sort").value };
  }

  let most = FIRST;

  function show() {
    const { text, status, sort } = wanted();
    const active = page === "layer" || text || status || sort !== "number";
    if (page === "network") {
      $("results").hidden = !active;
      $("layers").hidden = Boolean(active);
    }
    if (!active) {
      fs.shown = [];
      $("count").textContent = "";
      $("grid").replaceChildren();
      return;
    }
    const matches = matcher(text);
    fs.shown = fs.items.filter((item) => (!status || item.status === status) && (!text || matches(item)));
    if (orders[sort]) fs.shown = fs.shown.slice().sort(orders[sort]);
    const visible = page === "layer" ? fs.shown : fs.shown.slice(0, most);
    const fragment = document.createDocumentFragment();
    for (const item of visible) fragment.append(scored(tile(item), item, sort));
    $("grid").replaceChildren(fragment);
    focusable(visible[0]);
    const total = fs.items.length.toLocaleString("en"), found = fs.shown.length.toLocaleString("en");
    const rest = visible.length < fs.shown.length ? `, the first ${visible.length} shown` : "";
    const units = fs.items.length === 1 ? "unit" : "units";
    $("count").textContent = fs.shown.length === fs.items.length ? `${total} ${units}${rest}`
      : fs.shown.length ? `${found} of ${total} units${rest}` : "No unit is called that";
    if ($("more")) $("more").hidden = visible.length === fs.shown.length;
    if ($("elsewhere")) {
      $("elsewhere").hidden = !text;
      $("elsewhere-link").href = `../index.html?q=${encodeURIComponent(text)}`;
    }
  }

  // One tile at a time can be reached by Tab; arrows move it.
  let current = null;
  function focusable(item) {
    if (current && current.link) current.link.tabIndex = -1;
    current = item || null;
    if (current) current.link.tabIndex = 0;
  }

  fs.focusUnit = function (item) {
    if (!item || !item.link || !item.link.isConnected) return;
    focusable(item);
    item.link.focus();
  };

  function columns() {
    return getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  }

  function onArrow(event) {
    const at = fs.shown.findIndex((item) => item.link === document.activeElement);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns(), Home: -at, End: fs.shown.length - 1 - at };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const to = at + moves[event.key];
    if (to < 0 && event.key === "ArrowUp") $("search").focus();
    else if (to >= 0 && to < fs.shown.length) fs.focusUnit(fs.shown[to]);
  }

  function onKey(event) {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    const open = document.querySelector("dialog[open]");
    if (event.key === "/" && !typing && !open) {
      event.preventDefault();
      $("search").focus();
      $("search").select();
    }
  }

  function start() {
    const asked = new URLSearchParams(location.search).get("q");
    if (asked) $("search").value = asked;
    const counts = {};
    for (const item of fs.items) counts[item.status] = (counts[item.status] || 0) + 1;
    for (const input of document.querySelectorAll("#status input")) {
      if (input.value) input.parentElement.hidden = !counts[input.value];
      const count = input.value ? counts[input.value] || 0 : fs.items.length;
      input.nextElementSibling.append(Object.assign(document.createElement("small"), { textContent: count.toLocaleString("en") }));
    }
    for (const [key, text] of Object.entries(NUMBERS)) {
      if (fs.layers.some((layer) => layer.numbers && layer.numbers[key])) $("sort").append(new Option(text, key));
    }
    document.querySelector(".toolbar").addEventListener("submit", (event) => {
      event.preventDefault();
      fs.focusUnit(fs.shown[0]);
    });
    $("search").addEventListener("input", () => { most = FIRST; show(); });
    $("search").addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") { event.preventDefault(); fs.focusUnit(fs.shown[0]); }
      if (event.key === "Escape") { $("search").value = ""; show(); }
    });
    $("status").addEventListener("change", show);
    $("sort").addEventListener("change", show);
    if ($("more")) $("more").addEventListener("click", () => {
      const at = most;
      most += FIRST;
      show();
      fs.focusUnit(fs.shown[at]);
    });
    $("grid").addEventListener("keydown", onArrow);
    document.addEventListener("keydown", onKey);
    show();
    if (fs.openFromHash) fs.openFromHash();
  }
})(window.filterscope);
