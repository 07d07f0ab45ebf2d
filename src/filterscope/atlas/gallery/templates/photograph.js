// A photograph dropped into the viewer: the units at each of its places, and which classes they raise or lower.
"use strict";
(function (fs) {
  const h = fs.h, SIDE = 1024; // px: the photograph is made smaller before it is sent
  const here = location.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  const network = here[here.length - (here[here.length - 1].endsWith(".html") ? 2 : 1)];
  let found = null, layer = null, place = null, source = null;

  const input = h("input", { type: "file", accept: "image/*", id: "photograph-file" });
  const drop = h("label", { class: "drop", for: "photograph-file" }, h("strong", {}, "Drop a photograph here"), h("span", { class: "muted" }, "or choose one: which units are active where, and which classes they vote for"), input);
  const status = h("p", { class: "live-status", role: "status" }, "");
  const shown = h("div", { class: "looked", hidden: true });
  const section = h("section", { class: "photograph-section", "aria-label": "A photograph" }, drop, status, shown);
  document.querySelector(".toolbar").before(section);

  async function sized(file) {
    const url = await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(new Error("the file cannot be read"));
      reader.readAsDataURL(file);
    });
    const image = new Image();
    image.src = url;
    await image.decode().catch(() => { throw new Error("this is no picture that the browser can read"); });
    const scale = Math.min(1, SIDE / Math.max(image.naturalWidth, image.naturalHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
    canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
    const draw = canvas.getContext("2d");
    draw.fillStyle = "white"; // below what is transparent, as on the command line
    draw.fillRect(0, 0, canvas.width, canvas.height);
    draw.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", 0.92).split(",")[1];
  }

  async function look(file) {
    if (!file) return;
    if (source) source.close();
    shown.hidden = true;
    say("Reading …");
    try {
      const { id } = await fs.live.post("/_live/photographs", { network, image: await sized(file) });
      source = new EventSource(`/_live/jobs/${id}/events`);
    } catch (error) {
      if (error.status === 401) fs.live.askTokenIn(section);
      say(error.message, true);
      return;
    }
    source.addEventListener("progress", (event) => {
      const told = JSON.parse(event.data);
      say(told.state === "queued" && told.ahead ? `Waiting for ${told.ahead} before it` : "The network looks at it …");
    });
    source.addEventListener("done", (event) => { source.close(); show(JSON.parse(event.data)); });
    for (const state of ["failed", "cancelled"]) source.addEventListener(state, (event) => {
      source.close();
      say(JSON.parse(event.data).message, true);
    });
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) say("The viewer does not answer", true); };
  }

  function say(text, failed) {
    status.textContent = text;
    status.classList.toggle("failed", Boolean(failed));
  }

  function show(told) {
    found = told;
    layer = found.layers[found.layers.length - 1];
    say("Click a place of the photograph; arrows move it.");
    const image = h("img", { src: found.image, alt: "The photograph, as the network takes it", draggable: "false" });
    const cell = h("span", { class: "cell", "aria-hidden": "true" });
    const map = h("div", { class: "places", tabindex: "0", role: "group", "aria-label": "Places of the photograph: arrows move" }, image, cell);
    const which = h("select", { id: "photograph-layer" }, ...found.layers.map((one) => h("option", { value: one.name, selected: one === layer }, one.name)));
    const list = h("div", { class: "place-units", "aria-live": "polite" });
    const classes = h("dl", { class: "guesses" }, ...found.classes.map(([name, , share]) => {
      const bar = h("span", { style: `width:${100 * share}%` });
      return h("div", {}, h("dt", {}, name), h("dd", {}, h("span", { class: "changed", "aria-hidden": "true" }, bar), `${(100 * share).toFixed(1)} %`));
    }));
    const at = (event) => {
      const box = image.getBoundingClientRect(), rows = layer.places.length, columns = layer.places[0].length;
      const clamp = (value, most) => Math.min(most - 1, Math.max(0, Math.floor(value)));
      return [clamp((event.clientY - box.top) / box.height * rows, rows), clamp((event.clientX - box.left) / box.width * columns, columns)];
    };
    function go(to) {
      const rows = layer.places.length, columns = layer.places[0].length;
      place = [Math.min(rows - 1, Math.max(0, to[0])), Math.min(columns - 1, Math.max(0, to[1]))];
      cell.style.left = `${100 * place[1] / columns}%`;
      cell.style.top = `${100 * place[0] / rows}%`;
      cell.style.width = `${100 / columns}%`;
      cell.style.height = `${100 / rows}%`;
      list.replaceChildren(...units());
    }
    map.addEventListener("click", (event) => go(at(event)));
    map.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (!(event.key in moves)) return;
      event.preventDefault();
      go([place[0] + moves[event.key][0], place[1] + moves[event.key][1]]);
    });
    which.addEventListener("change", () => {
      layer = found.layers.find((one) => one.name === which.value);
      go(middle());
    });
    shown.replaceChildren(h("div", {}, map, classes), h("div", {}, h("label", { class: "field" }, h("span", {}, "Layer"), which), list));
    shown.hidden = false;
    go(middle());
  }

  const middle = () => [layer.places.length >> 1, layer.places[0].length >> 1];

  function units() {
    const known = fs.layers.find((one) => one.name === layer.name);
    const rows = layer.places[place[0]][place[1]].map(([unit, activation, votes]) => {
      const order = votes.map((vote, i) => [vote, i]).sort((a, b) => b[0] - a[0]);
      const raised = order.filter(([vote]) => vote > 0).slice(0, 2), lowered = order.reverse().filter(([vote]) => vote < 0).slice(0, 1);
      const said = ([vote, i]) => `${found.classes[i][0]} ${vote > 0 ? "+" : "−"}${fs.number(Math.abs(vote), 2)}`;
      const i = known ? known.units.indexOf(unit) : -1, thumb = h("span", { class: "thumb none" });
      if (i >= 0) { thumb.classList.remove("none"); fs.thumb(thumb, known, i, `${encodeURIComponent(known.folder)}/`); }
      const name = i >= 0 && known.classes && known.classes[i] || `unit ${unit}`;
      const text = h("span", {}, h("strong", {}, name), h("span", { class: "muted small" }, ` activation ${fs.number(activation, 3)}`),
        h("span", { class: "vote" }, raised.length ? `raises ${raised.map(said).join(", ")}` : ""),
        h("span", { class: "vote" }, lowered.length ? `lowers ${lowered.map(said).join(", ")}` : ""));
      return i >= 0 ? h("a", { class: "place-unit", href: `${encodeURIComponent(known.folder)}/index.html#${unit}` }, thumb, text)
        : h("div", { class: "place-unit" }, thumb, text);
    });
    return [h("h3", {}, `Row ${place[0]}, column ${place[1]} of ${layer.name}`), ...rows];
  }

  input.addEventListener("change", () => look(input.files[0]));
  for (const kind of ["dragover", "drop"]) drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") look(event.dataTransfer.files[0]);
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
})(window.filterscope);
