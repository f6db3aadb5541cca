"""How far two annotations of one recording agree: people and the model, or two people.

Times are compared on a grid: a moment counts for the label whose segment covers its middle. Moments that only one of
the two labelled are no disagreement; how many there are is told.

Sources: Cohen, A coefficient of agreement for nominal scales (1960); Krippendorff, Content analysis (2018), nominal
alpha from the coincidence matrix.
Axes: N moments, L labels.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float, Int64

from cimeu.atomic import beside, check_free, page_path, write_whole
from cimeu.errors import ManifestError
from cimeu.labels import ALIASES, SPACES, canonical
from cimeu.timeline.timeline import UNSURE

GRID_S = 0.1
"""Moments are this far apart."""
SAME_IOU = 0.5
"""Segments of one label that share at least this part of the time they cover together are the same."""
KNOWN = frozenset({*ALIASES.values(), *(emotion for space in SPACES.values() for emotion in space)})
"""Labels that are emotions."""
NO_LABEL = frozenset({"", UNSURE})


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A labelled stretch of time."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Tier:
    """What one annotator says about one person."""

    name: str
    source: str
    """Name of the file."""
    stretches: tuple[Stretch, ...]

    @property
    def labels(self) -> set[str]:
        """Labels that occur."""
        return {stretch.label for stretch in self.stretches}


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A stretch to which both gave a label, and not the same."""

    start_s: float
    end_s: float
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two tiers compared."""

    first: Tier
    second: Tier
    labels: tuple[str, ...]
    """Labels that count, by their canonical names."""
    unmatched: tuple[str, ...]
    """Labels of one side that the other never uses."""
    unknown: tuple[str, ...]
    """Labels that are no emotion of CiMEU, perhaps misspelt; they count as they are."""
    grid_s: float
    same_iou: float
    both_s: float
    """Time that both labelled; the figures on moments are about it."""
    first_only_s: float
    second_only_s: float
    observed: float
    """Share of that time with the same label."""
    by_chance: float
    """What that share would be if both gave their labels at random, as often as they do."""
    kappa: float | None
    """Cohen's kappa: 1 full agreement, 0 as by chance; None if by chance alone everything would agree."""
    alpha: float | None
    """Krippendorff's alpha, nominal."""
    precision: float
    """Share of the second's segments that are one of the first's."""
    recall: float
    """Share of the first's segments that are one of the second's."""
    f1: float
    confusion_s: tuple[tuple[float, ...], ...]
    """Seconds by label of the first (rows) and of the second (columns)."""
    disagreements: tuple[Disagreement, ...]


