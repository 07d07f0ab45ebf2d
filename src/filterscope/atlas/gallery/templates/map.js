// An activation atlas: cells on canvases that pan and zoom together. The nearer the view, the finer the grid that is shown.
"use strict";
window.filterscope = window.filterscope || {};
(function () {
  const FINE = 88; // pixels a side from which on a cell gives way to the next finer grid
  const NAMES = 74; // pixels a side from which on a cell's name is written
  const MOST = 40; // times the whole map
  const canvases = Array.from(document.querySelectorAll("canvas.map"));
  const found = document.getElementById("cell");
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const maps = [];
  const view = { x: 0.5, y: 0.5, zoom: 1, level: null, chosen: null };
  let waiting = false;

  filterscope.map = function (data) {
    const canvas = canvases[maps.length];
    const levels = data.levels.map(function (level) {
      const at = new Map();
      level.spots.forEach((spot, i) => at.set(spot[1] * level.grid + spot[0], i));
      return Object.assign({}, level, { at: at, images: level.sheets.map((name) => picture(data.folder + level.folder + "/" + name)) });
    });
    maps.push({ data: data, canvas: canvas, levels: levels });
    if (maps.length === 1) choices(levels);
    if (maps.length === canvases.length) begin();
  };

  function picture(path) {
    const image = new Image();
    image.addEventListener("load", redraw);
    image.src = path.split("/").map(encodeURIComponent).join("/");
    return image;
  }

  function choices(levels) {
    const place = document.getElementById("levels");
    const all = [["", "By zoom"]].concat(levels.map((level) => [String(level.grid), level.grid + " × " + level.grid]));
    if (levels.length < 2) { place.hidden = true; return; }
    for (const [value, text] of all) {
      const label = document.createElement("label"), input = document.createElement("input"), span = document.createElement("span");
      input.type = "radio"; input.name = "level"; input.value = value; input.checked = value === "";
      input.addEventListener("change", function () { view.level = value ? Number(value) : null; redraw(); });
      span.textContent = text;
      label.append(input, span);
      place.append(label);
    }
  }

  function side(canvas) { return Math.min(canvas.clientWidth, canvas.clientHeight); }

  function shown(map) { // the grid for this zoom: the finest whose cells are not too small
    if (view.level) return map.levels.find((level) => level.grid === view.level) || map.levels[0];
    let best = map.levels[0];
    for (const level of map.levels) if (side(map.canvas) * view.zoom / best.grid >= FINE) best = level;
    return best;
  }

  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(function () { waiting = false; maps.forEach(draw); });
  }

  function place(map, level, spot) { // a cell's corner and side on its canvas
    const canvas = map.canvas, whole = side(canvas) * view.zoom, cell = whole / level.grid;
    return [canvas.clientWidth / 2 + spot[0] * cell - view.x * whole, canvas.clientHeight / 2 + spot[1] * cell - view.y * whole, cell];
  }

  function draw(map) {
    const canvas = map.canvas, ratio = window.devicePixelRatio || 1, words = search.value.trim().toLowerCase();
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const pen = canvas.getContext("2d"), style = getComputedStyle(canvas), level = shown(map);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    let hits = 0;
    level.spots.forEach(function (spot, i) {
      const [x, y, cell] = place(map, level, spot);
      const hit = !words || level.votes[i].some((vote) => vote[0].toLowerCase().replaceAll("_", " ").includes(words.replaceAll("_", " ")));
      hits += hit ? 1 : 0;
      if (x > canvas.clientWidth || y > canvas.clientHeight || x + cell < 0 || y + cell < 0) return;
      const sheet = Math.floor(i / level.per), at = i % level.per, image = level.images[sheet];
      pen.globalAlpha = hit ? 1 : 0.14;
      if (level.shown[i] === "1" && image.complete && image.naturalWidth) {
        pen.drawImage(image, (at % level.columns) * level.side, Math.floor(at / level.columns) * level.side, level.side, level.side, x, y, cell - 1, cell - 1);
      } else {
        pen.fillStyle = style.getPropertyValue("--sunk");
        pen.fillRect(x, y, cell - 1, cell - 1);
      }
      pen.globalAlpha = 1;
      if (hit && cell >= NAMES && level.votes[i].length) name(pen, level.votes[i][0][0].replaceAll("_", " "), x, y, cell);
      if (view.chosen && view.chosen.grid === level.grid && view.chosen.i === i && view.chosen.map === map) {
        pen.strokeStyle = style.getPropertyValue("--accent"); pen.lineWidth = 3;
        pen.strokeRect(x + 1, y + 1, cell - 3, cell - 3);
      }
    });
    if (map === maps[0]) count.textContent = words ? hits + " of " + level.spots.length + " cells" : level.spots.length + " cells of " + level.grid + " × " + level.grid;
  }

  function name(pen, text, x, y, cell) {
    const size = Math.max(10, Math.min(15, cell / 9));
    pen.font = "600 " + size + "px system-ui, sans-serif";
    let fitting = text;
    while (fitting.length > 2 && pen.measureText(fitting).width > cell - 10) fitting = fitting.slice(0, -2).trimEnd() + "…";
    pen.lineWidth = 3; pen.lineJoin = "round"; pen.strokeStyle = "rgb(0 0 0 / .75)"; pen.fillStyle = "#fff";
    pen.strokeText(fitting, x + 5, y + cell - 7);
    pen.fillText(fitting, x + 5, y + cell - 7);
  }

  function zoom(by, map, px, py) { // about a place of a canvas, which stays where it is
    const before = view.zoom, canvas = map.canvas;
    view.zoom = Math.min(MOST, Math.max(0.8, view.zoom * by));
    const dx = px - canvas.clientWidth / 2, dy = py - canvas.clientHeight / 2, whole = side(canvas);
    view.x += dx / (whole * before) - dx / (whole * view.zoom);
    view.y += dy / (whole * before) - dy / (whole * view.zoom);
    keep();
  }

  function keep() {
    view.x = Math.min(1, Math.max(0, view.x));
    view.y = Math.min(1, Math.max(0, view.y));
    redraw();
  }

  function whole() { view.x = view.y = 0.5; view.zoom = 1; keep(); }

  function pick(map, px, py) {
    const level = shown(map), canvas = map.canvas, size = side(canvas) * view.zoom;
    const column = Math.floor((px - canvas.clientWidth / 2 + view.x * size) / size * level.grid);
    const row = Math.floor((py - canvas.clientHeight / 2 + view.y * size) / size * level.grid);
    const inside = column >= 0 && row >= 0 && column < level.grid && row < level.grid;
    const i = inside ? level.at.get(row * level.grid + column) : undefined;
    view.chosen = i === undefined ? null : { map: map, grid: level.grid, i: i, key: row * level.grid + column };
    tell();
    redraw();
  }

  function tell() { // the chosen cell, of each map where there are two
    found.replaceChildren();
    found.hidden = !view.chosen;
    if (!view.chosen) return;
    for (const map of maps) {
      const level = map.levels.find((one) => one.grid === view.chosen.grid);
      const i = level && level.at.get(view.chosen.key);
      if (i === undefined) continue;
      const box = document.createElement("figure"), link = document.createElement("a"), image = document.createElement("img");
      const text = document.createElement("figcaption"), head = document.createElement("strong"), list = document.createElement("ul");
      const file = map.data.folder + level.folder + "/cell-" + String(i).padStart(4, "0") + ".png";
      link.href = image.src = file.split("/").map(encodeURIComponent).join("/");
      image.alt = "Picture of cell " + i;
      link.append(image);
      head.textContent = "Cell " + i + " of " + map.data.name + ": " + level.counts[i] + " activations";
      for (const [who, vote] of level.votes[i]) {
        const row = document.createElement("li");
        row.textContent = who.replaceAll("_", " ") + (vote === null ? "" : " " + (vote > 0 ? "+" : "") + vote);
        list.append(row);
      }
      text.append(head, list);
      box.append(link, text);
      found.append(box);
    }
  }

  function begin() {
    for (const map of maps) {
      const canvas = map.canvas, down = new Map();
      let moved = 0;
      canvas.addEventListener("pointerdown", function (event) { canvas.setPointerCapture(event.pointerId); down.set(event.pointerId, [event.offsetX, event.offsetY]); moved = 0; });
      canvas.addEventListener("pointermove", function (event) {
        const last = down.get(event.pointerId);
        if (!last) return;
        const [dx, dy] = [event.offsetX - last[0], event.offsetY - last[1]];
        moved += Math.abs(dx) + Math.abs(dy);
        if (down.size === 1) {
          const size = side(canvas) * view.zoom;
          view.x -= dx / size; view.y -= dy / size;
          keep();
        } else { // two fingers
          const other = Array.from(down).find(([id]) => id !== event.pointerId)[1];
          const span = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
          zoom(span([event.offsetX, event.offsetY]) / span(last), map, other[0], other[1]);
        }
        down.set(event.pointerId, [event.offsetX, event.offsetY]);
      });
      for (const ended of ["pointerup", "pointercancel"]) canvas.addEventListener(ended, function (event) {
        if (down.delete(event.pointerId) && ended === "pointerup" && moved < 5) pick(map, event.offsetX, event.offsetY);
      });
      canvas.addEventListener("wheel", function (event) {
        event.preventDefault();
        zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / 240), map, event.offsetX, event.offsetY);
      }, { passive: false });
    }
    const middle = () => [maps[0], maps[0].canvas.clientWidth / 2, maps[0].canvas.clientHeight / 2];
    document.getElementById("nearer").addEventListener("click", () => zoom(1.5, ...middle()));
    document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.5, ...middle()));
    document.getElementById("whole").addEventListener("click", whole);
    search.addEventListener("input", redraw);
    search.form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", function (event) {
      if (event.target === search) { if (event.key === "Escape") { search.value = ""; search.blur(); redraw(); } return; }
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = 0.15 / view.zoom;
      const keys = {
        "/": () => search.focus(), "+": () => zoom(1.5, ...middle()), "=": () => zoom(1.5, ...middle()), "-": () => zoom(1 / 1.5, ...middle()), "0": whole,
        Escape: () => { view.chosen = null; tell(); redraw(); },
        ArrowLeft: () => { view.x -= step; keep(); }, ArrowRight: () => { view.x += step; keep(); },
        ArrowUp: () => { view.y -= step; keep(); }, ArrowDown: () => { view.y += step; keep(); },
      };
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    });
    new ResizeObserver(redraw).observe(maps[0].canvas);
    redraw();
  }
})();
