"""The work as one writes it for arrays; `xp` has what PyTorch and JAX name differently.

`w` are the parameters as `data.cut` gives them.
"""

import math
from collections.abc import Callable
from typing import Any

from . import data


def moons(xp: Any, w: list[Any], x: Any, y: Any) -> Any:
    signal = x
    for i, layer in enumerate(w):
        signal = signal @ layer[:, :-1].T + layer[:, -1]
        signal = xp.relu(signal) if i + 1 < len(w) else signal
    data_loss = xp.relu(1.0 - y * signal[:, 0]).mean()
    return data_loss + 1e-4 * sum((layer * layer).sum() for layer in w)


def gpt(xp: Any, w: list[Any], text: Any, mask: Any) -> Any:
    """Of one text (9,) or of several (texts, 9)."""
    token, position, query, key, value, project, up, down, head = w
    now, after = text[..., :-1], text[..., 1:]

    def rms_norm(x: Any) -> Any:
        return x * ((x * x).mean(-1)[..., None] + 1e-5) ** -0.5

    def split(x: Any) -> Any:
        return x.reshape(*now.shape, 4, 4).swapaxes(-2, -3)

    x = token[now] + position
    normed = rms_norm(x)
    q, k, v = (split(normed @ matrix.T) for matrix in (query, key, value))
    weights = xp.softmax(q @ k.swapaxes(-1, -2) * 0.5 + mask)
    x = (weights @ v).swapaxes(-2, -3).reshape(*now.shape, 16) @ project.T + x
    x = xp.relu(rms_norm(x) @ up.T) @ down.T + x
    logits = x @ head.T
    return (xp.logsumexp(logits) - xp.take(logits, after[..., None])[..., 0]).mean()


def asian(xp: Any, w: list[Any], z: Any) -> Any:
    spot, rate, volatility, strike = w
    dt = 1.0 / z.shape[0]
    growth = (rate - 0.5 * volatility**2) * dt + volatility * math.sqrt(dt) * z
    mean = (spot * xp.exp(xp.cumsum(growth))).mean(0)
    return (xp.exp(-rate) * xp.relu(mean - strike)).mean()


def gmm(xp: Any, w: list[Any], x: Any) -> Any:
    alpha, mean, factor = w
    size = data.DIMENSIONS
    logs, below = factor[:, :size], factor[:, size:]
    widths = xp.exp(logs)
    scaled = (x - mean[:, None]) @ xp.lower(widths, below).swapaxes(1, 2)
    terms = (alpha + logs.sum(1))[:, None] - 0.5 * (scaled * scaled).sum(2)
    prior = 0.5 * ((widths * widths).sum() + (below * below).sum()) + data.gmm_constant()
    return xp.logsumexp(terms.T).sum() - len(x) * xp.logsumexp(alpha) + prior


def lstm_cell(xp: Any, layer: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """A diagonal cell: the new hidden state and cell."""
    weight, bias = layer
    forget, enter, leave = xp.sigmoid(xp.stack([x, h, x]) * weight[:3] + bias[:3])
    c = c * forget + enter * xp.tanh(h * weight[3] + bias[3])
    return leave * xp.tanh(c), c


def lstm_loss(xp: Any, ends: Any, outputs: Any, gold: Any) -> Any:
    """From what the last layer gave for each character."""
    y = outputs * ends[1] + ends[2]
    norm = xp.log(xp.exp(y).sum(1) + 2.0)
    return -(gold * (y - norm[:, None])).mean()


def digits(xp: Any, w: list[Any], x: Any, y: Any) -> Any:
    one, two = w
    hidden = xp.relu(x @ one[:, :-1].T + one[:, -1])
    logits = hidden @ two[:, :-1].T + two[:, -1]
    return (xp.logsumexp(logits) - xp.take(logits, y[:, None])[:, 0]).mean()


LOSSES: dict[str, Callable[..., Any]] = {
    "moons": moons,
    "gpt": gpt,
    "asian": asian,
    "gmm": gmm,
    "digits": digits,
}
