// The page of an annotator: draws what the kernel sends (`page`), sends back what was pressed. It keeps no answers.
const SILENCE = 5000; // ms without a reply, after which an answer counts as not saved
const FEATURE_KEYS = "123456789ABCDEFGHI";

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function canvas({ pixels, width, height, text }) {
  const spoken = text ? { role: "img", "aria-label": text } : { "aria-hidden": "true" };
  const node = element("canvas", { width, height, ...spoken });
  const bytes = new Uint8ClampedArray(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  node.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(bytes), width, height), 0, 0);
  return node;
}

function duration(seconds) {
  if (seconds == null) return "";
  if (seconds < 90) return `about ${Math.max(5, 5 * Math.round(seconds / 5))} s left`;
  return seconds < 5400 ? `about ${Math.round(seconds / 60)} min left` : `about ${(seconds / 3600).toFixed(1)} h left`;
}

function render({ model, el }) {
  let page = model.get("page");
  let waiting = null; // { id, timer } of what was sent and has no reply yet
  let chosen = null; // answer on screen: a value, or the ticks of a page of features
  let under = 0; // how much of the image shows through the maps, per cent
  let sent = 0;
  const root = element("section", { class: "kd", tabindex: 0, "aria-label": page.title });
  const status = element("p", { class: "kd-status", role: "status", "aria-live": "polite" });
  el.append(root);

  function send(action, value = null) {
    if (waiting) return;
    const note = root.querySelector(".kd-note");
    const id = `${Date.now()}-${sent++}`;
    if (action !== "note") { // a note is saved on the way to the next press, which must not wait for it
      waiting = { id, timer: setTimeout(silent, SILENCE) };
      root.setAttribute("aria-busy", "true");
    }
    try {
      model.send({ action, value, id, serial: page.serial, note: note ? note.value : "" });
    } catch (error) {
      silent();
    }
  }

  function silent() {
    free();
    say("Not saved: Python does not answer. Your answer stays here. Run the cell again (restart the kernel if it is "
      + "gone); every answer before this one is on the disk.", true);
  }

  function free() {
    if (waiting) clearTimeout(waiting.timer);
    waiting = null;
    root.removeAttribute("aria-busy");
  }

  function say(text, wrong = false) {
    status.textContent = text;
    status.classList.toggle("kd-wrong", wrong);
    status.setAttribute("role", wrong ? "alert" : "status");
  }

  function answer(value) {
    if (waiting) return;
    chosen = value;
    mark();
    send("answer", value);
  }

  function save(none) {
    const ticks = [...chosen];
    if (none && ticks.length) return say("Untick them first, or press Enter to save what is ticked.", true);
    if (!none && !ticks.length) return say("Tick what you see, or press 0 if it is none of them.", true);
    send("answer", page.features.filter((name) => chosen.has(name)));
  }

  function tick(name) {
    if (waiting || page.features_off.includes(name)) return;
    if (!chosen.delete(name)) chosen.add(name);
    mark();
  }

  function mark() {
    for (const button of root.querySelectorAll("[data-value]"))
      button.setAttribute("aria-pressed", String(button.dataset.value === chosen));
    for (const box of root.querySelectorAll("input[type=checkbox]")) box.checked = chosen.has(box.value);
  }

  function overlay(value) {
    under = Math.min(100, Math.max(0, value));
    root.style.setProperty("--kd-map", 1 - under / 100);
    const slider = root.querySelector("input[type=range]");
    if (slider) slider.value = under;
    const output = root.querySelector("output");
    if (output) output.textContent = `${under} %`;
  }

  // A second click of a double click (detail 2) must not answer the item that has just appeared.
  const press = (action) => (event) => event.detail > 1 || action();

  function button(key, text, action, more = {}) {
    return element("button", { type: "button", "aria-keyshortcuts": key, onclick: press(action), ...more },
      element("kbd", {}, key), ` ${text}`);
  }

  function figures() {
    const [image, ...maps] = page.pictures;
    const panel = (name, ...layers) => element("figure", {},
      element("div", { class: "kd-stack" }, ...layers), element("figcaption", {}, name));
    return element("div", { class: "kd-pictures" },
      panel(image.name, canvas(image)),
      ...maps.map((map) => panel(map.name, canvas({ ...image, text: "" }), canvas(map))));
  }

  function tools() {
    const slider = element("input", { type: "range", min: 0, max: 100, step: 5, value: under });
    slider.addEventListener("input", () => overlay(Number(slider.value)));
    const idle = page.pictures.length < 2 ? "visibility: hidden" : null; // keeps its place, so that nothing jumps
    return element("div", { class: "kd-tools", style: idle },
      element("label", {}, "Image under the map ", element("kbd", {}, "←"), " ", element("kbd", {}, "→"), " ", slider,
        element("output", {}, `${under} %`)),
      element("span", { class: "kd-scale" }, "against the class ", element("i", { "aria-hidden": "true" }), " for it"));
  }

  function choices() {
    if (page.task === "pairs")
      return element("div", { class: "kd-answers", role: "group", "aria-label": "Answer" },
        ...page.answers.map((value, n) => button(String(n + 1), page.texts[n], () => answer(value), {
          "data-value": value, "aria-pressed": "false" })));
    return element("div", { class: "kd-answers", role: "group", "aria-label": "Answer" },
      button("Enter", "Save", () => save(false)), button("0", page.none, () => save(true)));
  }

  function boxes() {
    return element("fieldset", { class: "kd-boxes" }, element("legend", {}, page.legend),
      ...page.features.map((name, n) => {
        const off = page.features_off.includes(name);
        const box = element("input", { type: "checkbox", value: name, disabled: off });
        box.addEventListener("change", () => tick(name));
        return element("label", { class: off ? "kd-off" : null, title: off ? "not visible in the image" : null }, box,
          element("kbd", {}, FEATURE_KEYS[n]), page.samples[n] ? canvas(page.samples[n]) : null, ` ${name}`);
      }));
  }

  function more() {
    const note = element("input", { class: "kd-note", type: "text", maxlength: 2000, value: page.note,
      placeholder: "optional", "aria-label": "Note about this item" });
    note.addEventListener("change", () => page.item && send("note"));
    return element("div", { class: "kd-more" },
      button("U", "Undo", () => send("undo"), { disabled: !page.steps }),
      page.item ? button("S", "Skip for now", () => send("skip")) : null,
      page.conflict ? button("R", "Read the file again", () => send("reload")) : null,
      page.item ? element("label", { class: "kd-note-label" }, element("kbd", {}, "N"), " Note ", note) : null);
  }

  function draw() {
    const fresh = String(page.serial) !== root.dataset.serial;
    const focused = root.contains(document.activeElement);
    const place = document.activeElement;
    if (!waiting || page.reply === waiting.id) free();
    const typed = fresh ? null : root.querySelector(".kd-note");
    if (fresh) chosen = page.task === "features" ? new Set(page.before || []) : page.before;
    if (fresh || page.conflict !== root.conflict || page.steps !== root.steps) {
      root.dataset.serial = page.serial;
      root.conflict = page.conflict;
      root.steps = page.steps;
      root.replaceChildren(
        element("header", {},
          element("strong", {}, page.where),
          element("progress", { max: page.total, value: page.done, "aria-label": `${page.done} of ${page.total} done` }),
          element("span", {}, `${page.done} of ${page.total} done`),
          element("span", { class: "kd-left" }, duration(page.left)),
          element("span", { class: "kd-who" }, page.annotator)),
        element("p", { class: "kd-question" }, ...page.question.map((part, n) => n % 2 ? element("b", {}, part) : part)),
        ...(page.item ? [
          element("div", { class: "kd-middle" }, figures(), page.task === "features" ? boxes() : null),
          tools(), choices()] : []),
        more(), status,
        element("p", { class: "kd-hint" }, "Click here, or come here with Tab, to use the keys."));
      if (typed) root.querySelector(".kd-note").value = typed.value;
      if (focused) root.focus({ preventScroll: true });
    } else if (focused && !root.contains(place)) root.focus({ preventScroll: true });
    overlay(under);
    mark();
    say(page.message, page.wrong);
  }

  const plain = (event) => !event.ctrlKey && !event.metaKey && !event.altKey;

  function onKey(event) {
    if (!root.contains(event.target) || !plain(event)) return;
    const { key } = event;
    if (key === "Tab") return;
    event.stopImmediatePropagation(); // else the notebook takes plain keys for commands, such as D D: delete the cell
    if (event.target.classList.contains("kd-note")) {
      if (key === "Enter" || key === "Escape") root.focus({ preventScroll: true });
      return;
    }
    const native = event.target.tagName === "BUTTON" && (key === "Enter" || key === " ");
    if (native || (key === " " && event.target.type === "checkbox")) return;
    const step = { ArrowLeft: -10, ArrowRight: 10 }[key];
    if (step) overlay(under + step);
    else if (event.repeat || !act(key.length === 1 ? key.toUpperCase() : key)) return;
    event.preventDefault();
  }

  function act(key) {
    if (key === "U" && page.steps) send("undo");
    else if (key === "R" && page.conflict) send("reload");
    else if (!page.item) return false;
    else if (key === "S") send("skip");
    else if (key === "N") root.querySelector(".kd-note").focus();
    else if (page.task === "pairs" && page.answers[key - 1]) answer(page.answers[key - 1]);
    else if (page.task === "features" && key === "Enter") save(false);
    else if (page.task === "features" && key === "0") save(true);
    else if (page.task === "features" && page.features[FEATURE_KEYS.indexOf(key)] && key.length === 1)
      tick(page.features[FEATURE_KEYS.indexOf(key)]);
    else return false;
    return true;
  }

  function onPage() {
    page = model.get("page");
    draw();
  }

  window.addEventListener("keydown", onKey, true); // before the notebook's own, which listens on the document
  model.on("change:page", onPage);
  draw();
  setTimeout(() => { // once the notebook has put its own focus; never out of something that is being typed
    const at = document.activeElement;
    if (!page.reply && !at?.isContentEditable && !/^(INPUT|TEXTAREA|SELECT)$/.test(at?.tagName)) root.focus({ preventScroll: true });
  }, 300);
  return () => {
    free();
    window.removeEventListener("keydown", onKey, true);
    model.off("change:page", onPage);
  };
}

export default { render };
