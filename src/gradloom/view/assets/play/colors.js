// The colours of classes and of answers, light and dark, as the style sheet has them.

export const colors = { classes: [], middle: [], ink: "", soft: "", line: "", panel: [] };

function read() {
  const style = getComputedStyle(document.documentElement);
  const text = (name) => style.getPropertyValue(`--${name}`).trim();
  const rgb = (name) => [1, 3, 5].map((i) => parseInt(text(name).slice(i, i + 2), 16));
  colors.classes = [0, 1, 2, 3].map((k) => rgb(`class-${k}`));
  colors.middle = rgb("middle");
  colors.panel = rgb("panel");
  for (const name of ["ink", "soft", "line"]) colors[name] = text(name);
}

/** Reads the colours now, and again, telling so, when the reader changes from light to dark. */
export function watchColors(changed) {
  read();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    read();
    changed();
  });
}

export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

const mix = (a, b, share) => a.map((x, i) => x + share * (b[i] - x));

/** The colour of an answer from -1 to 1: the first class's below 0, the second's above. */
export function answerColor(answer) {
  return mix(colors.middle, colors.classes[answer < 0 ? 0 : 1], Math.abs(answer));
}

/** The pale colour of a place where the classes are that likely. */
export function classColor(likely) {
  const full = [0, 1, 2].map((i) => likely.reduce((sum, p, k) => sum + p * colors.classes[k][i], 0));
  return mix(colors.panel, full, 0.5);
}

/** Fills a small canvas with a picture, a colour each point. */
export function paint(canvas, side, color) {
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    const [r, g, b] = color(i);
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}
