"""Gradloom: a scalar autograd engine. Write scalars. Run arrays.

    >>> from gradloom import Value
    >>> a, b = Value(2.0), Value(-3.0)
    >>> loss = (a * b + 10.0).tanh()
    >>> loss.backward()
    >>> f"{a.grad:.4f}"
    '-0.0040'

Importing it loads the standard library alone; `gradloom.nn` and `gradloom.fit` come when they
are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from gradloom.core.autodiff import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from gradloom.core.check import GradcheckReport, detect_anomaly, gradcheck
from gradloom.core.ops import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    ceil,
    cos,
    cosh,
    detach,
    dot,
    elu,
    erf,
    erfc,
    exp,
    expm1,
    floor,
    gelu,
    hypot,
    leaky_relu,
    log,
    log1p,
    log2,
    log10,
    log_softmax,
    logsumexp,
    max,
    min,
    pow,
    reciprocal,
    relu,
    sigmoid,
    sign,
    silu,
    sin,
    sinh,
    softmax,
    softplus,
    sqrt,
    square,
    sum,
    take,
    tan,
    tanh,
    where,
)
from gradloom.core.value import Value
from gradloom.errors import GradloomError, MissingExtraError

if TYPE_CHECKING:
    from gradloom import nn as nn
    from gradloom.train import (
        Callback,
        Checkpoint,
        EarlyStopping,
        History,
        RateSearch,
        find_learning_rate,
        load_model,
        save_model,
    )
    from gradloom.train.export import export
    from gradloom.train.fit import fit
    from gradloom.transforms import Compiled, compile, sparsity, training_step, vmap
    from gradloom.view.draw import _svg_of as _svg_of
    from gradloom.view.draw import draw
    from gradloom.view.explore import explore
    from gradloom.view.histograms import plot_gradients, plot_weights
    from gradloom.view.play import play
    from gradloom.view.plots import plot_decision
    from gradloom.view.trace import tracing

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "Checkpoint",
    "Compiled",
    "EarlyStopping",
    "GradcheckReport",
    "GradloomError",
    "History",
    "RateSearch",
    "Value",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "compile",
    "cos",
    "cosh",
    "detach",
    "detect_anomaly",
    "dot",
    "draw",
    "elu",
    "erf",
    "erfc",
    "exp",
    "explore",
    "expm1",
    "export",
    "find_learning_rate",
    "fit",
    "floor",
    "gelu",
    "grad",
    "gradcheck",
    "hessian",
    "hvp",
    "hypot",
    "jacobian",
    "jvp",
    "leaky_relu",
    "load_model",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logsumexp",
    "max",
    "min",
    "nn",
    "play",
    "plot_decision",
    "plot_gradients",
    "plot_weights",
    "pow",
    "reciprocal",
    "relu",
    "save_model",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sparsity",
    "sqrt",
    "square",
    "sum",
    "take",
    "tan",
    "tanh",
    "tracing",
    "training_step",
    "value_and_grad",
    "vjp",
    "vmap",
    "where",
]

# What is loaded when first asked for: the name, and the module and attribute behind it.
_LATER = {
    "Callback": ("gradloom.train", "Callback"),
    "Checkpoint": ("gradloom.train", "Checkpoint"),
    "Compiled": ("gradloom.transforms", "Compiled"),
    "EarlyStopping": ("gradloom.train", "EarlyStopping"),
    "History": ("gradloom.train", "History"),
    "RateSearch": ("gradloom.train", "RateSearch"),
    "_svg_of": ("gradloom.view.draw", "_svg_of"),
    "compile": ("gradloom.transforms", "compile"),
    "draw": ("gradloom.view.draw", "draw"),
    "explore": ("gradloom.view.explore", "explore"),
    "export": ("gradloom.train.export", "export"),
    "find_learning_rate": ("gradloom.train", "find_learning_rate"),
    "fit": ("gradloom.train", "fit"),
    "load_model": ("gradloom.train", "load_model"),
    "nn": ("gradloom.nn", None),
    "play": ("gradloom.view.play", "play"),
    "plot_decision": ("gradloom.view.plots", "plot_decision"),
    "plot_gradients": ("gradloom.view.histograms", "plot_gradients"),
    "plot_weights": ("gradloom.view.histograms", "plot_weights"),
    "save_model": ("gradloom.train", "save_model"),
    "sparsity": ("gradloom.transforms", "sparsity"),
    "tracing": ("gradloom.view.trace", "tracing"),
    "training_step": ("gradloom.transforms", "training_step"),
    "vmap": ("gradloom.transforms", "vmap"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'gradloom' has no attribute {name!r}")
    module, attribute = _LATER[name]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        library = str(missing.name).partition(".")[0]
        if library == "gradloom":
            raise
        names = {"llvmlite": "native", "matplotlib": "train"}
        extra = names.get(library, "view" if module.startswith("gradloom.view") else "compile")
        raise MissingExtraError(
            f"gradloom.{name} needs {library}, which is not installed: "
            f"pip install 'gradloom[{extra}]'"
        ) from missing
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
