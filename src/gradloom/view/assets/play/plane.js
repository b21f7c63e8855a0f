// The plane: what the network (or one neuron) says everywhere, the boundary, and the points.

import { classColor, colors, css, paint } from "./colors.js";

export class Plane {
  /** `on.put(x, y)` and `on.take(x, y)` hear where a point is to come or go. */
  constructor(canvas, on) {
    this.canvas = canvas;
    this.on = on;
    this.small = document.createElement("canvas");
    this.points = [];
    this.cross = null;
    this.edge = 1;
    canvas.addEventListener("click", (event) => {
      const [x, y] = this.place(event);
      this.cross = null;
      if (event.shiftKey) on.take(x, y);
      else on.put(x, y);
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.move(null));
  }

  /** The coordinates of a pointer event, to three digits. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    const up = (event.clientY - box.top) / box.height;
    return [(2 * across - 1) * this.edge, (1 - 2 * up) * this.edge].map(round);
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const [x, y] = this.cross ?? [0, 0];
    if (event.key in steps) {
      const stride = (event.shiftKey ? 0.2 : 0.04) * this.edge;
      const limit = (c) => round(Math.max(-this.edge, Math.min(this.edge, c)));
      const [right, up] = steps[event.key];
      this.move([limit(x + stride * right), limit(y + stride * up)]);
    } else if (event.key === "Enter") {
      this.move([x, y]);
      this.on.put(x, y);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.on.take(x, y);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  move(cross) {
    this.cross = cross;
    this.draw();
  }

  /** Takes a picture: bytes of probabilities, or of the answers of one neuron. */
  show(frame, neuron) {
    this.frame = frame;
    this.neuron = neuron;
  }

  draw() {
    const { canvas, frame } = this;
    const size = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.width = canvas.height = size;
    if (!frame || !size) return;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    if (this.neuron === null) {
      const likely = probabilities(frame);
      paint(this.small, frame.side, (i) => classColor(likely(i)));
      context.drawImage(this.small, 0, 0, size, size);
      this.drawBoundary(context, size, likely);
    } else {
      const bytes = frame.neurons[this.neuron];
      paint(this.small, frame.coarse, (i) => colors.answers[bytes[i]]);
      context.drawImage(this.small, 0, 0, size, size);
    }
    this.drawPoints(context, size);
  }

  /** A line wherever the most likely class changes: marching squares on the lead of each. */
  drawBoundary(context, size, likely) {
    const { side } = this.frame;
    const at = (size - 1) / (side - 1);
    const count = likely(0).length;
    context.beginPath();
    for (let k = count === 2 ? 1 : 0; k < count; k++) {
      const lead = Float64Array.from({ length: side * side }, (_, i) => {
        const p = likely(i);
        return p[k] - Math.max(...p.filter((_, other) => other !== k));
      });
      for (let row = 0; row < side - 1; row++) {
        for (let column = 0; column < side - 1; column++) {
          const ahead = lead[row * side + column] < 0;
          const same = (dx, dy) => lead[(row + dy) * side + column + dx] < 0 === ahead;
          if (same(1, 0) && same(1, 1) && same(0, 1)) continue;
          const corners = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([dx, dy]) => [
            column + dx, row + dy, lead[(row + dy) * side + column + dx],
          ]);
          const crossings = corners.flatMap(([x, y, a], i) => {
            const [u, v, b] = corners[(i + 1) % 4];
            const t = a / (a - b);
            return a < 0 === b < 0 ? [] : [[x + t * (u - x), y + t * (v - y)]];
          });
          for (let i = 0; i + 1 < crossings.length; i += 2) {
            context.moveTo(crossings[i][0] * at, crossings[i][1] * at);
            context.lineTo(crossings[i + 1][0] * at, crossings[i + 1][1] * at);
          }
        }
      }
    }
    context.strokeStyle = colors.ink;
    context.lineWidth = 1.5 * devicePixelRatio;
    context.lineCap = "round";
    context.stroke();
  }

  drawPoints(context, size) {
    const dots = devicePixelRatio;
    const at = (c) => ((c / this.edge + 1) / 2) * size;
    for (const [x, y, label, held] of this.points) {
      context.beginPath();
      context.arc(at(x), size - at(y), 3.6 * dots, 0, 7);
      context.fillStyle = css(held ? colors.panel : colors.classes[label]);
      context.strokeStyle = held ? css(colors.classes[label]) : css(colors.panel);
      context.lineWidth = (held ? 1.8 : 1) * dots;
      context.fill();
      context.stroke();
    }
    if (!this.cross) return;
    const [x, y] = [at(this.cross[0]), size - at(this.cross[1])];
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [0, 1]]) {
      context.moveTo(x - 9 * dots * dx, y - 9 * dots * dy);
      context.lineTo(x + 9 * dots * dx, y + 9 * dots * dy);
    }
    context.strokeStyle = colors.ink;
    context.lineWidth = 2 * dots;
    context.stroke();
  }
}

/** From a place in the grid to the probability of each class. */
function probabilities({ classes }) {
  if (classes.length > 1) return (i) => classes.map((shares) => shares[i] / 65535);
  return (i) => [1 - classes[0][i] / 65535, classes[0][i] / 65535];
}

const round = (c) => Math.round(c * 1000) / 1000;
