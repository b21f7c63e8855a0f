// The colours of classes and of answers, light and dark, as the style sheet has them.

export const colors = { classes: [], middle: [], ink: "", soft: "", line: "", panel: [], answers: [] };

function read() {
  const style = getComputedStyle(document.documentElement);
  const text = (name) => style.getPropertyValue(`--${name}`).trim();
  const rgb = (name) => [1, 3, 5].map((i) => parseInt(text(name).slice(i, i + 2), 16));
  colors.classes = [0, 1, 2, 3].map((k) => rgb(`class-${k}`));
  colors.middle = rgb("middle");
  colors.panel = rgb("panel");
  colors.answers = answerColors();
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

/** The colour of each answer from -1, byte 1, to 1, byte 255: the first class's below 0. */
function answerColors() {
  return Array.from({ length: 256 }, (_, byte) => {
    const answer = (byte - 128) / 127;
    return mix(colors.middle, colors.classes[answer < 0 ? 0 : 1], Math.min(Math.abs(answer), 1));
  });
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
    image.data[4 * i] = r;
    image.data[4 * i + 1] = g;
    image.data[4 * i + 2] = b;
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
