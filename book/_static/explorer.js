// The explorer. An edition's data (kd_lib/explorer.py tells what is in it) are a script that calls explorerEdition.
// Of each map there are the falls of the output, window by window; here they become pixels and colours.
(() => {
  "use strict";

  // matplotlib's RdBu_r, as in the figures of the book: a colour every tenth of the way.
  const COLOURS = [[5, 48, 97], [33, 102, 172], [67, 147, 195], [146, 197, 222], [209, 229, 240], [247, 247, 247],
    [253, 219, 199], [244, 165, 130], [214, 96, 77], [178, 24, 43], [103, 0, 31]];
  const TICK = 700; // ms an epoch while playing
  const SVG = "http://www.w3.org/2000/svg";

  const root = document.querySelector(".explorer");
  const editions = JSON.parse(root.dataset.editions);
  const arriving = new WeakMap(); // script element: what to call with its data
  window.explorerEdition = (data) => arriving.get(document.currentScript)(data);

  const wanted = { image: 0, class: null, model: null, epoch: Infinity, opacity: 100, own: false };
  let edition = null; // its entry in `editions`
  let data = null;
  let parts = {}; // elements that change
  let playing = null;
  let remembering = null;

  // ---- elements ----------------------------------------------------------------------------------------------------
  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child != null));
    return node;
  }
  const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const shape = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
  const labelled = (text, control) => element("label", {}, element("span", {}, text), control);

  // ---- data --------------------------------------------------------------------------------------------------------
  function load(entry) {
    return new Promise((resolve, reject) => {
      if (entry.data) return resolve(entry.data);
      const script = element("script", { src: entry.file, onerror: () => reject(new Error(entry.file)) });
      arriving.set(script, (arrived) => resolve(entry.data = arrived));
      document.head.append(script);
    });
  }

  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;

  // Pixels of a map: the mean of the windows that cover each, as kd_lib.occlusion.saliency_maps has it.
  function pixels(state, number) {
    state.steps ??= new Int8Array(bytes(state.maps));
    state.worth ??= new Float32Array(bytes(state.scales));
    const [height, width] = data.size;
    const sum = new Float64Array(height * width);
    const count = new Uint16Array(height * width);
    let window = number * data.rows.length * data.cols.length;
    for (const top of data.rows) {
      for (const left of data.cols) {
        const fall = state.steps[window++] * state.worth[number];
        for (let y = top; y < Math.min(top + data.patch, height); y++) {
          for (let x = left; x < Math.min(left + data.patch, width); x++) {
            sum[y * width + x] += fall;
            count[y * width + x]++;
          }
        }
      }
    }
    return sum.map((total, pixel) => total / count[pixel]);
  }

  const largest = (map) => map.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 0; // 0 for NaN

  function colour(share) { // from -1 to 1
    if (Number.isNaN(share)) return [128, 128, 128];
    const place = Math.min(Math.max((share + 1) / 2, 0), 1) * (COLOURS.length - 1);
    const below = Math.min(Math.floor(place), COLOURS.length - 2);
    return COLOURS[below].map((low, c) => low + (place - below) * (COLOURS[below + 1][c] - low));
  }

  function paint(canvas, map, limit) {
    const [height, width] = data.size;
    const picture = new ImageData(width, height);
    map.forEach((value, pixel) => picture.data.set([...colour(value / (limit || 1)), 255], 4 * pixel));
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  // What is on screen: the wishes, as far as this edition can fulfil them.
  function shown() {
    const image = data.images[wanted.image] ?? data.images[0];
    const found = data.classes.indexOf(wanted.class);
    const target = found < 0 ? image.label : found;
    const model = data.models.find((one) => one.name === wanted.model) ?? data.models[0];
    const step = model.epochs.reduce((best, epoch, i) => (epoch <= wanted.epoch ? i : best), 0);
    const number = data.images.indexOf(image) * data.classes.length + target;
    return { image, target, own: target === image.label, model, step, epoch: model.epochs[step], number };
  }

  // ---- the address: a view can be linked ---------------------------------------------------------------------------
  function remember() {
    const now = shown();
    const fields = { edition: edition.name, image: now.image.number, class: data.classes[now.target],
      model: now.model.name, epoch: now.epoch, opacity: wanted.opacity, scale: wanted.own ? "own" : "shared" };
    history.replaceState(history.state, "", `#${new URLSearchParams(fields)}`);
  }

  function recall() {
    const fields = new URLSearchParams(location.hash.slice(1));
    const number = (name, otherwise) => (fields.get(name) && Number.isFinite(+fields.get(name)) ? +fields.get(name) : otherwise);
    const image = number("image", null);
    if (data) wanted.image = Math.max(0, data.images.findIndex((one) => one.number === image));
    wanted.class = fields.get("class");
    wanted.model = fields.get("model");
    wanted.epoch = number("epoch", Infinity);
    wanted.opacity = Math.min(100, Math.max(0, number("opacity", 100)));
    wanted.own = fields.get("scale") === "own";
    return editions.find((one) => one.name === fields.get("edition")) ?? editions[0];
  }

  // ---- the page ----------------------------------------------------------------------------------------------------
  async function open(entry, recalled = false) {
    stop();
    try {
      data = await load(entry);
    } catch (error) {
      root.replaceChildren(element("p", { role: "alert" }, `The maps could not be loaded: ${error.message} is missing.`));
      return;
    }
    edition = entry;
    if (recalled) recall();
    build();
    show();
  }

  function choose(changes) {
    Object.assign(wanted, changes);
    show();
  }

  function radios(name, legend, options) {
    return element("fieldset", { class: `explorer-${name}` }, element("legend", {}, legend),
      element("div", { class: "explorer-options" }, ...options.map(({ value, label, checked, act, style }) =>
        element("label", { style }, element("input", { type: "radio", name: `explorer-${name}`, value, checked, onchange: act }),
          label))));
  }

  function panel(caption, ...layers) {
    return element("figure", {}, element("div", { class: "explorer-stack" }, ...layers), caption);
  }

  function build() {
    const now = shown();
    const [height, width] = data.size;
    const canvas = () => element("canvas", { width, height, role: "img" });
    const under = () => element("img", { alt: "", width, height });
    parts = {
      classes: element("select", { onchange: () => choose({ class: parts.classes.value }) }),
      play: element("button", { type: "button", onclick: () => (playing ? stop() : play()) }),
      epoch: element("input", { type: "range", min: 0, step: 1, oninput: () => scrub(+parts.epoch.value) }),
      epochName: element("span"),
      image: under(), imageName: element("figcaption"),
      map: canvas(), under: under(), mapName: element("figcaption"),
      ensemble: canvas(), underEnsemble: under(),
      ensembleName: element("figcaption", { style: `--network: ${data.ensemble_colour}` }, "Ensemble"),
      opacity: element("input", { type: "range", min: 0, max: 100, step: 5, value: wanted.opacity,
        oninput: () => choose({ opacity: +parts.opacity.value }) }),
      opacityName: element("span"),
      own: element("input", { type: "checkbox", checked: wanted.own, onchange: () => choose({ own: parts.own.checked }) }),
      scale: element("p", { class: "explorer-scale" }),
      reading: element("p", { class: "explorer-reading", "aria-live": "polite", "aria-atomic": "true" }),
      chart: shape("svg", { role: "img", onpointerdown: point, onpointermove: (event) => event.buttons && point(event) }),
      key: element("p", { class: "explorer-key" }),
    };
    const turn = () => open(editions[which.selectedIndex]).then(() => root.querySelector("select")?.focus());
    const which = element("select", { onchange: turn },
      ...editions.map((one) => element("option", { selected: one === edition }, `${one.name}: ${one.title}`)));
    const thumbnails = data.images.map((image, i) => {
      const text = `image ${image.number}, ${data.classes[image.label]}`;
      // A class that the reader chose stays; an image's own gives way to the next one's own.
      const act = () => choose({ image: i, class: shown().own ? null : data.classes[shown().target] });
      return { value: image.number, checked: image === now.image, act,
        label: element("img", { src: image.picture, alt: text, title: text, width, height }) };
    });
    const networks = data.models.map((model) => ({ value: model.name, label: element("span", {}, model.title),
      checked: model === now.model, act: () => choose({ model: model.name }), style: `--network: ${model.colour}` }));
    root.replaceChildren(
      element("div", { class: "explorer-row", hidden: editions.length < 2 }, labelled("Edition", which)),
      radios("image", "Image", thumbnails),
      element("div", { class: "explorer-row" }, labelled("Class explained", parts.classes),
        radios("model", "Network", networks)),
      element("div", { class: "explorer-row explorer-slider explorer-time" }, parts.play,
        labelled("Epoch", parts.epoch), parts.epochName),
      element("div", { class: "explorer-answer" },
        element("div", {}, element("div", { class: "explorer-panels" }, panel(parts.imageName, parts.image),
          panel(parts.mapName, parts.under, parts.map),
          data.ensemble ? panel(parts.ensembleName, parts.underEnsemble, parts.ensemble) : null), parts.scale,
          element("div", { class: "explorer-row explorer-slider" }, labelled("Maps over the image", parts.opacity),
            parts.opacityName, element("label", {}, parts.own, element("span", {}, "Each map on a scale of its own")))),
        element("div", {}, parts.reading, element("figure", { class: "explorer-chart" }, parts.key, parts.chart))));
    new ResizeObserver(() => draw(shown())).observe(parts.chart.parentElement);
    document.getElementById("fig-explorer")?.setAttribute("hidden", "");
  }

  function show() {
    const now = shown();
    const name = data.classes[now.target];
    const whose = now.own ? "own class" : "another class than its own";
    parts.classes.replaceChildren(...data.classes.map((one, i) => element("option",
      { value: one, selected: i === now.target }, i === now.image.label ? `${one} (own class)` : one)));

    const last = now.model.epochs.length - 1;
    Object.assign(parts.epoch, { max: last || 1, value: last ? now.step : 1, disabled: last === 0 });
    parts.epoch.setAttribute("aria-valuetext", `epoch ${now.epoch}`);
    parts.epochName.textContent = last ? `${now.epoch} of ${now.model.epochs[last]}`
      : `${now.epoch}, the only one kept of this network`;
    parts.play.disabled = last === 0;
    parts.play.textContent = playing ? "❚❚ Pause" : "▶ Play";

    const states = now.model.states.map((state) => pixels(state, now.number));
    const map = states[now.step];
    const together = data.ensemble && pixels(data.ensemble, now.number);
    // One scale for both maps and for all epochs, so that a colour means the same wherever one looks.
    const limit = Math.max(...states.map(largest), together ? largest(together) : 0);
    paint(parts.map, map, wanted.own ? largest(map) : limit);
    if (together) paint(parts.ensemble, together, wanted.own ? largest(together) : limit);
    for (const picture of [parts.image, parts.under, parts.underEnsemble]) picture.src = now.image.picture;
    for (const canvas of [parts.map, parts.ensemble]) canvas.style.opacity = wanted.opacity / 100;
    parts.opacity.value = wanted.opacity;
    parts.opacityName.textContent = `${wanted.opacity} %`;
    parts.opacity.setAttribute("aria-valuetext", `${wanted.opacity} %`);
    parts.image.alt = `image ${now.image.number}, which shows ${data.classes[now.image.label]}`;
    parts.imageName.textContent = `Image ${now.image.number}: ${data.classes[now.image.label]}`;
    parts.mapName.style.setProperty("--network", now.model.colour);
    parts.mapName.textContent = `${capital(now.model.title)}, epoch ${now.epoch}`;
    parts.map.setAttribute("aria-label", `map of ${now.model.title} at epoch ${now.epoch} for ${name}, ${whose}`);
    parts.ensemble.setAttribute("aria-label", `map of the ensemble for ${name}, ${whose}`);
    legend(limit);
    read(now);
    draw(now);
    clearTimeout(remembering);
    remembering = setTimeout(remember, 200); // browsers refuse to change the address too often
  }

  const capital = (text) => text[0].toUpperCase() + text.slice(1);

  function legend(limit) {
    const end = wanted.own ? "largest" : limit.toPrecision(2);
    const bar = element("i", { style: `background: linear-gradient(to right, ${COLOURS.map((c) => `rgb(${c})`)})` });
    parts.scale.replaceChildren(element("span", {}, `−${end}`, bar, `+${end} ${wanted.own ? "of each" : data.unit}`),
      element("small", {}, "blue lowers the score, red raises it"));
  }

  // ---- similarity --------------------------------------------------------------------------------------------------
  function curves(now) {
    const of = (key) => now.model.states.map((state) => (state[key][now.number] ?? NaN) / 1000);
    const final = { what: "its own final map", values: of("to_final"), colour: now.model.colour, dash: "2 3" };
    return [...(data.ensemble ? [{ what: "the ensemble's map", values: of("to_ensemble"), colour: data.ensemble_colour }] : []),
      ...(now.model.epochs.length > 1 ? [final] : [])];
  }

  function read(now) {
    const sentence = ({ what, values }) => {
      const value = values[now.step];
      if (Number.isNaN(value)) return [`none to ${what}, since a map is the same everywhere`];
      return [element("strong", {}, value.toFixed(2)), ` to ${what}, ${value >= data.threshold ? "above" : "below"} T_c`];
    };
    const parted = curves(now).flatMap((curve, i) => [i ? "; " : "", ...sentence(curve)]);
    if (!parted.length) return parts.reading.replaceChildren("There is no other map to compare this one with.");
    parts.reading.replaceChildren(`Pearson similarity at epoch ${now.epoch}: `, ...parted, ` (T_c is ${data.threshold.toFixed(2)}).`);
  }

  // Where things lie in the chart.
  function axes(now) {
    const box = { left: 34, right: 34, top: 8, bottom: 36, height: 210 };
    const width = Math.max(240, parts.chart.parentElement.clientWidth);
    const [first, last] = [now.model.epochs[0], now.model.epochs.at(-1)];
    const lowest = Math.min(0, ...curves(now).flatMap(({ values }) => values).filter((value) => !Number.isNaN(value)));
    const x = (epoch) => box.left + (width - box.left - box.right) * (last > first ? (epoch - first) / (last - first) : 0.5);
    const y = (value) => box.top + (box.height - box.top - box.bottom) * (1 - value) / (1 - lowest);
    return { ...box, width, x, y, lowest };
  }

  function draw(now) {
    parts.chart.parentElement.hidden = !curves(now).length;
    const { width, height, left, right, bottom, x, y, lowest } = axes(now);
    const text = (content, attributes) => shape("text", attributes, content);
    const line = (attributes) => shape("line", attributes);
    const marks = [];
    for (const value of [-1, -0.5, 0, 0.5, 1].filter((tick) => tick >= lowest)) {
      marks.push(line({ class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
        text(String(value).replace("-", "−"), { x: left - 6, y: y(value) + 4, "text-anchor": "end" }));
    }
    const every = Math.ceil(now.model.epochs.at(-1) / Math.max(1, Math.floor((width - left) / 44)));
    for (const epoch of now.model.epochs.filter((one, i, all) => one % every === 0 || all.length === 1))
      marks.push(text(epoch, { x: x(epoch), y: height - bottom + 18, "text-anchor": "middle" }));
    marks.push(text("epoch", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }),
      line({ class: "limit", x1: left, x2: width - right, y1: y(data.threshold), y2: y(data.threshold) }),
      text("T_c", { x: width - right + 6, y: y(data.threshold) + 4 }),
      line({ class: "chosen", x1: x(now.epoch), x2: x(now.epoch), y1: y(1), y2: y(lowest) }));
    for (const { values, colour: stroke, dash } of curves(now)) {
      const known = values.map((value, i) => [value, now.model.epochs[i]]).filter(([value]) => !Number.isNaN(value));
      marks.push(shape("polyline", { stroke, "stroke-dasharray": dash, points: known.map(([value, epoch]) => `${x(epoch)},${y(value)}`).join(" ") }));
      for (const [value, epoch] of known)
        marks.push(shape("circle", { cx: x(epoch), cy: y(value), r: epoch === now.epoch ? 6 : 3, fill: stroke }));
    }
    fill(parts.chart, { viewBox: `0 0 ${width} ${height}`, width, height,
      "aria-label": `similarity of the map of ${now.model.title} by epoch: ${curves(now).map(({ what, values }) =>
        `to ${what} ${values.map((value) => value.toFixed(2)).join(", ")}`).join("; ")}` }, []);
    parts.chart.replaceChildren(...marks);
    parts.key.replaceChildren(...curves(now).map(({ what, colour: stroke, dash }) => element("span", {},
      shape("svg", { width: 28, height: 8, "aria-hidden": "true" }, line({ x1: 0, x2: 28, y1: 4, y2: 4, stroke, "stroke-width": 3, "stroke-dasharray": dash })),
      ` similarity to ${what}`)));
  }

  function point(event) {
    const now = shown();
    const place = event.clientX - parts.chart.getBoundingClientRect().left;
    const far = now.model.epochs.map((epoch) => Math.abs(axes(now).x(epoch) - place));
    scrub(far.indexOf(Math.min(...far)));
  }

  // ---- time --------------------------------------------------------------------------------------------------------
  function scrub(step) {
    stop();
    choose({ epoch: shown().model.epochs[step] });
  }

  function play() {
    const { model, step } = shown();
    parts.reading.setAttribute("aria-live", "off"); // else every epoch would be read out
    if (step === model.epochs.length - 1) wanted.epoch = model.epochs[0];
    playing = setInterval(() => {
      const now = shown();
      const next = now.model.epochs[now.step + 1];
      if (next !== undefined) return choose({ epoch: next });
      stop();
      show(); // read out now
    }, TICK);
    show();
  }

  function stop() {
    clearInterval(playing);
    playing = null;
    if (!parts.play) return;
    parts.reading.setAttribute("aria-live", "polite");
    parts.play.textContent = "▶ Play";
  }

  window.addEventListener("hashchange", () => location.hash.includes("=") && open(recall(), true)); // else a heading's
  open(recall(), true);
})();
