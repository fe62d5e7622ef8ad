// The inspector of a learned map where no kernel runs: on the site, in a report, in an exported page.
//
// In a page it stands behind picture.js, which paints; its data are what standalone.py wrote.

const STYLE = `
.gsa-page { font: inherit; line-height: 1.5; max-width: 52rem; display: flex; flex-wrap: wrap; gap: 1rem 2rem }
.gsa-page canvas:focus-visible { outline: 3px solid #3b82f6; outline-offset: 2px }
.gsa-page .gsa-left { flex: 0 1 ${SIDE + 8}px; min-width: 0 }
.gsa-page .gsa-side { flex: 1 1 18rem; min-width: 0 }
.gsa-page label { display: grid; grid-template-columns: 6rem 1fr 4.5rem; gap: 0.5rem; align-items: center }
.gsa-page input { min-width: 0; width: 100% }
.gsa-page p { margin: 0.4rem 0 }
.gsa-page .gsa-bar { display: inline-block; width: 6rem; height: 0.8rem; vertical-align: middle }
.gsa-page td, .gsa-page th { padding: 0 0.8rem 0 0; vertical-align: top; text-align: left }
.gsa-page svg { width: 100%; max-width: 26rem; height: auto; display: block }`;

const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function make(tag, settings = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

class Scene {
  constructor(data) {
    Object.assign(this, data);
    [this.height, this.width] = data.size;
    this.pixels = this.height * this.width;
    this.images = decoded(data.images);
    this.mean = decoded(data.mean);
    this.maps = new Float32Array(decoded(data.maps).buffer);
    this.colours = decoded(data.colours);
  }

  map(view) {
    return this.maps.subarray(view.epoch * this.pixels, (view.epoch + 1) * this.pixels);
  }

  share(view) {
    return inside(this.map(view), view.threshold).reduce((sum, one) => sum + one, 0) / this.pixels;
  }

  // Of the pixel in each image of the page: the mean of its channels.
  intensities(view) {
    const place = view.row * this.width + view.column;
    return this.numbers.map((_, n) => {
      let sum = 0;
      for (let c = 0; c < this.channels; c++) sum += this.images[(n * this.channels + c) * this.pixels + place];
      return sum / this.channels;
    });
  }

  rank(view) {
    const map = this.map(view), weight = map[view.row * this.width + view.column];
    return { weight, rank: map.reduce((above, other) => above + (other > weight), 1) };
  }

  passing(view) {
    return this.numbers.map((_, n) => n).filter((n) => {
      if (view.label !== null && this.labels[n] !== view.label) return false;
      return view.right === null || (this.guess(n) === this.labels[n]) === view.right;
    });
  }

  guess(n) {
    const row = this.probabilities[n];
    return row.indexOf(Math.max(...row));
  }

  // What the picture shows.
  picture(view) {
    const one = this.channels * this.pixels, weights = this.map(view);
    return {
      under: view.mean ? this.mean : this.images.subarray(view.image * one, (view.image + 1) * one),
      outlined: inside(weights, view.threshold),
      framed: view.framed ? [view.row, view.column] : null,
      ...{ weights, colours: this.colours, scale: this.scale, opacity: view.opacity },
    };
  }
}

// Words as in gsa_utils/widgets/scene.py.
function predicted(scene, n) {
  if (!scene.probabilities) return [`of class ${scene.classes[scene.labels[n]]}, not predicted`];
  const guess = scene.guess(n), label = scene.labels[n];
  const verdict = guess === label ? ["right"] : [make("b", {}, "wrong"), `, it is ${scene.classes[label]}`];
  const probability = scene.probabilities[n][guess].toFixed(3);
  return ["predicted ", make("b", {}, scene.classes[guess]), ` with probability ${probability}, `, ...verdict];
}

function dots(scene, view) {
  const drawn = (tag, settings, text = "") => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(settings)) node.setAttribute(name, value);
    node.textContent = text;
    return node;
  };
  const svg = drawn("svg", { viewBox: `0 0 340 ${20 * scene.classes.length + 16}`, role: "img" });
  const add = (...given) => svg.append(drawn(...given));
  const values = scene.intensities(view), said = [];
  scene.classes.forEach((name, label) => {
    const own = values.filter((_, n) => scene.labels[n] === label), y = 20 * label + 10;
    own.forEach((value, n) => {
      const spread = (((n * 0.618034) % 1) - 0.5) * 12;
      add("circle", { cx: 2 + value, cy: y + spread, r: 1.8, fill: "currentColor", "fill-opacity": 0.5 });
    });
    if (!own.length) return;
    const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
    add("text", { x: 264, y: y + 4, "font-size": 11, fill: "currentColor" }, name);
    add("rect", { x: 1 + mean, y: y - 9, width: 2, height: 18, fill: "currentColor" });
    said.push(`${name}: ${own.length} image${own.length > 1 ? "s" : ""}, mean ${mean.toFixed(1)}`);
  });
  const below = { y: 20 * scene.classes.length + 13, "font-size": 11, fill: "currentColor" };
  add("text", { x: 2, ...below }, "intensity: 0");
  add("text", { x: 257, "text-anchor": "end", ...below }, "255");
  svg.setAttribute("aria-label", `Intensities of this pixel. ${said.join("; ")}`);
  return [svg, make("p", {}, said.join("; "))];
}

function knockedOut(scene) {
  const spread = (values) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const [middle, low, high] = [mean, Math.min(...values), Math.max(...values)].map((value) => value.toFixed(3));
    return values.length > 1 ? `${middle} (${low} to ${high})` : middle;
  };
  return scene.knock_outs.map(({ blanked, rows }) => {
    const head = make("tr", {}, ...["", "accuracy", "AUROC"].map((name) => make("th", { scope: "col" }, name)));
    const lines = rows.map(([name, accuracy, auroc]) =>
      make("tr", {}, ...[name, spread(accuracy), spread(auroc)].map((text) => make("td", {}, text))));
    const table = make("table", {}, head, ...lines);
    return make("details", {}, make("summary", {}, `Knock-out: ${blanked}`), table);
  });
}

