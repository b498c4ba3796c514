// The page: images that were dropped, what is shown of one, and how the view changes.

import { asBase64, describeModel } from "/page/api.js";
import { paint, shownSize } from "/page/drawing.js";
import { NEEDS, clusters, panoptic, semantic, signatureOf } from "/page/results.js";

const element = (id) => document.getElementById(id);
const percent = (part) => `${(100 * part).toFixed(part < 0.1 ? 1 : 0)} %`;
const TITLES = { panoptic: "Segments", instances: "Instances", semantic: "Classes", clusters: "Centers" };
const WAIT = 160; // milliseconds that a slider must rest

const state = { model: null, images: [], image: null, thresholds: {}, stage: 0, lit: null, asked: 0,
  abort: new AbortController() };
const view = () => document.querySelector("#views input:checked").value;

async function start() {
  try {
    const model = await describeModel();
    const classes = new Map(model.labels.classes.map((entry) => [entry.id, entry]));
    state.model = { ...model, classes };
    state.thresholds = { ...model.thresholds };
    const data = model.labels.dataset ? `, ${model.labels.dataset}` : "";
    element("model").textContent =
      `${model.name}, version ${model.version}${data}: ${classes.size} classes`;
    makeSliders();
  } catch (error) {
    element("model").textContent = "";
    tell(`The model isn't known: ${error.message}.`);
  }
}

// Shows a sentence of what went wrong; "" takes it away.
function tell(sentence) {
  element("error").textContent = sentence;
  element("error").hidden = !sentence;
}

async function take(files) {
  tell("");
  for (const file of files) {
    const bitmap = await createImageBitmap(file).catch(() => null);
    try {
      const image = { name: file.name, base64: await asBase64(file), bitmap, results: {} };
      state.images.push(image);
      addThumbnail(image);
      await choose(image);
    } catch (error) {
      tell(`${file.name}: ${error.message}.`);
    }
  }
  element("files").value = "";
}

function addThumbnail(image) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = image.name;
  button.setAttribute("aria-label", image.name);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [152, 120];
  if (image.bitmap) {
    const { width, height } = image.bitmap;
    const scale = Math.max(152 / width, 120 / height);
    canvas.getContext("2d").drawImage(image.bitmap, (152 - width * scale) / 2,
      (120 - height * scale) / 2, width * scale, height * scale);
  }
  button.append(canvas);
  button.addEventListener("click", () => choose(image));
  image.button = button;
  const item = document.createElement("li");
  item.append(button);
  element("images").append(item);
  element("images").hidden = state.images.length < 2;
}

function choose(image) {
  state.image = image;
  for (const other of state.images) {
    other.button.setAttribute("aria-pressed", String(other === image));
  }
  element("went").replaceChildren();
  return show();
}

// Asks for what the view needs, unless it is there, and draws it.
async function show() {
  const { image, model } = state;
  if (!image || !model) return;
  const number = ++state.asked;
  const now = view();
  const busy = (on) => element("stage").setAttribute("aria-busy", String(on));
  if (!signatureOf(model, now)) {
    draw(null);
    return;
  }
  const key = now === "instances" ? "panoptic" : now;
  const at = JSON.stringify(state.thresholds);
  try {
    if (!image.results[key] || (key === "panoptic" && image.at !== at)) {
      state.abort.abort();
      state.abort = new AbortController();
      busy(true);
      element("status").textContent = "The model computes …";
      const found = await ({ panoptic: () => panoptic(model, image, { ...state.thresholds },
        state.abort.signal), semantic: () => semantic(model, image),
      clusters: () => clusters(model, image) })[key]();
      if (key === "panoptic") {
        explain(image.results.panoptic, found);
        image.at = at;
      }
      image.results[key] = found;
    }
    if (number !== state.asked) return;
    tell("");
    draw(image.results[key]);
  } catch (error) {
    if (error.name === "AbortError" || number !== state.asked) return;
    draw(null);
    tell(`${image.name}: ${error.message.replace(/\.$/, "")}.`);
  } finally {
    if (number === state.asked) {
      busy(false);
      element("status").textContent = "";
    }
  }
}

// Says of segments that came and went since the result before.
function explain(before, after) {
  const list = element("went");
  list.replaceChildren();
  if (!before || !after.centers.length) return;
  const was = before.centers.map((center) => center.fate === 0);
  for (const center of after.centers) {
    const kept = center.fate === 0;
    if (kept === was[center.center]) continue;
    const text = kept ? `${center.name} came: its confidence is ${center.confidence.toFixed(2)}`
      : `${center.name} went: ${center.why}`;
    list.append(Object.assign(document.createElement("li"), { textContent: `${text}.` }));
  }
}

