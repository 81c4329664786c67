// Pixels of a frame as vlar makes them: its own conversion of colours and PIL's resampling.

const cubic = (x) => {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
};
// Weight of a pixel at distance x from the middle, and the support; both in widths of the filter.
const FILTERS = {
  bicubic: [cubic, 2],
  bilinear: [(x) => Math.max(0, 1 - Math.abs(x)), 1],
  area: [(x, half) => Math.max(0, Math.min(x + half, 0.5) - Math.max(x - half, -0.5)), 1],
};

function weights(from, to, filter) {
  const [weight, reach] = FILTERS[filter], scale = from / to, width = Math.max(scale, 1);
  return Array.from({ length: to }, (_, at) => {
    const middle = (at + 0.5) * scale, low = Math.max(0, Math.trunc(middle - reach * width + 0.5));
    const high = Math.min(from, Math.trunc(middle + reach * width + 0.5));
    const row = Float64Array.from({ length: high - low }, (_, n) => weight((n + low - middle + 0.5) / width, 0.5 / width));
    const total = row.reduce((a, b) => a + b, 0);
    return [low, row.map((w) => w / total)];
  });
}

// One axis of bytes [outer][from][inner]; sums are rounded and cut to a byte, as PIL does.
function along(data, outer, from, inner, table) {
  const out = new Uint8ClampedArray(outer * table.length * inner);
  for (let o = 0, to = 0; o < outer; o++) for (const [low, row] of table) {
    for (let i = 0; i < inner; i++, to++) {
      let sum = 0;
      for (let n = 0, at = (o * from + low) * inner + i; n < row.length; n++, at += inner) sum += row[n] * data[at];
      out[to] = sum;
    }
  }
  return out;
}

// picture: { data, width, height, channels } of bytes, row by row. Columns are resized, then rows.
export function resize({ data, width: w, height: h, channels }, width, height, filter) {
  if (width !== w) data = along(data, h, w, channels, weights(w, width, filter));
  if (height !== h) data = along(data, 1, h, width * channels, weights(h, height, filter));
  return { data, width, height, channels };
}

// Width and height with the shorter side at most `shorter`.
export function shrunk(width, height, shorter) {
  if (!shorter || Math.min(width, height) <= shorter) return [width, height];
  const scale = shorter / Math.min(width, height);
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

const LUMA = { bt709: [0.2126, 0.0722], "bt2020-ncl": [0.2627, 0.0593] }; // shares of red and blue
const CHROMA = { I420: [2, 2], I420A: [2, 2], NV12: [2, 2], I422: [2, 1], I444: [1, 1] };
export const readable = (frame) => frame.format in CHROMA && "rotation" in frame;

// A frame of WebCodecs as RGB, from its own planes: a canvas would convert and resize otherwise.
export async function fromPlanes(frame, shorter, untagged) {
  const { width, height } = frame.visibleRect, [sx, sy] = CHROMA[frame.format];
  const bytes = new Uint8Array(frame.allocationSize()), layout = await frame.copyTo(bytes);
  const plane = (at, w, h, step = 1, first = 0) => {
    const { offset, stride } = layout[at], data = new Uint8ClampedArray(w * h);
    for (let y = 0, out = 0; y < h; y++) for (let x = 0, from = offset + y * stride + first; x < w; x++, out++, from += step) data[out] = bytes[from];
    return { data, width: w, height: h, channels: 1 };
  };
  const cw = Math.ceil(width / sx), ch = Math.ceil(height / sy), pairs = frame.format === "NV12";
  let planes = [plane(0, width, height), pairs ? plane(1, cw, ch, 2) : plane(1, cw, ch), pairs ? plane(1, cw, ch, 2, 1) : plane(2, cw, ch)];
  const [w, h] = shrunk(width, height, shorter);
  let rows = sy;
  if (w !== width) {
    rows = 1;
    planes = planes.map((p, at) => resize(p, at ? Math.ceil(w / sx) : w, h, "area"));
  }
  const [Y, U, V] = planes, [red, blue] = LUMA[untagged ? "" : frame.colorSpace.matrix] ?? [0.299, 0.114], green = 1 - red - blue;
  const full = frame.colorSpace.fullRange, gain = full ? 1 : 255 / 219, black = full ? 0 : 16, colour = full ? 1 : 255 / 224;
  const data = new Uint8ClampedArray(w * h * 3), r = 2 * (1 - red) * colour, b = 2 * (1 - blue) * colour;
  for (let y = 0, out = 0; y < h; y++) {
    for (let x = 0; x < w; x++, out += 3) {
      const at = Math.trunc(y / rows) * U.width + Math.trunc(x / sx);
      const light = (Y.data[y * w + x] - black) * gain, u = U.data[at] - 128, v = V.data[at] - 128;
      data[out] = light + r * v - 0.5; // FFmpeg cuts fractions off, in green twice
      data[out + 1] = light - (red * r * v + blue * b * u) / green - 1;
      data[out + 2] = light + b * u - 0.5;
    }
  }
  return turned({ data, width: w, height: h, channels: 3 }, frame.rotation / 90, frame.flip);
}

// What a canvas shows, where planes cannot be read; colours differ by some levels.
export function fromCanvas(source, width, height, shorter) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height), rgb = new Uint8ClampedArray(width * height * 3);
  for (let at = 0, out = 0; at < data.length; at += 4) for (let c = 0; c < 3; c++) rgb[out++] = data[at + c];
  return resize({ data: rgb, width, height, channels: 3 }, ...shrunk(width, height, shorter), "area");
}

