"""Annotations of people and of the model, read from ELAN, Praat and tables: tiers of labelled times.

ELAN keeps times in a list of slots; a tier has times of its own (alignable), or its annotations refer to those of a
parent tier and share its time. What the format means by that:

    TIME_ORIGIN             of the media descriptor, milliseconds: time 0 is that far into the recording
    slot without a value    a subdivision whose inner boundaries nobody placed: even parts between the outer ones
    symbolic association    one child per parent, with the parent's time
    symbolic subdivision    children chained by PREVIOUS_ANNOTATION share the parent's time in even parts

Source: ELAN Annotation Format, EAF 3.0 schema and its description (https://www.mpi.nl/tools/elan/EAFv3.0.xsd).
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from cimeu.csv_files import CsvTable, read_csv
from cimeu.errors import ManifestError, listed
from cimeu.labels import KNOWN_EMOTIONS, canonical
from cimeu.reading import require_regular
from cimeu.timeline.praat import SUFFIX, read_textgrid
from cimeu.timeline.segments import UNLIKE, UNSURE

NO_LABEL = frozenset({"", UNSURE, UNLIKE})
TABLES = (".csv", ".tsv", ".tab", ".txt")
MOST_BYTES = 2**28
"""Of an ELAN document; those of a whole day with words have a few million."""
LONGEST_S = 48 * 3600.0
"""No recording is longer; a table that says so is in milliseconds."""
SUSPECT_S, SHORTEST_S = 3 * 3600.0, 100.0
"""Whole numbers beyond the first without an annotation shorter than the second are milliseconds: people annotate
stretches of seconds."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A label and its time in the recording."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Tier:
    """What one annotator says about one person."""

    name: str
    source: str
    """Name of the file."""
    annotations: tuple[Annotation, ...]
    """In the order of their starts."""
    left_out: tuple[str, ...] = ()
    """What of the tier does not count, in words with its number."""
    fault: str = ""
    """Why the tier cannot be used; the other tiers of its file can."""

    @property
    def labels(self) -> set[str]:
        """Labels that occur."""
        return {annotation.label for annotation in self.annotations}


@dataclass
class _Draft:
    """A tier while it is read."""

    annotations: list[Annotation] = field(default_factory=list)
    instants: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, place: str, start_s: float, end_s: float, label: str) -> None:
        """`place` is where the annotation stands in its file."""
        if math.isnan(start_s) or math.isnan(end_s):
            self.faults.append(f"{place} lacks start_s or end_s")
        elif end_s < start_s:
            self.faults.append(f"{place} runs from {start_s:g} to {end_s:g} s")
        # Before the check of length: an empty instant is one finding, not two.
        elif canonical(label) in NO_LABEL:
            self.unlabelled.append(place)
        elif end_s == start_s:
            self.instants.append(place)
        else:
            self.annotations.append(Annotation(start_s=start_s, end_s=end_s, label=canonical(label)))

    def finished(self, name: str, source: str) -> Tier:
        left_out = [
            f"{what} of `{name}` in `{source}`: {len(places)} ({listed(places)})"
            for what, places in (("instants", self.instants), ("annotations without a label", self.unlabelled))
            if places
        ]
        return Tier(
            name=name,
            source=source,
            annotations=tuple(sorted(self.annotations, key=lambda annotation: annotation.start_s)),
            left_out=tuple(left_out),
            fault=listed(self.faults),
        )


