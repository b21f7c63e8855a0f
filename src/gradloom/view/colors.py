"""The colours of pictures, by what they paint, in light and in dark."""

from dataclasses import dataclass

# name: (light, dark)
PALETTE = {
    "paper": ("#ffffff", "#0f172a"),
    "ink": ("#1e293b", "#e2e8f0"),
    "soft": ("#64748b", "#94a3b8"),
    "line": ("#94a3b8", "#64748b"),
    "rim": ("#cbd5e1", "#334155"),
    "result": ("#ffffff", "#1e293b"),
    "leaf": ("#e8f3fb", "#15324a"),
    "parameter": ("#f1ebfa", "#2f2350"),
    "constant": ("#f1f5f9", "#1b2536"),
    "fold": ("#fff6df", "#3a2f14"),
    "op": ("#334155", "#cbd5e1"),
    "symbol": ("#ffffff", "#0f172a"),
    "grad": ("#c2410c", "#fb923c"),
    "box": ("#f8fafc", "#131d33"),
    "deeper": ("#f1f5f9", "#18233c"),
    "deepest": ("#e9eef5", "#1d2a46"),
    "accent": ("#e4572e", "#ff7a50"),
}


@dataclass(frozen=True, slots=True)
class Style:
    """How shapes of a class look; colours are names in the palette."""

    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    size: int = 11  # of letters, in px
    bold: bool = False
    dashed: bool = False


STYLES = {
    "edge": Style(stroke="line"),
    "box": Style("box", "rim"),
    "depth1": Style("box", "rim"),
    "depth2": Style("deeper", "rim"),
    "depth3": Style("deepest", "rim"),
    "result": Style("result", "line"),
    "leaf": Style("leaf", "line"),
    "parameter": Style("parameter", "line"),
    "constant": Style("constant", "rim"),
    "fold": Style("fold", "line"),
    "stack": Style("fold", "rim"),
    "op": Style("op"),
    # Of texts the fill alone counts, and the size.
    "symbol": Style("symbol", bold=True),
    "label": Style("ink", bold=True),
    "title": Style("ink", bold=True),
    "times": Style("accent", bold=True),
    "boxtitle": Style("soft"),
    "name": Style("soft"),
    "note": Style("soft"),
    "none": Style("soft"),
    "data": Style("ink"),
    "grad": Style("grad"),
    "figure": Style("ink"),
}

FONT = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def css(scope: str) -> str:
    """The style sheet of a picture, for elements inside `scope`, in both themes.

    >>> "prefers-color-scheme: dark" in css("svg")
    True
    """
    light, dark = (
        "".join(f"--{name}:{pair[side]};" for name, pair in PALETTE.items()) for side in (0, 1)
    )
    rules = [
        f"{scope}{{{light}font-family:{FONT};color-scheme:light dark}}",
        f"@media (prefers-color-scheme: dark){{{scope}{{{dark}}}}}",
        f"{scope} text{{font-size:11px;white-space:pre}}",
    ]
    for name, style in STYLES.items():
        parts = [f"fill:{f'var(--{style.fill})' if style.fill else 'none'}"]
        if style.stroke:
            parts.append(f"stroke:var(--{style.stroke})")
        if style.bold:
            parts.append("font-weight:600")
        rules.append(f"{scope} .{name}{{{';'.join(parts)}}}")
    return "".join(rules)
