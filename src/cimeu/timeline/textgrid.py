"""A timeline as a TextGrid, which Praat and most tools of phonetics read.

Source: Praat's manual, "TextGrid file formats" (long text format): interval tiers cover the whole recording without
gaps, stretches without a label are empty, quotes inside a text are doubled.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from cimeu.timeline.segments import Segmentation
from cimeu.timeline.style import printable

Interval = tuple[float, float, str]
ABOUT = "about this file"
"""Name of the first tier: the format has no header for text of our own, and comments break some of its readers."""


def to_textgrid(timeline: Segmentation, path: Path) -> bytes:
    """A tier that says where the file comes from; per person the emotions, the reasons, and one tier per rater."""
    ends_s = [
        *(segment.end_s for segment in timeline.segments),
        *(segment.end_s for tier in timeline.raters for segment in tier.segments),
    ]
    end_s = round(max([timeline.header.duration_s, 0.001, *ends_s]), 3)
    tiers: list[tuple[str, list[Interval]]] = [(ABOUT, [(0.0, end_s, "; ".join(timeline.header.lines()))])]
    for person in timeline.persons:
        theirs = [segment for segment in timeline.segments if segment.person == person]
        labels = [(segment.start_s, segment.end_s, segment.label or segment.why_abstained) for segment in theirs]
        reasons = [(segment.start_s, segment.end_s, segment.reason) for segment in theirs]
        tiers += [(person, labels), (f"{person}, reason", reasons)]
        for tier in timeline.raters:
            if tier.person == person:
                tiers.append((tier.name, [(rated.start_s, rated.end_s, rated.label) for rated in tier.segments]))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", *_extent(end_s), "tiers? <exists>"]
    lines += [f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers, 1):
        lines += [f"    item [{number}]:", *_tier(name, list(_without_gaps(intervals, end_s)), end_s)]
    return ("\n".join(lines) + "\n").encode()


def _tier(name: str, intervals: list[Interval], end_s: float) -> Iterator[str]:
    yield from (f"        {line}" for line in ('class = "IntervalTier"', f"name = {_quoted(name)}", *_extent(end_s)))
    yield f"        intervals: size = {len(intervals)}"
    for number, (start_s, stop_s, text) in enumerate(intervals, 1):
        yield f"        intervals [{number}]:"
        yield f"            xmin = {start_s:.3f}"
        yield f"            xmax = {stop_s:.3f}"
        yield f"            text = {_quoted(text)}"


def _without_gaps(intervals: Iterable[Interval], end_s: float) -> Iterator[Interval]:
    """The intervals in order, those shorter than a millisecond left out, with empty ones between."""
    now_s = 0.0
    for start_s, stop_s, text in intervals:
        start_s, stop_s = round(start_s, 3), round(stop_s, 3)
        if start_s > now_s:
            yield now_s, start_s, ""
        if stop_s > max(start_s, now_s):
            yield max(start_s, now_s), stop_s, text
            now_s = stop_s
    if now_s < end_s:
        yield now_s, end_s, ""


def _extent(end_s: float) -> tuple[str, str]:
    return "xmin = 0.000", f"xmax = {end_s:.3f}"


def _quoted(text: str) -> str:
    doubled = " ".join(printable(text).split()).replace('"', '""')
    return f'"{doubled}"'