// The layer that is shown: a map with its entries; of instances, things alone.
function layer() {
  const { results } = state.image || { results: {} };
  const now = view();
  if (now === "clusters") return results.clusters?.[state.stage];
  if (now === "semantic") return results.semantic;
  const found = results.panoptic;
  if (!found || now === "panoptic") return found;
  return { ...found, segments: found.segments.filter((entry) => entry.thing),
    dropped: found.dropped.filter((entry) => entry.thing) };
}

function draw(found) {
  const now = view();
  const lacking = !signatureOf(state.model, now);
  element("panel").hidden = false;
  document.body.classList.add("some");
  document.querySelector("figure").hidden = !found;
  element("listed").hidden = element("downloads").hidden = !found;
  element("lacking").hidden = !lacking;
  element("lacking").textContent = `This export has no signature ${NEEDS[now].join(" or ")}: write it ` +
    "again with kmax export, without --signatures.";
  const adjustable = ["panoptic", "instances"].includes(now);
  element("thresholds").hidden = !adjustable;
  element("stages").hidden = !(found && now === "clusters");
  if (!found) return;
  if (now === "clusters") showStage(found);
  state.lit = null;
  const shown = layer();
  list(shown);
  repaint();
  const { width, height } = shown.map;
  element("caption").textContent = `${state.image.name}: ${width} x ${height} pixels`;
  element("picture").setAttribute("aria-label", `${TITLES[now]} of ${state.image.name}: ` +
    (shown.segments.map((entry) => entry.name).slice(0, 12).join(", ") || "none"));
}

function showStage(stages) {
  state.stage = Math.min(state.stage, stages.length - 1);
  const slider = element("stage-number");
  slider.max = stages.length;
  slider.value = state.stage + 1;
  const { name, changed, segments } = stages[state.stage];
  slider.setAttribute("aria-valuetext", name);
  element("before").disabled = state.stage === 0;
  element("after").disabled = state.stage === stages.length - 1;
  const centers = `${segments.length} center${segments.length === 1 ? " has" : "s have"} pixels`;
  element("stage-told").textContent = `${name}: ${centers}` +
    (changed === null ? "." : `; ${percent(changed)} of the pixels changed theirs.`);
}

function list(shown) {
  const pixels = shown.map.values.length;
  element("list-title").textContent = `${TITLES[view()]}: ${shown.segments.length}`;
  element("segments").replaceChildren(...shown.segments.map((entry) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = entry.id;
    const swatch = document.createElement("i");
    swatch.style.background = `rgb(${entry.color})`;
    const text = (value) => Object.assign(document.createElement("span"), { textContent: value });
    const name = Object.assign(document.createElement("b"), { textContent: entry.name });
    button.append(swatch, name, text(entry.score === undefined ? "" : entry.score.toFixed(2)),
      text(percent(entry.area / pixels)));
    for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => light(entry.id));
    for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => light(null));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  const dropped = shown.dropped || [];
  element("dropped-box").hidden = !dropped.length;
  element("dropped-title").textContent =
    `Not in the map: ${dropped.length} mask${dropped.length === 1 ? "" : "s"}, and why`;
  element("dropped").replaceChildren(...dropped.map((entry) => Object.assign(
    document.createElement("li"), { textContent: `${entry.name}: ${entry.why}.` })));
}

function repaint() {
  const shown = layer();
  if (!shown) return;
  paint(element("picture"), shownSize(shown.map), state.image.bitmap, shown.map, looks(shown));
}

function looks(shown) {
  const clustered = view() === "clusters";
  return {
    colors: new Map(shown.segments.map((entry) => [entry.id, entry.color])),
    names: clustered ? new Map() : new Map(shown.segments.map((entry) => [entry.id, entry.name])),
    lit: state.lit, grey: clustered,
  };
}

// Makes a segment stand out, in the picture and in the list.
function light(id) {
  if (id === state.lit) return;
  state.lit = id;
  for (const button of element("segments").querySelectorAll("button")) {
    button.classList.toggle("lit", Number(button.dataset.id) === id);
  }
  repaint();
}

