"""Losses: one number that says how wrong predictions are, for `backward()` to start from.

Each takes (prediction, target) for one sample, or lists of equal length for a batch, and returns
the mean over samples and outputs. Predictions may be Values or plain numbers; so may what comes
back. Every formula is the one that neither overflows nor cancels when predictions are large.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, Union

from gradloom.core import ops
from gradloom.core.operand import Operand
from gradloom.core.table import Scalar
from gradloom.core.value import Value
from gradloom.errors import DataError, ShapeError
from gradloom.nn.checks import number, whole
from gradloom.nn.module import Module, parameters_of

# One number, or a list (of lists …) of them.
Nested: TypeAlias = Union[Value, float, "Sequence[Nested]"]


def mse(prediction: Nested, target: Nested) -> Scalar:
    """The mean of the squared errors, (p - t)².

    Raises ShapeError if the lists differ in length anywhere.

    >>> mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    return _mean(ops.square(p - t) for p, t in _pairs("mse", prediction, target))


def mae(prediction: Nested, target: Nested) -> Scalar:
    """The mean of the absolute errors, |p - t|.

    Raises ShapeError if the lists differ in length anywhere.

    >>> mae([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    return _mean(abs(p - t) for p, t in _pairs("mae", prediction, target))


def huber(prediction: Nested, target: Nested, delta: float = 1.0) -> Scalar:
    """The mean of ½ e² where the error e = |p - t| is below `delta`, else of delta · (e - ½ delta).

    Raises ShapeError if the lists differ in length anywhere, and ArgumentError unless `delta` is
    a number above 0. Huber 1964, "Robust estimation of a location parameter".

    >>> huber([1.0, 2.0], [1.5, 5.0])
    1.3125
    """
    delta = number("huber: delta", delta, zero=False)

    def one(error: Scalar) -> Scalar:
        # Both cases at once, without a branch: with c = min(e, delta), c · (e - ½ c).
        capped = ops.min(error, delta)
        return capped * (error - 0.5 * capped)

    return _mean(one(abs(p - t)) for p, t in _pairs("huber", prediction, target))


def hinge(prediction: Nested, target: Nested) -> Scalar:
    """The mean of max(0, 1 - t · p): the max-margin loss of a support vector machine.

    The targets are the classes -1 and 1; DataError says which one is not. Raises ShapeError if
    the lists differ in length anywhere. Cortes & Vapnik 1995, "Support-vector networks".

    >>> hinge([0.5, 2.0], [-1, 1])
    0.75
    """

    def one(p: Scalar, t: Scalar) -> Scalar:
        if not abs(t) == 1:
            raise DataError(f"hinge: a target is -1 or 1, got {t!r}")
        return ops.relu(1 - t * p)

    return _mean(one(p, t) for p, t in _pairs("hinge", prediction, target))


def binary_cross_entropy(logit: Nested, target: Nested) -> Scalar:
    """The mean of -t · log p - (1 - t) · log(1 - p), where p = sigmoid(x), from the logits x.

    The targets are 0 and 1, or probabilities between; DataError says which one is not. Raises
    ShapeError if the lists differ in length anywhere.

    >>> binary_cross_entropy([0.0, 1000.0], [1, 0])
    500.34657359027...
    """

    def one(x: Scalar, t: Scalar) -> Scalar:
        if not 0 <= t <= 1:
            raise DataError(f"binary_cross_entropy: a target is between 0 and 1, got {t!r}")
        # softplus(x) = log(1 + eˣ) = -log(1 - p), and softplus(-x) = -log p.
        return t * ops.softplus(-x) + (1 - t) * ops.softplus(x)

    return _mean(one(x, t) for x, t in _pairs("binary_cross_entropy", logit, target))


def cross_entropy(logits: Sequence[Any], target: int | Sequence[int]) -> Scalar:
    """The mean of -log softmax(x)[k], from the list of logits x and the index k of the right class.

    A batch is a list of such lists and the list of their indices. Raises ShapeError if the two
    differ in length or a sample has fewer than two logits, DataError for an index beyond the
    classes, and ArgumentError for what is no index.

    >>> cross_entropy([0.0, 0.0], 1)
    0.69314718055...
    >>> cross_entropy([[0.0, 0.0], [1e4, 0.0]], [1, 1])
    5000.34657359...
    """

    def one(x: Sequence[Scalar], k: Any) -> Scalar:
        classes = _size(x) or 0
        if classes < 2:
            raise ShapeError(
                f"cross_entropy: a sample is a list of at least 2 logits, got {x!r:.60}"
            )
        if not (isinstance(k, Operand) and k._symbolic):  # of indices to come, `take` checks each
            k = whole("cross_entropy: a target", k, least=0)
            if k >= classes:
                raise DataError(
                    f"cross_entropy: of {classes} logits a target is 0 to {classes - 1}, got {k}"
                )
        # log Σⱼ exp(xⱼ) - xₖ, the largest taken off first: it cancels, and its rounding with it.
        top = ops.detach(ops.max(x))
        rest = [logit - top for logit in x]
        return ops.logsumexp(rest) - ops.take(rest, k)

    batch = _size(target) is not None
    samples = _zip("cross_entropy", logits, target) if batch else [(logits, target)]
    return _mean(one(x, k) for x, k in samples)


def l1(parameters: Module | Iterable[Value], strength: float) -> Scalar:
    """The penalty strength · Σ |w| on the size of parameters: it drives the useless ones to 0.

    Raises ArgumentError unless `strength` is a number of at least 0. Tibshirani 1996, "Regression
    shrinkage and selection via the lasso".

    >>> l1([Value(3.0), Value(-4.0)], 0.5).data
    3.5
    """
    return number("l1: strength", strength) * ops.sum(abs(w) for w in parameters_of(parameters))


def l2(parameters: Module | Iterable[Value], strength: float) -> Scalar:
    """The penalty strength · Σ w² on the size of parameters: it keeps all of them small.

    Raises ArgumentError unless `strength` is a number of at least 0. Hoerl & Kennard 1970, "Ridge
    regression".

    >>> l2([Value(3.0), Value(-4.0)], 0.5).data
    12.5
    """
    values = parameters_of(parameters)
    return number("l2: strength", strength) * ops.dot(values, values)


LOSSES: dict[str, Callable[..., Scalar]] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "hinge": hinge,
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
}


def _mean(terms: Iterable[Scalar]) -> Scalar:
    """The mean of at least one term."""
    terms = list(terms)
    return terms[0] if len(terms) == 1 else ops.sum(terms) / len(terms)


def _pairs(loss: str, prediction: Any, target: Any) -> Iterator[tuple[Scalar, Scalar]]:
    """Each number of one nested list with its partner in the other."""
    if _size(prediction) is None and _size(target) is None:
        yield prediction, target
    else:
        for p, t in _zip(loss, prediction, target):
            yield from _pairs(loss, p, t)


def _zip(loss: str, prediction: Any, target: Any) -> Iterable[tuple[Any, Any]]:
    """The pairs of two lists of one length, which is not 0."""
    sizes = _size(prediction), _size(target)
    if sizes[0] != sizes[1] or not sizes[0]:
        has, needs = ("a bare number" if n is None else f"a list of {n}" for n in sizes)
        raise ShapeError(f"{loss}: the prediction is {has}, the target {needs}; they must match")
    return zip(prediction, target, strict=True)


def _size(x: Any) -> int | None:
    """The length of a list, None for what has no length."""
    try:
        return None if isinstance(x, str) else len(x)
    except TypeError:
        return None
