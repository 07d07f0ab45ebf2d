// The panel of one unit: its picture and facets, scores, curve, distribution, photographs, units alike.
"use strict";
(function (fs) {
  const h = fs.h, root = document.body.dataset.root;
  const panel = document.getElementById("panel"), body = document.getElementById("panel-body");
  const chunk = +document.body.dataset.chunk;
  const chunks = new Map(); // file of a chunk -> promise of its units
  const waiting = new Map();
  const COLUMNS = 10; // of a sheet of crops
  const WHY = {
    "no-gain": "The picture excites the unit no more than the best photograph does, or than the noise it started from.",
    dead: "Nothing was found that excites this unit: no photograph and no step of the ascent.",
    failed: "The drawing failed.",
  };
  const SAID = { ok: "ok", "no-gain": "no gain", dead: "dead", failed: "failed" };
  let kept = [];
  let looked = false; // whether pictures are shown with where the network looked
  let cropped = true; // whether photographs are shown as crops to where the unit responds
  let open = null; // the item whose panel is open

  fs.panels = []; // what other scripts add: functions of (item, details, node)
  fs.kept = (rows) => { kept = rows.filter((row) => row.layer === document.body.dataset.layer); };
  fs.addKept = (row) => { kept.push(row); };
  fs.details = (units, number) => waiting.get(`units-${number}.js`)(units);
  fs.more = (units, number) => waiting.get(`more-${number}.js`)(units);
  // A switch between a picture and the same with an alpha channel; `show` is called with the one to show.
  fs.alphaSwitch = (show) => {
    const button = h("button", { type: "button", class: "alpha", "aria-pressed": String(looked),
      title: "Opaque where the objective's gradient at the picture was largest while it was drawn", onclick: () => {
        looked = !looked;
        button.setAttribute("aria-pressed", String(looked));
        show(looked);
      } }, "Where the network looked");
    return button;
  };
  fs.looked = () => looked;
  fs.path = (file) => root + file.split("/").map(encodeURIComponent).join("/");

  function load(file) {
    if (!chunks.has(file)) chunks.set(file, new Promise((resolve, reject) => {
      waiting.set(file, resolve);
      const script = document.createElement("script");
      script.src = file;
      script.onerror = () => { chunks.delete(file); reject(new Error(`${file} cannot be read`)); };
      document.head.append(script);
    }));
    return chunks.get(file);
  }

  fs.openUnit = async function (item) {
    open = item;
    const number = `${document.body.dataset.layer.startsWith("concept(") ? "Concept" : "Unit"} ${item.unit}`;
    const name = item.name ? [`${number} `, h("span", { class: "class-name" }, item.name)] : [number];
    document.getElementById("panel-title").replaceChildren(...name);
    const at = fs.shown.indexOf(item);
    document.getElementById("previous").disabled = at <= 0;
    document.getElementById("next").disabled = at < 0 || at === fs.shown.length - 1;
    if (!panel.open) panel.showModal();
    try { history.replaceState(null, "", `#${item.unit}`); } catch { location.hash = item.unit; }
    try {
      const units = await load(`units-${Math.floor(item.i / chunk)}.js`);
      if (open === item) fill(item, units[item.i % chunk]);
    } catch (error) {
      body.replaceChildren(h("p", { class: "note" }, error.message));
    }
  };

  function fill(item, unit) {
    const first = unit.pictures[0];
    const big = h("div", { class: "big" });
    const side = h("div", { class: "side" });
    showPicture(big, item, unit, 0);
    side.append(scores(first, item, unit));
    if (unit.label) side.append(h("p", { class: "label" }, unit.label[0],
      unit.label[1] === null ? null : h("small", {}, `label, similarity ${fs.number(unit.label[1], 3)}`)));
    if (item.status !== "ok") side.append(h("p", { class: `why ${item.status}` },
      h("strong", {}, SAID[item.status]), " ", unit.reason || WHY[item.status]));
    const best = unit.natural ? unit.natural.best : null;
    if (first.curve.length > 1) side.append(section("Activation at each step", fs.curve(first.curve, best)));
    if (unit.histogram) side.append(section("Beside natural images", fs.histogram(unit.histogram, first.activation, unit.natural),
      h("p", { class: "muted small" }, "How many natural images reach each activation, on a logarithmic scale.")));
    else if (unit.natural) side.append(section("Natural images", numbers(unit.natural)));
    const below = h("div", { class: "below" });
    if (unit.examples.length) below.append(photographs(item, unit));
    if (unit.alike.length) below.append(section("Units most alike", alike(unit)));
    const own = kept.filter((row) => row.unit === item.unit);
    if (own.length) below.append(section("Kept drawings", keptList(own, item)));
    body.replaceChildren(big, side, below);
    for (const add of fs.panels) add(item, unit, body);
    body.scrollTop = 0;
  }

  function section(title, ...nodes) {
    return h("section", {}, h("h3", {}, title), ...nodes);
  }

  function showPicture(node, item, unit, facet) {
    const picture = unit.pictures[facet];
    const alt = `What excites ${document.body.dataset.layer} ${fs.title(item)} most`
      + (unit.pictures.length > 1 ? `, facet ${facet + 1} of ${unit.pictures.length}` : "");
    const source = (alpha) => fs.path(alpha && picture.alpha ? picture.alpha : picture.file);
    const image = picture.file ? h("img", { src: source(looked), alt, class: "picture" })
      : h("div", { class: "picture none", role: "img", "aria-label": "No picture" });
    const nodes = [image];
    if (picture.alpha) nodes.push(fs.alphaSwitch((alpha) => { image.src = source(alpha); }));
    if (unit.pictures.length > 1) {
      nodes.push(h("div", { class: "facets", role: "group", "aria-label": "Facets" }, ...unit.pictures.map((p, i) =>
        h("button", { type: "button", "aria-pressed": String(i === facet), "aria-label": `Facet ${i + 1}`,
          onclick: () => { showPicture(node, item, unit, i); node.querySelectorAll(".facets button")[i].focus(); } },
        p.file ? h("img", { src: fs.path(p.file), alt: "" }) : "–"))));
    }
    const told = [picture.recipe && `recipe ${picture.recipe}`, picture.steps && `${picture.steps} steps`,
      picture.seed !== null && picture.seed !== undefined && `seed ${picture.seed}`,
      picture.attempt ? `attempt ${picture.attempt + 1}` : "", picture.seconds !== null && `${picture.seconds} s`];
    nodes.push(h("p", { class: "muted small" }, told.filter(Boolean).join(" · "),
      picture.file ? h("a", { href: fs.path(picture.file), download: true, class: "download" }, "PNG with its recipe") : null));
    node.replaceChildren(...nodes);
  }

  function scores(picture, item, unit) {
    const row = (name, value, note) => h("div", {}, h("dt", {}, name), h("dd", {}, value, note ? h("small", {}, note) : null));
    const list = h("dl", { class: "scores" });
    if (picture.excitation !== null) list.append(row("Excitation", fs.times(picture.excitation), "of the best photograph's"));
    list.append(row("Activation", fs.number(picture.activation),
      picture.start === null ? "" : `noise ${fs.number(picture.start, 3)}`));
    if (picture.probability !== null) list.append(row("Probability", `${(100 * picture.probability).toFixed(1)} %`, "of the class"));
    if (picture.legibility !== null && picture.legibility !== undefined) list.append(row("Legibility", share(picture.legibility),
      picture.legibility_ceiling === null ? "" : `its photographs ${share(picture.legibility_ceiling)}`));
    if (unit.rank) list.append(row("Rank", `${unit.rank} of ${item.layer.units.length}`,
      unit.rank === 1 ? "the unit it excites most" : h("span", {}, "excites most: ", h("a", { href: `#${unit.top}` }, called(unit.top)))));
    if (picture.excitation === null) list.append(row("Status", SAID[item.status]));
    const known = unit.numbers || {};
    if (typeof known.selectivity === "number") list.append(row("Selectivity", known.selectivity.toFixed(2), unit.best ? `of ${unit.best}` : ""));
    for (const [key, name, note] of [["sparsity", "Sparsity", "over photographs"], ["clarity", "Clarity", "of its photographs"],
      ["polysemanticity", "Polysemanticity", "of its photographs"]]) {
      if (typeof known[key] === "number") list.append(row(name, known[key].toFixed(2), note));
    }
    return list;
  }

  function share(value) {
    return `${(100 * value).toFixed(0)} %`;
  }

  function called(unit) {
    const found = fs.items.find((item) => item.unit === unit);
    return found ? fs.title(found) : `unit ${unit}`;
  }

  function numbers(natural) {
    return h("dl", { class: "facts" }, ...[["Mean", "mean"], ["99th percentile", "p99"], ["Best", "best"]].map(([name, key]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, fs.number(natural[key])))));
  }

  // The photographs that excite a unit most: nine at first, crops where there are any; the others when they are asked for.
  function photographs(item, unit) {
    let all = unit.examples, classes = [];
    const place = h("div", {}), buttons = h("div", { class: "photo-buttons" });
    const button = (text, title, onclick) => h("button", { type: "button", title, onclick }, text);
    const show = () => place.replaceChildren(...[
      classes.length ? h("div", { class: "by-class" }, ...classes.map((one) => h("section", {},
        h("h4", {}, one.name, h("small", { class: "muted" }, ` mean ${fs.number(one.mean, 3)}`)), examples(one.examples, null)))) : null,
      examples(all, cropped ? unit.crops : null),
    ].filter(Boolean));
    const more = async () => (await load(`more-${Math.floor(item.i / chunk)}.js`))[item.i % chunk];
    if (unit.crops) {
      const crop = button("Whole photographs", "The whole of each, with the place of the largest activation", () => {
        cropped = !cropped;
        crop.setAttribute("aria-pressed", String(!cropped));
        show();
      });
      crop.setAttribute("aria-pressed", String(!cropped));
      buttons.append(crop);
    }
    if (unit.found > all.length) {
      const rest = button(`All ${unit.found}`, "More photographs that excite the unit", async () => {
        all = [...unit.examples, ...(await more()).examples];
        rest.remove();
        show();
      });
      rest.classList.add("more-photos");
      buttons.append(rest);
    }
    if (unit.classes) {
      const kinds = button("By class", "The best photographs of the classes that excite the unit most", async () => {
        classes = classes.length ? [] : (await more()).classes;
        kinds.setAttribute("aria-pressed", String(classes.length > 0));
        show();
      });
      kinds.setAttribute("aria-pressed", "false");
      buttons.append(kinds);
    }
    show();
    return h("section", {}, h("h3", {}, "Photographs that excite it most"), buttons, place);
  }

  // A crop of a photograph on its unit's sheet.
  function cropOf(example, crops, alt) {
    const node = h("span", { class: "crop", role: "img", "aria-label": alt });
    node.style.backgroundImage = `url("${fs.path(crops.file)}")`;
    node.style.setProperty("--c", example.at % COLUMNS);
    node.style.setProperty("--r", Math.floor(example.at / COLUMNS));
    node.style.setProperty("--rows", crops.rows);
    return h("div", { class: "photo", title: example.image }, node);
  }

  function examples(found, crops) {
    return h("ol", { class: "examples" }, ...found.map((example, i) => {
      const alt = `Photograph ${i + 1}: ${example.image}, activation ${fs.number(example.activation, 3)}`;
      if (crops && example.at !== undefined) {
        return h("li", {}, cropOf(example, crops, alt), h("span", { class: "muted small" }, fs.number(example.activation, 3)));
      }
      const image = h("img", { src: fs.path(example.file), loading: "lazy", alt });
      const frame = h("div", { class: "photo", title: example.image }, image);
      if (example.x !== undefined) {
        const tall = example.tall ?? example.share;
        if (example.share < 1 || tall < 1) {
          const low = (at, share) => Math.max(0, at - share / 2), high = (at, share) => Math.min(1, at + share / 2);
          const box = h("span", { class: "place", "aria-hidden": "true" });
          box.style.left = `${100 * low(example.x, example.share)}%`;
          box.style.top = `${100 * low(example.y, tall)}%`;
          box.style.width = `${100 * (high(example.x, example.share) - low(example.x, example.share))}%`;
          box.style.height = `${100 * (high(example.y, tall) - low(example.y, tall))}%`;
          frame.append(box);
        }
        const dot = h("span", { class: "point", "aria-hidden": "true" });
        dot.style.left = `${100 * example.x}%`;
        dot.style.top = `${100 * example.y}%`;
        frame.append(dot);
      }
      return h("li", {}, frame, h("span", { class: "muted small" }, fs.number(example.activation, 3)));
    }));
  }

  function alike(unit) {
    return h("ul", { class: "alike" }, ...unit.alike.map(([other, likeness]) => {
      const found = fs.items.find((item) => item.unit === other);
      const thumb = h("span", { class: "thumb" });
      if (found) fs.thumb(thumb, found.layer, found.i, "");
      const name = found && found.name;
      return h("li", {}, h("a", { href: `#${other}`, class: name ? "tile named" : "tile", title: name, "aria-label": `${called(other)}, likeness ${likeness}` },
        thumb, fs.breaking(h("span", { class: "tile-name" }), name || other),
        h("span", { class: "tile-score" }, likeness === null ? "" : likeness.toFixed(2))));
    }));
  }

  function keptList(rows, item) {
    return h("ul", { class: "alike" }, ...rows.map((row) => h("li", {}, h("a", { href: fs.path(row.file), class: "tile" },
      h("img", { src: fs.path(row.file), alt: `${fs.title(item)}, recipe ${row.recipe}, seed ${row.seed}`, class: "thumb" }),
      h("span", { class: "tile-name" }, row.recipe), h("span", { class: "tile-score" },
        row.excitation === null ? `seed ${row.seed}` : fs.times(row.excitation))))));
  }

  function step(by) {
    const to = fs.shown[fs.shown.indexOf(open) + by];
    if (open && to) fs.openUnit(to);
  }

  fs.openFromHash = function () {
    const found = /^#(\d+)$/.test(location.hash) && fs.items.find((item) => item.unit === +location.hash.slice(1));
    if (found && found !== open) fs.openUnit(found);
    else if (!found && panel.open) panel.close();
  };

  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  document.getElementById("close").addEventListener("click", () => panel.close());
  window.addEventListener("hashchange", fs.openFromHash);
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  panel.addEventListener("keydown", (event) => {
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
  panel.addEventListener("close", () => {
    const was = open;
    open = null;
    body.replaceChildren();
    try { history.replaceState(null, "", location.pathname + location.search); } catch { /* the hash stays */ }
    fs.focusUnit(was);
  });
})(window.filterscope);
