"""A timeline in the formats that tables, players and annotation tools read.

Every file opens with the use limits and says which model and preprocessing made it; nothing in it depends on the clock
or the machine, so the same timeline gives the same bytes (a page also needs the recording at the same place).

Sources: WebVTT (W3C); RTTM (NIST rich transcription, comments start with `;;`); ELAN's EAF 3.0 schema
(http://www.mpi.nl/tools/elan/EAFv3.0.xsd).
"""

import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from cimeu.atomic import whole, write_whole
from cimeu.csv_files import csv_text
from cimeu.errors import RecipeError
from cimeu.media.recordings import SOUND_SUFFIXES
from cimeu.plots.pages import page_environment
from cimeu.timeline.explanation import Explanation
from cimeu.timeline.figure import to_png, to_svg
from cimeu.timeline.overlay import OVERLAY, VideoOptions, write_overlay
from cimeu.timeline.segments import CONTINUOUS_CAUTION, UNLIKE, UNSURE, USE_LIMITS, RatedSegment, Segment, Segmentation
from cimeu.timeline.series import (
    Point,
    by_person,
    by_scale,
    curves,
    runs_with_values,
    series_rows,
    to_series_csv,
    to_series_parquet,
    zero_of,
)
from cimeu.timeline.style import clock, colours_of, described, printable
from cimeu.timeline.textgrid import to_textgrid


def to_csv(timeline: Segmentation, path: Path) -> bytes:
    """Comment lines (`#`), then a table: read it with `pandas.read_csv(path, comment="#")`."""
    emotions = timeline.header.emotions
    names = ["person", "start_s", "end_s", "label", "confidence", "abstain", "modality", "reason", "unlike_training"]
    rows: list[list[object]] = [[*names, *(f"score.{emotion}" for emotion in emotions)]]
    for segment in timeline.segments:
        scores = [segment.scores.get(emotion) for emotion in emotions]
        rows.append([*(getattr(segment, name) for name in names), *scores])
    return _csv_with_header(timeline, rows)


def _csv_with_header(timeline: Segmentation, rows: Sequence[Sequence[object]]) -> bytes:
    comments = "".join(f"# {_one_line(line)}\n" for line in timeline.header.lines())
    return (comments + csv_text(rows)).encode()


def to_raters_csv(timeline: Segmentation, path: Path) -> bytes:
    """Comment lines (`#`), then a row per stretch of a rater; `cimeu agree` reads its tiers."""
    rows: list[list[object]] = [["tier", "rater", "person", "start_s", "end_s", "label"]]
    for tier in timeline.raters:
        rows += [[tier.name, tier.rater, tier.person, *astuple(segment)] for segment in tier.segments]
    return _csv_with_header(timeline, rows)


def to_json(timeline: Segmentation, path: Path, **more: object) -> bytes:
    """One object: header fields, `segments`, `raters` and `explanations` where there are any, `series`: per person
    rows of `[start_s, end_s, scores, modality, reason, ood_score]` (and the values of continuous labels, where the
    model has any: schema 2), and `places`: per person rows of
    `[time_s, left, top, width, height]` in fractions of the frame. `Timeline.from_json` reads it back."""
    content: dict[str, object] = {
        **timeline.header.values(),
        "segments": [asdict(segment) for segment in timeline.segments],
    }
    if timeline.raters:
        content["raters"] = [asdict(tier) for tier in timeline.raters]
    if timeline.explanations is not None:
        content["explanations"] = [asdict(explanation) for explanation in timeline.explanations]
    text = json.dumps(content | more, indent=2, ensure_ascii=False)
    rows = {person: [astuple(place) for place in places] for person, places in timeline.places.items()}
    # On one line each: an hour of a face is 18,000 places and 7,200 windows.
    parts = (
        {"places": rows}
        if timeline.series is None
        else {"series": series_rows(timeline.series, timeline.header), "places": rows}
    )
    compact = [
        f'"{name}": {json.dumps(part, ensure_ascii=False, separators=(",", ":"))}' for name, part in parts.items()
    ]
    return ",\n  ".join([text[:-2], *compact]).encode() + b"\n}\n"


