// What the model says of an image, as the page shows it: maps with the entries of their tables.

import { predict } from "/page/api.js";
import { centerColor, shade } from "/page/drawing.js";
import { decodeIds } from "/page/png.js";

const KEPT = 0;
const LEAST_CONFIDENCE = 0.1; // centers that are less sure say nothing of the picture

// What the export must have for a view.
export const NEEDS = { semantic: ["semantic"], clusters: ["assignments"],
  panoptic: ["with_thresholds", "compact"], instances: ["with_thresholds", "compact"] };

// The signature that a view asks; undefined: the export lacks it.
export function signatureOf(model, view) {
  return NEEDS[view].find((name) => model.signatures.includes(name));
}

// The panoptic map: {map, segments, dropped}. Segments are entries of the table; `dropped` are
// centers whose masks aren't in the map, with `why`.
export async function panoptic(model, image, thresholds, signal) {
  const signature = signatureOf(model, "panoptic");
  const adjustable = signature === "with_thresholds";
  const reply = await predict(model, signature, image, adjustable ? thresholds : {}, signal);
  const map = await decodeIds(reply.panoptic_png_bytes.b64);
  const shades = new Map();
  const segments = Array.from({ length: reply.count }, (_, i) => {
    const entry = classOf(model, reply.class_ids[i]);
    const number = shades.get(entry.id) || 0;
    shades.set(entry.id, number + 1);
    return { ...entry, id: reply.ids[i], class_id: entry.id, score: reply.scores[i],
      area: reply.areas[i], box: reply.boxes[i], color: shade(entry.color, number) };
  });
  const centers = (reply.segment_fates || []).map((fate, center) => ({
    ...classOf(model, reply.segment_classes[center]),
    center, fate, confidence: reply.segment_confidences[center],
    mask: reply.mask_areas[center], id: reply.segment_ids[center],
  }));
  for (const center of centers) center.why = reason(center, thresholds);
  const dropped = centers.filter((c) => c.fate !== KEPT && c.confidence >= LEAST_CONFIDENCE)
    .sort((a, b) => b.confidence - a.confidence);
  return { map, segments, dropped, centers };
}

// The class of each pixel: {map, segments}, one entry a class.
export async function semantic(model, image) {
  const reply = await predict(model, "semantic", image);
  const map = await decodeIds(reply.semantic_png_bytes.b64);
  const segments = [...areasOf(map)].map(([id, area]) => ({ ...classOf(model, id), area }))
    .filter((entry) => entry.name).sort((a, b) => b.area - a.area);
  return { map, segments };
}

// Which center each pixel belongs to: a {map, segments, name, changed} a kMaX block, then that of
// the final masks.
export async function clusters(model, image) {
  const reply = await predict(model, "assignments", image);
  const pngs = reply.assignments_png_bytes;
  const maps = await Promise.all(pngs.map((png) => decodeIds(png.b64)));
  return maps.map((map, index) => ({
    map,
    name: index < maps.length - 1 ? `Block ${index + 1} of ${maps.length - 1}` : "Final masks",
    changed: index ? share(map.values, maps[index - 1].values) : null,
    segments: [...areasOf(map)].sort((a, b) => b[1] - a[1]).map(([id, area]) => (
      { id, area, name: `center ${id}`, color: centerColor(id) })),
  }));
}

function classOf(model, id) {
  return model.classes.get(id) || { id, name: "", thing: false, color: [128, 128, 128] };
}

function areasOf(map) {
  const areas = new Map();
  for (const id of map.values) areas.set(id, (areas.get(id) || 0) + 1);
  return areas;
}

function share(before, after) {
  let changed = 0;
  for (let i = 0; i < before.length; i++) changed += before[i] !== after[i];
  return changed / before.length;
}

// Why a center's mask isn't in the map, as a clause; by the numbers of the reply `segment_fates`.
function reason({ fate, thing, confidence, mask }, thresholds) {
  const least = thresholds[thing ? "thing_threshold" : "stuff_threshold"] ??
    thresholds.class_threshold;
  const number = (value) => (value === undefined ? "" : ` of ${value.toFixed(2)}`);
  return [
    "it is in the map",
    `its confidence of ${confidence.toFixed(2)} is below the threshold${number(least)} for its class`,
    `no pixel is above the pixel threshold${number(thresholds.pixel_threshold)}`,
    `better masks took so much of its ${mask} pixels that no more than the share` +
      `${number(thresholds.overlap_threshold)} was free`,
    "it has fewer pixels than the least area",
  ][fate];
}