function inspect(data, el) {
  const scene = new Scene(data);
  const view = { ...scene.start, label: null, right: null, framed: false };
  const canvas = canvasOf(scene.size, () => view, (row, column) => {
    Object.assign(view, { row, column, framed: true });
    draw();
  });
  const caption = make("p", { class: "gsa-caption", "aria-live": "polite" });
  const probe = make("p", { class: "gsa-probe", "aria-live": "polite" });
  const pixel = make("div", { class: "gsa-pixel" });
  const control = (name, label, node, apply, says) => {
    node.classList.add(`gsa-${name}`);
    const output = make("output", { "aria-hidden": "true" }); // a slider's aria-valuetext says the same
    node.addEventListener("input", () => { apply(node); draw(); });
    return { node, output, says, line: make("label", {}, make("span", {}, label), node, output) };
  };
  const slider = (name, label, min, max, step, value, apply, says) => {
    const node = make("input", { type: "range", min, max, step });
    node.value = value;
    return control(name, label, node, apply, says);
  };
  const menu = (name, label, options, apply, value = 0) => {
    const node = make("select", {}, ...options.map((option, place) => make("option", { value: place }, option)));
    node.value = value;
    return control(name, label, node, apply, () => "");
  };
  // A filter that nothing passes shows all, as in the panel.
  const everything = scene.numbers.map((_, n) => n);
  const chosen = () => {
    const passing = scene.passing(view);
    return passing.length ? passing : everything;
  };
  const refiltered = () => {
    position.node.value = 0;
    position.node.max = chosen().length - 1;
    view.image = chosen()[0];
  };
  const position = slider("position", "image", 0, scene.numbers.length - 1, 1, view.image,
    (node) => { view.image = chosen()[Number(node.value)]; }, () => `no. ${scene.numbers[view.image]}`);
  const controls = [
    menu("class_filter", "class", ["all", ...scene.classes],
      (node) => { view.label = node.value === "0" ? null : Number(node.value) - 1; refiltered(); }),
    ...(scene.probabilities ? [menu("right_filter", "predicted", ["all", "right", "wrong"],
      (node) => { view.right = [null, true, false][Number(node.value)]; refiltered(); })] : []),
    position,
    menu("background", "under", ["image", "mean image"],
      (node) => { view.mean = node.value === "1"; }, Number(view.mean)),
    slider("opacity", "opacity", 0, 100, 1, view.opacity,
      (node) => { view.opacity = Number(node.value); }, () => `${view.opacity} %`),
    slider("threshold", "threshold", scene.ends[0], scene.ends[1], 10 ** -scene.digits, view.threshold,
      (node) => { view.threshold = Number(node.value); }, () => view.threshold.toFixed(scene.digits)),
    ...(scene.epochs.length > 1 ? [slider("epoch", scene.map_of, 0, scene.epochs.length - 1, 1, view.epoch,
      (node) => { view.epoch = Number(node.value); }, () => `${scene.epochs[view.epoch]} of ${scene.of_epochs}`)] : []),
  ];

  function draw() {
    paint(canvas, scene.size, scene.picture(view));
    const passing = scene.passing(view), shown = passing.length ? passing : everything;
    const none = passing.length ? "" : "; none passes the filters, so all are shown";
    const among = `${shown.indexOf(view.image) + 1} of ${shown.length}${none}`;
    const place = `image ${scene.numbers[view.image]} (${among}): `;
    const inside = `inside the line: ${(100 * scene.share(view)).toFixed(1)}% of the area`;
    const words = make("p", {}, place, ...predicted(scene, view.image), make("br"),
      `${inside}; effective area ${scene.areas[view.epoch]}`);
    // A screen reader says it again whenever it is replaced.
    if (words.textContent !== caption.textContent) caption.replaceChildren(...words.childNodes);
    for (const { node, output, says } of controls) {
      output.textContent = says();
      if (says()) node.setAttribute("aria-valuetext", says());
    }
    if (!view.framed) return;
    const { weight, rank } = scene.rank(view);
    const ranked = `weight ${weight.toFixed(Math.max(4, scene.digits))}, rank ${rank} of ${scene.pixels}`;
    probe.textContent = `row ${view.row}, column ${view.column}: ${ranked}`;
    pixel.replaceChildren(...dots(scene, view));
  }

  const [low, middle, high] = scene.scale;
  const stops = Array.from({ length: 6 }, (_, n) => `rgb(${scene.colours.slice(153 * n, 153 * n + 3).join(",")})`);
  const bar = make("span", { class: "gsa-bar", style: `background: linear-gradient(to right, ${stops.join(", ")})` });
  const said = (value) => Number(value.toPrecision(3)).toString();
  const legend = make("p", {}, `weight ${said(low)} `, bar, ` ${said(high)}, ${said(middle)} in the middle`);
  const all = scene.numbers.length === scene.of_images;
  const some = all ? "" : `${scene.numbers.length} of ${scene.of_images} images are in this page. `;
  const left = make("div", { class: "gsa-left" }, canvas, legend, caption);
  const help = make("p", {}, `${some}Click on the picture, or use its arrow keys, to look at a pixel.`);
  const lines = controls.map(({ line }) => line);
  const side = make("div", { class: "gsa-side" }, ...lines, help, probe, pixel, ...knockedOut(scene));
  el.append(make("style", {}, STYLE), make("div", { class: "gsa-page" }, left, side));
  draw();
}
