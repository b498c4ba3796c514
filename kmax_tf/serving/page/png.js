// Reads PNGs of ids to the last bit. A canvas would make 8 bits of 16, and manage colors.

const CHANNELS = { 0: 1, 2: 3, 6: 4 };

// Base64 of a PNG (grey with 8 or 16 bits, RGB or RGBA with 8) -> {width, height, values, png}: ids with
// the first channel lowest, as Int32Array.
export async function decodeIds(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const wide = bytes[24] / 8; // bytes of a channel
  const channels = CHANNELS[bytes[25]];
  const parts = [];
  for (let at = 8; at < bytes.length;) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const data = new Uint8Array(await new Response(stream).arrayBuffer());
  const step = channels * wide;
  unfilter(data, height, width * step, step);
  const values = new Int32Array(width * height);
  for (let row = 0, to = 0; row < height; row++) {
    let from = row * (width * step + 1) + 1;
    for (let column = 0; column < width; column++, from += step, to++) {
      if (wide === 2) values[to] = data[from] * 256 + data[from + 1];
      else for (let c = 0; c < channels; c++) values[to] += data[from + c] * 256 ** c;
    }
  }
  return { width, height, values, png: base64 };
}

// By a row's filter: what its bytes are differences to, of the bytes left, above and above left.
const GUESSES = [
  () => 0,
  (left) => left,
  (left, above) => above,
  (left, above) => (left + above) >> 1,
  (left, above, corner) => {
    const [a, b] = [Math.abs(above - corner), Math.abs(left - corner)];
    const c = Math.abs(left + above - 2 * corner);
    return a <= b && a <= c ? left : b <= c ? above : corner;
  },
];

// Undoes the filters of rows, in place.
function unfilter(data, height, length, step) {
  for (let row = 0; row < height; row++) {
    const start = row * (length + 1) + 1;
    if (!data[start - 1]) continue;
    const guess = GUESSES[data[start - 1]];
    const above = row ? start - length - 1 : -1;
    for (let i = 0; i < length; i++) {
      data[start + i] += guess(
        i < step ? 0 : data[start + i - step],
        above < 0 ? 0 : data[above + i],
        above < 0 || i < step ? 0 : data[above + i - step],
      );
    }
  }
}
