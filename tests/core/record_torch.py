"""Record what PyTorch gives at the edges of each operation, into torch_edges.json.

Run with PyTorch 2.13.0 installed, on the CPU; the tests only read the file. Each entry holds the
operands, the result and the derivative by each operand ("nan", "inf" and "-inf" as strings, for
JSON has none of them), or null where PyTorch has no derivative.
"""

import itertools
import json
import math
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812

INF, NAN = math.inf, math.nan
EDGES = [0.0, -0.0, 0.5, 1.0, -1.0, 1.5, -2.5, 3.0, 800.0, -800.0, 5e-324, 1e308, -1e308]
EDGES += [INF, -INF, NAN]
FEW = [0.0, -0.0, 1.0, -1.0, 2.0, -2.5, 0.5, 1e200, INF, -INF, NAN]

UNARY = {
    "neg": torch.neg,
    "abs": torch.abs,
    "reciprocal": torch.reciprocal,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log10": torch.log10,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "sign": torch.sign,
}

BINARY = {
    "+": torch.add,
    "-": torch.sub,
    "*": torch.mul,
    "/": torch.div,
    "//": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "%": torch.remainder,
    "**": torch.pow,
    "atan2": torch.atan2,
    "hypot": torch.hypot,
    "max": lambda a, b: torch.stack([a, b]).amax(),
    "min": lambda a, b: torch.stack([a, b]).amin(),
    "logsumexp": lambda a, b: torch.stack([a, b]).logsumexp(0),
}

# Edges met through a composition: what a selection blocks, and what 0 · inf lets through.
COMPOSED = {
    "sqrt(relu(x))": lambda x: x.relu().sqrt(),
    "sqrt(abs(x))": lambda x: x.abs().sqrt(),
    "log(relu(x))": lambda x: x.relu().log(),
    "where(x > 0, sqrt(x), 0)": lambda x: torch.where(x > 0, x.sqrt(), 0.0),
    "where(x > 0, x, 0) ** 0.5": lambda x: torch.where(x > 0, x, 0.0) ** 0.5,
    "sqrt(floor(x))": lambda x: x.floor().sqrt(),
    "sqrt(x - x)": lambda x: (x - x).sqrt(),
    "x ** 0": lambda x: x**0,
    "x ** 0.5": lambda x: x**0.5,
    "x ** 2": lambda x: x**2,
    "x ** -1": lambda x: x**-1,
    "2 ** x": lambda x: 2**x,
    "0 ** x": lambda x: torch.tensor(0.0, dtype=torch.float64) ** x,
    "max(x, 0, x)": lambda x: torch.stack([x, torch.zeros_like(x), x]).amax(),
    "leaky_relu(x, 0)": lambda x: F.leaky_relu(x, 0.0),
    "leaky_relu(x)": F.leaky_relu,
    "elu(x)": F.elu,
    "softmax([x, 0])[0]": lambda x: torch.stack([x, torch.zeros_like(x)]).softmax(0)[0],
    "log_softmax([x, 0])[0]": lambda x: torch.stack([x, torch.zeros_like(x)]).log_softmax(0)[0],
}


def entry(function, operands):
    """One line of the file."""
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in operands]
    result = function(*leaves)
    if result.requires_grad:
        grads = torch.autograd.grad(result, leaves, allow_unused=True)
        grads = [None if g is None else plain(g.item()) for g in grads]
    else:
        grads = [None] * len(leaves)
    return [[plain(x) for x in operands], plain(result.item()), grads]


def plain(x):
    """A float as JSON can hold it."""
    return x if math.isfinite(x) else str(x)


def main():
    """Write the file beside this script."""
    found = {name: [entry(f, [x]) for x in EDGES] for name, f in UNARY.items()}
    pairs = list(itertools.product(FEW, FEW))
    found |= {name: [entry(f, pair) for pair in pairs] for name, f in BINARY.items()}
    found |= {name: [entry(f, [x]) for x in EDGES] for name, f in COMPOSED.items()}
    lines = []
    for name, entries in found.items():
        rows = ",\n  ".join(json.dumps(e) for e in entries)
        lines.append(f"{json.dumps(name)}: [\n  {rows}\n]")
    text = "{\n" + ",\n".join([f'"torch": "{torch.__version__}"', *lines]) + "\n}\n"
    Path(__file__).with_name("torch_edges.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
