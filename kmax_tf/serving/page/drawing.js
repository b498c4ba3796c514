// Draws maps of ids over images: a color a segment, lines where segments meet, names inside.

const OPACITY = 0.58;
const EDGE = [255, 255, 255];
// Sides of the canvas: larger images are shrunk, small ones enlarged to the page, so that names fit
// in. Files are saved at the image's own size.
const LONGEST = 1600;
const LEAST = 720;
const LETTERS = 11; // pixels of the screen that can be read

// Shades of a class's color for its instances, the first of which has the color itself.
export function shade([red, green, blue], number) {
  if (!number) return [red, green, blue];
  const light = ((number * 0.5698402910) % 1) * 0.7 - 0.35;
  const target = light > 0 ? 255 : 0;
  return [red, green, blue].map((c) => Math.round(c + (target - c) * Math.abs(light)));
}

// Colors of cluster centers: hues around the circle in golden steps, of two lightnesses.
export function centerColor(center) {
  const hue = (center * 137.508) % 360;
  const light = center % 2 ? 0.62 : 0.42;
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (light - 0.85 * Math.min(light, 1 - light) *
      Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

// The size at which a map is shown.
export function shownSize(map) {
  const longest = Math.max(map.width, map.height);
  const least = Math.min(LEAST, document.documentElement.clientWidth);
  const scale = longest > LONGEST ? LONGEST / longest : Math.min(16, Math.ceil(least / longest));
  return [Math.max(1, Math.round(map.width * scale)), Math.max(1, Math.round(map.height * scale))];
}

// Draws a map. `colors` has [r, g, b] by id, others are left as the image is, darker; `lit` is the
// id that stands out, or null; `names` has texts by id.
export function paint(canvas, [width, height], bitmap, map, { colors, lit = null, names = new Map(),
  grey = false }) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#8a8f96";
  context.fillRect(0, 0, width, height);
  if (bitmap) context.drawImage(bitmap, 0, 0, width, height);
  const picture = context.getImageData(0, 0, width, height);
  const ids = sample(map, width, height);
  const { data } = picture;
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      const id = ids[at];
      const color = colors.get(id);
      const edge = (column + 1 < width && ids[at + 1] !== id) ||
        (row + 1 < height && ids[at + width] !== id);
      const share = edge ? 0.8 : lit === null || lit === id ? OPACITY + (lit === id) * 0.25 : 0.2;
      const to = edge ? EDGE : color;
      const mean = grey ? (data[4 * at] + data[4 * at + 1] + data[4 * at + 2]) / 3 : 0;
      for (let c = 4 * at, i = 0; i < 3; i++, c++) {
        const own = grey ? mean : data[c];
        data[c] = to ? own + share * (to[i] - own) : own * 0.55;
      }
    }
  }
  context.putImageData(picture, 0, 0);
  const shrunk = width / (canvas.clientWidth || width);
  if (names.size) write(context, ids, width, height, names, LETTERS * shrunk);
}

// A map at another size, by its nearest pixels.
function sample(map, width, height) {
  if (width === map.width && height === map.height) return map.values;
  const ids = new Int32Array(width * height);
  for (let row = 0, at = 0; row < height; row++) {
    const from = Math.floor((row + 0.5) * map.height / height) * map.width;
    for (let column = 0; column < width; column++, at++) {
      ids[at] = map.values[from + Math.floor((column + 0.5) * map.width / width)];
    }
  }
  return ids;
}

// Writes names where their segments have room: in the longest run of pixels, the most in the middle.
function write(context, ids, width, height, names, least) {
  const best = new Map();
  const rows = new Map();
  for (let row = 0; row < height; row++) {
    for (let start = 0, end; start < width; start = end) {
      const id = ids[row * width + start];
      for (end = start + 1; end < width && ids[row * width + end] === id;) end++;
      if (!names.has(id)) continue;
      const range = rows.get(id) || [row, row];
      rows.set(id, [range[0], row]);
      if (!best.has(id)) best.set(id, []);
      best.get(id).push([end - start, row, start]);
    }
  }
  const size = Math.max(least, Math.min(22, Math.round(width / 45)));
  context.font = `600 ${size}px system-ui, "DejaVu Sans", sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = size / 4;
  context.lineJoin = "round";
  for (const [id, runs] of best) {
    const [top, bottom] = rows.get(id);
    const reach = (bottom - top) / 2 + 1;
    const worth = ([length, row]) => length * (1 - Math.abs(row - (top + bottom) / 2) / reach);
    const [length, row, start] = runs.reduce((a, b) => (worth(b) > worth(a) ? b : a));
    const name = names.get(id);
    if (bottom - top < size || length < context.measureText(name).width * 0.8) continue;
    const half = context.measureText(name).width / 2 + 3;
    const x = Math.max(half, Math.min(width - half, start + length / 2));
    const y = Math.max(size, Math.min(height - size, row));
    context.strokeStyle = "#000c";
    context.strokeText(name, x, y);
    context.fillStyle = "#fff";
    context.fillText(name, x, y);
  }
}
