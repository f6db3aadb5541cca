"""A curve of labels needed, as SVG text: UAR against the labels of each emotion, a line per row, intervals as bars.

The page's own colours are used (`currentColor`) beside eight of ours; the numbers stand in the table beside.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import log2

from cimeu.tables import Interval

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#17becf")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 48, 170, 12, 40


def label_curve(lines: Mapping[str, Sequence[tuple[int, Interval]]]) -> str:
    """Lines of (labels of each emotion, UAR) by name; nothing where there is no point.

    Labels stand at log2(1 + labels), so that the first few have room.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    most = max(log2(1 + labels) for labels, _ in points) or 1.0
    ends = [end for _, estimate in points for end in (estimate.value, estimate.low, estimate.high) if end is not None]
    low, high = min(ends), max(max(ends), min(ends) + 0.01)

    def x(labels: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * log2(1 + labels) / most

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    shapes = []
    for share in (low, (low + high) / 2, high):
        shapes.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(share):.1f}" y2="{y(share):.1f}" opacity=".2"/>')
        shapes.append(_text(LEFT - 6, y(share) + 4, f"{100 * share:.0f}", "end"))
    for labels in sorted({labels for labels, _ in points}):
        shapes.append(_text(x(labels), HEIGHT - BOTTOM + 18, str(labels), "middle"))
    shapes.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "labels of each emotion", "middle"))
    for number, (name, line) in enumerate(lines.items()):
        colour, aside = COLOURS[number % len(COLOURS)], 2.5 * (number - (len(lines) - 1) / 2)  # bars side by side
        path = " ".join(f"{x(labels) + aside:.1f},{y(estimate.value):.1f}" for labels, estimate in line)
        shapes.append(f'<polyline points="{path}" fill="none" style="stroke:{colour}" stroke-width="2"/>')
        for labels, estimate in line:
            at = x(labels) + aside
            shapes.append(
                f'<circle cx="{at:.1f}" cy="{y(estimate.value):.1f}" r="3" style="fill:{colour};stroke:none"/>'
            )
            if estimate.low is not None and estimate.high is not None:
                ends_at = f'y1="{y(estimate.low):.1f}" y2="{y(estimate.high):.1f}"'
                shapes.append(f'<line x1="{at:.1f}" x2="{at:.1f}" {ends_at} style="stroke:{colour}"/>')
        top = TOP + 16 * (number + 1)
        shapes.append(f'<circle cx="{WIDTH - RIGHT + 14}" cy="{top - 4}" r="4" style="fill:{colour};stroke:none"/>')
        shapes.append(_text(WIDTH - RIGHT + 24, top, name, "start"))
    title = f"UAR in percent against labels of each emotion: {', '.join(lines)}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{escape(title)}" '
        f'stroke="currentColor" fill="currentColor" font-size="12">{"".join(shapes)}</svg>\n'
    )


def _text(x: int | float, y: int | float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" stroke="none">{escape(text)}</text>'