def to_jsonl(timeline: Segmentation, path: Path) -> bytes:
    """The header on the first line, then one segment a line."""
    lines = [timeline.header.values(), *(asdict(segment) for segment in timeline.segments)]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def to_vtt(timeline: Segmentation, path: Path) -> bytes:
    """Subtitles: who shows what, or why nothing is said."""
    first, *others = (_vtt_text(line) for line in timeline.header.lines())
    # Text behind the signature is a comment; a NOTE must hold no empty line and no arrow.
    blocks = [f"WEBVTT - {first}", "NOTE\n" + "\n".join(others)]
    # WebVTT wants cues in order of their start, and lanes overlap.
    for segment in sorted(timeline.segments, key=lambda segment: (segment.start_s, segment.end_s)):
        times = f"{_vtt_time(segment.start_s)} --> {_vtt_time(segment.end_s)}"
        blocks.append(f"{times}\n<v {_vtt_text(segment.person)}>{_vtt_text(described(segment))}")
    return ("\n\n".join(blocks) + "\n").encode()


def to_parquet(timeline: Segmentation, path: Path) -> bytes:
    """The table of `Timeline.to_dataframe`; the header is in the schema's metadata under `cimeu`."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(timeline.to_dataframe(), preserve_index=False)
    header = json.dumps(timeline.header.values(), ensure_ascii=False)
    # pandas keeps its own metadata there, without which columns lose their types.
    table = table.replace_schema_metadata({**table.schema.metadata, "use_limits": USE_LIMITS, "cimeu": header})
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def to_rttm(timeline: Segmentation, path: Path) -> bytes:
    """When each person is seen or heard, whatever they show: `SPEAKER file 1 start duration ... person`."""
    lines = [f";; {_one_line(line)}" for line in timeline.header.lines()]
    name = _word(Path(timeline.header.media).stem)
    for person in timeline.persons:
        for start_s, end_s in _present(timeline, person):
            # Ten fields divided by spaces (NIST RT-09), hence no space inside a name.
            lines.append(f"SPEAKER {name} 1 {start_s:.3f} {end_s - start_s:.3f} <NA> <NA> {_word(person)} <NA> <NA>")
    return ("\n".join(lines) + "\n").encode()


def to_eaf(timeline: Segmentation, path: Path) -> bytes:
    """An ELAN document: per person a tier of emotions with a controlled vocabulary, a tier of reasons, and one tier per
    rater."""
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"cimeu {timeline.header.version}",
            "DATE": "1970-01-01T00:00:00+00:00",  # required; the clock would make each file different
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    # XML forbids two hyphens inside a comment.
    document.append(ElementTree.Comment(" " + USE_LIMITS.replace("--", "-") + " "))
    _eaf_header(document, timeline, path)
    rated = [segment for tier in timeline.raters for segment in tier.segments]
    slots = _eaf_slots(document, (*timeline.segments, *rated))
    # Abstentions are words of the vocabulary too: an annotator may choose them.
    entries = {label: f"cve{number}" for number, label in enumerate((*timeline.header.emotions, UNSURE, UNLIKE))}
    # Identifiers are unique in the document, not in the tier.
    counter = count(1)
    for person in timeline.persons:
        theirs = [segment for segment in timeline.segments if segment.person == person]
        spoken = [segment for segment in theirs if segment.label or segment.scores]
        emotions = _eaf_tier(document, person, person, "emotion")
        for segment in spoken:
            value = segment.label or segment.why_abstained
            _eaf_annotation(emotions, segment, value, slots, f"a{next(counter)}", entries[value])
        reasons = _eaf_tier(document, f"{person}, reason", person, "reason")
        for segment in theirs:
            if segment.reason:
                _eaf_annotation(reasons, segment, segment.reason, slots, f"a{next(counter)}", None)
        for tier in timeline.raters:
            if tier.person == person:
                ratings_tier = _eaf_tier(document, tier.name, person, "emotion", ANNOTATOR=tier.rater)
                for rating in tier.segments:
                    _eaf_annotation(
                        ratings_tier, rating, rating.label, slots, f"a{next(counter)}", entries[rating.label]
                    )
    # The schema fixes the order of elements: tiers, types, languages, vocabularies.
    for name, vocabulary in (("emotion", {"CONTROLLED_VOCABULARY_REF": "emotions"}), ("reason", {})):
        ElementTree.SubElement(
            document,
            "LINGUISTIC_TYPE",
            {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": name, "TIME_ALIGNABLE": "true", **vocabulary},
        )
    _eaf_vocabulary(document, entries)
    # Control characters of a file name are not allowed in XML, not even escaped.
    for element in document.iter():
        element.text = printable(element.text or "") or None
        element.attrib.update({key: printable(value) for key, value in element.attrib.items()})
    ElementTree.indent(document)
    return ElementTree.tostring(document, encoding="UTF-8", xml_declaration=True) + b"\n"


def to_html(timeline: Segmentation, path: Path) -> bytes:
    """One page without scripts: a band per person, hatched where no emotion is named, with the reason.

    A player stands above the bands where the recording lies in the folder of the page or in the one that holds it.
    """
    template = page_environment("cimeu.timeline", "timeline.html").get_template("timeline.html")
    duration_s = max(timeline.header.duration_s, *(segment.end_s for segment in timeline.segments), 1e-3)
    colours = colours_of(timeline.header.emotions)

    def shade(segment: Segment) -> str:
        # Never paler than 40 %: a pale segment must still have a colour that can be recognised.
        strength = round(40 + 60 * (segment.confidence or 0))
        return f"color-mix(in srgb, {colours[segment.label]} {strength}%, white)"

    def bars(explanation: Explanation, stream: str) -> list[dict[str, object]]:
        """Places and heights, in percent, of the stretches of one stream."""
        moments = [moment for moment in explanation.moments if moment.stream == stream]
        start_s = min((moment.start_s for moment in explanation.moments), default=0.0)
        extent_s = max((moment.end_s for moment in explanation.moments), default=1.0) - start_s
        most = max((abs(moment.lost) for moment in explanation.moments), default=0.0) or 1.0
        return [
            asdict(moment)
            | {
                "left": f"{100 * (moment.start_s - start_s) / extent_s:.2f}",
                "width": f"{100 * (moment.end_s - moment.start_s) / extent_s - 0.3:.2f}",
                "height": f"{50 * abs(moment.lost) / most:.1f}",
            }
            for moment in moments
        ]

    page = template.render(
        header=timeline.header,
        drawings=_drawings(timeline, duration_s),
        caution=CONTINUOUS_CAUTION,
        explanations=timeline.explanations,
        bars=bars,
        segments=timeline.segments,
        persons=timeline.persons,
        raters=timeline.raters,
        colours=colours,
        ticks=[duration_s * part / 5 for part in range(6)],
        percent=lambda time_s: f"{100 * time_s / duration_s:.3f}",
        clock=clock,
        described=described,
        shade=shade,
        player=_player(timeline.media_path, path),
    )
    return page.encode()


def _drawings(timeline: Segmentation, duration_s: float) -> dict[str, dict[str, Any]]:
    """Curves of each person on fields of 1000 by 100, and what the pointer reads there: one field for the scores, one
    for the continuous labels of each scale."""
    header = timeline.header
    drawings: dict[str, dict[str, Any]] = {}
    for person, windows in by_person(timeline.series or ()).items():
        runs = curves(windows, CURVE_POINTS)
        if not runs:
            continue
        scores = [[(point, point.scores) for point in run] for run in runs]
        drawings[person] = _field(header.emotions, scores, (0.0, 1.0), duration_s) | {"fields": []}
        values = runs_with_values(runs)
        for scale, names, places in by_scale(header.continuous) if values else ():
            of_names = [[(point, [numbers[place] for place in places]) for point, numbers in run] for run in values]
            axis = {"names": names, "scale": scale, "zero": 100 * (1 - zero_of(scale))}
            drawings[person]["fields"].append(axis | _field(names, of_names, scale, duration_s))
    return drawings


def _field(
    names: Sequence[str],
    runs: Sequence[Sequence[tuple[Point, Sequence[float]]]],
    scale: tuple[float, float],
    duration_s: float,
) -> dict[str, Any]:
    """Lines by name, and rectangles that say the values at their place."""
    low, high = scale

    def x(time_s: float) -> str:
        return f"{1000 * time_s / duration_s:.1f}"

    def line(run: Sequence[tuple[Point, Sequence[float]]], number: int) -> str:
        heights = [f"{100 * (high - values[number]) / (high - low):.1f}" for _, values in run]
        # Carried to the ends of the run, so that a single window is a line and not a point.
        ends = [run[0][0].start_s, *(point.centre_s for point, _ in run), run[-1][0].end_s]
        return " ".join(f"{x(time_s)},{y}" for time_s, y in zip(ends, [heights[0], *heights, heights[-1]], strict=True))

    readings = [
        {
            "x": x(point.start_s),
            "width": x(point.end_s - point.start_s),
            "words": f"{clock(point.centre_s)}: "
            + ", ".join(f"{name} {value:.2f}" for name, value in zip(names, values, strict=True)),
        }
        for run in runs
        for point, values in run
    ]
    return {
        "lines": [(name, line(run, number)) for number, name in enumerate(names) for run in runs],
        "readings": readings,
    }


WRITERS: dict[str, Callable[[Segmentation, Path], bytes]] = {
    ".csv": to_csv,
    ".json": to_json,
    ".jsonl": to_jsonl,
    ".vtt": to_vtt,
    ".parquet": to_parquet,
    ".eaf": to_eaf,
    ".textgrid": to_textgrid,
    ".rttm": to_rttm,
    ".html": to_html,
    ".png": to_png,
    ".svg": to_svg,
    ".series.csv": to_series_csv,
    ".series.parquet": to_series_parquet,
}
"""The content of a file by its suffix."""
KIND = "timeline"
CURVE_POINTS = 240
"""Most points of a curve on the page: an hour of three people stays a small page."""
EVERY_FORMAT = (*WRITERS, OVERLAY)
"""Everything a timeline can be saved as."""


def suffix_of(path: Path) -> str:
    """The format that a name ends in; empty where it is none.

    >>> suffix_of(Path("a.series.csv")), suffix_of(Path("a.b.CSV")), suffix_of(Path("a.txt"))
    ('.series.csv', '.csv', '')
    """
    # The longest wins: `.series.csv` ends in `.csv` too.
    endings = [suffix for suffix in EVERY_FORMAT if path.name.lower().endswith(suffix)]
    return max(endings, key=len, default="")


def save(timeline: Segmentation, path: Path, video: VideoOptions | None = None) -> Path:
    """Write a timeline in the format of the suffix; a file is there whole or not at all. `video` is about .mp4 alone.

    Raises:
        RecipeError: another suffix.
        OutputError: a file that is not ours has the name, such as the recording itself.
        MediaError: the recording, needed for .mp4, is gone or cannot be decoded.
    """
    suffix = suffix_of(path)
    if not suffix:
        raise RecipeError(
            f"a timeline cannot be saved as `{path.name}`\n\nhint: end the name in one of {', '.join(EVERY_FORMAT)}"
        )
    if suffix != OVERLAY:
        return write_whole(path, WRITERS[suffix](timeline, path), KIND)
    with whole(path, KIND) as partial:
        write_overlay(timeline, partial, video)
    return path


def _present(timeline: Segmentation, person: str) -> list[tuple[float, float]]:
    """Stretches in which the model was run about a person, neighbours joined."""
    spans: list[tuple[float, float]] = []
    for segment in timeline.segments:
        if segment.person == person and segment.scores:
            # Both were rounded to milliseconds from the same edge, so equal is equal.
            if spans and spans[-1][1] == segment.start_s:
                spans[-1] = (spans[-1][0], segment.end_s)
            else:
                spans.append((segment.start_s, segment.end_s))
    return spans


def _eaf_header(document: ElementTree.Element, timeline: Segmentation, path: Path) -> None:
    header = ElementTree.SubElement(document, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    link = _relative_link(timeline.media_path, path)
    # The types that ELAN itself writes.
    kind = "audio/x-wav" if timeline.media_path.suffix.lower() in (".wav", ".flac", ".mp3") else "video/mp4"
    media = {"MEDIA_URL": link, "RELATIVE_MEDIA_URL": link, "MIME_TYPE": kind}
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", media)
    for number, line in enumerate(timeline.header.lines()):
        ElementTree.SubElement(header, "PROPERTY", {"NAME": f"cimeu {number}"}).text = line


def _eaf_slots(document: ElementTree.Element, segments: Sequence[Segment | RatedSegment]) -> dict[int, str]:
    """Names of all times, in milliseconds."""
    order = ElementTree.SubElement(document, "TIME_ORDER")
    # ELAN wants every time once, in order, and annotations that point to it; neighbours share a slot, so that they stay
    # neighbours when one is dragged.
    slots = {
        time_ms: f"ts{number}"
        for number, time_ms in enumerate(
            sorted({_ms(time_s) for segment in segments for time_s in (segment.start_s, segment.end_s)}), 1
        )
    }
    for time_ms, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(time_ms)})
    return slots


def _eaf_vocabulary(document: ElementTree.Element, entries: dict[str, str]) -> None:
    """The words that an annotator may choose from, in English."""
    language = {"LANG_ID": "eng", "LANG_DEF": "http://cdb.iso.org/lg/CDB-00138502-001", "LANG_LABEL": "English (eng)"}
    ElementTree.SubElement(document, "LANGUAGE", language)
    words = ElementTree.SubElement(document, "CONTROLLED_VOCABULARY", {"CV_ID": "emotions"})
    ElementTree.SubElement(words, "DESCRIPTION", {"LANG_REF": "eng"}).text = "emotions the model knows"
    for label, entry in entries.items():
        element = ElementTree.SubElement(words, "CV_ENTRY_ML", {"CVE_ID": entry})
        ElementTree.SubElement(element, "CVE_VALUE", {"LANG_REF": "eng", "DESCRIPTION": ""}).text = label


def _eaf_tier(
    document: ElementTree.Element, name: str, person: str, kind: str, **attributes: str
) -> ElementTree.Element:
    attributes |= {"LINGUISTIC_TYPE_REF": kind, "PARTICIPANT": person, "TIER_ID": name}
    return ElementTree.SubElement(document, "TIER", attributes)


def _eaf_annotation(
    tier: ElementTree.Element,
    segment: Segment | RatedSegment,
    value: str,
    slots: dict[int, str],
    number: str,
    entry: str | None,
) -> None:
    attributes = {
        "ANNOTATION_ID": number,
        "TIME_SLOT_REF1": slots[_ms(segment.start_s)],
        "TIME_SLOT_REF2": slots[_ms(segment.end_s)],
    }
    if entry is not None:
        attributes["CVE_REF"] = entry
    annotation = ElementTree.SubElement(ElementTree.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", attributes)
    ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = value


def _player(media: Path, page: Path) -> dict[str, str] | None:
    """Element and address of a player; None where the recording is not near, for a longer way would name folders."""
    folder = page.resolve().parent
    if media.resolve().parent not in (folder, folder.parent) or not media.is_file():
        return None
    element = "audio" if media.suffix.lower() in SOUND_SUFFIXES else "video"
    return {"element": element, "address": quote(_relative_link(media, page))}


def _relative_link(media: Path, path: Path) -> str:
    """`./interview.mp4` or `../videos/interview.mp4`: moves with the folder, names no home directory."""
    link = Path(os.path.relpath(media.resolve(), path.resolve().parent)).as_posix()
    return link if link.startswith("../") else f"./{link}"


def _ms(time_s: float) -> int:
    return round(1000 * time_s)


def _vtt_time(time_s: float) -> str:
    seconds, ms = divmod(_ms(time_s), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


def _vtt_text(text: str) -> str:
    return _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _word(text: str) -> str:
    return "_".join(text.split()) or "_"
