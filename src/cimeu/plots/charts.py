"""Small drawings for the report, as SVG text: no scripts, no fonts, no colours of their own.

Every shape carries a class and the style sheet of the page colours it (`parts.html`), so one drawing serves light and
dark pages and print. Each is labelled for readers who cannot see it; the numbers are also in the tables beside.

Axes of drawings: x to the right, y downward, in user units of the viewBox.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

COLOURS = 8
"""Categories with a colour of their own (classes c0 to c7); later ones share the last."""
_INSET = 3
"""Percent of the width that `whisker` leaves free on both sides, for half a dot."""
POINTS = 700
"""Points drawn at most in one scatter: evenly taken, so that the page stays small."""


def whisker(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    chance: float | None = None,
    start: float = 0.0,
    end: float = 1.0,
) -> str:
    """A dot for the figure on a line for its interval; a tick marks chance, or zero for differences.

    It is as wide as its place: x is in percent, so that dots stay round in a column of any width.
    """

    def x(number: float) -> str:
        return f"{_INSET + (100 - 2 * _INSET) * (min(max(number, start), end) - start) / (end - start):.2f}%"

    shapes = [f'<line class="axis" x1="{_INSET}%" y1="9" x2="{100 - _INSET}%" y2="9"/>']
    if chance is not None:
        shapes.append(f'<line class="chance" x1="{x(chance)}" y1="2" x2="{x(chance)}" y2="16"/>')
    if low is not None and high is not None:
        shapes.append(f'<line class="range" x1="{x(low)}" y1="9" x2="{x(high)}" y2="9"/>')
    if value is not None:
        shapes.append(f'<circle class="dot" cx="{x(value)}" cy="9" r="4"/>')
    return f'<svg class="whisker" width="100%" height="18" aria-hidden="true">{"".join(shapes)}</svg>'


def scale(labels: tuple[str, str, str], title: str = "") -> str:
    """Start, middle and end of the axis of `whisker`, to stand over a column of them, with the axis' title above."""
    places = zip((_INSET, 50, 100 - _INSET), ("start", "middle", "end"), labels, strict=True)
    top = 12 if title else 0
    shapes = [
        f'<text x="{x}%" y="{top + 12}" text-anchor="{anchor}">{escape(label)}</text>' for x, anchor, label in places
    ]
    if title:
        shapes.append(f'<text x="50%" y="10" text-anchor="middle">{escape(title)}</text>')
    described = escape(" ".join(filter(None, (title, f"from {labels[0]} to {labels[2]}"))), quote=True)
    content = "".join(shapes)
    return f'<svg class="scale" width="100%" height="{top + 16}" role="img" aria-label="{described}">{content}</svg>'