def read_tiers(path: Path | str, *, label_map: Mapping[str, str] | None = None) -> list[Tier]:
    """Tiers of an ELAN document or a TextGrid, or of a table: columns `start_s`, `end_s`, `label`, perhaps `tier` or
    `person`.

    Instants and annotations without a label are left out and counted.

    Args:
        path: `.eaf`, `.TextGrid`, or a table as any program saves it.
        label_map: emotion by label, such as {"Wut": "anger"}.

    Raises:
        ManifestError: the file is missing, of another kind or cannot be read, or its times are not seconds.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    readers = {".eaf": _eaf_rows, SUFFIX.lower(): _textgrid_rows, **dict.fromkeys(TABLES, _table_rows)}
    if suffix not in readers:
        raise ManifestError(
            f"`{path.name}` holds no tiers that can be read\n\n"
            f"hint: give an ELAN .eaf, a Praat {SUFFIX}, or a table: {', '.join(TABLES)}"
        )
    require_regular(path, ManifestError, "give the file of an annotation")
    # A fault is one of its tier: somebody's comments may overlap as they like while emotions are compared.
    drafts: dict[str, _Draft] = defaultdict(_Draft)
    names = {canonical(label): emotion for label, emotion in (label_map or {}).items()}
    for tier, place, start_s, end_s, label in readers[suffix](path):
        drafts[tier].add(place, start_s, end_s, names.get(canonical(label), label))
    return [draft.finished(name, path.name) for name, draft in drafts.items()]


def read_rows(path: Path) -> "Iterable[AnnotationRow]":
    """Every annotation of an ELAN document as it stands there, labels and words as they are.

    Raises:
        ManifestError: the file is missing or cannot be read.
    """
    require_regular(path, ManifestError, "give the file of an annotation")
    return _eaf_rows(path)


def only_tier(tiers: Sequence[Tier], name: str | None, path: Path) -> Tier:
    """The tier of this name, or the only one with emotions.

    Raises:
        ManifestError: there is none, several, or it has times that cannot be.
    """
    listed = ", ".join(f"`{tier.name}`" for tier in tiers) or "none"
    if name is not None:
        candidates = [tier for tier in tiers if tier.name == name]
        if not candidates:
            raise ManifestError(f"`{path}` has no tier `{name}`\n\nhint: its tiers are {listed}")
    else:
        candidates = [tier for tier in tiers if tier.labels & KNOWN_EMOTIONS]
        if len(candidates) != 1:
            raise ManifestError(
                f"`{path}` has {len(candidates)} tiers with emotions\n\n"
                f"hint: name one with --tier or --second-tier: {listed}; other words become emotions with --label-map"
            )
    (tier,) = candidates
    if tier.fault:
        raise ManifestError(
            f"tier `{tier.name}` of `{path}` cannot be used: {tier.fault}\n\nhint: an annotation ends after it starts"
        )
    return tier


class AnnotationRow(NamedTuple):
    """An annotation as its file says it."""

    tier: str
    place: str
    start_s: float
    end_s: float
    label: str


def _textgrid_rows(path: Path) -> Iterable[AnnotationRow]:
    for interval in read_textgrid(path):
        if interval.text.strip():  # Praat has an interval for every pause
            place = f"the interval at {interval.start_s:g} s"
            _check_end(place, path, interval.end_s)
            yield AnnotationRow(interval.tier, place, interval.start_s, interval.end_s, interval.text)


def _table_rows(path: Path) -> Iterable[AnnotationRow]:
    table = read_csv(path)
    table.need("start_s", "end_s", "label")
    starts_s, ends_s = table.numbers("start_s"), table.numbers("end_s")
    if (starts_s < 0).any():
        line = starts_s.index[(starts_s < 0).argmax()]
        raise ManifestError(
            f"line {line} of `{path}` starts at {starts_s[line]:g} s\n\nhint: the recording starts at 0"
        )
    _check_seconds(table, (ends_s - starts_s).min(), ends_s.max())
    names = [table.frame[column] for column in ("tier", "person") if column in table.columns]
    # A table without a name of a tier is one tier, called after its file.
    tiers = [next(filter(None, cells), path.stem) for cells in zip(*names, strict=True)] or [path.stem] * len(starts_s)
    labels = table.frame["label"]
    for tier, line, start_s, end_s, label in zip(tiers, table.lines, starts_s, ends_s, labels, strict=True):
        yield AnnotationRow(tier, f"line {line}", float(start_s), float(end_s), label)


def _check_seconds(table: CsvTable, shortest_s: float, end_s: float) -> None:
    cells = table.frame[["start_s", "end_s"]]
    # Seconds are hardly ever all whole numbers; milliseconds always are.
    whole = cells.apply(lambda column: column.str.strip().str.fullmatch(r"\d*")).to_numpy().all()
    if end_s > LONGEST_S or (whole and end_s > SUSPECT_S and shortest_s >= SHORTEST_S):
        raise ManifestError(
            f"`{table.path}` ends at {readable(end_s, 0)} s, after {readable(end_s / 3600, 1)} hours: are its times "
            "milliseconds?\n\n"
            "hint: give seconds, such as 12.5; whole seconds of a recording that long are written 7200.0"
        )


def _check_end(place: str, path: Path, end_s: float) -> None:
    if end_s > LONGEST_S:
        raise ManifestError(
            f"{place} of `{path}` ends at {readable(end_s, 0)} s, after {readable(end_s / 3600, 1)} hours\n\n"
            f"hint: at most {LONGEST_S / 3600:g} hours are read; save it again with the program that wrote it"
        )


def readable(number: float, decimals: int) -> str:
    """A number for a message, however large it is.

    >>> readable(3.6e6, 0), readable(1e27, 0)
    ('3,600,000', '1e+27')
    """
    return f"{number:,.{decimals}f}" if number < 1e12 else f"{number:.3g}"


# ELAN


@dataclass(frozen=True)
class _Reference:
    """An annotation that has the time of another one, or a part of it."""

    parent: str
    previous: str | None


@dataclass(frozen=True)
class _Document:
    """The annotations of a document by their ids."""

    alignable: dict[str, tuple[str, str]] = field(default_factory=dict)
    """First and last slot."""
    references: dict[str, _Reference] = field(default_factory=dict)
    tier: dict[str, str] = field(default_factory=dict)
    label: dict[str, str] = field(default_factory=dict)
    subdivided: set[str] = field(default_factory=set)
    """Tiers whose children share a parent in parts."""


def _eaf_rows(path: Path) -> Iterable[AnnotationRow]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ManifestError(f"`{path}` has more than {MOST_BYTES:,} bytes\n\nhint: give an ELAN document")
        root = ElementTree.parse(path).getroot()
        document = _document(root)
        spans = _all_spans(document, _own_spans(root, document))
        origin_s = _origin_s(root)
    except (ElementTree.ParseError, ValueError, LookupError, OverflowError, OSError) as error:
        raise ManifestError(
            f"`{path}` cannot be read ({type(error).__name__}: {error})\n\nhint: save it again with ELAN"
        ) from error
    for name, (start_s, end_s) in spans.items():
        place = f"annotation {name}"
        _check_end(place, path, end_s + origin_s)
        yield AnnotationRow(document.tier[name], place, start_s + origin_s, end_s + origin_s, document.label[name])


def _origin_s(root: ElementTree.Element) -> float:
    """How far into the recording time 0 lies; of several media, the first is the one that ELAN plays as master."""
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise ValueError(f"times in {units}")
    media = None if header is None else header.find("MEDIA_DESCRIPTOR")
    # TIME_ORIGIN says where in the recording the document begins, for media that were not cut to it.
    return 0.0 if media is None else int(media.get("TIME_ORIGIN") or 0) / 1000


def _document(root: ElementTree.Element) -> _Document:
    document = _Document()
    words = _vocabularies(root)
    constraints = {kind.get("LINGUISTIC_TYPE_ID"): kind.get("CONSTRAINTS") for kind in root.iter("LINGUISTIC_TYPE")}
    for tier in root.iter("TIER"):
        if constraints.get(tier.get("LINGUISTIC_TYPE_REF")) == "Symbolic_Subdivision":
            document.subdivided.add(tier.attrib["TIER_ID"])
        for annotation in tier.iter():
            if annotation.tag not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
                continue
            values = annotation.attrib
            name = values["ANNOTATION_ID"]
            if name in document.tier:
                raise ValueError(f"annotation `{name}` is there twice")
            document.tier[name] = tier.attrib["TIER_ID"]
            document.label[name] = annotation.findtext("ANNOTATION_VALUE") or words.get(values.get("CVE_REF", ""), "")
            if annotation.tag == "ALIGNABLE_ANNOTATION":
                document.alignable[name] = values["TIME_SLOT_REF1"], values["TIME_SLOT_REF2"]
                continue
            # A chain of annotations that divide the time of their parent among them.
            previous = values.get("PREVIOUS_ANNOTATION")
            document.references[name] = _Reference(values["ANNOTATION_REF"], previous)
            if previous:
                document.subdivided.add(tier.attrib["TIER_ID"])
    return document


def _vocabularies(root: ElementTree.Element) -> dict[str, str]:
    """Words of the controlled vocabularies by their ids, for annotations that hold the id alone."""
    entries = ((entry.get("CVE_ID"), entry.findtext("CVE_VALUE")) for entry in root.iter("CV_ENTRY_ML"))
    return {name: word for name, word in entries if name and word}


def _own_spans(root: ElementTree.Element, document: _Document) -> dict[str, tuple[float, float]]:
    """Start and end of the annotations that have slots of their own."""
    order = [slot.attrib["TIME_SLOT_ID"] for slot in root.iter("TIME_SLOT")]
    values = [slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")]
    if len(set(order)) < len(order):
        raise ValueError(
            f"time slot `{next(slot for slot, count in Counter(order).items() if count > 1)}` is there twice"
        )
    # A slot without TIME_VALUE is legal: ELAN places it between its neighbours when it opens the document.
    placed = {slot: int(value) / 1000 for slot, value in zip(order, values, strict=True) if value is not None}
    times = _between_neighbours(order, placed)
    for name, ends in document.alignable.items():
        if absent := set(ends) - times.keys():
            why = "is not in the document" if absent - set(order) else "has no time, nor has any other"
            raise ValueError(f"the time slot {min(absent)!r} of annotation `{name}` {why}")
    following: dict[str, dict[str, str]] = defaultdict(dict)  # in each tier, the slot that ends what a slot begins
    for name, (first, last) in document.alignable.items():
        following[document.tier[name]][first] = last
    for slots in following.values():
        visited: set[str] = set()
        for first in slots:
            if first in placed:
                times |= _even_parts(first, slots, placed, visited)
    return {name: (times[first], times[last]) for name, (first, last) in document.alignable.items()}


def _even_parts(
    first: str, following: Mapping[str, str], placed: Mapping[str, float], visited: set[str]
) -> dict[str, float]:
    """Times of the slots without a value between a placed slot and the next placed one of its tier."""
    chain = []
    slot = following[first]
    while slot not in placed:
        if slot not in following or slot in visited:
            return {}  # no placed end: the neighbours in the list of slots decide
        visited.add(slot)
        chain.append(slot)
        slot = following[slot]
    # ELAN divides what lies between two placed slots of a tier into equal parts.
    times = np.linspace(placed[first], placed[slot], len(chain) + 2)[1:-1]
    return dict(zip(chain, times.tolist(), strict=True))


def _between_neighbours(order: Sequence[str], placed: Mapping[str, float]) -> dict[str, float]:
    anchors = [index for index, slot in enumerate(order) if slot in placed]
    if not anchors:
        return {}
    # Slots are listed in order of time, whichever tier they belong to.
    times = np.interp(np.arange(len(order)), anchors, [placed[order[index]] for index in anchors])
    return dict(zip(order, times.tolist(), strict=True))


def _all_spans(document: _Document, spans: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Start and end of every annotation, parents before their children: each is visited once."""
    children: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, reference in document.references.items():
        children[reference.parent][document.tier[name]].append(name)
    # Breadth first instead of recursion: a chain of thousands of references would exhaust the stack.
    ready = deque(spans)
    while ready:
        parent = ready.popleft()
        start_s, end_s = spans[parent]
        for tier, names in children.get(parent, {}).items():
            parts = [(start_s, end_s)] * len(names)
            if tier in document.subdivided:
                names, parts = (
                    _chained(names, document),
                    list(pairwise(np.linspace(start_s, end_s, len(names) + 1).tolist())),
                )
            spans.update(zip(names, parts, strict=True))
            ready.extend(names)
    lost = [name for name in document.references if name not in spans]
    if lost:
        parent = document.references[lost[0]].parent
        why = "refer to one another in a circle" if parent in document.tier else f"`{parent}` is not in the document"
        raise ValueError(f"annotations without a time: {len(lost)}, the first is `{lost[0]}`: {why}")
    return {name: spans[name] for name in document.tier}


def _chained(names: Sequence[str], document: _Document) -> list[str]:
    """The children of one parent in the order of PREVIOUS_ANNOTATION, else in that of the document."""
    after: dict[str | None, list[str]] = defaultdict(list)
    siblings = set(names)
    for name in names:
        previous = document.references[name].previous
        # A PREVIOUS_ANNOTATION of another parent does not order these children.
        after[previous if previous in siblings else None].append(name)
    ordered: list[str] = []
    waiting = after[None][::-1]
    while waiting:
        name = waiting.pop()
        ordered.append(name)
        waiting += after.get(name, [])[::-1]
    if len(ordered) < len(names):
        raise ValueError(f"`{names[0]}` and {len(names) - 1} others follow one another in a circle")
    return ordered
