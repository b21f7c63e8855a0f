// The explorer: what a reader sees and does. The numbers are tape.js's, the picture scene.js's.

"use strict";

(() => {
  const LIMIT = 60; // things to look at before a graph is folded
  const PART = 8; // items of a repeat that open at once; of more, one is taken out
  const $ = (id) => document.getElementById(id);
  const { escaped } = scene;
  const doc = tape.prepare(scene.read(JSON.parse($("document").textContent)));
  const tell = teller(doc);
  const eye = camera($("canvas"), $("plane"));

  const state = {
    step: 0,
    order: "topological",
    leftover: false,
    open: scene.unfold(doc, LIMIT),
    tab: "scalars",
    selected: null, // "n12" a node, "f3" a fold, "i2" an instruction
    marked: null, // a set of nodes
    playing: 0,
  };
  let view = null; // what is visible, and where
  let pass = null; // the backward order, what a right pass gives, what this one gives

  // The pass

  const renew = () => {
    const right = tape.order(doc);
    const truth = tape.backward(doc, right, right.length).grads;
    const start = state.leftover ? truth : null;
    const run = (order) => {
      const end = tape.backward(doc, order, order.length, start).grads;
      const isWrong = end.map((grad, i) => doc.kinds[i] !== "c" && !isClose(grad, truth[i]));
      return { order, truth, start, end, isWrong, wrong: isWrong.filter(Boolean).length };
    };
    // Of the orders that people try, the first that goes wrong here.
    const tried = state.order === "plain" ? tape.naive(doc).map(run) : [run(right)];
    pass = tried.find((one) => one.wrong) || tried[0];
    pass.places = new Map(pass.order.map((node, place) => [node, place]));
    $("scrub").max = lastStep();
    state.step = Math.min(state.step, lastStep());
  };
  const isClose = (a, b) =>
    a === b ||
    (Number.isNaN(a) && Number.isNaN(b)) ||
    Math.abs((a || 0) - (b || 0)) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));
  const seed = () => doc.results.length + 1; // the step at which the root gets its 1
  const lastStep = () => seed() + pass.order.length;

  const moment = () => {
    const { step } = state;
    if (step < seed()) {
      const node = step > 0 ? doc.results[step - 1] : -1;
      return { phase: step > 0 ? "forward" : "start", node, done: step };
    }
    const done = step - seed();
    return {
      phase: done ? "backward" : "seed",
      node: done ? pass.order[done - 1] : doc.roots[0],
      done,
    };
  };

  // What is known at this moment: the document, with the numbers there are by now.
  const now = () => {
    const at = moment();
    const shown = Object.create(doc);
    if (at.phase === "start" || at.phase === "forward") {
      const last = at.node;
      shown.data = doc.data.map((x, i) => (doc.kinds[i] === "r" && i > last ? null : x));
      shown.grads = pass.start
        ? pass.start.map((g, i) => (doc.kinds[i] === "r" ? null : g))
        : doc.data.map(() => null);
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
      const text = [unit.content.op, ...unit.content.rows.map(([a, b]) => `${a} ${b}`.trim())]
        .filter(Boolean)
        .join(", ");
      return `${attributes} tabindex="0" role="button" data-key="${keyOf(unit, i)}" aria-label="${escaped(text)}"`;
    });
    if (focused) document.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
    describe(at, shown, contributions);
  };

  const classify = (at, shown, contributions) => {
    const classes = new Map();
    const add = (of, cls) => classes.set(of, [...(classes.get(of) || []), cls]);
    view.units.forEach((unit, i) => {
      if (state.selected === keyOf(unit, i)) add(`u${i}`, "selected");
    });
    if (isArrays()) return classes;
    view.units.forEach((unit, i) => {
      if (unit.node !== undefined && shown.data[unit.node] === null && doc.data[unit.node] !== null)
        add(`u${i}`, "todo");
      if (unit.fold !== undefined && firstOf(unit.items) > at.node && at.phase === "forward")
        add(`u${i}`, "todo");
      if (
        unit.node !== undefined &&
        pass.isWrong[unit.node] &&
        shown.grads[unit.node] !== null &&
        isOver(at, unit.node)
      )
        add(`u${i}`, "wrong");
    });
    if (state.marked)
      for (const node of state.marked)
        if (!classes.get(`u${view.unitOf[node]}`)?.includes("marked"))
          add(`u${view.unitOf[node]}`, "marked");
    if (at.node < 0) return classes;
    const here = view.unitOf[at.node];
    add(`u${here}`, "now");
    const isBack = at.phase === "backward";
    const flowing = new Set(
      (isBack ? contributions.map((c) => c.operand) : doc.operands[at.node]).map(
        (x) => view.unitOf[x],
      ),
    );
    if (at.phase !== "seed") {
      for (const edge of view.unitEdges[here]) {
        const { from, to } = view.edges[edge];
        if (to === here && flowing.has(from)) add(`e${edge}`, isBack ? "back" : "flow");
      }
    }
    return classes;
  };
  const firstOf = (items) =>
    items.reduce(
      (least, item) => Math.min(least, item >= 0 ? item : firstOf(doc.folds[-item].items)),
      Infinity,
    );

  // How many nodes in these items, and in the folds among them, are such.
  const wrongIn = (items, isOff) =>
    items.reduce(
      (sum, item) =>
        sum + (item >= 0 ? Number(isOff(item)) : wrongIn(doc.folds[-item].items, isOff)),
      0,
    );

  // Whether a node's gradient will not change any more in this pass.
  const isOver = (at, node) =>
    at.done >= pass.order.length ||
    (doc.kinds[node] === "r" && pass.places.get(node) < at.done && at.phase === "backward");

  // What is written beside the nodes: the shares that arrive, and what should have come out.
  const notes = (at, shown, contributions) => {
    const found = [];
    const write = (unit, text, cls, line) =>
      found.push({
        of: "x0",
        text: [unit.x + unit.width / 2, unit.y + unit.height + 12 + 12 * line, text, "middle"],
        cls,
      });
    const byUnit = new Map();
    for (const c of contributions) {
      const unit = view.unitOf[c.operand];
      byUnit.set(unit, [...(byUnit.get(unit) || []), c]);
    }
    for (const [i, some] of byUnit) {
      const unit = view.units[i];
      if (unit.node === undefined) write(unit, `+= … (${some.length} shares)`, "plus", 0);
      else
        some
          .slice(0, 2)
          .forEach((c, line) =>
            write(
              unit,
              `${c.before === null ? "" : `${scene.number(c.before, 4)} `}+= ${scene.number(c.share, 4)}`,
              "plus",
              line,
            ),
          );
    }
    const isOff = (node) =>
      pass.isWrong[node] && isOver(at, node) && shown.grads[node] !== null;
    view.units.forEach((unit, i) => {
      if (unit.node === undefined) {
        const off = wrongIn(unit.items, isOff);
        const line = Number(byUnit.has(i));
        if (off) write(unit, `${off} ${off === 1 ? "gradient" : "gradients"} wrong`, "should", line);
      } else if (!byUnit.has(i) && isOff(unit.node))
        write(unit, `should be ${scene.number(pass.truth[unit.node], 4)}`, "should", 0);
    });
    return found;
  };

  // What is told beside the picture

  const describe = (at, shown, contributions) => {
    $("scrub").value = state.step;
    $("where").textContent = tell.where(at, pass.order.length);
    $("scrub").setAttribute("aria-valuetext", $("where").textContent);
    $("first").disabled = $("back").disabled = state.step === 0;
    $("last").disabled = $("next").disabled = state.step === lastStep();
    $("mistakes").hidden = isArrays();
    $("step").innerHTML = isArrays() ? tell.arrays() : tell.step(pass, at, contributions);
    $("verdict").innerHTML = tell.verdict(pass.wrong, state.order === "plain", state.leftover);
    describeSelected(shown);
  };

  const describeSelected = (shown) => {
    const { selected } = state;
    const section = $("selected");
    section.hidden = selected === null;
    if (selected === null) return;
    const isEdited = document.activeElement === $("number") && section.dataset.of === selected;
    if (isEdited) return;
    section.dataset.of = selected;
    const i = Number(selected.slice(1));
    if (selected[0] === "i") section.innerHTML = tell.instruction(i);
    else if (selected[0] === "f")
      section.innerHTML = tell.fold(i, state.open.get(i) || 0, isLong(i));
    else section.innerHTML = tell.node(pass, shown, i);
  };

  // Whether a fold opens item by item.
  const isLong = (fold) => {
    const { items, kind } = doc.folds[fold];
    return (
      kind !== "module" && items.length - Math.min(state.open.get(fold) || 0, items.length) > PART
    );
  };

  // What a reader does

  const go = (step) => {
    state.step = Math.max(0, Math.min(lastStep(), step));
    if (isArrays()) choose("scalars");
    paint();
    const { node } = moment();
    if (node >= 0)
      eye.follow(
        view.units[view.unitOf[node]],
        doc.operands[node].map((x) => view.units[view.unitOf[x]]),
      );
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
    $("play")
      .querySelector("path")
      .setAttribute("d", on ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1l11 7-11 7z");
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  };

  const select = (key) => {
    state.selected = key;
    paint();
  };

  const openFold = (fold) => {
    const { items } = doc.folds[fold];
    const shown = Math.min(state.open.get(fold) || 0, items.length);
    const many = isLong(fold);
    state.open.set(fold, many ? shown + 1 : Infinity);
    const inner = items[Math.min(shown, items.length - 1)];
    if (many && inner < 0) state.open.set(-inner, Infinity);
    relayout();
    if (many) paint();
    else select(null);
    eye.follow(
      view.units.find((unit) => unit.fold === fold) || view.units[view.unitOf[firstNode(inner)]],
    );
  };
  const firstNode = (item) => (item >= 0 ? item : firstNode(doc.folds[-item].items[0]));

  // Close the innermost fold around what is selected.
  const closeAround = (key) => {
    const i = Number(key.slice(1));
    const fold = key[0] === "n" ? tell.parents[i] : state.open.has(i) ? i : doc.folds[i].parent;
    if (fold <= 0) return;
    state.open.delete(fold);
    relayout();
    select(`f${fold}`);
    eye.follow(view.units.find((unit) => unit.fold === fold));
  };

  // Open all that hides a node, and show it.
  const reveal = (node) => {
    choose("scalars");
    let hidden = node;
    for (const fold of tell.foldsAround(node).reverse()) {
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
    eye.follow(view.units[view.unitOf[node]]);
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

  // On narrow screens the words leave the picture the room that they do not take: so they are
  // first, and the step that is shown comes into sight again last.
  const showAll = (least) => {
    paint();
    eye.fit(view.bounds, least);
    paint();
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
    showAll(0.7);
  };

  const refold = () => {
    state.open = scene.unfold(doc, LIMIT);
    state.marked = null;
    choose("scalars");
    relayout();
    select(null);
    showAll();
  };

  search(doc, tell, $("search"), $("hits"), (node) => {
    if (node !== null) reveal(node);
    const part = node === null ? $("canvas") : document.querySelector(`[data-key="n${node}"]`);
    part?.focus({ preventScroll: true });
  });

  // Buttons, keys, pointers

  const click = (id, action) => $(id).addEventListener("click", action);
  click("first", () => go(0));
  click("back", () => go(state.step - 1));
  click("play", () => play());
  click("next", () => go(state.step + 1));
  click("last", () => go(lastStep()));
  click("zoom-in", () => eye.zoom(1.25));
  click("zoom-out", () => eye.zoom(0.8));
  click("fit", () => eye.fit(view.bounds));
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
      eye.follow(view.units[view.unitOf[[...state.marked][0]]]);
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
    const scrolls = {
      ArrowLeft: [60, 0],
      ArrowRight: [-60, 0],
      ArrowUp: [0, 60],
      ArrowDown: [0, -60],
    };
    if (graphKey && (key === "Enter" || key === " ")) {
      const twice = state.selected === graphKey && graphKey[0] === "f";
      if (twice) act("open");
      else select(graphKey);
    } else if (event.shiftKey && scrolls[key]) eye.move(...scrolls[key]);
    else if (key === "ArrowRight" && target.id !== "scrub") go(state.step + 1);
    else if (key === "ArrowLeft" && target.id !== "scrub") go(state.step - 1);
    else if (key === "Home" && target.id !== "scrub") go(0);
    else if (key === "End" && target.id !== "scrub") go(lastStep());
    else if (key === " " && !isButton) play();
    else if (key === "/") $("search").focus();
    else if (key === "+" || key === "=") eye.zoom(1.25);
    else if (key === "-" || key === "−") eye.zoom(0.8);
    else if (key === "0") eye.fit(view.bounds);
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

  $("canvas").addEventListener("click", (event) => {
    if (eye.wasDragged()) return;
    const group = event.target.closest("[data-of]");
    const of = group?.dataset.of;
    if (of?.[0] === "u") select(group.dataset.key);
    else if (of?.[0] === "b" && event.target.matches("text"))
      closeAround(`f${view.boxes[Number(of.slice(1))].fold}`);
    else select(null);
  });
  $("canvas").addEventListener("dblclick", (event) => {
    const key = event.target.closest("[data-key]")?.dataset.key;
    if (key?.[0] === "f") openFold(Number(key.slice(1)));
  });

  $("tabs").hidden = !doc.program;
  renew();
  relayout();
  showAll(0.6); // readable; what does not fit is a drag away
})();
