// What is told beside the picture, in words and formulas: one function for each kind of thing.
//
// All give HTML; what comes from the reader's code (labels, lines, titles) is escaped.

"use strict";

const teller = (doc) => {
  const FEW = 6; // shares, before it says how many more there are
  const CHIPS = 24;
  const { escaped, number } = scene;

  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const note = (text) => `<p class="note">${text}</p>`;
  const firstFew = (list, most, text) =>
    list.slice(0, most).map(text).join("") +
    (list.length > most ? note(`and ${list.length - most} more`) : "");

  // Names

  const nameOf = (i) => {
    if (doc.labels[i]) return doc.labels[i];
    return doc.kinds[i] === "c" ? number(doc.data[i]) : `v${i}`;
  };
  const mathOf = (i) =>
    doc.kinds[i] === "c" && !doc.labels[i] ? numberOf(i) : maths.name(nameOf(i));
  const numberOf = (i) => maths.number(doc.data[i]);
  const opOf = (i) => doc.symbols[doc.ops[i]];
  const placeOf = (i) => doc.places[doc.lines[i]];

  const parents = new Int32Array(doc.data.length);
  doc.folds.forEach((fold, k) => {
    for (const item of fold.items) if (item >= 0) parents[item] = k;
  });
  // The folds around a fold and the fold itself, or those around a node; the outermost first.
  const lineage = (fold) => {
    const path = [];
    for (let at = fold; at > 0; at = doc.folds[at].parent) path.unshift(at);
    return path;
  };
  const foldsAround = (node) => lineage(parents[node]);
  const foldName = (fold) => {
    const { kind, title, items, size } = doc.folds[fold];
    if (kind === "module") return title;
    return kind === "run" ? `${size} nodes` : `${title} × ${items.length}`;
  };

  const placeText = (i) => (placeOf(i) ? note(`made at <code>${escaped(placeOf(i))}</code>`) : "");
  const pathText = (folds) =>
    folds.length ? `<p class="path">in ${folds.map(foldName).map(escaped).join(" › ")}</p>` : "";

  // Steps

  const where = (at, backward) => {
    const forward = doc.results.length;
    return {
      start: `start · ${plural(forward, "step")} forward`,
      forward: `forward ${at.done} of ${forward}`,
      seed: `backward 0 of ${backward}`,
      backward: `backward ${at.done} of ${backward}`,
    }[at.phase];
  };

  const step = (pass, at, contributions) => {
    if (at.phase === "start") return startText();
    if (at.phase === "seed") return seedText(at.node);
    return at.phase === "forward"
      ? forwardText(at.node)
      : backwardText(pass, at.node, contributions);
  };

  const startText = () => {
    const hint = note(
      "No lines of code here: make the value inside <code>with gl.tracing():</code>, or give " +
        "<code>gl.explore</code> the function, and each node says where it was made.",
    );
    return `<h2>Start</h2>
      <p>The leaves have their numbers. Step on (→) to compute from them, forward, then to go back
      with the gradients.</p>
      ${doc.places.some(Boolean) ? "" : hint}`;
  };

  const seedText = (root) => {
    const y = mathOf(root);
    const line = maths.line(maths.grad(y), "=", maths.slope(y, y), "=", maths.number(1));
    return `<h2>Backward: the start</h2>
      <p class="big">${line}</p>
      <p>How fast does the result move when the result is nudged? As fast.</p>`;
  };

  const forwardText = (node) => {
    const operands = doc.operands[node];
    const symbols = maths.apply(opOf(node), operands.map(mathOf));
    const numbers = maths.apply(opOf(node), operands.map(numberOf));
    const parts = [mathOf(node), "=", symbols];
    if (numbers.text !== symbols.text) parts.push("=", numbers);
    if (doc.data[node] !== null) parts.push("=", numberOf(node));
    return `<h2>Forward: compute ${escaped(nameOf(node))}</h2>
      <p class="big">${maths.line(...parts)}</p>
      ${placeText(node)}`;
  };

  const backwardText = (pass, node, contributions) => {
    const before = tape.backward(doc, pass.order, pass.places.get(node), pass.start);
    const upstream = before.grads[node];
    const name = escaped(nameOf(node));
    const paths = tape.paths(doc, node, pass.truth);
    const late = paths - before.arrived[node];
    const early = `<p class="wrong">Too early: ${late} of the ${paths} shares of ${name}
      ${late === 1 ? "is" : "are"} still to come.</p>`;
    const handed = maths.line(maths.grad(mathOf(node)), "=", maths.number(upstream));
    const intro = contributions.length
      ? `${name} hands ${handed} on: local derivative × gradient from above.`
      : `Nothing goes on from ${name}: ${upstream === null ? "no gradient reached it" : "its local derivative is 0 here"}.`;
    return `<h2>Backward: from ${name} (${escaped(opOf(node))})</h2>
      <p>${intro}</p>
      ${late > 0 ? early : ""}
      ${firstFew(contributions, FEW, (share) => shareText(pass, node, upstream, share))}
      ${placeText(node)}`;
  };

  // What one operand gets: the rule, the product, and the sum where paths meet.
  const shareText = (pass, node, upstream, contribution) => {
    const { operand, place, local, share, before, after, arrived } = contribution;
    const grad = maths.grad(mathOf(operand));
    const slope = maths.slope(mathOf(node), mathOf(operand));
    const product = maths.product(maths.number(local), maths.number(upstream));
    const total = tape.paths(doc, operand, pass.truth);
    const meets = before !== null;
    const sum = [
      grad,
      "=",
      maths.number(before),
      "+",
      maths.factor(share),
      "=",
      maths.number(after),
    ];
    const name = escaped(nameOf(operand));
    return `<div class="share${meets ? " meets" : ""}">
      <p>${maths.line(slope, ...ruleText(node, place, local))}</p>
      <p>${maths.line(grad, "+=", product, "=", maths.number(share))}</p>
      ${meets ? `<p>${maths.line(...sum)}</p>` : ""}
      ${total > 1 ? note(`path ${arrived} of ${total} that meet in ${name}: shares add up`) : ""}
    </div>`;
  };

  // The local derivative: in symbols, with the numbers put in, and what comes out.
  const ruleText = (node, place, local) => {
    const value = maths.number(local);
    const rule = doc.rules[`${opOf(node)}/${doc.operands[node].length}`];
    if (!rule) return ["=", value];
    const all = [...doc.operands[node], node];
    const known = all.map((i) => doc.data[i]);
    const symbols = maths.partial(rule, place, all.map(mathOf), known);
    const numbers = maths.partial(rule, place, all.map(numberOf), known);
    const parts = ["=", symbols];
    if (numbers.text !== symbols.text && numbers.text !== value.text) parts.push("=", numbers);
    if (symbols.text !== value.text) parts.push("=", value);
    return parts;
  };

  const verdict = (wrong, isPlain, isLeftover) => {
    if (!isPlain && !isLeftover) return "";
    if (!wrong) {
      return "Nothing goes wrong in this graph: whatever the order, all shares have arrived before a node hands on.";
    }
    const reasons = [
      isPlain ? "A node handed its gradient on before all shares had arrived in it." : "",
      isLeftover ? "What the last pass left in the leaves was added to." : "",
    ];
    return `<span class="wrong">${plural(wrong, "gradient")} ${wrong === 1 ? "comes" : "come"} out wrong.</span>
      ${reasons.join(" ")}`;
  };

  // Things that are selected

  const table = (rows) => {
    const cells = rows.map(([name, cell]) => `<tr><th>${name}</th><td>${cell}</td></tr>`);
    return `<table>${cells.join("")}</table>`;
  };
  const actions = (...buttons) => {
    const shown = buttons
      .filter(Boolean)
      .map(([what, text]) => `<button data-do="${what}">${text}</button>`);
    return shown.length ? `<div class="actions">${shown.join("")}</div>` : "";
  };
  const CLOSE = ["close", "Close around it (c)"];

  const node = (pass, shown, i) => {
    const kind = { r: "result", l: "leaf", p: "parameter", c: "plain number" }[doc.kinds[i]];
    const rows = [
      ["data", doc.kinds[i] === "r" ? escaped(number(shown.data[i], 12)) : editText(i)],
    ];
    if (doc.kinds[i] !== "c") {
      const grad = shown.grads[i];
      const text = grad === null ? '<span class="note">not computed yet</span>' : number(grad, 12);
      rows.push(["grad", text]);
      const right = `<span class="wrong">${number(pass.truth[i], 12)}</span>`;
      if (pass.isWrong[i]) rows.push(["should be", right]);
    }
    const op = doc.kinds[i] === "r" ? ` · ${escaped(opOf(i))}` : "";
    const inside = foldsAround(i);
    return `<h2>Selected: ${kind}${op}</h2>
      <p><b>${escaped(nameOf(i))}</b></p>
      ${table(rows)}
      ${sumText(i)} ${placeText(i)} ${pathText(inside)}
      ${actions(inside.length && CLOSE)}`;
  };

  const editText = (i) => {
    if (doc.data[i] === null) return "–";
    if (doc.unknown.length) {
      const why = `cannot be edited: the page does not know the operation ${doc.unknown[0]}`;
      return `${number(doc.data[i], 12)} <span class="note">${escaped(why)}</span>`;
    }
    return `<input id="number" type="text" inputmode="decimal" aria-label="New number"
      value="${doc.data[i]}"> <span class="note">Enter recomputes</span>`;
  };

  // The gradient as the sum over all paths out of a node.
  const sumText = (i) => {
    const shares = doc.readers[i].flatMap((reader) =>
      doc.local[reader]
        .filter((local, place) => doc.operands[reader][place] === i && local !== null)
        .map((local) => [reader, local]),
    );
    if (!shares.length || doc.kinds[i] === "c") return "";
    const terms = shares.slice(0, 4).flatMap(([reader, local]) => {
      return ["+", maths.product(maths.number(local, 3), maths.grad(mathOf(reader)))];
    });
    if (shares.length > 4) terms.push("+", maths.dots);
    return `${note(`Its gradient is the sum over ${plural(shares.length, "path")}:`)}
      <p>${maths.line(maths.grad(mathOf(i)), "=", ...terms.slice(1))}</p>`;
  };

  const fold = (k, open, part) => {
    const { kind, items, size, parent } = doc.folds[k];
    const what = {
      module: "a call of a module",
      repeat: "parts that do the same",
      chain: "one operation on its own results",
      run: "parts in a row",
    }[kind];
    const shown = Math.min(open, items.length);
    const around = lineage(parent);
    return `<h2>Selected: ${what}</h2>
      <p><b>${escaped(foldName(k))}</b></p>
      ${note(`${size} nodes${shown ? `, ${shown} of ${items.length} taken out` : ""}`)}
      ${pathText(around)}
      ${actions(["open", part ? "Take one out (o)" : "Open (o)"], around.length && CLOSE)}`;
  };

  // Arrays

  const arrays = () => {
    const code = doc.program.instructions.filter(({ kind }) => kind === "code");
    return `<h2>Re-rolled</h2>
      <p>The same graph as ${plural(code.length, "array instruction")}, for
      ${plural(doc.results.length, "operation")} on scalars. Each is a loop of the shape above it
      over one flat array; <code>@offset(strides)</code> says where an operand lies.</p>
      ${note("Select one to see the scalar nodes that it stands for.")}`;
  };

  const instruction = (k) => {
    const { shape, text, nodes, kind } = doc.program.instructions[k];
    const head = kind === "code" ? `an array instruction, ${shape}` : "numbers from outside";
    const chip = (i) => `<button data-node="${i}">${escaped(nameOf(i))}</button>`;
    return `<h2>Selected: ${escaped(head)}</h2>
      <p><code>${escaped(text)}</code></p>
      <p>It stands for ${plural(nodes.length, "scalar node")}:</p>
      <div class="chips">${firstFew(nodes, CHIPS, chip)}</div>
      ${actions(["mark", "Show them among the scalars"])}`;
  };

  return {
    nameOf,
    opOf,
    placeOf,
    parents,
    foldsAround,
    foldName,
    where,
    step,
    verdict,
    node,
    fold,
    arrays,
    instruction,
  };
};
