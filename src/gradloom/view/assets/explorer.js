// The explorer: what a reader sees and does. The numbers are tape.js's, the picture scene.js's.

"use strict";

(() => {
  const LIMIT = 60; // things to look at before a graph is folded
  const PART = 8; // items of a repeat that open at once; of more, one is taken out
  const $ = (id) => document.getElementById(id);
  const escaped = scene.escaped;
  const doc = tape.prepare(scene.read(JSON.parse($("document").textContent)));

  const state = {
    step: 0,
    order: "topological",
    leftover: false,
    open: scene.unfold(doc, LIMIT),
    tab: "scalars",
    selected: null, // "n12" a node, "f3" a fold, "i2" an instruction
    marked: null, // a set of nodes
    playing: 0,
    camera: { x: 0, y: 0, k: 1 },
  };
  let view = null; // what is visible, and where
  let pass = null; // the backward order, what a right pass gives, what this one gives

  // Names

  const counts = new Map();
  for (const label of doc.labels) counts.set(label, (counts.get(label) || 0) + 1);
  const nameOf = (i) => {
    if (doc.labels[i]) return doc.labels[i];
    return doc.kinds[i] === "c" ? scene.number(doc.data[i]) : `v${i}`;
  };
  const mathOf = (i) => (doc.kinds[i] === "c" && !doc.labels[i] ? maths.number(doc.data[i]) : maths.name(nameOf(i)));
  const opOf = (i) => doc.symbols[doc.ops[i]];
  const ruleOf = (i) => doc.rules[`${opOf(i)}/${doc.operands[i].length}`];

  const parentOf = new Int32Array(doc.data.length);
  doc.folds.forEach((fold, k) => {
    for (const item of fold.items) if (item >= 0) parentOf[item] = k;
  });
  const foldsAround = (i) => {
    const path = [];
    for (let fold = parentOf[i]; fold > 0; fold = doc.folds[fold].parent) path.unshift(fold);
    return path;
  };
  const foldName = (fold) => {
    const { kind, title, items, size } = doc.folds[fold];
    return kind === "module" ? title : kind === "run" ? `${size} nodes` : `${title} × ${items.length}`;
  };

  // The pass

  const renew = () => {
    const right = tape.order(doc);
    const truth = tape.backward(doc, right, right.length).grads;
    const start = state.leftover ? truth : null;
    const run = (order) => {
      const end = tape.backward(doc, order, order.length, start).grads;
      const isWrong = end.map((grad, i) => doc.kinds[i] !== "c" && !close(grad, truth[i]));
      return { order, truth, start, end, isWrong, wrong: isWrong.filter(Boolean).length };
    };
    // Of the orders that people try, the first that goes wrong here.
    const tried = state.order === "plain" ? tape.naive(doc).map(run) : [run(right)];
    pass = tried.find((one) => one.wrong) || tried[0];
    pass.places = new Map(pass.order.map((node, place) => [node, place]));
    $("scrub").max = lastStep();
    state.step = Math.min(state.step, lastStep());
  };
  const close = (a, b) =>
    a === b || (Number.isNaN(a) && Number.isNaN(b)) || Math.abs((a || 0) - (b || 0)) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));
  const seed = () => doc.results.length + 1; // the step at which the root gets its 1
  const lastStep = () => seed() + pass.order.length;

  const moment = () => {
    const { step } = state;
    if (step < seed()) {
      const node = step > 0 ? doc.results[step - 1] : -1;
      return { phase: step > 0 ? "forward" : "start", node, done: step };
    }
    const done = step - seed();
    return { phase: done ? "backward" : "seed", node: done ? pass.order[done - 1] : doc.roots[0], done };
  };

  // What is known at this moment: the document, with the numbers there are by now.
  const now = () => {
    const at = moment();
    const shown = Object.create(doc);
    if (at.phase === "start" || at.phase === "forward") {
      const last = at.node;
      shown.data = doc.data.map((x, i) => (doc.kinds[i] === "r" && i > last ? null : x));
      shown.grads = pass.start ? pass.start.map((g, i) => (doc.kinds[i] === "r" ? null : g)) : doc.data.map(() => null);
      return { at, shown, contributions: [] };
    }
    const { grads, contributions } = tape.backward(doc, pass.order, at.done, pass.start);
    shown.grads = grads;
    return { at, shown, contributions };
  };

  // The picture

  const isArrays = () => state.tab === "arrays";

  const relayout = () => {
    if (isArrays()) {
      view = arrays();
    } else {
      view = scene.visible(doc, state.open);
    }
    scene.layout(doc, view, "steady");
    view.unitEdges = view.units.map(() => []);
    view.edges.forEach((edge, i) => {
      view.unitEdges[edge.from].push(i);
      view.unitEdges[edge.to].push(i);
    });
  };

  const arrays = () => {
    const units = doc.program.instructions.map((instruction) => ({
      kind: instruction.kind === "code" ? "result" : instruction.kind,
      rows: [
        ...(instruction.shape ? [[instruction.shape, "", "title"]] : []),
        [clip(instruction.text, 44), "", "data"],
        [`${instruction.nodes.length} scalars`, "", "note"],
      ],
      box: -1,
    }));
    const edges = [];
    doc.program.instructions.forEach((instruction, to) => {
      for (const from of instruction.reads) edges.push({ from, to, count: 1 });
    });
    return { units, boxes: [], edges, unitOf: null };
  };
  const clip = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

  const keyOf = (unit, i) => {
    if (isArrays()) return `i${i}`;
    return unit.node !== undefined ? `n${unit.node}` : `f${unit.fold}`;
  };

  const paint = () => {
    const { at, shown, contributions } = now();
    const focused = document.activeElement?.dataset?.key;
    if (!isArrays()) for (const unit of view.units) unit.content = scene.content(shown, unit, true);
    const shapes = scene.draw(isArrays() ? doc : shown, view);
    const classes = classify(at, shown, contributions);
    if (!isArrays()) shapes.push(...notes(at, shown, contributions));
    $("plane").innerHTML = scene.elements(shapes, (of) => {
      const cls = classes.get(of);
      const i = Number(of.slice(1));
      const attributes = cls ? `class="${cls.join(" ")}"` : "";
      if (of[0] !== "u") return attributes;
      const unit = view.units[i];
      const text = [unit.content.op, ...unit.content.rows.map(([a, b]) => `${a} ${b}`.trim())].filter(Boolean).join(", ");
      return `${attributes} tabindex="0" role="button" data-key="${keyOf(unit, i)}" aria-label="${escaped(text)}"`;
    });
    if (focused) document.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
    camera();
    tell(at, shown, contributions);
  };

  const classify = (at, shown, contributions) => {
    const classes = new Map();
    const add = (of, cls) => classes.set(of, [...(classes.get(of) || []), cls]);
    view.units.forEach((unit, i) => {
      if (state.selected === keyOf(unit, i)) add(`u${i}`, "selected");
    });
    if (isArrays()) return classes;
    view.units.forEach((unit, i) => {
      if (unit.node !== undefined && shown.data[unit.node] === null && doc.data[unit.node] !== null) add(`u${i}`, "todo");
      if (unit.fold !== undefined && firstOf(unit.items) > at.node && at.phase === "forward") add(`u${i}`, "todo");
      if (unit.node !== undefined && pass.isWrong[unit.node] && shown.grads[unit.node] !== null && isOver(at, unit.node)) add(`u${i}`, "wrong");
    });
    if (state.marked) for (const node of state.marked) if (!classes.get(`u${view.unitOf[node]}`)?.includes("marked")) add(`u${view.unitOf[node]}`, "marked");
    if (at.node < 0) return classes;
    const here = view.unitOf[at.node];
    add(`u${here}`, "now");
    const isBack = at.phase === "backward";
    const flowing = new Set((isBack ? contributions.map((c) => c.operand) : doc.operands[at.node]).map((x) => view.unitOf[x]));
    if (at.phase !== "seed") {
      for (const edge of view.unitEdges[here]) {
        const { from, to } = view.edges[edge];
        if (to === here && flowing.has(from)) add(`e${edge}`, isBack ? "back" : "flow");
      }
    }
    return classes;
  };
  const firstOf = (items) => items.reduce((least, item) => Math.min(least, item >= 0 ? item : firstOf(doc.folds[-item].items)), Infinity);

  // Whether a node's gradient will not change any more in this pass.
  const isOver = (at, node) => at.done >= pass.order.length || (doc.kinds[node] === "r" && pass.places.get(node) < at.done && at.phase === "backward");

  // What is written beside the nodes: the shares that arrive, and what should have come out.
  const notes = (at, shown, contributions) => {
    const found = [];
    const write = (unit, text, cls, line) => found.push({ of: "x0", text: [unit.x + unit.width / 2, unit.y + unit.height + 12 + 12 * line, text, "middle"], cls });
    const byUnit = new Map();
    for (const c of contributions) {
      const unit = view.unitOf[c.operand];
      byUnit.set(unit, [...(byUnit.get(unit) || []), c]);
    }
    for (const [i, some] of byUnit) {
      const unit = view.units[i];
      if (unit.node === undefined) write(unit, `+= … (${some.length} shares)`, "plus", 0);
      else some.slice(0, 2).forEach((c, line) => write(unit, `${c.before === null ? "" : `${scene.number(c.before, 4)} `}+= ${scene.number(c.share, 4)}`, "plus", line));
    }
    view.units.forEach((unit, i) => {
      if (unit.node === undefined || byUnit.has(i) || !pass.isWrong[unit.node] || !isOver(at, unit.node) || shown.grads[unit.node] === null) return;
      write(unit, `should be ${scene.number(pass.truth[unit.node], 4)}`, "should", 0);
    });
    return found;
  };

  // The camera

  const camera = () => {
    const { x, y, k } = state.camera;
    $("plane").setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
  };
  const area = () => $("canvas").getBoundingClientRect();
  const fit = (least = 0.25) => {
    const [left, top, right, bottom] = view.bounds;
    const { width, height } = area();
    const k = Math.max(least, Math.min(1.3, width / (right - left), height / (bottom - top)));
    state.camera = {
      k,
      x: Math.max((width - k * (right - left)) / 2, 6) - k * left,
      y: (height - k * (bottom - top)) / 2 - k * top,
    };
    if (k * (bottom - top) > height) state.camera.y = -k * top;
    camera();
  };
  const zoom = (factor, at = null) => {
    const { width, height } = area();
    const [px, py] = at || [width / 2, height / 2];
    const k = Math.max(0.08, Math.min(4, state.camera.k * factor));
    const ratio = k / state.camera.k;
    state.camera = { k, x: px - (px - state.camera.x) * ratio, y: py - (py - state.camera.y) * ratio };
    camera();
  };
  const move = (dx, dy) => {
    state.camera.x += dx;
    state.camera.y += dy;
    camera();
  };
  // Bring a unit into sight, and with it its neighbours if all fit, by moving as little as need be.
  const follow = (unit, around = []) => {
    if (!unit) return;
    const { width, height } = area();
    const { x, y, k } = state.camera;
    const bounds = (units) => [
      x + k * Math.min(...units.map((u) => u.left)),
      y + k * Math.min(...units.map((u) => u.y)),
      x + k * Math.max(...units.map((u) => u.x + u.width)),
      y + k * Math.max(...units.map((u) => u.y + u.height)),
    ];
    const rim = 8;
    let [left, top, right, bottom] = bounds([unit, ...around]);
    if (right - left > width - 2 * rim || bottom - top > height - 2 * rim) [left, top, right, bottom] = bounds([unit]);
    const shift = (low, high, size) => (low < rim ? rim - low : high > size - rim ? size - rim - high : 0);
    move(shift(left, right, width), shift(top, bottom, height));
  };

  // What is told beside the picture

  const shareText = (node, upstream, c) => {
    const [result, operand] = [mathOf(node), mathOf(c.operand)];
    const rule = ruleOf(node);
    const parts = ["=", maths.number(c.local)];
    if (rule && !doc.unknown.length) {
      const known = [...doc.operands[node].map((x) => doc.data[x]), doc.data[node]];
      const symbols = maths.partial(rule, c.place, doc.operands[node].map(mathOf), result, known);
      const numbers = maths.partial(rule, c.place, doc.operands[node].map((x) => maths.number(doc.data[x])), maths.number(doc.data[node]), known);
      const value = maths.number(c.local);
      parts.splice(0, 2, "=", symbols);
      if (numbers.text !== symbols.text && numbers.text !== value.text) parts.push("=", numbers);
      if (symbols.text !== value.text) parts.push("=", value);
    }
    const meets = c.before !== null;
    const total = tape.paths(doc, c.operand);
    const grad = maths.grad(operand);
    const product = { text: `<mrow>${maths.held(maths.number(c.local), 2)}<mo>·</mo>${maths.held(maths.number(upstream), 2)}</mrow>`, holds: 2 };
    const before = meets ? `<p>${maths.line(grad, "=", maths.number(c.before), "+", { text: maths.held(maths.number(c.share), 2) }, "=", maths.number(c.after))}</p>` : "";
    const path = total > 1 ? `<p class="note">path ${c.arrived} of ${total} that meet in ${escaped(nameOf(c.operand))}: shares add up</p>` : "";
    return `<div class="share${meets ? " meets" : ""}"><p>${maths.line(maths.slope(result, operand), ...parts)}</p>
      <p>${maths.line(grad, "+=", product, "=", maths.number(c.share))}</p>${before}${path}</div>`;
  };
  const placeText = (i) => {
    const place = doc.places[doc.lines[i]];
    return place ? `<p class="note">made at <code>${escaped(place)}</code></p>` : "";
  };

  const some = (list, most, text) => list.slice(0, most).map(text).join("") + (list.length > most ? `<p class="note">and ${list.length - most} more</p>` : "");

  const tell = (at, shown, contributions) => {
    $("scrub").value = state.step;
    const forward = doc.results.length;
    $("where").textContent = {
      start: `start · ${forward} step${forward === 1 ? "" : "s"} forward`,
      forward: `forward ${at.done} of ${forward}`,
      seed: `backward 0 of ${pass.order.length}`,
      backward: `backward ${at.done} of ${pass.order.length}`,
    }[at.phase];
    $("scrub").setAttribute("aria-valuetext", $("where").textContent);
    $("first").disabled = $("back").disabled = state.step === 0;
    $("last").disabled = $("next").disabled = state.step === lastStep();
    $("mistakes").hidden = isArrays();
    $("step").innerHTML = isArrays() ? arraysText() : stepText(at, contributions);
    const { wrong } = pass;
    const { order, leftover } = state;
    $("verdict").innerHTML = order === "topological" && !leftover ? ""
      : wrong === 0 ? "Nothing goes wrong in this graph: whatever the order, all shares have arrived before a node hands on."
      : `<span class="wrong">${wrong} gradient${wrong > 1 ? "s come" : " comes"} out wrong.</span> ` + (
        order === "plain" ? "A node handed its gradient on before all shares had arrived in it." : "")
        + (leftover ? ` What the last pass left in the leaves is added to: ${order === "plain" ? "" : "twice what is right."}` : "");
    tellSelected(shown);
  };

  const arraysText = () => {
    const code = doc.program.instructions.filter(({ kind }) => kind === "code");
    return `<h2>Re-rolled</h2><p>The same graph as ${code.length} array instruction${code.length > 1 ? "s" : ""}, for ${doc.results.length} operations on scalars. Each is a loop of the shape above it over one flat array; <code>@offset(strides)</code> says where an operand lies.</p><p class="note">Select one to see the scalar nodes that it stands for.</p>`;
  };

  const stepText = (at, contributions) => {
    const { node } = at;
    if (at.phase === "start") {
      const hint = doc.program || doc.places.some(Boolean) ? "" : '<p class="note">No lines of code here: make the value inside <code>with gl.tracing():</code>, or give <code>gl.explore</code> the function, and each node says where it was made.</p>';
      return `<h2>Start</h2><p>The leaves have their numbers. Step on (→) to compute from them, forward, then to go back with the gradients.</p>${hint}`;
    }
    const result = mathOf(node);
    if (at.phase === "seed") {
      return `<h2>Backward: the start</h2><p class="big">${maths.line(maths.grad(result), "=", maths.slope(result, result), "=", maths.number(1))}</p><p>How fast does the result move when the result is nudged? As fast.</p>`;
    }
    if (at.phase === "forward") {
      const operands = doc.operands[node];
      const symbols = maths.apply(opOf(node), operands.map(mathOf));
      const numbers = maths.apply(opOf(node), operands.map((x) => maths.number(doc.data[x])));
      const parts = [result, "=", symbols];
      if (numbers.text !== symbols.text) parts.push("=", numbers);
      if (doc.data[node] !== null) parts.push("=", maths.number(doc.data[node]));
      return `<h2>Forward: compute ${escaped(nameOf(node))}</h2><p class="big">${maths.line(...parts)}</p>${placeText(node)}`;
    }
    const { grads, arrived } = tape.backward(doc, pass.order, pass.places.get(node), pass.start);
    const name = escaped(nameOf(node));
    const late = tape.paths(doc, node) - arrived[node];
    const early = late > 0 ? `<p class="wrong">Too early: ${late} of the ${tape.paths(doc, node)} shares of ${name} ${late === 1 ? "is" : "are"} still to come.</p>` : "";
    const intro = contributions.length
      ? `<p>${name} hands ${maths.line(maths.grad(result))} ${maths.line("=", maths.number(grads[node]))} on: local derivative × gradient from above.</p>`
      : `<p>Nothing goes on from ${name}: its local derivative is 0 here, or no gradient reached it.</p>`;
    const shares = some(contributions, 6, (c) => shareText(node, grads[node], c));
    return `<h2>Backward: from ${name} (${escaped(opOf(node))})</h2>${intro}${early}${shares}${placeText(node)}`;
  };

  const tellSelected = (shown) => {
    const { selected } = state;
    const section = $("selected");
    section.hidden = selected === null;
    if (selected === null) return;
    const i = Number(selected.slice(1));
    const editing = section.querySelector("#number");
    if (editing && document.activeElement === editing && section.dataset.of === selected) return;
    section.dataset.of = selected;
    if (selected[0] === "i") section.innerHTML = instructionText(i);
    else if (selected[0] === "f") section.innerHTML = foldText(i);
    else section.innerHTML = nodeText(i, shown);
  };

  const pathText = (folds) => (folds.length ? `<p class="path">in ${folds.map((fold) => escaped(foldName(fold))).join(" › ")}</p>` : "");

  const nodeText = (i, shown) => {
    const kind = { r: "result", l: "leaf", p: "parameter", c: "plain number" }[doc.kinds[i]];
    const canEdit = doc.kinds[i] !== "r" && doc.data[i] !== null && !doc.unknown.length;
    const why = doc.kinds[i] !== "r" && doc.unknown.length ? `<p class="note">It cannot be edited here: the page does not know the operation ${escaped(doc.unknown[0])}.</p>` : "";
    const value = canEdit
      ? `<input id="number" type="text" inputmode="decimal" aria-label="New number" value="${escaped(String(doc.data[i]))}"> <span class="note">Enter recomputes</span>`
      : escaped(scene.number(shown.data[i], 12));
    const rows = [["data", value]];
    if (doc.kinds[i] !== "c") rows.push(["grad", shown.grads[i] === null ? '<span class="note">not computed yet</span>' : escaped(scene.number(shown.grads[i], 12))]);
    if (doc.kinds[i] !== "c" && pass.isWrong[i]) rows.push(["should be", `<span class="wrong">${escaped(scene.number(pass.truth[i], 12))}</span>`]);
    const readers = doc.readers[i].filter((r) => doc.operands[r].some((x, place) => x === i && doc.local[r][place] !== null));
    const shares = readers.flatMap((r) => doc.operands[r].map((x, place) => (x === i ? [r, doc.local[r][place]] : null)).filter((s) => s && s[1] !== null));
    const terms = shares.slice(0, 4).flatMap(([r, local]) => ["+", maths.apply("*", [maths.number(local, 3), maths.grad(mathOf(r))])]);
    if (shares.length > 4) terms.push("+", { text: "<mo>…</mo>" });
    const sum = shares.length && doc.kinds[i] !== "c"
      ? `<p class="note">Its gradient is the sum over ${shares.length} path${shares.length > 1 ? "s" : ""}:</p><p>${maths.line(maths.grad(mathOf(i)), "=", ...terms.slice(1))}</p>`
      : "";
    const inside = foldsAround(i);
    const op = doc.kinds[i] === "r" ? ` · ${escaped(opOf(i))}` : "";
    const close = inside.length ? '<div class="actions"><button data-do="close">Close around it (c)</button></div>' : "";
    return `<h2>Selected: ${kind}${op}</h2><p><b>${escaped(nameOf(i))}</b></p><table>${rows.map(([a, b]) => `<tr><th>${a}</th><td>${b}</td></tr>`).join("")}</table>${why}${sum}${placeText(i)}${pathText(inside)}${close}`;
  };

  const foldText = (fold) => {
    const { kind, items, size, parent } = doc.folds[fold];
    const what = { module: "a call of a module", repeat: "parts that do the same", chain: "one operation on its own results", run: "parts in a row" }[kind];
    const around = [];
    for (let at = parent; at > 0; at = doc.folds[at].parent) around.unshift(at);
    const shown = Math.min(state.open.get(fold) || 0, items.length);
    const part = kind !== "module" && items.length - shown > PART;
    return `<h2>Selected: ${what}</h2><p><b>${escaped(foldName(fold))}</b></p><p class="note">${size} nodes${shown ? `, ${shown} of ${items.length} taken out` : ""}</p>${pathText(around)}
      <div class="actions"><button data-do="open">${part ? "Take one out (o)" : "Open (o)"}</button>${around.length ? '<button data-do="close">Close around it (c)</button>' : ""}</div>`;
  };

  const instructionText = (k) => {
    const { shape, text, nodes, kind } = doc.program.instructions[k];
    const chips = nodes.slice(0, 24).map((i) => `<button data-node="${i}">${escaped(nameOf(i))}</button>`).join("");
    const more = nodes.length > 24 ? `<p class="note">and ${nodes.length - 24} more</p>` : "";
    const head = kind === "code" ? `one array instruction${shape ? `, a loop of ${escaped(shape)}` : ""}` : "numbers from outside";
    return `<h2>Selected: ${head}</h2><p><code>${escaped(text)}</code></p><p>It stands for ${nodes.length} scalar node${nodes.length === 1 ? "" : "s"}:</p><div class="chips">${chips}</div>${more}
      <div class="actions"><button data-do="mark">Show them among the scalars</button></div>`;
  };

  // What a reader does

  const go = (step) => {
    state.step = Math.max(0, Math.min(lastStep(), step));
    if (isArrays()) choose("scalars");
    paint();
    const { node } = moment();
    if (node >= 0) follow(view.units[view.unitOf[node]], doc.operands[node].map((x) => view.units[view.unitOf[x]]));
  };

  const play = (on = !state.playing) => {
    clearTimeout(state.playing);
    state.playing = 0;
    if (on) {
      if (state.step === lastStep()) state.step = -1;
      const pause = Math.max(16, Math.min(900, 24000 / lastStep()));
      const stride = Math.max(1, Math.round(lastStep() / 1500));
      const tick = () => {
        go(state.step + stride);
        if (state.step < lastStep()) state.playing = setTimeout(tick, pause);
        else play(false);
      };
      state.playing = setTimeout(tick, 0);
    }
    $("play").querySelector("path").setAttribute("d", on ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1l11 7-11 7z");
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  };

  const select = (key) => {
    state.selected = key;
    paint();
  };

  const openFold = (fold) => {
    const { items, kind } = doc.folds[fold];
    const shown = Math.min(state.open.get(fold) || 0, items.length);
    const many = kind !== "module" && items.length - shown > PART;
    state.open.set(fold, many ? shown + 1 : Infinity);
    const inner = items[Math.min(shown, items.length - 1)];
    if (many && inner < 0) state.open.set(-inner, Infinity);
    relayout();
    if (many) paint();
    else select(null);
    follow(view.units.find((unit) => unit.fold === fold) || view.units[view.unitOf[firstNode(inner)]]);
  };
  const firstNode = (item) => (item >= 0 ? item : firstNode(doc.folds[-item].items[0]));

  // Close the innermost fold around what is selected.
  const closeAround = (key) => {
    const i = Number(key.slice(1));
    const fold = key[0] === "n" ? parentOf[i] : state.open.has(i) ? i : doc.folds[i].parent;
    if (fold <= 0) return;
    state.open.delete(fold);
    relayout();
    select(`f${fold}`);
    follow(view.units.find((unit) => unit.fold === fold));
  };

  // Open all that hides a node, and show it.
  const reveal = (node) => {
    choose("scalars");
    let hidden = node;
    for (const fold of foldsAround(node).reverse()) {
      const { items, kind } = doc.folds[fold];
      const place = items.indexOf(hidden);
      const shown = Math.min(state.open.get(fold) || 0, items.length);
      if (kind === "module" || items.length <= PART) state.open.set(fold, Infinity);
      else if (place >= shown) {
        items.splice(place, 1);
        items.splice(shown, 0, hidden);
        state.open.set(fold, shown + 1);
      }
      hidden = -fold;
    }
    relayout();
    select(`n${node}`);
    follow(view.units[view.unitOf[node]]);
  };

  const edit = (node, text) => {
    const number = text.trim() === "" ? NaN : Number(text.replace("−", "-"));
    const field = $("number");
    if (Number.isNaN(number) && !/^\s*nan\s*$/i.test(text)) {
      field.setCustomValidity("a number is needed, such as -1.5 or 2e-3");
      field.reportValidity();
      return;
    }
    field.setCustomValidity("");
    field.blur();
    doc.data[node] = number;
    tape.evaluate(doc);
    renew();
    paint();
    $("number")?.focus();
  };

  const choose = (tab) => {
    if (state.tab === tab) return;
    state.tab = tab;
    state.selected = null;
    for (const name of ["scalars", "arrays"]) {
      $(`tab-${name}`).setAttribute("aria-selected", name === tab);
      $(`tab-${name}`).tabIndex = name === tab ? 0 : -1;
    }
    relayout();
    fit(0.7);
    paint();
  };

  const refold = () => {
    state.open = scene.unfold(doc, LIMIT);
    state.marked = null;
    choose("scalars");
    relayout();
    fit();
    select(null);
  };

  // Search

  const hits = (text) => {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const found = [];
    for (let i = 0; i < doc.data.length && found.length < 200; i++) {
      const line = doc.places[doc.lines[i]];
      const words = `${nameOf(i)} ${opOf(i)} ${line}`.toLowerCase();
      if (words.includes(wanted)) found.push([nameOf(i).toLowerCase() === wanted ? 0 : 1, i]);
    }
    return found.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, i]) => i);
  };
  let chosen = 0;
  const showHits = () => {
    const list = hits($("search").value);
    const box = $("hits");
    box.hidden = !$("search").value.trim();
    $("search").setAttribute("aria-expanded", !box.hidden);
    chosen = Math.max(0, Math.min(chosen, Math.min(list.length, 20) - 1));
    box.innerHTML = list.length
      ? list.slice(0, 20).map((i, k) => {
        const folds = foldsAround(i).filter((fold) => doc.folds[fold].kind === "module").map(foldName).join(" › ");
        return `<li role="option" data-node="${i}" aria-selected="${k === chosen}"><b>${escaped(nameOf(i))}</b> ${escaped(opOf(i))} <small>${escaped(folds)} ${escaped(doc.places[doc.lines[i]])}</small></li>`;
      }).join("") + (list.length > 20 ? `<li><small>${list.length >= 200 ? "200 or more" : list.length} found</small></li>` : "")
      : "<li><small>nothing found</small></li>";
    return list;
  };
  const endSearch = () => {
    $("hits").hidden = true;
    $("search").setAttribute("aria-expanded", false);
  };
  $("search").addEventListener("input", () => {
    chosen = 0;
    showHits();
  });
  $("search").addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) {
      chosen += move;
      showHits();
      event.preventDefault();
    } else if (event.key === "Enter") {
      const node = showHits()[chosen];
      if (node === undefined) return;
      endSearch();
      reveal(node);
      document.querySelector(`[data-key="n${node}"]`)?.focus({ preventScroll: true });
    } else if (event.key === "Escape") {
      endSearch();
      $("canvas").focus();
    }
    event.stopPropagation();
  });
  $("search").addEventListener("blur", () => setTimeout(endSearch, 150));
  $("hits").addEventListener("pointerdown", (event) => {
    const li = event.target.closest("[data-node]");
    if (!li) return;
    event.preventDefault();
    endSearch();
    reveal(Number(li.dataset.node));
  });

  // Buttons, keys, pointers

  const click = (id, action) => $(id).addEventListener("click", action);
  click("first", () => go(0));
  click("back", () => go(state.step - 1));
  click("play", () => play());
  click("next", () => go(state.step + 1));
  click("last", () => go(lastStep()));
  click("zoom-in", () => zoom(1.25));
  click("zoom-out", () => zoom(0.8));
  click("fit", () => fit());
  click("refold", refold);
  click("help", () => $("keys").showModal());
  $("scrub").addEventListener("input", (event) => {
    play(false);
    go(Number(event.target.value));
  });
  const mistake = () => {
    state.order = $("plain-order").checked ? "plain" : "topological";
    state.leftover = $("no-reset").checked;
    renew();
    if (state.order === "plain" || state.leftover) go(lastStep());
    else paint();
  };
  $("plain-order").addEventListener("change", mistake);
  $("no-reset").addEventListener("change", mistake);
  for (const name of ["scalars", "arrays"]) {
    click(`tab-${name}`, () => choose(name));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = name === "scalars" ? "arrays" : "scalars";
      choose(other);
      $(`tab-${other}`).focus();
      event.stopPropagation();
      event.preventDefault();
    });
  }

  const act = (what) => {
    const { selected } = state;
    if (selected === null) return;
    const i = Number(selected.slice(1));
    if (what === "open" && selected[0] === "f") openFold(i);
    else if (what === "close" && selected[0] !== "i") closeAround(selected);
    else if (what === "mark") {
      state.marked = new Set(doc.program.instructions[i].nodes);
      choose("scalars");
      follow(view.units[view.unitOf[[...state.marked][0]]]);
    }
  };
  $("selected").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.do) act(button.dataset.do);
    if (button?.dataset.node) reveal(Number(button.dataset.node));
  });
  $("selected").addEventListener("keydown", (event) => {
    if (event.target.id !== "number") return;
    if (event.key === "Enter") edit(Number(state.selected.slice(1)), event.target.value);
    else if (event.key === "Escape") $("canvas").focus();
    else event.target.setCustomValidity("");
    event.stopPropagation();
  });

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
    if (target.matches("input[type=text], input[type=search]")) return;
    const isButton = target.matches("button, input");
    const graphKey = target.dataset?.key;
    const scrolls = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (graphKey && (key === "Enter" || key === " ")) {
      const twice = state.selected === graphKey && graphKey[0] === "f";
      if (twice) act("open");
      else select(graphKey);
    } else if (event.shiftKey && scrolls[key]) move(...scrolls[key]);
    else if (key === "ArrowRight" && target.id !== "scrub") go(state.step + 1);
    else if (key === "ArrowLeft" && target.id !== "scrub") go(state.step - 1);
    else if (key === "Home" && target.id !== "scrub") go(0);
    else if (key === "End" && target.id !== "scrub") go(lastStep());
    else if (key === " " && !isButton) play();
    else if (key === "/") $("search").focus();
    else if (key === "+" || key === "=") zoom(1.25);
    else if (key === "-" || key === "−") zoom(0.8);
    else if (key === "0") fit();
    else if (key === "f") refold();
    else if (key === "o") act("open");
    else if (key === "c") act("close");
    else if (key === "?") $("keys").showModal();
    else if (key === "Escape") {
      state.marked = null;
      select(null);
    } else return;
    event.preventDefault();
  });

  const pointers = new Map();
  let dragged = 0;
  $("canvas").addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    dragged = 0;
  });
  window.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]];
    dragged += Math.hypot(dx, dy);
    if (pointers.size === 1) move(dx, dy);
    else {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
      const { left, top } = area();
      zoom(apart([event.clientX, event.clientY]) / Math.max(apart(last), 1), [other[0] - left, other[1] - top]);
    }
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, (event) => pointers.delete(event.pointerId));
  $("canvas").addEventListener("click", (event) => {
    if (dragged > 6) return;
    const group = event.target.closest("[data-of]");
    const of = group?.dataset.of;
    if (of?.[0] === "u") select(group.dataset.key);
    else if (of?.[0] === "b" && event.target.matches("text")) closeAround(`f${view.boxes[Number(of.slice(1))].fold}`);
    else select(null);
  });
  $("canvas").addEventListener("dblclick", (event) => {
    const key = event.target.closest("[data-key]")?.dataset.key;
    if (key?.[0] === "f") openFold(Number(key.slice(1)));
  });
  $("canvas").addEventListener("wheel", (event) => {
    event.preventDefault();
    const { left, top } = area();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), [event.clientX - left, event.clientY - top]);
  }, { passive: false });
  new ResizeObserver(() => camera()).observe($("canvas"));

  $("tabs").hidden = !doc.program;
  renew();
  relayout();
  fit(0.6); // readable; what does not fit is a drag away
  paint();
})();
