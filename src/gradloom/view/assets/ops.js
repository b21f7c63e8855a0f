// The operations of the table on the numbers of a page: each gives what Python's row gives.
//
// Only values are computed here. Derivatives come with the page, written by the rows themselves
// in terms of these operations; a test compares every row with Python's.

"use strict";

const ops = {};

(() => {
  // Where C and JavaScript differ: 1 to any power is 1.
  const pow = (a, b) => (a === 1 ? 1 : a === -1 && Math.abs(b) === Infinity ? 1 : a ** b);

  // Python's remainder has the sign of the divisor.
  const mod = (a, b) => {
    const rest = a % b;
    if (rest === 0) return b < 0 ? -0 : 0;
    return rest < 0 !== b < 0 ? rest + b : rest;
  };

  const floordiv = (a, b) => {
    if (b === 0) return a / b;
    const rest = a % b;
    const whole = (a - rest) / b - (rest !== 0 && rest < 0 !== b < 0 ? 1 : 0);
    const floor = Math.floor(whole);
    return whole - floor > 0.5 ? floor + 1 : floor;
  };

  // erf by its series where that converges fast, 1 - erfc elsewhere (Abramowitz and Stegun, 7.1.6).
  const erf = (x) => {
    const size = Math.abs(x);
    if (!(size < 2.5)) return Number.isNaN(x) ? NaN : Math.sign(x) * (1 - erfc(size));
    let [term, sum] = [x, x];
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  };

  // erfc by its continued fraction, from the far end on (Abramowitz and Stegun, 7.1.14).
  const erfc = (x) => {
    if (!(x >= 1.5)) return 1 - erf(x);
    if (x > 28) return 0;
    let tail = x;
    for (let n = 120; n > 0; n--) tail = x + n / 2 / tail;
    return Math.exp(-x * x) / (Math.sqrt(Math.PI) * tail);
  };

  const sigmoid = (x) => {
    if (x >= 0) return 1 / (1 + Math.exp(-x));
    const small = Math.exp(x);
    return small / (1 + small);
  };

  const extreme = (values, better) => {
    let best = values[0];
    for (const value of values) {
      if (Number.isNaN(value)) return value;
      if (better(value, best)) best = value;
    }
    return best;
  };

  const logsumexp = (...xs) => {
    const largest = extreme(xs, (a, b) => a > b);
    if (!Number.isFinite(largest)) return largest;
    return largest + Math.log(xs.reduce((sum, x) => sum + Math.exp(x - largest), 0));
  };

  const dot = (...xs) => {
    const half = xs.length / 2;
    let sum = 0;
    for (let i = 0; i < half; i++) sum += xs[i] * xs[half + i];
    return sum;
  };

  Object.assign(ops, {
    "+": (a, b) => a + b,
    "-": (a, b) => a - b,
    "*": (a, b) => a * b,
    "/": (a, b) => a / b,
    "//": floordiv,
    "%": (a, b) => (b === 0 ? NaN : mod(a, b)),
    "**": pow,
    neg: (x) => -x,
    abs: Math.abs,
    reciprocal: (x) => 1 / x,
    square: (x) => x * x,
    sqrt: (x) => (x >= 0 ? Math.sqrt(x) : NaN),
    exp: Math.exp,
    expm1: Math.expm1,
    log: Math.log,
    log1p: Math.log1p,
    log2: Math.log2,
    log10: Math.log10,
    sin: Math.sin,
    cos: Math.cos,
    tan: Math.tan,
    asin: Math.asin,
    acos: Math.acos,
    atan: Math.atan,
    atan2: Math.atan2,
    sinh: Math.sinh,
    cosh: Math.cosh,
    tanh: Math.tanh,
    asinh: Math.asinh,
    acosh: Math.acosh,
    atanh: Math.atanh,
    sigmoid,
    softplus: (x) => (x < 0 ? 0 : x) + Math.log1p(Math.exp(-Math.abs(x))),
    relu: (x) => (x <= 0 ? 0 : x),
    leaky_relu: (x, slope) => (x > 0 ? x : slope * x),
    elu: (x, alpha) => (x > 0 ? x : alpha * Math.expm1(x)),
    gelu: (x) => 0.5 * x * erfc(-Math.sqrt(0.5) * x),
    silu: (x) => x * sigmoid(x),
    erf,
    erfc,
    floor: Math.floor,
    ceil: Math.ceil,
    sign: (x) => (Number.isNaN(x) ? x : x > 0 ? 1 : x < 0 ? -1 : 0),
    detach: (x) => x,
    greater: (a, b) => (a > b ? 1 : 0),
    less_equal: (a, b) => (a <= b ? 1 : 0),
    equal: (a, b) => (a === b ? 1 : 0),
    where: (condition, a, b) => (condition !== 0 ? a : b),
    max: (...xs) => extreme(xs, (a, b) => a > b),
    min: (...xs) => extreme(xs, (a, b) => a < b),
    sum: (...xs) => xs.reduce((sum, x) => sum + x, 0),
    dot,
    hypot: Math.hypot,
    logsumexp,
  });
})();

// The local derivatives of an operation by its rule: null where nothing flows.
const derivatives = (rule, y, xs) => {
  const steps = [];
  const value = (ref) => {
    if (typeof ref === "object") return ref.n;
    if (ref < 0) return steps[-1 - ref];
    return ref < xs.length ? xs[ref] : y;
  };
  for (const [symbol, ...refs] of rule.steps) steps.push(ops[symbol](...refs.map(value)));
  return rule.partials.map((ref) => {
    if (ref === null) return null;
    const found = value(ref);
    return rule.masks && found === 0 ? null : found;
  });
};