def curves(name: str, lines: Sequence[Mapping[str, Any]], *, width: int = 230, height: int = 110) -> str:
    """One number over epochs: a thin line per run, forward and backward have different classes."""
    epochs = [float(epoch) for line in lines for epoch in line["epochs"]]
    values = [float(value) for line in lines for value in line["values"]]
    first, last, low, high = min(epochs), max(epochs), min(values), max(values)
    left, right, top, bottom = 34, width - 4, 8, height - 28

    def x(epoch: float) -> float:
        return left + (right - left) * ((epoch - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return bottom - (bottom - top) * ((value - low) / (high - low) if high > low else 0.5)

    shapes = [f'<line class="axis" x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}"/>']
    for line in lines:
        points = [(float(epoch), float(value)) for epoch, value in zip(line["epochs"], line["values"], strict=True)]
        if len(points) == 1:
            shapes.append(
                f'<circle class="{line["direction"]}" cx="{x(points[0][0]):.1f}" cy="{y(points[0][1]):.1f}" r="2"/>'
            )
        path = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)
        shapes.append(f'<polyline class="{line["direction"]}" points="{path}"/>')
    shapes.append(f'<text x="{left}" y="{height - 16}">{first:g}</text>')
    shapes.append(f'<text x="{right}" y="{height - 16}" text-anchor="end">{last:g}</text>')
    shapes.append(f'<text x="{(left + right) / 2:.0f}" y="{height - 3}" text-anchor="middle">epoch</text>')
    for value in dict.fromkeys((high, low)):
        shapes.append(f'<text x="{left - 4}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.2g}</text>')
    summary = f"{name} over epochs {first:g} to {last:g}, between {low:.3g} and {high:.3g}"
    return _svg("".join(shapes), width, height, "curve", summary)


def reliability(bins: Sequence[Mapping[str, Any]], *, size: int = 220) -> str:
    """Confidence (x) against accuracy (y); dots grow with their clips, the diagonal is what confidence promises."""
    margin, span = 40, size - 52
    most = max((bucket["n_clips"] for bucket in bins), default=0)

    def x(share: float) -> float:
        return margin + span * share

    def y(share: float) -> float:
        return 8 + span * (1 - share)

    shapes = [
        f'<rect class="frame" x="{x(0.0)}" y="{y(1.0)}" width="{span}" height="{span}"/>',
        f'<line class="chance" x1="{x(0.0)}" y1="{y(0.0)}" x2="{x(1.0)}" y2="{y(1.0)}"/>',
    ]
    filled = [bucket for bucket in bins if bucket["n_clips"]]
    path = " ".join(f"{x(bucket['confidence']):.1f},{y(bucket['accuracy']):.1f}" for bucket in filled)
    shapes.append(f'<polyline class="forward" points="{path}"/>')
    for bucket in filled:
        at = f'cx="{x(bucket["confidence"]):.1f}" cy="{y(bucket["accuracy"]):.1f}"'
        # Area, not radius, says how many clips a point stands for.
        radius = 2 + 5 * math.sqrt(bucket["n_clips"] / most)
        shapes.append(f'<circle class="dot" {at} r="{radius:.1f}"/>')
    for share, label in ((0.0, "0"), (0.5, "50"), (1.0, "100")):
        anchor = "end" if share == 1 else "middle"
        shapes.append(f'<text x="{x(share):.0f}" y="{size - 30}" text-anchor="{anchor}">{label}</text>')
        if share:
            shapes.append(f'<text x="{margin - 4}" y="{y(share) + 4:.0f}" text-anchor="end">{label}</text>')
    shapes += _titles("confidence, %", "accuracy, %", (x(0.5), size - 12), (12, y(0.5)))
    return _svg(
        "".join(shapes), size, size, "reliability", "Confidence across, accuracy upward; the diagonal is perfect"
    )


def scatter(
    points: Sequence[Sequence[float | None]],
    labels: Sequence[str],
    colours: Mapping[str, str] | None = None,
    *,
    size: int = 260,
) -> str:
    """Points coloured and shaped by their label; the legend is `legend(labels, colours)`.

    `colours` gives a label the colour that it has elsewhere; without them labels are numbered.
    """
    names = sorted(set(labels))
    drawable = [
        (float(point[0]), float(point[1]), label)
        for point, label in zip(points, labels, strict=True)
        if point[0] is not None and point[1] is not None
    ]
    if not drawable:
        return ""
    drawable = [drawable[round(place)] for place in _evenly(len(drawable), POINTS)]
    xs, ys = [point[0] for point in drawable], [point[1] for point in drawable]
    span = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    left, inner = 20, size - 22  # room for the titles of both axes
    scale = (inner - 16) / span
    shapes = [f'<rect class="frame" x="{left}" y="1" width="{inner}" height="{inner}"/>']
    for x, y, label in drawable:
        across, down = left + inner / 2 + (x - middle_x) * scale, inner / 2 - (y - middle_y) * scale
        shapes.append(_mark(across, down, names.index(label), (colours or {}).get(label)))
    shapes += _titles("first axis", "second axis", (left + inner / 2, size - 6), (12, inner / 2))
    return _svg("".join(shapes), size, size, "scatter", f"{len(drawable)} clips on two axes, by {', '.join(names)}")


def legend(labels: Sequence[str], colours: Mapping[str, str] | None = None) -> str:
    """Names beside their marks, in the order `scatter` numbers them."""
    items = []
    for category, name in enumerate(sorted(set(labels))):
        shape = _mark(6.0, 6.0, category, (colours or {}).get(name))
        mark = f'<svg width="12" height="12" aria-hidden="true">{shape}</svg>'
        items.append(f"<li>{mark}{escape(name or 'unknown')}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _titles(
    across: str, upward: str, below: tuple[int | float, int | float], aside: tuple[int | float, int | float]
) -> list[str]:
    """What both axes of a drawing show, at the given places."""
    x, y = aside
    return [
        f'<text x="{below[0]:.0f}" y="{below[1]:.0f}" text-anchor="middle">{across}</text>',
        f'<text x="{x}" y="{y:.0f}" text-anchor="middle" transform="rotate(-90 {x} {y:.0f})">{upward}</text>',
    ]


def _mark(x: float, y: float, category: int, colour: str | None = None) -> str:
    """Colour and shape both tell the category; a colour of its own is mixed with the ink to be seen on any page."""
    style = f'class="c{min(category, COLOURS - 1)}"' if colour is None else f'class="tone" style="--tone:{colour}"'
    match category % 4:
        case 0:
            return f'<circle {style} cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
        case 1:
            return f'<rect {style} x="{x - 2.3:.1f}" y="{y - 2.3:.1f}" width="4.6" height="4.6"/>'
        case 2:
            return f'<path {style} d="M{x:.1f} {y - 3.1:.1f}l3.1 5.4h-6.2z"/>'
        case _:
            return f'<path {style} d="M{x:.1f} {y - 3.4:.1f}l3.4 3.4l-3.4 3.4l-3.4-3.4z"/>'


def _evenly(count: int, most: int) -> list[float]:
    return (
        [place * (count - 1) / (most - 1) for place in range(most)]
        if count > most
        else [float(p) for p in range(count)]
    )


def _svg(content: str, width: int, height: int, kind: str, label: str) -> str:
    described = f'role="img" aria-label="{escape(label, quote=True)}"' if label else 'aria-hidden="true"'
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg class="{kind}" {size} {described}>{content}</svg>'