def read_tiers(path: Path | str) -> list[Tier]:
    """Tiers of an ELAN document, or of a CSV with columns `start_s`, `end_s`, `label` and perhaps `tier` or `person`.

    Lines of a CSV that begin with `#` are skipped, as are stretches without a label.

    Raises:
        ManifestError: the file is missing, of another kind or cannot be read.
    """
    path = Path(path)
    readers = {".eaf": _read_eaf, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ManifestError(f"`{path.name}` holds no tiers that can be read\n\nhint: give an ELAN .eaf or a .csv")
    if not path.is_file():
        raise ManifestError(f"`{path}` does not exist\n\nhint: give the file of an annotation")
    try:
        found = readers[path.suffix.lower()](path)
    except (ElementTree.ParseError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ManifestError(
            f"`{path}` cannot be read ({type(error).__name__}: {error})\n\n"
            "hint: save it again with ELAN; a CSV needs columns start_s, end_s and label, in seconds"
        ) from error
    return [
        Tier(name=name, source=path.name, stretches=tuple(sorted(stretches, key=lambda each: each.start_s)))
        for name, stretches in found.items()
    ]


def agree(
    first: Path | str,
    second: Path | str,
    *,
    tier: str | None = None,
    second_tier: str | None = None,
    grid_s: float = GRID_S,
    same_iou: float = SAME_IOU,
) -> Agreement:
    """Compare a tier of one annotation with a tier of another.

    Args:
        first: `.eaf` or `.csv`, usually of a person.
        second: `.eaf` or `.csv`, usually `results/interview.eaf` of `cimeu predict`.
        tier: name of the first's tier; may be left out where one tier alone holds emotions.
        second_tier: name of the second's; left out, the tier of the same name, or the only one with emotions.
        grid_s: seconds between two moments.
        same_iou: from which overlap on two segments are the same.

    Raises:
        ManifestError: a file cannot be read, a tier cannot be told, or nothing was labelled by both.
    """
    ones, others = read_tiers(first), read_tiers(second)
    one = _chosen(ones, tier, Path(first))
    same_name = one.name if second_tier is None and one.name in {each.name for each in others} else second_tier
    return compare(one, _chosen(others, same_name, Path(second)), grid_s=grid_s, same_iou=same_iou)


def compare(first: Tier, second: Tier, *, grid_s: float = GRID_S, same_iou: float = SAME_IOU) -> Agreement:
    """Compare two tiers.

    Raises:
        ManifestError: there is no time that both labelled, or the grid is not above 0 s.
    """
    if grid_s <= 0:
        raise ManifestError(f"a grid of {grid_s} s\n\nhint: moments some time apart, such as {GRID_S}")
    labels = tuple(sorted(first.labels | second.labels))
    end_s = max((stretch.end_s for each in (first, second) for stretch in each.stretches), default=0.0)
    middles = (np.arange(round(end_s / grid_s)) + 0.5) * grid_s
    one, other = (_on_grid(each, middles, labels) for each in (first, second))
    both = (one >= 0) & (other >= 0)
    if not both.any():
        raise ManifestError(
            f"`{first.name}` of `{first.source}` and `{second.name}` of `{second.source}` share no labelled time\n\n"
            "hint: are both about the same recording, with times in seconds?"
        )
    counts = np.zeros((len(labels), len(labels)))
    np.add.at(counts, (one[both], other[both]), 1)
    shares = counts / counts.sum()
    observed, by_chance = float(np.trace(shares)), float(shares.sum(1) @ shares.sum(0))
    n_same = _n_same(first.stretches, second.stretches, same_iou)
    return Agreement(
        first=first,
        second=second,
        labels=labels,
        unmatched=tuple(sorted(first.labels ^ second.labels)),
        unknown=tuple(label for label in labels if label not in KNOWN),
        grid_s=grid_s,
        same_iou=same_iou,
        both_s=_seconds(both, grid_s),
        first_only_s=_seconds((one >= 0) & (other < 0), grid_s),
        second_only_s=_seconds((one < 0) & (other >= 0), grid_s),
        observed=observed,
        by_chance=by_chance,
        kappa=None if by_chance == 1 else (observed - by_chance) / (1 - by_chance),
        alpha=nominal_alpha(counts),
        precision=n_same / len(second.stretches),
        recall=n_same / len(first.stretches),
        f1=2 * n_same / (len(first.stretches) + len(second.stretches)),
        confusion_s=tuple(tuple(round(float(each) * grid_s, 3) for each in row) for row in counts),
        disagreements=tuple(_disagreements(one, other, labels, grid_s)),
    )


def nominal_alpha(counts: Float[np.ndarray, "L L"]) -> float | None:
    """Krippendorff's alpha of two annotators from how often each pair of labels was given; None for a single label."""
    coincidences = counts + counts.T
    n = coincidences.sum()
    totals = coincidences.sum(0)
    expected = n * n - (totals**2).sum()
    if expected == 0:
        return None
    return float(1 - (n - 1) * (n - np.trace(coincidences)) / expected)


def write_agreement(agreement: Agreement, path: Path | str) -> list[Path]:
    """Write the page, and beside it `.json` (everything) and `.csv` (the disagreements).

    Raises:
        OutputError: a file of one of these names is not ours to replace.
    """
    page = page_path(Path(path), "agreement")
    contents = {".html": to_page(agreement), ".json": to_json(agreement), ".csv": to_csv(agreement)}
    targets = {beside(page, suffix): content for suffix, content in contents.items()}
    check_free(targets, "agreement")
    return [write_whole(target, content, "agreement") for target, content in targets.items()]


def to_json(agreement: Agreement) -> str:
    """Everything, with names of settings."""
    return json.dumps(asdict(agreement), indent=1, ensure_ascii=False) + "\n"


def to_csv(agreement: Agreement) -> str:
    """The disagreements, one a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["start_s", "end_s", "first", "second"])
    writer.writerows([each.start_s, each.end_s, each.first, each.second] for each in agreement.disagreements)
    return text.getvalue()


def to_page(agreement: Agreement) -> str:
    """One page without scripts or links."""
    import jinja2

    from cimeu.timeline.figure import agreement_svg
    from cimeu.timeline.style import clock

    environment = jinja2.Environment(autoescape=True)
    template = environment.from_string(files("cimeu.timeline").joinpath("agreement.html").read_text(encoding="utf-8"))
    longest_s = max(max(row) for row in agreement.confusion_s)
    return template.render(a=agreement, clock=clock, plot=agreement_svg(agreement), longest_s=longest_s) + "\n"


def _chosen(tiers: Sequence[Tier], name: str | None, path: Path) -> Tier:
    """The tier of this name, or the only one with emotions."""
    listed = ", ".join(f"`{each.name}`" for each in tiers) or "none"
    if name is not None:
        found = [each for each in tiers if each.name == name]
        if not found:
            raise ManifestError(f"`{path}` has no tier `{name}` with labels\n\nhint: its tiers are {listed}")
        return found[0]
    emotional = [each for each in tiers if each.labels & KNOWN]
    if len(emotional) != 1:
        raise ManifestError(
            f"`{path}` has {len(emotional)} tiers with emotions\n\n"
            f"hint: name one with --tier or --second-tier: {listed}"
        )
    return emotional[0]


def _read_csv(path: Path) -> dict[str, list[Stretch]]:
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines(keepends=True) if line[:1] != "#"]
    found: dict[str, list[Stretch]] = {}
    for row in csv.DictReader(lines):
        name = row.get("tier") or row.get("person") or path.stem
        _add(found, name, float(row["start_s"]), float(row["end_s"]), row["label"])
    return found


def _read_eaf(path: Path) -> dict[str, list[Stretch]]:
    """Tiers with times of their own, and tiers whose annotations borrow those of another.

    Slots without a time, which ELAN allows inside a subdivision, are spread evenly between their neighbours.
    """
    root = ElementTree.parse(path).getroot()
    slots = _slot_times(root)
    spans: dict[str, tuple[float, float]] = {}
    borrowed: dict[str, str] = {}
    annotations: list[tuple[str, str, str]] = []
    for tier in root.iter("TIER"):
        for annotation in tier.iter():
            if annotation.tag not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
                continue
            known = annotation.attrib["ANNOTATION_ID"]
            if annotation.tag == "REF_ANNOTATION":
                borrowed[known] = annotation.attrib["ANNOTATION_REF"]
            else:
                ends = (annotation.attrib["TIME_SLOT_REF1"], annotation.attrib["TIME_SLOT_REF2"])
                spans[known] = slots[ends[0]], slots[ends[1]]
            annotations.append((tier.attrib["TIER_ID"], known, annotation.findtext("ANNOTATION_VALUE") or ""))
    found: dict[str, list[Stretch]] = {}
    for name, known, label in annotations:
        owner = known
        while owner not in spans:
            owner = borrowed[owner]
        _add(found, name, *spans[owner], label)
    return found


def _slot_times(root: ElementTree.Element) -> dict[str, float]:
    names = [slot.attrib["TIME_SLOT_ID"] for slot in root.iter("TIME_SLOT")]
    values = [slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")]
    known = [(index, int(value) / 1000) for index, value in enumerate(values) if value is not None]
    if not known:
        return {}
    times = np.interp(np.arange(len(names)), [index for index, _ in known], [time_s for _, time_s in known])
    return dict(zip(names, times.tolist(), strict=True))


def _add(found: dict[str, list[Stretch]], name: str, start_s: float, end_s: float, label: str) -> None:
    if not end_s > start_s >= 0:
        raise ValueError(f"a stretch from {start_s} to {end_s} s")
    if canonical(label) not in NO_LABEL:
        found.setdefault(name, []).append(Stretch(start_s=start_s, end_s=end_s, label=canonical(label)))


def _on_grid(tier: Tier, middles: Float[np.ndarray, " N"], labels: Sequence[str]) -> Int64[np.ndarray, " N"]:
    """Number of the label at each moment, -1 for none; of stretches that overlap, the later one counts."""
    numbers = np.full(len(middles), -1, np.int64)
    for stretch in tier.stretches:
        first, last = np.searchsorted(middles, (stretch.start_s, stretch.end_s))
        numbers[first:last] = labels.index(stretch.label)
    return numbers


def _n_same(first: Sequence[Stretch], second: Sequence[Stretch], same_iou: float) -> int:
    """Pairs of segments of one label that overlap enough, each in one pair at most, the best overlaps first."""
    pairs = sorted(
        (
            (iou, one, other)
            for one, mine in enumerate(first)
            for other, theirs in enumerate(second)
            if mine.label == theirs.label and (iou := _iou(mine, theirs)) >= same_iou
        ),
        key=lambda pair: -pair[0],
    )
    used: tuple[set[int], set[int]] = (set(), set())
    for _, one, other in pairs:
        if one not in used[0] and other not in used[1]:
            used[0].add(one)
            used[1].add(other)
    return len(used[0])


def _iou(one: Stretch, other: Stretch) -> float:
    shared = max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))
    return shared / (one.end_s - one.start_s + other.end_s - other.start_s - shared)


def _disagreements(
    one: Int64[np.ndarray, " N"], other: Int64[np.ndarray, " N"], labels: Sequence[str], grid_s: float
) -> Iterable[Disagreement]:
    place = 0
    for (mine, theirs), run in groupby(zip(one.tolist(), other.tolist(), strict=True)):
        length = len(list(run))
        if mine >= 0 and theirs >= 0 and mine != theirs:
            yield Disagreement(
                start_s=round(place * grid_s, 3),
                end_s=round((place + length) * grid_s, 3),
                first=labels[mine],
                second=labels[theirs],
            )
        place += length


def _seconds(moments: np.ndarray, grid_s: float) -> float:
    return round(float(moments.sum()) * grid_s, 3)
