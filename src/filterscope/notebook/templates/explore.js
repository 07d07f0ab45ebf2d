// The widget of filterscope.explore: layer, unit, recipe, seed; the picture as it emerges; those that were kept.
function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children); // text is only ever text
  return node;
}

let count = 0; // of widgets on a page: each has a list of classes of its own

function render({ model, el }) {
  const choices = model.get("choices"), chosen = model.get("chosen");
  const list = `filterscope-classes-${(count += 1)}`;
  const option = (value, text) => h("option", { value }, text || value);
  const layer = h("select", {}, ...choices.layers.map((row) => option(row.name, `${row.name} (${row.units})`)));
  const unit = h("input", { type: "text", value: "0", list, spellcheck: "false", autocomplete: "off" });
  const classes = h("datalist", { id: list });
  const recipe = h("select", {}, ...[...new Set([...choices.recipes, chosen.recipe])].map((name) => option(name)));
  const seed = h("input", { type: "number", min: "0", step: "1", value: String(chosen.seed) });
  const go = h("button", { type: "submit", class: "first" }, "Draw");
  const stop = h("button", { type: "button", onclick: () => model.send({ do: "stop" }) }, "Stop");
  const keep = h("button", { type: "button", onclick: () => model.send({ do: "keep" }) }, "Keep");
  const image = h("img", { alt: "" }), empty = h("span", { class: "empty" }, "no picture yet"), bar = h("span", { class: "bar" });
  const said = h("p", { class: "said", role: "status" }), kept = h("div", { class: "kept" });
  recipe.value = chosen.recipe;

  function row() { return choices.layers.find((one) => one.name === layer.value); }
  function showUnits() {
    const one = row();
    classes.replaceChildren(...(one ? one.classes.map((name) => option(name)) : []));
    unit.title = one ? `0 to ${one.units - 1}${one.classes.length ? ", or a class" : ""}` : "";
  }
  function draw(event) {
    event.preventDefault();
    model.send({ do: "draw", layer: layer.value, unit: unit.value.trim(), recipe: recipe.value, seed: Number(seed.value) });
  }
  function step(by) {
    const one = row(), number = Number(unit.value);
    if (!one || !Number.isInteger(number)) return;
    unit.value = String((number + by + one.units) % one.units);
    form.requestSubmit();
  }

  const form = h("form", { onsubmit: draw },
    h("label", { class: "grow" }, "Layer", layer), h("label", { class: "short" }, "Unit", unit), classes,
    h("button", { type: "button", "aria-label": "Previous unit", onclick: () => step(-1) }, "←"),
    h("button", { type: "button", "aria-label": "Next unit", onclick: () => step(1) }, "→"),
    h("label", {}, "Recipe", recipe), h("label", { class: "short" }, "Seed", seed), go, stop, keep);
  layer.addEventListener("change", () => { unit.value = "0"; showUnits(); });

  function update() {
    const busy = model.get("state") === "drawing", url = model.get("image");
    stop.disabled = !busy;
    keep.disabled = busy || !url;
    image.hidden = !url;
    empty.hidden = !!url;
    if (url) image.src = url;
    bar.style.width = busy ? `${100 * model.get("progress")}%` : "0";
    said.textContent = model.get("message");
  }
  function showKept() {
    kept.replaceChildren(...model.get("kept_rows").map((one) =>
      h("figure", {}, h("img", { src: one.image, alt: one.name }), h("figcaption", {}, one.name, h("br"), one.said))));
  }

  const names = ["state", "image", "progress", "message"];
  for (const name of names) model.on(`change:${name}`, update);
  model.on("change:kept_rows", showKept);
  el.append(h("div", { class: "filterscope-explore" }, form, h("div", { class: "stage" }, image, empty, bar), said, kept));
  showUnits();
  update();
  showKept();
  return () => {
    for (const name of names) model.off(`change:${name}`, update);
    model.off("change:kept_rows", showKept);
  };
}

export default { render };
