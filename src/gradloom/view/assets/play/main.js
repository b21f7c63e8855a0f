// The page: controls on one side, what the server sends on the other.

import { Chart } from "./chart.js";
import { watchColors } from "./colors.js";
import { Network } from "./network.js";
import { Plane } from "./plane.js";
import { read, write } from "./share.js";
import { connect } from "./wire.js";

const find = (id) => document.getElementById(id);
const NAMES = { own: "your own" };
const CHOICES = {
  rate: [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3],
  batch: [1, 2, 4, 8, 16, 32, 64, 128, 1000],
  strength: [0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
};

let limits, settings, defaults, frame, send;
let asked = 0; // how many changes the server has not answered yet
let playing = false;
let looked = null; // the neuron whose answers the plane shows
let drawn = true;

const chart = new Chart(find("chart"));
const plane = new Plane(find("plane"), { put, take });
const network = new Network(find("network"), find("detail"), {
  size: (layer, more) => {
    const wanted = settings.layers[layer] + more; // the answer to the last click may be on its way
    if (wanted >= 1 && wanted <= limits.neurons) change({ layers: settings.layers.with(layer, wanted) });
  },
  look: (neuron) => {
    looked = neuron;
    redraw();
  },
});

const hear = {
  hello(message) {
    limits = message;
    plane.edge = message.edge;
    CHOICES.activation = message.activations;
    CHOICES.optimizer = message.optimizers;
    CHOICES.penalty = message.penalties;
    CHOICES.speed = message.speeds;
    chips(find("data"), "data", message.data.map((name) => [name, NAMES[name] ?? name]), (data) =>
      change(data === "own" ? { data, points: settings.points } : { data }));
    const classes = Array.from({ length: message.classes }, (_, k) => [`${k}`, "", `class-${k}`]);
    chips(find("brush"), "brush", [...classes, ["erase", "erase"]], () => 0);
    find("brush").querySelector("input").checked = true;
    defaults = null; // the first settings that come are the server's own
    settings = {};
    asked = 0;
    change({});
  },
  settings(message) {
    if (--asked) return; // what was changed since is on its way
    const first = !defaults;
    if (first) defaults = message.settings;
    settings = { ...message.settings };
    plane.points = message.points;
    network.build(settings.layers, message.classes === 2 ? 1 : message.classes, limits);
    find("parameters").textContent = message.parameters;
    show();
    if (first && location.hash.length > 1) change(read(defaults));
    else write(settings, defaults);
    redraw();
  },
  frame(message) {
    const { body, coarse, side, weights } = message;
    const neurons = weights.flat().length;
    const cut = (bytes, size) =>
      Array.from({ length: bytes.length / size }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
    const end = neurons * coarse * coarse;
    message.neurons = cut(body.subarray(0, end), coarse * coarse);
    message.classes = cut(new Uint16Array(body.slice(end).buffer), side * side);
    frame = message;
    playing = message.playing;
    chart.add(message);
    redraw();
  },
  model({ name, body }) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([body]));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Saved ${name}. In Python: gradloom.load_model("${name}")([x, y])`, { good: true });
  },
  error: ({ message }) => say(`${message[0].toUpperCase()}${message.slice(1)}.`),
  closed: () => say("The playground has stopped. Start it again with: gradloom play", { again: true }),
};

function open() {
  say("");
  send = connect(hear);
}

/** Asks for other settings; until the answer comes, further changes start from these. */
function change(changed) {
  say("");
  Object.assign(settings, changed);
  asked++;
  send({ do: "set", settings: changed });
}

/** Says something above the page; nothing hides it. */
function say(text, { good = false, again = false } = {}) {
  const message = find("message");
  message.hidden = !text;
  message.classList.toggle("good", good);
  message.firstChild.textContent = text;
  find("again").hidden = !again;
}

/** Brings all controls in line with the settings. */
function show() {
  for (const element of document.querySelectorAll("[data-setting]")) {
    const value = settings[element.dataset.setting];
    if (element.tagName === "SELECT") fill(element, value);
    else if (element !== document.activeElement || !element.matches(":active")) element.value = value;
    const said = element.closest("label").querySelector(".value");
    if (said) said.textContent = element.dataset.setting === "test" ? `${Math.round(100 * value)} %` : value;
  }
  for (const radio of find("data").querySelectorAll("input")) radio.checked = radio.value === settings.data;
  find("drawn").hidden = settings.data === "own";
  document.querySelector("[data-setting=count]").parentElement.hidden = settings.data === "iris";
  find("depth").textContent = settings.layers.length;
  find("fewer").disabled = !settings.layers.length;
  find("more").disabled = settings.layers.length >= limits.layers;
  find("clear").disabled = !plane.points.length;
}

/** A select with its choices and the present value, which an address may have brought. */
function fill(select, value) {
  const known = CHOICES[select.dataset.setting];
  const all = known.includes(value) ? known : [...known, value].sort((a, b) => a - b);
  if (select.options.length !== all.length || !all.every((each, i) => select.options[i].value === `${each}`)) {
    select.replaceChildren(...all.map((each) => new Option(each, each)));
  }
  select.value = value;
}

/** A row of radio buttons that look like chips. */
function chips(root, name, choices, chosen) {
  root.replaceChildren(...choices.map(([value, text, dot]) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name, value });
    const span = document.createElement("span");
    if (dot) {
      span.append(Object.assign(document.createElement("i"), { className: dot }));
      input.setAttribute("aria-label", `Add a point of class ${Number(value) + 1}`);
    } else span.append(text);
    input.addEventListener("change", () => chosen(value));
    label.append(input, span);
    return label;
  }));
}

/** The present points as one's own, without what tells whether they were held out. */
const own = () =>
  settings.data === "own" ? settings.points : plane.points.map(([x, y, label]) => [x, y, label]);

function put(x, y) {
  const brush = find("brush").querySelector("input:checked").value;
  if (brush === "erase") take(x, y);
  else change({ data: "own", points: [...own(), [x, y, Number(brush)]] });
}

function take(x, y) {
  const far = ([u, v]) => Math.hypot(u - x, v - y);
  const nearest = [...own()].sort((a, b) => far(a) - far(b))[0];
  if (!nearest || far(nearest) > 0.15) return;
  change({ data: "own", points: own().filter((point) => `${point}` !== `${nearest}`) });
}

/** Draws what is new, once, when the browser is ready to. */
function redraw() {
  if (!drawn) return;
  drawn = false;
  requestAnimationFrame(() => {
    drawn = true;
    if (!frame || !defaults) return;
    find("epochs").textContent = frame.epochs;
    find("updates").textContent = frame.updates;
    find("play").querySelector("b").textContent = playing ? "Pause" : "Play";
    find("play").classList.toggle("playing", playing);
    for (const part of ["training", "test"]) {
      const [loss, share] = [frame[`${part}_loss`], frame[`${part}_accuracy`]];
      find(`${part}_loss`).textContent = loss === null ? "–" : loss.toPrecision(3);
      find(`${part}_accuracy`).textContent = share === null ? "–" : `${(100 * share).toFixed(1)} %`;
    }
    network.show(frame);
    plane.show(frame, looked);
    plane.draw();
    chart.draw();
  });
}

find("play").addEventListener("click", () => send({ do: playing ? "pause" : "play" }));
for (const name of ["step", "reset"]) {
  find(name).addEventListener("click", () => {
    say("");
    send({ do: name });
  });
}
find("export").addEventListener("click", () => send({ do: "export" }));
find("share").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    say("The address is copied: it opens this page with these settings.", { good: true });
  } catch {
    say("Copy the address of this page: it holds all settings.", { good: true });
  }
});
find("again").addEventListener("click", open);
find("seed").addEventListener("click", () => change({ seed: settings.seed + 1 }));
find("clear").addEventListener("click", () => change({ data: "own", points: [] }));
find("more").addEventListener("click", () => {
  const { layers } = settings;
  if (layers.length < limits.layers) change({ layers: [...layers, layers.at(-1) ?? 4] });
});
find("fewer").addEventListener("click", () => change({ layers: settings.layers.slice(0, -1) }));
for (const element of document.querySelectorAll("[data-setting]")) {
  element.addEventListener("input", () => {
    const name = element.dataset.setting;
    const number = typeof settings[name] === "number";
    change({ [name]: number ? Number(element.value) : element.value });
  });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = { " ": "play", s: "step", r: "reset" }[event.key];
  const busy = event.target.closest("input, select, textarea") || (event.key === " " && event.target.closest("button"));
  if (!key || busy) return;
  event.preventDefault();
  find(key).click();
});
addEventListener("hashchange", () => defaults && change({ ...defaults, ...read(defaults) }));
addEventListener("resize", redraw);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
watchColors(redraw);
open();
