// The loss by update: training and test.

import { colors, css } from "./colors.js";

const MOST = 800; // points kept; then every other one is forgotten

export class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.forget();
  }

  forget() {
    this.points = [];
    this.every = 1;
    this.seen = 0;
  }

  /** Takes the losses of a picture; those of an earlier update than the last begin a new curve. */
  add({ updates, training_loss: training, test_loss: test }) {
    const last = this.points.at(-1);
    if (last && updates < last.updates) this.forget();
    if (training === null || (last && updates === last.updates)) return;
    if (this.seen++ % this.every) return;
    this.points.push({ updates, training, test });
    if (this.points.length > MOST) {
      this.points = this.points.filter((_, i) => i % 2 === 0);
      this.every *= 2;
    }
  }

  draw() {
    const { canvas, points } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const dots = devicePixelRatio;
    canvas.width = width * dots;
    canvas.height = height * dots;
    const context = canvas.getContext("2d");
    context.scale(dots, dots);
    context.font = "12px system-ui, sans-serif";
    const [left, right, top, bottom] = [2, width - 2, 16, height - 18];
    context.strokeStyle = colors.line;
    context.strokeRect(left, top, right - left, bottom - top);
    context.fillStyle = colors.soft;
    context.fillText("loss", left, 11);
    context.fillText("0", left, height - 4);
    if (!points.length) return;
    const most = Math.max(...points.flatMap((p) => [p.training, p.test ?? 0])) || 1;
    const end = points.at(-1).updates || 1;
    context.textAlign = "right";
    context.fillText(most.toPrecision(2), right, 11);
    context.fillText(`${end} updates`, right, height - 4);
    const lines = { test: css(colors.classes[1]), training: colors.soft };
    for (const [name, color] of Object.entries(lines)) {
      context.beginPath();
      for (const point of points) {
        if (point[name] === null) continue;
        const x = left + (point.updates / end) * (right - left);
        context.lineTo(x, bottom - (point[name] / most) * (bottom - top));
      }
      context.strokeStyle = color;
      context.lineWidth = 2;
      context.lineJoin = "round";
      context.stroke();
    }
  }
}
