"""A timeline as a picture for a paper or a slide: a band per person, a colour per emotion.

The use limits, the model and its preprocessing stand below the bands and in the metadata of the file. The same timeline
gives the same bytes with the same version of matplotlib.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cimeu.plots.fonts import families_for
from cimeu.timeline.annotations import Tier
from cimeu.timeline.segments import UNSURE, Segment, Segmentation
from cimeu.timeline.style import NOTHING, clock, colours_of, named, printable, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN = 10.0
LANE_IN = 0.55
TIME = "time (minutes:seconds)"
LETTER_IN, LONGEST_NAME = 0.08, 40
"""Width of a letter of a name, and letters that a name has at most."""
FOOTER_COLUMNS = 190
"""Characters of a line below the bands."""


def to_png(timeline: Segmentation, path: Path) -> bytes:
    """The figure in pixels, 150 to the inch."""
    lines = timeline.header.lines()
    metadata = {"Title": _title(timeline), "Description": " ".join(lines), "Software": None}
    return _saved(figure(timeline), "png", metadata)


def to_svg(timeline: Segmentation, path: Path) -> bytes:
    """The figure as a drawing whose text can be searched and edited."""
    lines = timeline.header.lines()
    metadata = {"Title": _title(timeline), "Description": " ".join(lines), "Date": None, "Creator": "cimeu"}
    return _saved(figure(timeline), "svg", metadata)


def figure(timeline: Segmentation) -> "Figure":
    """The drawing itself, to be changed further."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import FuncFormatter

    header, persons = timeline.header, timeline.persons or ("",)
    footer = [part for line in header.lines() for part in textwrap.wrap(line, FOOTER_COLUMNS)]
    bands_in, footer_in = LANE_IN * len(persons), 0.14 * len(footer)
    height_in = 0.65 + bands_in + 0.65 + footer_in + 0.1
    drawn = Figure(figsize=(WIDTH_IN, height_in))
    names = [shortened(person, LONGEST_NAME) for person in persons]
    left = max(0.1, 0.02 + max(map(len, names)) * LETTER_IN / WIDTH_IN)
    axes = drawn.add_axes((left, (footer_in + 0.7) / height_in, 0.98 - left, bands_in / height_in))
    colours = colours_of(header.emotions)
    end_s = max(header.duration_s, *(segment.end_s for segment in timeline.segments), 1e-3)
    for segment in timeline.segments:
        row = persons.index(segment.person)
        _band(axes, segment, row, colours, end_s)
    axes.set(xlim=(0, end_s), ylim=(len(persons) - 0.5, -0.5), yticks=range(len(persons)))
    axes.set_yticklabels(names)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time_s, _: clock(time_s)))
    axes.set_xlabel(TIME, fontsize=8)
    axes.tick_params(labelsize=8, length=2)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    kinds = [Patch(facecolor=colour, label=emotion) for emotion, colour in colours.items()]
    kinds.append(Patch(facecolor=NOTHING, hatch="///", edgecolor="white", label="nothing said"))
    drawn.legend(
        handles=kinds,
        loc="upper left",
        bbox_to_anchor=(0.09, 1 - 0.28 / height_in),
        fontsize=8,
        frameon=False,
        ncols=8,
        borderaxespad=0,
        handlelength=1.2,
        columnspacing=1.2,
    )
    drawn.text(0.1, 1 - 0.1 / height_in, _title(timeline), fontsize=10, weight="bold", va="top")
    drawn.text(0.02, 0.1 / height_in, "\n".join(footer), fontsize=6.5, color="#4a5560", linespacing=1.35)
    return _with_plain_text(drawn)


def _with_plain_text(drawn: "Figure") -> "Figure":
    """The figure, in which a `$` that somebody typed is no mathematics, and every script has a font; also when it is
    saved by others later."""
    from matplotlib.text import Text

    for text in drawn.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
        if not text.get_text().isascii():
            text.set_fontfamily(families_for(text.get_text()))
    return drawn


def _band(axes: object, segment: Segment, row: int, colours: dict[str, str], end_s: float) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    length_s = segment.end_s - segment.start_s
    span = [(segment.start_s, length_s)]
    if segment.label:
        strength = 0.4 + 0.6 * (segment.confidence or 0)
        axes.broken_barh(
            span, (row - 0.4, 0.8), facecolor=colours.get(segment.label, NOTHING), alpha=strength, edgecolor="white"
        )
    else:
        axes.broken_barh(span, (row - 0.4, 0.8), facecolor=NOTHING, hatch="///", edgecolor="white", linewidth=0.5)
    text = named(segment) if segment.label else segment.reason or UNSURE
    room = int(length_s / end_s * 8.8 * 17)  # characters of 7 points on the width of the bands
    if room >= 4:
        short = text if len(text) <= room else text[: room - 1] + "…"
        plate = None if segment.label else {"facecolor": NOTHING, "edgecolor": "none", "pad": 1}
        axes.text(segment.start_s + length_s / 2, row, short, fontsize=7, ha="center", va="center", bbox=plate)


def _title(timeline: Segmentation) -> str:
    return printable(f"{timeline.header.media}: emotions over time")


def _saved(drawn: "Figure", kind: str, metadata: dict[str, str | None]) -> bytes:
    import matplotlib

    sink = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "cimeu", "svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # `families_for` said so
        drawn.savefig(sink, format=kind, dpi=150, metadata=metadata)
    return sink.getvalue()


def tiers_svg(tiers: Sequence[Tier], labels: Sequence[str], differences: Sequence[tuple[float, float]]) -> str:
    """Tiers and where they differ (start and length in seconds), as a drawing to be put into a page."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import FuncFormatter

    colours = colours_of(labels)
    drawn = Figure(figsize=(WIDTH_IN, 2.5))
    axes = drawn.add_axes((0.14, 0.22, 0.84, 0.54))
    names = [printable(f"{tier.name[:16]}\n{tier.source[:18]}") for tier in tiers]
    for row, tier in enumerate(tiers):
        for label in sorted(tier.labels):  # one shape for each label: thousands of them would take seconds
            spans = [
                (annotation.start_s, annotation.end_s - annotation.start_s)
                for annotation in tier.annotations
                if annotation.label == label
            ]
            axes.broken_barh(spans, (row - 0.4, 0.8), facecolor=colours[label], edgecolor="white", linewidth=0.5)
    axes.broken_barh(differences, (1.6, 0.4), facecolor="#b3261e")
    end_s = max(annotation.end_s for tier in tiers for annotation in tier.annotations)
    axes.set(xlim=(0, end_s), ylim=(2.1, -0.5), yticks=[0, 1, 1.8], yticklabels=[*names, "differ"])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time_s, _: clock(time_s)))
    axes.set_xlabel(TIME, fontsize=7)
    axes.tick_params(labelsize=7, length=2)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    kinds = [Patch(facecolor=colour, label=label) for label, colour in colours.items()]
    drawn.legend(handles=kinds, loc="upper left", bbox_to_anchor=(0.13, 0.99), fontsize=8, frameon=False, ncols=8)
    text = _saved(_with_plain_text(drawn), "svg", {"Date": None, "Creator": "cimeu"}).decode()
    return text[text.index("<svg") :]