function point(event) {
  const shown = layer();
  const box = element("picture").getBoundingClientRect();
  const tip = element("tip");
  if (!shown) return;
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const { width, height, values } = shown.map;
  const column = Math.min(width - 1, Math.max(0, Math.floor(x * width)));
  const row = Math.min(height - 1, Math.max(0, Math.floor(y * height)));
  const entry = shown.segments.find((other) => other.id === values[row * width + column]);
  light(entry ? entry.id : null);
  tip.hidden = false;
  tip.textContent = entry ? describe(entry, values.length) : "no segment";
  const frame = element("frame").getBoundingClientRect();
  const left = event.clientX - frame.left + 14;
  tip.style.left = `${Math.max(0, Math.min(left, frame.width - tip.offsetWidth - 4))}px`;
  const top = event.clientY - frame.top + 16;
  const above = top + tip.offsetHeight > frame.height ? top - 32 - tip.offsetHeight : top;
  tip.style.top = `${Math.max(0, above)}px`;
}

function describe({ name, score, area }, pixels) {
  const of = score === undefined ? "" : `, score ${score.toFixed(2)}`;
  return `${name}${of}, ${area.toLocaleString("en")} pixels (${percent(area / pixels)})`;
}

function leave(event) {
  if (event.pointerType === "touch") return; // a finger leaves as soon as it has tapped
  element("tip").hidden = true;
  light(null);
}

function makeSliders() {
  let timer;
  const changed = () => {
    clearTimeout(timer);
    timer = setTimeout(show, WAIT);
  };
  const sliders = Object.keys(state.thresholds).map((name) => {
    const label = document.createElement("label");
    const [input, output] = [document.createElement("input"), document.createElement("output")];
    Object.assign(input, { type: "range", min: 0, max: 1, step: 0.01, name, id: `slider-${name}` });
    const set = (value) => {
      input.value = value;
      output.textContent = Number(value).toFixed(2);
    };
    set(state.thresholds[name]);
    input.addEventListener("input", () => {
      state.thresholds[name] = Number(input.value);
      set(input.value);
      changed();
    });
    element("reset").addEventListener("click", () => set(state.model.thresholds[name]));
    label.append(name.replaceAll("_", " "), output, input);
    return label;
  });
  element("sliders").replaceChildren(...sliders);
  element("reset").hidden = !sliders.length;
  element("reset").addEventListener("click", () => {
    state.thresholds = { ...state.model.thresholds };
    changed();
  });
  if (!sliders.length) {
    element("sliders").textContent = "This export has no signature with_thresholds, so its " +
      "thresholds are fixed: write it again with kmax export.";
  }
}

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = state.image.name.replace(/\.[^.]*$/, "") + ending;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function savePicture() {
  const shown = layer();
  const canvas = document.createElement("canvas");
  const { map } = shown;
  paint(canvas, [map.width, map.height], state.image.bitmap, map, { ...looks(shown), lit: null });
  canvas.toBlob((blob) => save(blob, `_${view()}.png`), "image/png");
}

function saveIds() {
  const bytes = Uint8Array.from(atob(layer().map.png), (letter) => letter.charCodeAt(0));
  save(new Blob([bytes], { type: "image/png" }), `_${view()}_ids.png`);
}

function saveTable() {
  const { segments, map, dropped } = layer();
  const table = {
    image: state.image.name, height: map.height, width: map.width,
    model: state.model.name, version: state.model.version, view: view(),
    ...(dropped && { thresholds: state.thresholds, dropped }), segments,
  };
  save(new Blob([JSON.stringify(table, null, 1)], { type: "application/json" }), `_${view()}.json`);
}

function goTo(stage) {
  state.stage = stage;
  draw(state.image.results.clusters);
}

element("files").addEventListener("change", (event) => take([...event.target.files]));
for (const event of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(event, (dragged) => {
    dragged.preventDefault();
    element("drop").classList.toggle("over", ["dragenter", "dragover"].includes(event));
    if (event === "drop") take([...dragged.dataTransfer.files]);
  });
}
element("views").addEventListener("change", show);
element("stage-number").addEventListener("input", (event) => goTo(Number(event.target.value) - 1));
element("before").addEventListener("click", () => goTo(state.stage - 1));
element("after").addEventListener("click", () => goTo(state.stage + 1));
element("picture").addEventListener("pointermove", point);
element("picture").addEventListener("pointerdown", point);
element("picture").addEventListener("pointerleave", leave);
element("save-picture").addEventListener("click", savePicture);
element("save-ids").addEventListener("click", saveIds);
element("save-table").addEventListener("click", saveTable);
start();
