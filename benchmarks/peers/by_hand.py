"""NumPy by hand: forward and backward over arrays, as one writes it without an autograd engine.

It is the reference that every other engine must agree with.
"""

import math
from typing import Any

import numpy as np

from . import Cases, Prepared, data

Array = Any


class Adam:
    """In the form of `torch.optim.Adam`, on one array."""

    def __init__(self, w: Array, rate: float) -> None:
        self.w, self.rate, self.step = w, rate, 0
        self.mean, self.square = np.zeros_like(w), np.zeros_like(w)

    def update(self, gradient: Array) -> None:
        self.step += 1
        self.mean *= 0.9
        self.mean += (1 - 0.9) * gradient
        self.square *= 0.999
        self.square += (1 - 0.999) * gradient * gradient
        rate = self.rate / (1 - 0.9**self.step)
        root = math.sqrt(1 - 0.999**self.step)
        self.w -= rate * self.mean / (np.sqrt(self.square) / root + 1e-8)


# micrograd's moons


def moons_step(w: list[Array], g: list[Array], x: Array, y: Array) -> float:
    """The loss; the gradient goes to `g`."""
    one, two, three = w
    h1 = np.maximum(x @ one[:, :2].T + one[:, 2], 0.0)
    h2 = np.maximum(h1 @ two[:, :16].T + two[:, 16], 0.0)
    margin = 1.0 - y * (h2 @ three[0, :16] + three[0, 16])
    inside = margin > 0.0
    loss = margin[inside].sum() / len(y) + 1e-4 * sum((part * part).sum() for part in w)
    d3 = np.where(inside, -y / len(y), 0.0)
    d2 = np.outer(d3, three[0, :16]) * (h2 > 0.0)
    d1 = d2 @ two[:, :16] * (h1 > 0.0)
    g[2][0, :16], g[2][0, 16] = d3 @ h2, d3.sum()
    g[1][:, :16], g[1][:, 16] = d2.T @ h1, d2.sum(0)
    g[0][:, :2], g[0][:, 2] = d1.T @ x, d1.sum(0)
    for part, gradient in zip(w, g, strict=True):
        gradient += 2e-4 * part
    return loss


def moons(_: int) -> Prepared:
    x, y = data.moons()
    flat = data.parameters("moons")
    gradient = np.empty_like(flat)
    w, g = data.cut("moons", flat), data.cut("moons", gradient)

    def run() -> float:
        return moons_step(w, g, x, y)

    return Prepared(lambda: (run(), gradient), run)


def moons_many(_: int) -> Prepared:
    x, y = data.moons()
    flat = data.parameters("moons")
    gradient = np.empty_like(flat)
    w, g = data.cut("moons", flat), data.cut("moons", gradient)

    def run() -> list[float]:
        losses = []
        for _ in range(data.UPDATES):
            losses.append(moons_step(w, g, x, y))
            np.subtract(flat, data.MOONS_RATE * gradient, out=flat)
        return losses

    return Prepared(lambda: (run(), flat), run, data.UPDATES)


# The GPT, of one text or several


def _normalise(x: Array) -> tuple[Array, Array]:
    scale = ((x * x).mean(-1, keepdims=True) + 1e-5) ** -0.5
    return x * scale, scale


def _normalise_back(y: Array, scale: Array, dy: Array) -> Array:
    return scale * (dy - y * (y * dy).mean(-1, keepdims=True))


def _split(x: Array) -> Array:
    """(texts, tokens, 16) → (texts, heads, tokens, 4)."""
    return x.reshape(*x.shape[:2], 4, 4).swapaxes(1, 2)


def _join(x: Array) -> Array:
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], 16)


