// From a folded graph to shapes on a plane: what is visible, where it lies, how it is drawn.
//
// The same code draws the picture that Python saves and the page that a reader walks through.
// A document holds the nodes column by column and the tree of folds; which folds are open is a
// Map from a fold to how many of its items are shown one by one, the rest staying one stack.

"use strict";

const scene = {};

(() => {
  const CHAR = 6.65; // the advance of a letter at 11 px in every common monospaced font
  const ROW = 15;
  const KINDS = { r: "result", l: "leaf", p: "parameter", c: "constant" };
  const OP = 13; // radius of an operation
  const FEW = 4; // repeats that a large picture shows one by one
  const GAP = 10; // from an operation to its result

  // Numbers as a picture shows them: five digits, a real minus sign.
  scene.number = (x, digits = 5) => {
    if (x === null || x === undefined) return "–";
    if (Number.isNaN(x)) return "nan";
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
    const size = Math.abs(x);
    let text = String(Number(x.toPrecision(digits)));
    if (size !== 0 && (size < 1e-4 || size >= 1e6)) {
      text = x
        .toExponential(2)
        .replace("e+", "e")
        .replace(/\.?0+e/, "e");
    }
    return (Object.is(x, -0) ? "-0" : text).replaceAll("-", "−");
  };

  const clipped = (text, most = 22) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

  // The folds to open so that at most `limit` things are seen, from the outermost in.
  scene.unfold = (doc, limit) => {
    const weight = (fold) => doc.folds[fold].items.length;
    const open = new Map([[0, Infinity]]);
    const few = doc.data.length <= limit ? Infinity : FEW;
    let seen = weight(0);
    const alike = ({ kind, title, size }) => `${kind} ${title.replace(/\d+/g, "")} ${size}`;
    let level = doc.folds[0].items.filter((item) => item < 0).map((item) => -item);
    while (level.length) {
      // Those that are alike open together or not at all.
      const classes = new Map();
      for (const fold of level) {
        const key = alike(doc.folds[fold]);
        classes.set(key, [...(classes.get(key) || []), fold]);
      }
      level = [];
      const cost = (some) => some.reduce((sum, fold) => sum + weight(fold) - 1, 0);
      for (const some of [...classes.values()].sort((a, b) => cost(a) - cost(b))) {
        const isMany = some.some((fold) => doc.folds[fold].kind !== "module" && weight(fold) > few);
        if (isMany || seen + cost(some) > limit) continue;
        seen += cost(some);
        for (const fold of some) {
          open.set(fold, Infinity);
          for (const item of doc.folds[fold].items) if (item < 0) level.push(-item);
        }
      }
    }
    return open;
  };

  // What is seen: units (a node, or a fold that is closed), boxes around them, and edges.
  scene.visible = (doc, open) => {
    const units = [];
    const boxes = [];
    const unitOf = new Int32Array(doc.data.length).fill(-1);
    const claim = (items, unit) => {
      const waiting = [...items];
      while (waiting.length) {
        const item = waiting.pop();
        if (item >= 0) unitOf[item] = unit;
        else for (const below of doc.folds[-item].items) waiting.push(below);
      }
    };
    const stack = (fold, items, box) => {
      units.push({ fold, items, box });
      claim(items, units.length - 1);
    };
    const walk = (fold, box) => {
      const { items } = doc.folds[fold];
      const shown = Math.min(open.get(fold), items.length);
      for (const item of items.slice(0, shown)) {
        if (item >= 0) {
          unitOf[item] = units.length;
          units.push({ node: item, box });
        } else if (!open.has(-item)) {
          stack(-item, doc.folds[-item].items, box);
        } else if (doc.folds[-item].kind === "module") {
          boxes.push({ fold: -item, parent: box });
          walk(-item, boxes.length - 1);
        } else {
          walk(-item, box);
        }
      }
      if (shown < items.length) stack(fold, items.slice(shown), box);
    };
    walk(0, -1);
    const edges = new Map();
    doc.operands.forEach((operands, node) => {
      for (const operand of operands) {
        const [from, to] = [unitOf[operand], unitOf[node]];
        if (from === to) continue;
        const key = from * units.length + to;
        const known = edges.get(key);
        if (known) known.count += 1;
        else edges.set(key, { from, to, count: 1 });
      }
    });
    return { units, boxes, edges: [...edges.values()], unitOf };
  };

  const isResult = (doc, node) => doc.kinds[node] === "r";

  const range = (values) => {
    const known = values.filter((x) => x !== null);
    if (!known.length) return "–";
    const low = known.reduce((a, b) => Math.min(a, b));
    const high = known.reduce((a, b) => Math.max(a, b));
    return low === high
      ? scene.number(low, 3)
      : `${scene.number(low, 3)} … ${scene.number(high, 3)}`;
  };

  // The lines of text in a unit: [name, value, class], and what is drawn in front of it.
  scene.content = (doc, unit, numbers) => {
    if (unit.node !== undefined) {
      const i = unit.node;
      const rows = [];
      if (doc.labels[i]) rows.push([clipped(doc.labels[i]), "", "label"]);
      if (doc.kinds[i] === "c") rows.push(["", scene.number(doc.data[i]), "figure"]);
      else if (numbers) {
        rows.push(["data", scene.number(doc.data[i]), "data"]);
        rows.push(["grad", scene.number(doc.grads[i]), doc.grads[i] === null ? "none" : "grad"]);
      } else if (!rows.length) rows.push(["", isResult(doc, i) ? "" : "number", "label"]);
      return { rows, op: isResult(doc, i) ? doc.symbols[doc.ops[i]] : "" };
    }
    const fold = doc.folds[unit.fold];
    const count = unit.items.length;
    const times = fold.kind === "repeat" || fold.kind === "chain";
    const title = fold.title || `${fold.size} nodes`;
    const rows = [[clipped(title, 28), times ? `× ${count}` : "", "title"]];
    const nodes = unit.items.filter((item) => item >= 0);
    if (nodes.length < count || ["run", "module"].includes(fold.kind)) {
      if (times) rows.push([`${fold.size / fold.items.length} nodes each`, "", "note"]);
      else if (fold.title) rows.push([`${fold.size} nodes`, "", "note"]);
    } else if (numbers) {
      rows.push(["data", range(nodes.map((i) => doc.data[i])), "data"]);
      if (nodes.some((i) => doc.kinds[i] !== "c")) {
        const grads = nodes.map((i) => doc.grads[i]);
        rows.push(["grad", range(grads), grads.every((x) => x === null) ? "none" : "grad"]);
      }
    }
    return { rows, op: "", isFold: true };
  };

  // With "steady" numbers there is room for any, so that nothing moves when they change.
  const measure = (content, numbers) => {
    if (!numbers && content.op && !content.rows[0][0]) {
      return { width: 0, height: 2 * OP, front: frontOf(content.op) }; // the operation says it all
    }
    const longest = Math.max(
      4,
      ...content.rows.map(([name, value, cls]) => {
        const isNumber = numbers === "steady" && ["data", "grad", "none"].includes(cls);
        const length = isNumber ? (content.isFold ? 19 : 10) : value.length;
        return name.length + length + (name && value ? 2 : 0);
      }),
    );
    const width = Math.round(longest * CHAR + 18);
    const height = Math.max(22, content.rows.length * ROW + 10);
    return { width, height, front: content.op ? frontOf(content.op) + GAP : 0 };
  };

  const frontOf = (op) => Math.max(2 * OP, op.length * CHAR + 12);

  // Where everything lies: layered, left to right. Each box is laid out by dagre on its own and
  // is then one thing in the box around it. What comes in from outside enters a box at *ports*,
  // which hold a lane free for it.
  scene.layout = (doc, view, numbers) => {
    for (const unit of view.units) {
      if (!unit.rows) unit.content = scene.content(doc, unit, numbers);
      else unit.content = { rows: unit.rows, op: "" };
      Object.assign(unit, measure(unit.content, numbers));
    }
    const plan = planned(view);
    const boxed = (child) => (child[0] === "b" ? plan[Number(child.slice(1)) + 1] : null);
    const isNamed = (child) => {
      const { node } = child[0] === "u" ? view.units[Number(child.slice(1))] : {};
      return node !== undefined && doc.kinds[node] !== "r" && doc.labels[node] !== "";
    };
    for (let box = view.boxes.length - 1; box >= -1; box--) {
      arrange(plan[box + 1], boxed, view, isNamed);
      if (box < 0) continue;
      const title = doc.folds[view.boxes[box].fold].title.length * CHAR + 16;
      plan[box + 1].width = Math.max(plan[box + 1].width, title);
    }
    settle(plan, -1, 0, 0, view);
    for (const edge of view.edges) edge.points = route(edge, plan, view);
    enclose(plan, view);
    return view;
  };

  // For each box (the first is around everything) its children, and the edges between them.
  const planned = (view) => {
    const plan = [-1, ...view.boxes.keys()].map(() => ({
      children: [],
      links: new Map(),
      ports: new Map(),
      pad: [0, 0, 0, 0],
    }));
    const way = (i) => {
      const boxes = [];
      for (let box = view.units[i].box; box >= 0; box = view.boxes[box].parent) boxes.unshift(box);
      return [...boxes.map((box) => `b${box}`), `u${i}`];
    };
    const ways = view.units.map((_, i) => way(i));
    view.units.forEach((unit, i) => plan[unit.box + 1].children.push([`u${i}`, i]));
    view.boxes.forEach((box, i) => {
      plan[i + 1].pad = [10, 22, 10, 10];
      const first = view.units.findIndex((_, u) => ways[u].includes(`b${i}`));
      plan[box.parent + 1].children.push([`b${i}`, first]);
    });
    for (const inner of plan) inner.children.sort((a, b) => a[1] - b[1]);
    const link = (box, from, to) => {
      const key = `${from} ${to}`;
      plan[box + 1].links.set(key, 1 + (plan[box + 1].links.get(key) || 0));
      return key;
    };
    for (const edge of view.edges) {
      const [from, to] = [ways[edge.from], ways[edge.to]];
      let same = 0;
      while (from[same] === to[same]) same += 1;
      const around = same ? Number(from[same - 1].slice(1)) : -1;
      edge.links = [[around, link(around, from[same], to[same])]];
      for (let i = same; i < to.length - 1; i++) {
        const box = Number(to[i].slice(1));
        const { ports } = plan[box + 1];
        const port = `p${edge.from}`;
        ports.set(port, null);
        edge.links.push([box, link(box, port, to[i + 1]), port]);
      }
    }
    return plan;
  };

  // Lay one box out by itself: where its children are, and its width and height.
  const arrange = (inner, boxed, view, isNamed) => {
    const unitSize = (unit) => ({ width: unit.front + unit.width, height: unit.height });
    const size = (child) => boxed(child) || unitSize(view.units[Number(child.slice(1))]);
    if (!inner.links.size) {
      shelve(inner, size);
      return;
    }
    const graph = new dagre.graphlib.Graph();
    graph.setGraph({ rankdir: "LR", nodesep: 14, edgesep: 8, ranksep: 38 });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const [child] of inner.children) {
      const { width, height } = size(child);
      graph.setNode(child, { width, height });
    }
    for (const port of inner.ports.keys()) graph.setNode(port, { width: 1, height: 4 });
    for (const [key, count] of inner.links) {
      graph.setEdge(...key.split(" "), { weight: 1 + Math.log2(count) });
    }
    dagre.layout(graph);
    const children = inner.children.map(([child]) => child);
    const order = disorder(graph, children.filter(isNamed)) || disorder(graph, children);
    const flip = order < 0 ? -1 : 1;
    const columns = new Map();
    const place = (child) => {
      const { x, y, width, height } = graph.node(child);
      const column = Math.round(x);
      columns.set(column, Math.max(columns.get(column) || 0, width / 2));
      return { x, y: flip * y, width, height };
    };
    inner.places = new Map(inner.children.map(([child]) => [child, place(child)]));
    inner.columns = columns;
    for (const port of inner.ports.keys()) inner.ports.set(port, place(port));
    const among = new Set([...inner.places.values()].map(({ x }) => Math.round(x)));
    for (const port of inner.ports.values()) port.isAmong = among.has(Math.round(port.x));
    const every = [...inner.places.values(), ...inner.ports.values()];
    const least = (f) => Math.min(...every.map(f));
    const most = (f) => Math.max(...every.map(f));
    const [left, top, right, bottom] = inner.pad;
    const dx = left - least((p) => p.x - p.width / 2);
    const dy = top - least((p) => p.y - p.height / 2);
    inner.width = most((p) => p.x + p.width / 2) + dx + right;
    inner.height = most((p) => p.y + p.height / 2) + dy + bottom;
    inner.bends = new Map();
    for (const key of inner.links.keys()) {
      const { points } = graph.edge(...key.split(" "));
      // The ends aside, every second one is in a column of things, the others are between.
      const bends = points.slice(1, -1).filter((_, i) => i % 2 === 1);
      inner.bends.set(
        key,
        bends.map(({ x, y }) => {
          const half = columns.get(Math.round(x)) || 0;
          return { x: x + dx, y: flip * y + dy, half };
        }),
      );
    }
    for (const p of every) {
      p.x += dx;
      p.y += dy;
    }
  };

  // Things that nothing connects, row by row, in a rectangle of about three by two.
  const shelve = (inner, size) => {
    const sizes = inner.children.map(([child]) => size(child));
    const area = sizes.reduce((sum, { width, height }) => sum + (width + 10) * (height + 10), 0);
    const wide = Math.max(Math.sqrt(1.5 * area), ...sizes.map(({ width }) => width + 10));
    const [left, top, right, bottom] = inner.pad;
    let [x, y, row, most] = [left, top, 0, 0];
    inner.places = new Map();
    inner.bends = new Map();
    inner.children.forEach(([child], i) => {
      const { width, height } = sizes[i];
      if (x > left && x + width > left + wide) [x, y, row] = [left, y + row + 10, 0];
      inner.places.set(child, { x: x + width / 2, y: y + height / 2, width, height });
      x += width + 10;
      row = Math.max(row, height);
      most = Math.max(most, x - 10);
    });
    inner.width = most + right;
    inner.height = y + row + bottom;
  };

  // Below 0 if what comes first in the program mostly came out lower in its column.
  const disorder = (graph, children) => {
    let signs = 0;
    const last = new Map();
    for (const child of children) {
      const { x, y } = graph.node(child);
      const column = Math.round(x);
      if (last.has(column)) signs += Math.sign(y - last.get(column));
      last.set(column, y);
    }
    return signs;
  };

  // From places inside each box to places on the whole plane.
  const settle = (plan, box, left, top, view) => {
    const inner = plan[box + 1];
    inner.left = left;
    inner.top = top;
    for (const [child, { x, y, width, height }] of inner.places) {
      const i = Number(child.slice(1));
      if (child[0] === "b") {
        const corner = [left + x - width / 2, top + y - height / 2];
        view.boxes[i].bounds = [...corner, corner[0] + width, corner[1] + height];
        settle(plan, i, ...corner, view);
      } else {
        const unit = view.units[i];
        unit.left = left + x - width / 2;
        unit.x = unit.left + unit.front;
        unit.middle = top + y;
        unit.y = unit.middle - height / 2;
      }
    }
  };

  // The points that an edge runs through, level at each.
  const route = (edge, plan, view) => {
    const [from, to] = [view.units[edge.from], view.units[edge.to]];
    const points = [[from.x + from.width, from.middle]];
    for (const [box, key, port] of edge.links) {
      const inner = plan[box + 1];
      if (port) {
        const { x, y, isAmong } = inner.ports.get(port);
        if (isAmong) points.push([inner.left, inner.top + y], [inner.left + x, inner.top + y]);
      }
      for (const { x, y, half } of inner.bends.get(key)) {
        points.push([inner.left + x - half, inner.top + y], [inner.left + x + half, inner.top + y]);
      }
    }
    points.push([to.left, to.middle]);
    return points;
  };

  const enclose = (plan, view) => {
    const all = [0, 0, plan[0].width || 0, plan[0].height || 0];
    for (const { points } of view.edges) {
      for (const [, y] of points) {
        all[1] = Math.min(all[1], y);
        all[3] = Math.max(all[3], y);
      }
    }
    view.bounds = [all[0] - 14, all[1] - 14, all[2] + 14, all[3] + 14];
  };

  // Shapes: rectangles, curves (corners and Bézier points in turn) and texts, each with a class.
  scene.draw = (doc, view) => {
    const shapes = [];
    const rect = (of, x, y, width, height, round, cls) =>
      shapes.push({ of, rect: [x, y, width, height, round], cls });
    const text = (of, x, y, content, cls, anchor = "start") =>
      shapes.push({ of, text: [x, y, content, anchor], cls });
    view.boxes.forEach((box, i) => {
      const [left, top, right, bottom] = box.bounds;
      const of = `b${i}`;
      rect(of, left, top, right - left, bottom - top, 8, `box depth${Math.min(depth(view, i), 3)}`);
      text(of, left + 8, top + 14, doc.folds[box.fold].title, "boxtitle");
    });
    view.edges.forEach((edge, i) => {
      shapes.push({
        of: `e${i}`,
        curve: curve(edge.points),
        width: Math.min(1.2 + 0.6 * Math.log10(edge.count), 3),
        cls: "edge",
      });
    });
    view.units.forEach((unit, i) => {
      const of = `u${i}`;
      if (unit.content.op) {
        const wide = unit.width ? unit.front - GAP : unit.front;
        shapes.push({
          of,
          curve: [
            [unit.left + wide, unit.middle],
            [unit.left + wide, unit.middle],
            [unit.x, unit.middle],
            [unit.x, unit.middle],
          ],
          width: 1.2,
          cls: "edge",
        });
        rect(of, unit.left, unit.middle - OP, wide, 2 * OP, OP, "op");
        text(of, unit.left + wide / 2, unit.middle + 4, unit.content.op, "symbol", "middle");
      }
      if (!unit.width) return;
      const kind = unit.kind || (unit.node === undefined ? "fold" : KINDS[doc.kinds[unit.node]]);
      if (kind === "fold") {
        rect(of, unit.x + 5, unit.y - 5, unit.width, unit.height, 6, "stack");
        rect(of, unit.x + 2.5, unit.y - 2.5, unit.width, unit.height, 6, "stack");
      }
      rect(of, unit.x, unit.y, unit.width, unit.height, kind === "constant" ? 11 : 6, kind);
      const top = unit.middle - (unit.content.rows.length * ROW) / 2;
      unit.content.rows.forEach(([name, value, cls], row) => {
        const y = top + row * ROW + 11;
        if (name && value) {
          text(of, unit.x + 9, y, name, cls === "title" ? cls : "name");
          text(of, unit.x + unit.width - 9, y, value, cls === "title" ? "times" : cls, "end");
        } else text(of, unit.x + unit.width / 2, y, name || value, cls, "middle");
      });
    });
    return shapes;
  };

  const depth = (view, i) => (view.boxes[i].parent < 0 ? 1 : 1 + depth(view, view.boxes[i].parent));

  // A smooth line through points that runs level at each of them.
  const curve = (points) => {
    const found = [points[0]];
    for (let i = 1; i < points.length; i++) {
      const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
      const middle = (x0 + x1) / 2;
      found.push([middle, y0], [middle, y1], [x1, y1]);
    }
    return found;
  };

  scene.escaped = (text) =>
    text
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;");
  const at = (x) => String(Math.round(x * 10) / 10);

  // The shapes as elements of SVG, those of one thing in one group with attributes of its own.
  scene.elements = (shapes, attributes = () => "") => {
    const parts = [];
    let group = null;
    for (const shape of shapes) {
      if (shape.of !== group) {
        if (group !== null) parts.push("</g>");
        group = shape.of;
        parts.push(`<g data-of="${group}" ${attributes(group)}>`);
      }
      if (shape.rect) {
        const [x, y, width, height, round] = shape.rect.map(at);
        parts.push(
          `<rect class="${shape.cls}" x="${x}" y="${y}" width="${width}" height="${height}" rx="${round}"/>`,
        );
      } else if (shape.curve) {
        const [[x, y], ...rest] = shape.curve;
        const bends = rest.map((p) => p.map(at).join(" ")).join(" ");
        parts.push(
          `<path class="${shape.cls}" stroke-width="${at(shape.width)}" d="M${at(x)} ${at(y)}C${bends}"/>`,
        );
      } else {
        const [x, y, content, anchor] = shape.text;
        const where = anchor === "start" ? "" : ` text-anchor="${anchor}"`;
        parts.push(
          `<text class="${shape.cls}" x="${at(x)}" y="${at(y)}"${where}>${scene.escaped(content)}</text>`,
        );
      }
    }
    if (group !== null) parts.push("</g>");
    return parts.join("");
  };

  // A document as Python sends it: what is no number in JSON comes as text.
  scene.read = (doc) => {
    for (const column of ["data", "grads"]) {
      doc[column] = doc[column].map((x) => (x === null ? null : Number(x)));
    }
    return doc;
  };

  // Everything that Python needs for a picture, as JSON.
  scene.picture = (text, limit, numbers) => {
    const doc = scene.read(JSON.parse(text));
    const view = scene.visible(doc, scene.unfold(doc, limit));
    scene.layout(doc, view, numbers);
    const shapes = scene.draw(doc, view);
    const units = view.units.map(({ node, fold, box, content }) => ({ node, fold, box, content }));
    const boxes = view.boxes.map(({ fold, parent }) => ({ title: doc.folds[fold].title, parent }));
    return JSON.stringify({
      bounds: view.bounds,
      shapes,
      elements: scene.elements(shapes),
      units,
      boxes,
      edges: view.edges.map(({ from, to, count }) => [from, to, count]),
    });
  };
})();
