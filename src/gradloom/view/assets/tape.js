// The engine of the page: the forward pass, and the backward pass step by step.
//
// Right by default: results in topological order, gradients started afresh. Two mistakes can be
// made on purpose, to see what they do: an order of `naive`, and a start from the gradients that
// an earlier pass has left.

"use strict";

const tape = {};

(() => {
  // Everything that follows from the shape of the graph alone.
  tape.prepare = (doc) => {
    doc.results = [];
    doc.readers = doc.operands.map(() => []);
    doc.operands.forEach((operands, i) => {
      if (doc.kinds[i] === "r") doc.results.push(i);
      for (const x of new Set(operands)) doc.readers[x].push(i);
    });
    const unknown = doc.results.map((i) => doc.symbols[doc.ops[i]]).filter((op) => !(op in ops));
    doc.unknown = [...new Set(unknown)];
    doc.local = doc.operands.map(() => []);
    for (const i of doc.results) doc.local[i] = locals(doc, i);
    return doc;
  };

  const locals = (doc, i) => {
    const symbol = doc.symbols[doc.ops[i]];
    const rule = doc.rules[`${symbol}/${doc.operands[i].length}`];
    const found =
      rule && symbol in ops
        ? derivatives(
            rule,
            doc.data[i],
            doc.operands[i].map((x) => doc.data[x]),
          )
        : doc.given[i].map((x) => (x === null ? null : Number(x)));
    return found.map((d, place) => (doc.kinds[doc.operands[i][place]] === "c" ? null : d));
  };

  // Compute every result and every local derivative from the leaves.
  tape.evaluate = (doc) => {
    for (const i of doc.results) {
      doc.data[i] = ops[doc.symbols[doc.ops[i]]](...doc.operands[i].map((x) => doc.data[x]));
      doc.local[i] = locals(doc, i);
    }
  };

  // The order in which results hand their gradients on: each after all that was made from it.
  tape.order = (doc) => {
    const reached = new Set(doc.roots);
    const order = [];
    for (let i = doc.data.length - 1; i >= 0; i--) {
      if (!reached.has(i) || doc.kinds[i] !== "r") continue;
      order.push(i);
      for (const x of doc.operands[i]) reached.add(x);
    }
    return order;
  };

  // Orders that people try instead: a node hands its gradient on when it is first met, going on
  // with its first operand, or its last, or level by level.
  tape.naive = (doc) => {
    const walk = (isDeep, arranged) => {
      const order = [];
      const seen = new Set();
      let waiting = [...doc.roots];
      let head = 0;
      while (head < waiting.length) {
        const i = isDeep ? waiting.pop() : waiting[head++];
        if (seen.has(i) || doc.kinds[i] !== "r") continue;
        seen.add(i);
        order.push(i);
        waiting.push(...arranged([...doc.operands[i]]));
      }
      return order;
    };
    return [walk(true, (x) => x.reverse()), walk(true, (x) => x), walk(false, (x) => x)];
  };

  // The gradients after the first `count` nodes of an order have handed theirs on. What no
  // gradient has reached is null. `contributions` lists what the last of them handed on.
  tape.backward = (doc, order, count, leftover = null) => {
    const grads = doc.data.map(() => null);
    if (leftover) leftover.forEach((grad, i) => doc.kinds[i] !== "r" && (grads[i] = grad));
    for (const root of doc.roots)
      grads[root] = (doc.kinds[root] === "r" ? 0 : grads[root] || 0) + 1;
    const arrived = new Int32Array(doc.data.length);
    let contributions = [];
    for (let k = 0; k < count; k++) {
      const node = order[k];
      contributions = [];
      if (grads[node] === null) continue; // nothing came past a mask
      doc.operands[node].forEach((operand, place) => {
        const local = doc.local[node][place];
        if (local === null) return;
        const share = local * grads[node];
        const before = grads[operand];
        grads[operand] = (before || 0) + share;
        arrived[operand] += 1;
        contributions.push({
          operand,
          place,
          local,
          share,
          before,
          after: grads[operand],
          arrived: arrived[operand],
        });
      });
    }
    return { grads, contributions, arrived };
  };

  // How many shares a node gets in a whole pass that ends with `grads`; what no gradient reaches,
  // past a mask, hands nothing on.
  tape.paths = (doc, node, grads) =>
    doc.readers[node].reduce((sum, reader) => {
      if (grads[reader] === null) return sum;
      const flows = doc.operands[reader].filter(
        (x, place) => x === node && doc.local[reader][place] !== null,
      );
      return sum + flows.length;
    }, 0);
})();
