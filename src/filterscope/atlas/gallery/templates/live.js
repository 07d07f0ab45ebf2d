// Drawing on demand: only the viewer's server hands this out; a gallery opened from a folder has an empty one.
"use strict";
(function (fs) {
  const KEY = "filterscope-token";
  const found = new URLSearchParams(location.search);
  if (found.has("token")) { // from the address that the viewer printed; kept for this tab, out of sight
    try { sessionStorage.setItem(KEY, found.get("token")); } catch { /* asked for again on the next page */ }
    found.delete("token");
    history.replaceState(null, "", location.pathname + (found.size ? `?${found}` : "") + location.hash);
  }
  function token() {
    try { return sessionStorage.getItem(KEY) || ""; } catch { return ""; }
  }

  async function post(path, body) {
    const headers = { "Content-Type": "application/json" };
    if (token()) headers.Authorization = `Bearer ${encodeURIComponent(token())}`;
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const told = await response.json().catch(() => ({ error: `the viewer answered ${response.status}` }));
    if (!response.ok) throw Object.assign(new Error(told.error), { status: response.status });
    return told;
  }

  // A field for the token, at the end of a node.
  function askTokenIn(node) {
    if (document.getElementById("token")) return;
    const input = fs.h("input", { type: "password", id: "token", autocomplete: "off" });
    const form = fs.h("form", { class: "token" }, fs.h("label", { class: "field" }, fs.h("span", {}, "Token"), input), fs.h("button", {}, "Use it"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      try { sessionStorage.setItem(KEY, input.value); } catch { /* this browser keeps nothing */ }
      form.remove();
    });
    node.append(form);
    input.focus();
  }

  if (document.body.dataset.page === "network") { // what each place of a photograph says
    fs.live = { post, askTokenIn };
    for (const name of ["charts.js", "photograph.js"]) {
      const script = document.createElement("script");
      script.src = `/_gallery/${name}`;
      script.async = false; // in this order
      document.head.append(script);
    }
  }
  if (document.body.dataset.page !== "layer") return;
  const h = fs.h, layer = document.body.dataset.layer;
  const here = location.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  const network = here[here.length - (here[here.length - 1].endsWith(".html") ? 3 : 2)];
  let config = null;
  const asked = fetch("/_live/config").then((r) => r.json()).then((told) => { config = told; });
  let running = []; // the slots that are drawing

  function field(text, control) {
    return h("label", { class: "field" }, h("span", {}, text), control);
  }

  // One column: its settings, and what is drawn with them.
  function slot(item, letter, recipe) {
    const networks = Object.keys(config.networks).filter((n) => item.unit < (config.networks[n][layer] || 0));
    const option = (value, chosen) => h("option", { value, selected: value === chosen }, value);
    const which = h("select", {}, ...networks.map((n) => option(n, network)));
    const recipes = h("select", { class: "recipe" }, ...config.recipes.map((r) => option(r, recipe)));
    const numeric = (name, max, min) => h("input", { type: "number", min, max, placeholder: "recipe's", name, inputmode: "numeric" });
    const steps = numeric("steps", config.steps, 1), size = numeric("size", config.side, 8), seed = numeric("seed", null, 0);
    seed.placeholder = "0";
    const settings = h("textarea", { rows: 3, spellcheck: "false", placeholder: "optimizer.lr=0.1\none setting a line, or a whole recipe as JSON" });
    const image = h("img", { class: "picture", alt: `Drawing ${letter}: not begun`, hidden: true });
    const empty = h("div", { class: "picture none" });
    const bar = h("progress", { max: 1, value: 0, "aria-label": `Progress of drawing ${letter}` });
    const status = h("p", { class: "live-status", role: "status" }, "");
    const numbers = h("p", { class: "muted small live-numbers" }, "");
    const extras = h("div", { class: "live-extras" });
    const node = h("div", { class: "slot", "data-slot": letter },
      h("div", { class: "fields" },
        networks.length > 1 ? field("Network", which) : null,
        field("Recipe", recipes), field("Steps", steps), field("Size", size), field("Seed", seed)),
      h("details", {}, h("summary", {}, "More settings"), field("Settings", settings)),
      h("div", { class: "stage" }, empty, image, bar), status, numbers, extras);
    const self = { node, status, id: null, source: null, busy: false };

    function order() {
      const text = settings.value.trim();
      const own = { network: networks.length > 1 ? which.value : network, layer, unit: item.unit, recipe: recipes.value };
      if (text.startsWith("{")) {
        try { own.recipe = JSON.parse(text); } catch (error) { throw new Error(`this is no JSON: ${error.message}`); }
      } else if (text) own.settings = text.split("\n").map((line) => line.trim()).filter(Boolean);
      for (const input of [steps, size, seed]) if (input.value !== "") own[input.name] = Number(input.value);
      return own;
    }

    function show(source, alt) {
      image.src = source;
      image.alt = alt;
      image.hidden = false;
      empty.hidden = true;
    }

    function end(text, failed) {
      self.busy = false;
      if (self.source) self.source.close();
      self.source = null;
      node.classList.remove("drawing");
      status.textContent = text;
      status.classList.toggle("failed", Boolean(failed));
      self.onEnd();
    }

    self.draw = async function () {
      self.busy = true;
      self.id = null;
      self.stopped = false;
      extras.replaceChildren();
      numbers.textContent = "";
      status.classList.remove("failed");
      status.textContent = "Asking …";
      bar.value = 0;
      node.classList.add("drawing");
      try {
        self.id = (await post("/_live/jobs", order())).id;
      } catch (error) {
        if (error.status === 401) askToken();
        end(error.message, true);
        return;
      }
      if (self.stopped) { self.cancel(); return; }
      const source = self.source = new EventSource(`/_live/jobs/${self.id}/events`);
      source.addEventListener("progress", (event) => {
        const told = JSON.parse(event.data);
        if (told.state === "queued") status.textContent = told.ahead === 1 ? "Waiting for one other drawing" : `Waiting for ${told.ahead} other drawings`;
        else {
          const said = told.attempt ? `Not well enough: drawing again from other noise (${told.attempt})` : "Drawing";
          if (status.textContent !== said) status.textContent = said;
        }
        bar.value = told.steps ? told.step / told.steps : 0;
        if (told.state === "drawing" && told.step) numbers.textContent = `step ${told.step} of ${told.steps} · activation ${fs.number(told.activation)}`;
      });
      source.addEventListener("preview", (event) => {
        const told = JSON.parse(event.data);
        if (told.image) show(told.image, `Drawing ${letter} of ${fs.title(item)} at step ${told.step}`);
      });
      source.addEventListener("done", (event) => { finish(JSON.parse(event.data).pictures); });
      for (const state of ["failed", "cancelled"]) source.addEventListener(state, (event) => {
        const message = JSON.parse(event.data).message;
        end(state === "failed" ? message : message === "cancelled" ? "Cancelled" : `Cancelled: ${message}`, state === "failed");
      });
      source.onerror = () => { if (source.readyState === EventSource.CLOSED && self.busy) end("The viewer does not answer", true); };
    };

    function finish(pictures) {
      const first = pictures[0], id = self.id;
      let shown = first;
      const source = () => fs.looked() && shown.alpha ? shown.alpha : shown.file;
      show(source(), `Drawing ${letter} of ${fs.title(item)}, recipe ${first.recipe}`);
      bar.value = 1;
      const told = [first.excitation === null ? "" : `excitation ${fs.times(first.excitation)}`, `activation ${fs.number(first.activation)}`,
        first.probability === null ? "" : `probability ${(100 * first.probability).toFixed(1)} %`, `${first.seconds} s`];
      numbers.textContent = told.filter(Boolean).join(" · ");
      if (first.alpha) extras.append(fs.alphaSwitch(() => { image.src = source(); }));
      if (first.curve.length > 1) extras.append(fs.curve(first.curve, null));
      if (pictures.length > 1) extras.append(h("div", { class: "facets", role: "group", "aria-label": "Facets" }, ...pictures.map((p, i) =>
        h("button", { type: "button", "aria-label": `Facet ${i + 1}`, onclick: () => { shown = p; show(source(), `Facet ${i + 1} of drawing ${letter}`); } },
          h("img", { src: p.file, alt: "" })))));
      const keep = h("button", { type: "button", class: "keep", onclick: async () => {
        keep.disabled = true;
        try {
          for (let i = 0; i < pictures.length; i++) {
            const row = await post(`/_live/jobs/${id}/keep`, { picture: i });
            if (row.layer === layer && config.networks[network]) fs.addKept(row);
          }
          keep.textContent = "Kept";
          status.textContent = "Kept in the atlas";
        } catch (error) {
          keep.disabled = false;
          status.textContent = error.message;
          status.classList.add("failed");
        }
      } }, "Keep in the atlas");
      extras.append(keep);
      end(first.status === "ok" ? "Done" : `Done: ${first.status.replace("-", " ")}`);
    }

    self.cancel = function () {
      self.stopped = true;
      if (self.id && self.busy) post(`/_live/jobs/${self.id}/cancel`, {}).catch((error) => end(error.message, true));
    };
    return self;
  }

  const askToken = () => askTokenIn(document.querySelector(".live"));

  function stopAll() {
    for (const one of running) { one.cancel(); if (one.source) one.source.close(); }
    running = [];
  }

  fs.panels.push(async function (item, unit, body) {
    stopAll();
    await asked;
    if (!body.isConnected || !config || !(item.unit < (config.networks[network] || {})[layer])) return;
    body.querySelector(".live")?.remove();
    const slots = [slot(item, "A", "auto")];
    running = slots;
    const draw = h("button", { type: "submit", class: "primary", id: "draw" }, "Draw");
    const cancel = h("button", { type: "button", id: "cancel", disabled: true, onclick: () => slots.forEach((s) => s.cancel()) }, "Cancel");
    const beside = h("button", { type: "button", id: "beside", "aria-pressed": "false" }, "Compare side by side");
    const holder = h("div", { class: "slots" }, slots[0].node);
    const onEnd = () => {
      const busy = slots.some((s) => s.busy);
      draw.disabled = busy;
      cancel.disabled = !busy;
    };
    slots[0].onEnd = onEnd;
    beside.addEventListener("click", () => {
      if (slots.length === 1) {
        slots.push(slot(item, "B", "tv"));
        slots[1].onEnd = onEnd;
        holder.append(slots[1].node);
      } else {
        slots[1].cancel();
        if (slots[1].source) slots[1].source.close();
        slots[1].busy = false;
        slots[1].node.remove();
        slots.length = 1;
        onEnd();
      }
      beside.setAttribute("aria-pressed", String(slots.length === 2));
    });
    const form = h("form", { class: "live-form" }, holder, h("div", { class: "live-buttons" }, draw, cancel, beside));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      draw.disabled = true;
      cancel.disabled = false;
      for (const one of slots) one.draw();
    });
    body.append(h("section", { class: "live", "aria-labelledby": "live-title" }, h("h3", { id: "live-title" }, "Draw it now"), form));
  });
  document.getElementById("panel").addEventListener("close", stopAll);
})(window.filterscope);
