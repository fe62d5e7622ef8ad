// The picture of the inspector: an image under the map's colours, the boundary, and a frame around one pixel.
//
// It is painted as gsa_utils/plots/overlay.py paints, to the same pixels. In a notebook anywidget calls render(), and
// what is shown comes from the kernel (Picture in panel.py). In a page without a kernel inspector.js stands behind this
// file and calls its functions. Nothing is imported.

const SIDE = 352; // about the longer side of the picture, in screen pixels
const FRAME = [[2, [0, 0, 0]], [1, [255, 64, 0]]];
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const zoomOf = (size) => Math.max(1, Math.floor(SIDE / Math.max(...size)));

// As NumPy rounds: a half to the even neighbour.
function rint(x) {
  const floor = Math.floor(x), rest = x - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

function interpolate(x, [low, middle, high]) {
  if (x <= low) return 0;
  if (x >= high) return 255;
  return x < middle ? (127.5 / (middle - low)) * (x - low) : (127.5 / (high - middle)) * (x - middle) + 127.5;
}

// Pixels of at least the threshold's weight: 1, others: 0. A view holds the threshold in millionths; weights are 32-bit
// floats, and NumPy compares them as such.
function inside(weights, threshold) {
  const least = Math.fround(Math.round(threshold * 1e6) / 1e6);
  return Uint8Array.from(weights, (weight) => weight >= least);
}

// Under is of 1 or 3 channels; outlined a mask; framed a row and a column, or null.
function paint(canvas, size, { under, weights, colours, scale, opacity, outlined, framed }) {
  const [height, width] = size, zoom = zoomOf(size), wide = width * zoom, pixels = height * width;
  const rgb = new Uint8ClampedArray(wide * height * zoom * 4).fill(255), share = opacity / 100;
  for (let p = 0; p < pixels; p++) {
    const colour = 3 * rint(interpolate(weights[p], scale));
    for (let k = 0; k < 3; k++) {
      const grey = under[under.length === 3 * pixels ? k * pixels + p : p];
      const value = Math.floor(grey * (1 - share)) + rint(colours[colour + k] * share);
      const row = Math.floor(p / width) * zoom, column = (p % width) * zoom;
      for (let y = row; y < row + zoom; y++)
        for (let x = column; x < column + zoom; x++) rgb[4 * (y * wide + x) + k] = value;
    }
  }
  const dot = (y, x, colour) => {
    if (y < 0 || x < 0 || y >= height * zoom || x >= wide) return;
    for (let k = 0; k < 3; k++) rgb[4 * (y * wide + x) + k] = colour[k];
  };
  outline(outlined, size, dot);
  if (framed)
    for (const [grow, colour] of FRAME)
      frame(size, framed[0] * zoom - grow, framed[1] * zoom - grow, zoom + 2 * grow, colour, dot);
  canvas.getContext("2d").putImageData(new ImageData(rgb, wide, height * zoom), 0, 0);
}

function outline(mask, size, dot) {
  const [height, width] = size, zoom = zoomOf(size);
  for (const [offset, grey] of [[0, 255], [-1, 0]])
    for (let r = 1; r < height; r++)
      for (let c = 0; c < width; c++)
        if (mask[r * width + c] !== mask[(r - 1) * width + c])
          for (let x = 0; x < zoom; x++) dot(r * zoom + offset, c * zoom + x, [grey, grey, grey]);
  for (const [offset, grey] of [[0, 255], [-1, 0]])
    for (let c = 1; c < width; c++)
      for (let r = 0; r < height; r++)
        if (mask[r * width + c] !== mask[r * width + c - 1])
          for (let y = 0; y < zoom; y++) dot(r * zoom + y, c * zoom + offset, [grey, grey, grey]);
}

function frame(size, row, column, length, colour, dot) {
  const [high, wide] = size.map((side) => side * zoomOf(size));
  const top = Math.max(row, 0), left = Math.max(column, 0);
  const bottom = Math.min(row + length, high) - 1, right = Math.min(column + length, wide) - 1;
  for (let x = left; x <= right; x++) for (const y of [top, bottom]) dot(y, x, colour);
  for (let y = top; y <= bottom; y++) for (const x of [left, right]) dot(y, x, colour);
}

// A canvas for an image of this size. A click and the arrow keys pick(row, column). The keys go from where(), a row and a
// column; while that pixel is not framed, the first key shows where it is.
function canvasOf(size, where, pick) {
  const [height, width] = size, canvas = document.createElement("canvas");
  canvas.width = width * zoomOf(size);
  canvas.height = height * zoomOf(size);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "The map over the image. Click, or use the arrow keys, to choose a pixel");
  // A picture larger than its place is made smaller, and not by leaving out pixels of the boundary.
  const imageRendering = Math.max(...size) > SIDE ? "auto" : "pixelated";
  Object.assign(canvas.style, { cursor: "crosshair", display: "block", imageRendering, maxWidth: "100%" });
  const within = (place, side) => Math.min(Math.max(place, 0), side - 1);
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const [down, across] = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
    pick(within(Math.floor(down * height), height), within(Math.floor(across * width), width));
  });
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const { row, column, framed } = where();
    const [down, across] = framed ? STEPS[event.key] : [0, 0];
    pick(within(row + down, height), within(column + across, width));
  });
  return canvas;
}

function render({ model, el }) {
  const size = model.get("size");
  const bytes = (name) => {
    const { buffer, byteOffset, byteLength } = model.get(name);
    return new Uint8Array(buffer, byteOffset, byteLength);
  };
  const where = () => {
    const [row, column] = model.get("pixel");
    return { row, column, framed: model.get("framed") };
  };
  const draw = () => {
    const weights = new Float32Array(bytes("weights").slice().buffer); // a copy begins where floats may
    const outlined = inside(weights, model.get("threshold"));
    if (model.get("rectangle").length) {
      const [top, bottom, left, right] = model.get("rectangle");
      outlined.fill(0);
      for (let row = top; row <= bottom; row++) outlined.fill(1, row * size[1] + left, row * size[1] + right + 1);
    }
    const framed = model.get("framed") ? model.get("pixel") : null;
    const [scale, opacity] = [model.get("scale"), model.get("opacity")];
    paint(canvas, size, { under: bytes("under"), weights, colours: bytes("colours"), scale, opacity, outlined, framed });
  };
  const canvas = canvasOf(size, where, (row, column) => {
    model.set({ pixel: [row, column], framed: true }); // drawn at once: the kernel may be busy
    model.save_changes();
  });
  el.append(canvas);
  model.on("change", draw);
  draw();
  return () => model.off("change", draw);
}

export default { render };