def _weight_gradient(d: Array, x: Array) -> Array:
    return d.reshape(-1, d.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def gpt_step(w: list[Array], g: list[Array], text: Array, mask: Array) -> float:
    """The loss of texts (texts, 9); the gradient goes to `g`."""
    token, position, query, key, value, project, up, down, head = w
    now, after = text[:, :-1], text[:, 1:]
    count = now.size
    x0 = token[now] + position
    n0, scale0 = _normalise(x0)
    q, k, v = (_split(n0 @ matrix.T) for matrix in (query, key, value))
    scores = q @ k.swapaxes(2, 3) * 0.5 + mask
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = _join(shares @ v)
    x1 = mixed @ project.T + x0
    n1, scale1 = _normalise(x1)
    hidden = np.maximum(n1 @ up.T, 0.0)
    x2 = hidden @ down.T + x1
    logits = x2 @ head.T
    top = logits.max(-1, keepdims=True)
    e = np.exp(logits - top)
    total = e.sum(-1, keepdims=True)
    right = np.take_along_axis(logits, after[:, :, None], 2)
    loss = (np.log(total) + top - right).sum() / count

    d = e / (total * count)
    at = np.arange(len(text))[:, None], np.arange(now.shape[1]), after
    d[at] -= 1.0 / count
    g[8][:] = _weight_gradient(d, x2)
    dx = d @ head
    g[7][:] = _weight_gradient(dx, hidden)
    dhidden = dx @ down * (hidden > 0.0)
    g[6][:] = _weight_gradient(dhidden, n1)
    dx += _normalise_back(n1, scale1, dhidden @ up)
    g[5][:] = _weight_gradient(dx, mixed)
    dmixed = _split(dx @ project)
    dshares = dmixed @ v.swapaxes(2, 3) * shares
    dscores = (dshares - shares * dshares.sum(-1, keepdims=True)) * 0.5
    parts = dscores @ k, dscores.swapaxes(2, 3) @ q, shares.swapaxes(2, 3) @ dmixed
    dn = 0.0
    for matrix, gradient, part in zip(w[2:5], g[2:5], map(_join, parts), strict=True):
        gradient[:] = _weight_gradient(part, n0)
        dn = dn + part @ matrix
    dx += _normalise_back(n0, scale0, dn)
    g[1][:] = dx.sum(0)
    g[0][:] = 0.0
    np.add.at(g[0], now, dx)
    return float(loss)


def _mask() -> Array:
    return np.triu(np.full((8, 8), -np.inf), 1)


def _gpt(text: Array, dtype: Any, updates: int) -> Prepared:
    """Checked are the first gradient, then losses and parameters of some updates."""
    flat = data.parameters("gpt").astype(dtype)
    gradient = np.empty_like(flat)
    w, g = data.cut("gpt", flat), data.cut("gpt", gradient)
    mask = _mask().astype(dtype)
    adam = Adam(flat, data.GPT_RATE)

    def run() -> list[float]:
        losses = []
        for _ in range(updates):
            losses.append(gpt_step(w, g, text, mask))
            adam.update(gradient)
        return losses

    def check() -> Any:
        loss = gpt_step(w, g, text, mask)
        first = gradient.copy()
        losses = []
        for _ in range(max(data.CHECKED // updates, 1)):
            losses += run()
        return loss, first, losses, flat

    return Prepared(check, run, data.learned(text, updates))


def gpt(_: int) -> Prepared:
    return _gpt(data.text()[None], np.float64, 1)


def gpt_many(_: int) -> Prepared:
    return _gpt(data.text()[None], np.float64, data.UPDATES)


def gpt_texts(updates: int) -> Prepared:
    return _gpt(data.texts(), np.float32, updates)


# The digits


def digits(_: int) -> Prepared:
    x, y, order = data.digits()
    flat = data.parameters("digits")
    gradient = np.empty_like(flat)
    (one, two), (g1, g2) = data.cut("digits", flat), data.cut("digits", gradient)
    adam = Adam(flat, data.DIGITS_RATE)
    rows = np.arange(data.BATCH)

    def batch(chosen: Array) -> float:
        xs, ys = x[chosen], y[chosen]
        h = np.maximum(xs @ one[:, :-1].T + one[:, -1], 0.0)
        logits = h @ two[:, :-1].T + two[:, -1]
        logits -= logits.max(1, keepdims=True)
        e = np.exp(logits)
        total = e.sum(1, keepdims=True)
        loss = (np.log(total)[:, 0] - logits[rows, ys]).mean()
        d = e / total
        d[rows, ys] -= 1.0
        d /= len(ys)
        g2[:, :-1], g2[:, -1] = d.T @ h, d.sum(0)
        d = d @ two[:, :-1] * (h > 0.0)
        g1[:, :-1], g1[:, -1] = d.T @ xs, d.sum(0)
        adam.update(gradient)
        return float(loss)

    def run() -> list[float]:
        return [batch(chosen) for chosen in order.reshape(-1, data.BATCH)]

    def check() -> dict[str, Any]:
        losses = run()
        return {"losses": losses, "loss": sum(losses) / len(losses), "parameters": flat}

    return Prepared(check, run)


# The Asian option


def asian(paths: int) -> Prepared:
    spot, rate, volatility, strike = data.parameters("asian")
    z = data.normals(paths)
    steps = len(z)
    dt = 1.0 / steps
    root = math.sqrt(dt)

    def run() -> Any:
        price = spot * np.exp(
            np.cumsum((rate - 0.5 * volatility**2) * dt + volatility * root * z, 0)
        )
        over = price.mean(0) - strike
        discount = math.exp(-rate)
        value = discount * np.maximum(over, 0.0).sum() / paths
        seed = np.where(over > 0.0, discount / (steps * paths), 0.0)
        price *= seed
        later = np.cumsum(price[::-1], 0)[::-1]
        total = later.sum()
        vega = (later * z).sum() * root - total * volatility * dt
        return value, [later[0].sum() / spot, total * dt - value, vega, -steps * seed.sum()]

    return Prepared(run, run)


# ADBench's Gaussian mixture and LSTM


def gmm(_: int) -> Prepared:
    x = data.points()
    flat = data.parameters("gmm")
    gradient = np.empty_like(flat)
    alpha, mean, factor = data.cut("gmm", flat)
    g_alpha, g_mean, g_factor = data.cut("gmm", gradient)
    size, (rows, columns) = data.DIMENSIONS, data.lower()
    diagonal = np.arange(size)

    def run() -> float:
        q = np.zeros((data.COMPONENTS, size, size))
        q[:, rows, columns] = factor[:, size:]
        widths = np.exp(factor[:, :size])
        q[:, diagonal, diagonal] = widths
        away = x - mean[:, None]  # (components, points, dimensions)
        scaled = away @ q.swapaxes(1, 2)
        terms = (alpha + factor[:, :size].sum(1))[:, None] - 0.5 * (scaled * scaled).sum(2)
        top = terms.max(0)
        e = np.exp(terms - top)
        total = e.sum(0)
        weights = np.exp(alpha - alpha.max())
        value = (np.log(total) + top).sum() - len(x) * (np.log(weights.sum()) + alpha.max())
        value += 0.5 * ((widths**2).sum() + (factor[:, size:] ** 2).sum()) + data.gmm_constant()
        shares = e / total
        count = shares.sum(1)
        g_alpha[:] = count - len(x) * weights / weights.sum()
        scaled *= shares[:, :, None]
        g_mean[:] = (scaled.sum(1)[:, None] @ q)[:, 0]
        dq = -scaled.swapaxes(1, 2) @ away
        g_factor[:, size:] = dq[:, rows, columns] + factor[:, size:]
        g_factor[:, :size] = dq[:, diagonal, diagonal] * widths + count[:, None] + widths**2
        return float(value)

    return Prepared(lambda: (run(), gradient), run)


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def lstm(case: str) -> Prepared:
    state, text = data.lstm(case)
    flat = data.parameters(case)
    gradient = np.empty_like(flat)
    (cells, (enter, leave, bias)), (g_cells, g_ends) = (
        data.cut(case, flat),
        data.cut(case, gradient),
    )
    layers, steps = len(cells), len(text) - 1

    def run() -> float:
        hidden, cell = state[::2].copy(), state[1::2].copy()
        kept, outputs = [], np.empty((steps, data.BITS))
        for t in range(steps):
            x = text[t] * enter
            for k in range(layers):
                weight, shift = cells[k]
                before, carried = hidden[k].copy(), cell[k].copy()
                gates = _sigmoid(np.stack([x, before, x]) * weight[:3] + shift[:3])
                change = np.tanh(before * weight[3] + shift[3])
                cell[k] = carried * gates[0] + gates[1] * change
                bent = np.tanh(cell[k])
                hidden[k] = gates[2] * bent
                kept.append((x, before, carried, gates, change, bent))
                x = hidden[k].copy()
            outputs[t] = x
        y = outputs * leave + bias
        e = np.exp(y)
        total = e.sum(1, keepdims=True) + 2.0
        gold = text[1:]
        golds = gold.sum(1, keepdims=True)
        scale = 1.0 / gold.size
        loss = -scale * ((gold * y).sum() - (golds * np.log(total)).sum())
        dy = scale * (golds / total * e - gold)
        g_ends[1], g_ends[2] = (dy * outputs).sum(0), dy.sum(0)
        g_ends[0], g_cells[:] = 0.0, 0.0
        dys = dy * leave
        dhidden, dcell = np.zeros_like(hidden), np.zeros_like(cell)
        pre = np.empty((4, data.BITS))
        for t in range(steps - 1, -1, -1):
            d = dys[t]
            for k in range(layers - 1, -1, -1):
                x, before, carried, gates, change, bent = kept.pop()
                weight = cells[k, 0]
                d = d + dhidden[k]
                dc = dcell[k] + d * gates[2] * (1.0 - bent * bent)
                pre[0], pre[1], pre[2] = dc * carried, dc * change, d * bent
                pre[:3] *= gates * (1.0 - gates)
                pre[3] = dc * gates[1] * (1.0 - change * change)
                dcell[k] = dc * gates[0]
                g_cells[k, 0] += pre * np.stack([x, before, x, before])
                g_cells[k, 1] += pre
                through = pre * weight
                dhidden[k] = through[1] + through[3]
                d = through[0] + through[2]
            g_ends[0] += d * text[t]
        return float(loss)

    return Prepared(lambda: (run(), gradient), run)


CASES: Cases = {
    "moons": moons,
    "moons100": moons_many,
    "gpt": gpt,
    "gpt100": gpt_many,
    "gpt16": lambda _: gpt_texts(1),
    "gpt16x100": lambda _: gpt_texts(data.UPDATES),
    "digits": digits,
    "asian1k": lambda _: asian(1_000),
    "asian100k": lambda _: asian(100_000),
    "gmm": gmm,
    "lstm2": lambda _: lstm("lstm2"),
    "lstm4": lambda _: lstm("lstm4"),
}
ENGINES = {"NumPy by hand": ("numpy", CASES)}