function turned(picture, quarters, flip) { // clockwise, then left and right are swapped
  const { data, width: w, height: h, channels } = picture, out = new Uint8ClampedArray(data.length);
  if (!(quarters % 4) && !flip) return picture;
  const [width, height] = quarters % 2 ? [h, w] : [w, h];
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const [left, top] = [[x, y], [h - 1 - y, x], [w - 1 - x, h - 1 - y], [y, w - 1 - x]][quarters % 4];
    for (let c = 0; c < 3; c++) out[(top * width + (flip ? width - 1 - left : left)) * 3 + c] = data[(y * w + x) * 3 + c];
  }
  return { data: out, width, height, channels };
}

// Pixels (3, height, width) float32 that a tower reads.
export function prepared(picture, tower) {
  const { width, height, shorter } = tower;
  let size = [shorter || width, shorter || height];
  if (tower.fit === "crop") {
    const most = 32 * Math.max(height / width, width / height); // what the cut drops of very long frames
    picture = centre(picture, Math.min(picture.width, Math.ceil(picture.height * most)), Math.min(picture.height, Math.ceil(picture.width * most)));
    const [w, h] = [picture.width, picture.height];
    size = h * size[0] >= w * size[1] ? [size[0], Math.max(size[1], Math.trunc((h * size[0]) / w))] : [Math.max(size[0], Math.trunc((w * size[1]) / h)), size[1]];
  }
  const { data } = centre(resize(picture, ...size, tower.interpolation), width, height);
  const pixels = new Float32Array(data.length), area = width * height;
  for (let c = 0; c < 3; c++) for (let at = 0; at < area; at++) pixels[c * area + at] = (data[at * 3 + c] / 255 - tower.mean[c]) / tower.std[c];
  return pixels;
}

function centre(picture, width, height) {
  if (picture.width === width && picture.height === height) return picture;
  const left = Math.round((picture.width - width) / 2), top = Math.round((picture.height - height) / 2);
  const data = new Uint8ClampedArray(width * height * 3);
  for (let y = 0; y < height; y++) data.set(picture.data.subarray(((top + y) * picture.width + left) * 3, ((top + y) * picture.width + left + width) * 3), y * width * 3);
  return { data, width, height, channels: 3 };
}

// Standard deviation in grey levels of every eighth pixel: small where a picture shows nothing.
export function deviation({ data, width, height }) {
  let n = 0, sum = 0, squares = 0;
  for (let y = 0; y < height; y += 8) for (let x = 0; x < width; x += 8) for (let c = 0; c < 3; c++, n++) {
    const value = data[(y * width + x) * 3 + c];
    sum += value;
    squares += value * value;
  }
  return Math.sqrt(Math.max(0, squares / n - (sum / n) ** 2));
}
