// Rules in mathematical notation: MathML, which browsers set by themselves.

"use strict";

const maths = {};

(() => {
  const [SUM, PRODUCT, POWER, ATOM] = [1, 2, 3, 4]; // how tightly a formula holds together

  const row = (...parts) => `<mrow>${parts.join("")}</mrow>`;
  const sign = (text) => `<mo>${scene.escaped(text)}</mo>`;
  const paren = (inner) => row("<mo>(</mo>", inner, "<mo>)</mo>");
  const held = ({ text, holds }, least) => (holds >= least ? text : paren(text));

  maths.number = (x, digits) => {
    const text = scene.number(x, digits);
    const negative = text.startsWith("−");
    return {
      text: negative ? row("<mo>−</mo>", `<mn>${text.slice(1)}</mn>`) : `<mn>${text}</mn>`,
      holds: negative ? SUM : ATOM,
    };
  };

  maths.name = (text) => {
    const parts = text.match(/^([a-z])_?(\d+)$/i);
    const inner = parts
      ? `<msub><mi>${parts[1]}</mi><mn>${parts[2]}</mn></msub>`
      : `<mi>${scene.escaped(text)}</mi>`;
    return { text: inner, holds: ATOM };
  };

  const call = (name, parts) => ({
    text: row(
      `<mi>${scene.escaped(name)}</mi>`,
      "<mo>(</mo>",
      parts.map((p) => p.text).join("<mo>,</mo>"),
      "<mo>)</mo>",
    ),
    holds: ATOM,
  });

  const some = (parts, most, rest) =>
    parts.length <= most + 1 ? parts : [...parts.slice(0, most), rest, parts[parts.length - 1]];
  const dots = { text: "<mo>…</mo>", holds: ATOM };

  const joined = (parts, mark, holds) => ({
    text: row(parts.map((p) => held(p, holds)).join(sign(mark))),
    holds,
  });

  // An operation on formulas.
  maths.apply = (symbol, parts) => {
    const [a, b] = parts;
    const bracket = (mark) => ({
      text: row("<mo>[</mo>", a.text, sign(mark), b.text, "<mo>]</mo>"),
      holds: ATOM,
    });
    switch (symbol) {
      case "+":
        return {
          text: row(
            held(a, SUM),
            sign("+"),
            b.holds === SUM && b.text.startsWith("<mrow><mo>−") ? paren(b.text) : b.text,
          ),
          holds: SUM,
        };
      case "-":
        return { text: row(a.text, sign("−"), held(b, PRODUCT)), holds: SUM };
      case "*":
        return { text: row(held(a, PRODUCT), sign("·"), held(b, PRODUCT)), holds: PRODUCT };
      case "/":
        return { text: `<mfrac>${row(a.text)}${row(b.text)}</mfrac>`, holds: POWER };
      case "reciprocal":
        return { text: `<mfrac><mn>1</mn>${row(a.text)}</mfrac>`, holds: POWER };
      case "**":
        return { text: `<msup>${held(a, ATOM)}${row(b.text)}</msup>`, holds: POWER };
      case "square":
        return { text: `<msup>${held(a, ATOM)}<mn>2</mn></msup>`, holds: POWER };
      case "exp":
        return { text: `<msup><mi>e</mi>${row(a.text)}</msup>`, holds: POWER };
      case "neg":
        return { text: row("<mo>−</mo>", held(a, PRODUCT)), holds: SUM };
      case "sqrt":
        return { text: `<msqrt>${a.text}</msqrt>`, holds: ATOM };
      case "abs":
        return { text: row("<mo>|</mo>", a.text, "<mo>|</mo>"), holds: ATOM };
      case "floor":
        return { text: row("<mo>⌊</mo>", a.text, "<mo>⌋</mo>"), holds: ATOM };
      case "ceil":
        return { text: row("<mo>⌈</mo>", a.text, "<mo>⌉</mo>"), holds: ATOM };
      case "//":
        return {
          text: row("<mo>⌊</mo>", `<mfrac>${row(a.text)}${row(b.text)}</mfrac>`, "<mo>⌋</mo>"),
          holds: ATOM,
        };
      case "%":
        return { text: row(held(a, PRODUCT), "<mo>mod</mo>", held(b, PRODUCT)), holds: PRODUCT };
      case "equal":
        return bracket("=");
      case "greater":
        return bracket(">");
      case "less_equal":
        return bracket("≤");
      case "log":
        return call("ln", parts);
      case "sum":
        return joined(some(parts, 4, dots), "+", PRODUCT);
      case "dot": {
        const half = parts.length / 2;
        const products = parts.slice(0, half).map((x, i) => maths.apply("*", [x, parts[half + i]]));
        return products.length === 1 ? products[0] : joined(some(products, 3, dots), "+", PRODUCT);
      }
      default:
        return call(symbol, some(parts, 5, dots));
    }
  };

  // The derivative by the operand at `place`, as a formula of the operands and, behind them, the
  // result. The numbers that are `known` of them decide which side of a `where` is shown.
  maths.partial = (rule, place, all, known) => {
    const steps = [];
    const values = [];
    const read = (ref) =>
      typeof ref === "object" ? maths.number(ref.n) : ref < 0 ? steps[-1 - ref] : all[ref];
    const value = (ref) =>
      typeof ref === "object" ? ref.n : ref < 0 ? values[-1 - ref] : known[ref];
    const wanted = needed(rule, rule.partials[place]);
    rule.steps.forEach(([symbol, ...refs], k) => {
      values.push(ops[symbol](...refs.map(value)));
      if (!wanted.has(k)) steps.push(null);
      else if (symbol === "where") steps.push(read(refs[value(refs[0]) !== 0 ? 1 : 2]));
      else if (symbol === "*" && refs[0] === refs[1])
        steps.push(maths.apply("square", [read(refs[0])]));
      else steps.push(maths.apply(symbol, refs.map(read)));
    });
    return read(rule.partials[place]);
  };

  const needed = (rule, ref, found = new Set()) => {
    if (typeof ref === "object" || ref >= 0 || found.has(-1 - ref)) return found;
    found.add(-1 - ref);
    for (const below of rule.steps[-1 - ref].slice(1)) needed(rule, below, found);
    return found;
  };

  // A product of two numbers as it stands, and a number as a term or factor.
  maths.product = (a, b) => ({
    text: row(held(a, PRODUCT), "<mo>·</mo>", held(b, PRODUCT)),
    holds: PRODUCT,
  });
  maths.factor = (x) => ({ text: held(maths.number(x), PRODUCT), holds: PRODUCT });
  maths.dots = dots;

  // A line of formulas between signs: line("c", "=", …). It may break before = and +.
  maths.line = (...parts) => {
    const lines = [[]];
    for (const part of parts) {
      if (["=", "+=", "+"].includes(part)) lines.push([]);
      // At the start of a formula a sign would be taken for a prefix, and set without space.
      const text =
        typeof part === "string" ? `<mo form="infix">${scene.escaped(part)}</mo>` : part.text;
      lines[lines.length - 1].push(text);
    }
    return lines.map((line) => `<math>${row(...line)}</math>`).join(" ");
  };

  maths.slope = (result, operand) => ({
    text: `<mfrac>${row("<mo>∂</mo>", result.text)}${row("<mo>∂</mo>", operand.text)}</mfrac>`,
    holds: ATOM,
  });

  maths.grad = (of) => ({ text: row(of.text, "<mo>.</mo>", "<mi>grad</mi>"), holds: ATOM });
})();
