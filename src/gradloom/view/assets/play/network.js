// The network: a small picture of what each neuron answers, and the weights between them.

import { colors, css, paint } from "./colors.js";

const SVG = "http://www.w3.org/2000/svg";

export class Network {
  /** `on.size(layer, change)` hears of neurons to add or take, `on.look(neuron or null)` of a neuron pointed at. */
  constructor(root, detail, on) {
    this.root = root;
    this.svg = root.querySelector("svg");
    this.detail = detail;
    this.on = on;
    this.hint = detail.textContent;
    this.shape = "";
    this.looked = null; // says again, with each picture, what is pointed at
    new ResizeObserver(() => this.place()).observe(root);
  }

  /** Builds the columns, where the layers are others than before. */
  build(layers, outputs, limits) {
    const shape = JSON.stringify([layers, outputs]);
    if (shape === this.shape) return;
    this.shape = shape;
    this.leave();
    const focused = document.activeElement?.dataset?.act;
    this.root.querySelectorAll(".column").forEach((column) => column.remove());
    this.root.classList.toggle("many", Math.max(outputs, ...layers) > 8);
    this.layers = [...layers, outputs].map((size) => Array.from({ length: size }));
    const inputs = this.column(["x", "y"].map((name) => {
      const box = document.createElement("div");
      box.className = "neuron";
      box.textContent = name;
      return box;
    }), this.head("input"));
    this.boxes = [[...inputs.querySelectorAll(".neuron")]];
    let index = 0;
    for (const [l, layer] of this.layers.entries()) {
      const boxes = layer.map((_, n) => this.neuron(l, n, index++));
      const last = l === layers.length;
      const head = last ? this.head("output") : this.sizes(l, layers, limits);
      this.column(boxes, head);
      this.boxes.push(boxes);
    }
    this.svg.replaceChildren();
    this.edges = this.layers.map((layer, l) => layer.map((_, n) => this.boxes[l].map((_, from) => {
      const path = document.createElementNS(SVG, "path");
      path.addEventListener("pointerenter", () => this.look(null, () => {
        const weight = this.frame.weights[l][n][from];
        return `Weight from ${name(l - 1, from)} to ${name(l, n)}: ${number(weight)}`;
      }));
      path.addEventListener("pointerleave", () => this.leave());
      this.svg.append(path);
      return path;
    })));
    this.place();
    if (focused) this.root.querySelector(`[data-act="${focused}"]`)?.focus();
  }

  column(boxes, head) {
    const column = document.createElement("div");
    const neurons = document.createElement("div");
    column.className = "column";
    neurons.className = "neurons";
    neurons.append(...boxes);
    column.append(head, neurons);
    this.root.append(column);
    return column;
  }

  head(text) {
    const head = document.createElement("div");
    head.className = "head";
    head.textContent = text;
    return head;
  }

  /** Buttons that take a neuron away from a hidden layer, or add one. */
  sizes(l, layers, limits) {
    const head = this.head("");
    const size = document.createElement("output");
    size.textContent = layers[l];
    const button = (text, words, change) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.dataset.act = `${l}${text}`;
      made.setAttribute("aria-label", `One neuron ${words} in layer ${l + 1}`);
      const wanted = layers[l] + change;
      made.disabled = wanted < 1 || wanted > limits.neurons;
      made.addEventListener("click", () => this.on.size(l, change));
      return made;
    };
    head.append(button("−", "fewer", -1), size, button("+", "more", 1));
    return head;
  }

  neuron(l, n, index) {
    const box = document.createElement("button");
    box.type = "button";
    box.className = "neuron";
    box.setAttribute("aria-label", `Neuron ${n + 1} of ${title(l, this.layers.length)}`);
    box.append(document.createElement("canvas"));
    const look = () => this.look(index, () => this.tell(l, n, index));
    for (const event of ["pointerenter", "focus"]) box.addEventListener(event, look);
    for (const event of ["pointerleave", "blur"]) box.addEventListener(event, () => this.leave());
    return box;
  }

  /** What there is to say of a neuron: its numbers, and how strongly it answers. */
  tell(l, n, index) {
    const weights = this.frame.weights[l][n];
    const shown = weights.slice(0, -1).map((w, from) => `${name(l - 1, from)} ${number(w)}`);
    return `${name(l, n)}: bias ${number(weights.at(-1))}, weights of ${shown.join(", ")}; ` +
      `answers up to ±${number(this.frame.scales[index])}`;
  }

  look(neuron, say) {
    this.looked = say;
    this.on.look(neuron);
    this.detail.textContent = this.frame ? say() : this.hint;
  }

  leave() {
    this.looked = null;
    this.on.look(null);
    this.detail.textContent = this.hint;
  }

  /** Lays the connections from box to box. */
  place() {
    if (!this.boxes) return;
    const base = this.root.getBoundingClientRect();
    const box = (element) => element.getBoundingClientRect();
    this.edges.forEach((layer, l) => layer.forEach((paths, n) => paths.forEach((path, from) => {
      const [a, b] = [box(this.boxes[l][from]), box(this.boxes[l + 1][n])];
      const [x0, x1] = [a.right - base.left, b.left - base.left];
      const [y0, y1] = [a, b].map((each) => each.top + each.height / 2 - base.top);
      const middle = (x0 + x1) / 2;
      path.setAttribute("d", `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`);
    })));
  }

  /** Paints a picture that the server sent. */
  show(frame) {
    this.frame = frame;
    const shape = (layers) => `${layers.map((layer) => layer.length)}`;
    if (shape(frame.weights) !== shape(this.layers)) return; // settings came, and no picture yet
    let index = 0;
    for (const boxes of this.boxes.slice(1)) {
      for (const box of boxes) {
        const bytes = frame.neurons[index++];
        paint(box.firstChild, frame.coarse, (i) => colors.answers[bytes[i]]);
      }
    }
    this.edges.forEach((layer, l) => layer.forEach((paths, n) => paths.forEach((path, from) => {
      const weight = frame.weights[l][n][from] ?? 0;
      const strength = Math.min(Math.abs(weight), 4);
      path.setAttribute("stroke", css(colors.classes[weight < 0 ? 0 : 1]));
      path.setAttribute("stroke-width", (0.4 + strength).toFixed(2));
      path.setAttribute("stroke-opacity", (0.15 + 0.75 * Math.min(strength, 1)).toFixed(2));
    })));
    if (this.looked) this.detail.textContent = this.looked();
  }
}

const number = (x) => (x === null ? "not finite" : x.toPrecision(3).replace("-", "−"));
const title = (l, layers) => (l === layers - 1 ? "the output" : `layer ${l + 1}`);
const name = (l, n) => (l < 0 ? "xy"[n] : `neuron ${l + 1}.${n + 1}`);
