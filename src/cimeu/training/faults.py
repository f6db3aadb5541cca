"""Which parts of a network have little or no effect, one line each, from the numbers of one epoch of its journal.

A part can be trained without having any effect: a gate gives up one stream, a scale never leaves its start, a decoder
reconstructs less than each clip's own mean, an adversary finds what it should have driven out. Each of those happened
in a network whose losses all fell as they should.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cimeu.csv_files import read_csv
from cimeu.training.journal import Entry

STREAMS = ("first", "second")
SMALLEST_SCALE = 0.02
"""Mean |scale| below which setting all scales to zero changed UAR by under a point on four speech corpora."""
SMALLEST_CHANGE = 0.02
"""Share of answers that must change when a stream is removed."""
CHANCE_MARGIN = 0.02
MOST_READ = 0.25
"""Share of the labels' entropy that an adversary may still read."""
SMALLEST_GRADIENT = 0.001
"""Gradient on the emotion primitives, as a multiple of the class error's, that moves nothing."""
SMALLEST_STYLE = 0.1
"""Clips of a style as a multiple of an even share; smaller clusters than 0.25 are re-seeded each epoch."""
SETTLED = 0.3
"""Smallest adjusted Rand index (ARI) of the style clusters of two epochs in a row."""
MOST_SHARED = 0.3
"""Largest normalised mutual information (NMI) of style clusters and emotions."""


@dataclass(frozen=True)
class Fault:
    """A part of a network that has little or no effect."""

    part: str
    """Equal for all networks, so that it can be counted."""
    text: str
    """What shows it."""

    def __str__(self) -> str:
        return f"{self.part}: {self.text}"


def faults(entry: Entry, *, emotions: int) -> list[Fault]:
    """Parts with little or no effect, from the numbers of one epoch of a network that tells so many emotions."""
    numbers = {name: float(value) for name, value in entry.items() if value is not None}
    return [*_of_streams(numbers, 1 / emotions), *_of_terms(numbers), *_of_styles(numbers)]


def read_faults(folder: Path, *, emotions: int) -> list[Fault] | None:
    """Faults of the last epoch of the network in a folder; None where its journal is absent or measures no part.

    Raises ManifestError for a journal that is no table.
    """
    path = folder / "journal.csv"
    if not path.is_file():
        return None
    last = read_csv(path).frame.tail(1).apply(pd.to_numeric, errors="coerce").dropna(axis=1)
    if not last.columns.str.startswith("health.").any():  # a rival, or a network of version 0.1
        return None
    return faults({str(name): float(last[name].iloc[0]) for name in last}, emotions=emotions)


def _of_streams(numbers: dict[str, float], chance: float) -> Iterator[Fault]:
    for name in STREAMS:
        explained, floor = numbers.get(f"train.explained_variance.{name}"), numbers.get(f"health.clip_mean.{name}")
        if explained is not None and floor is not None and explained < floor:
            found = f"explains {explained:.2f} of the variance, each clip's mean {floor:.2f}"
            yield Fault(f"decoder of the {name} stream", found)
        own, change = numbers.get(f"health.uar.{name}"), numbers.get(f"health.changed_without.{name}")
        if own is not None and own < chance + CHANCE_MARGIN:  # within sampling noise of chance
            yield Fault(f"classifiers of the {name} stream", f"at chance, UAR {own:.2f}")
        if change is not None and change < SMALLEST_CHANGE:
            yield Fault(f"{name} stream", f"{change:.1%} of the answers change without it")


def _of_terms(numbers: dict[str, float]) -> Iterator[Fault]:
    scale = numbers.get("health.layer_scale")
    if scale is not None and scale < SMALLEST_SCALE:
        yield Fault("temporal blocks", f"attention and MLP hardly contribute, mean scale {scale:.3f}")
    mining = numbers.get("health.gradient.mining")
    if mining is not None and mining > 1:
        yield Fault("mining", f"pulls the emotion primitives {mining:.1f} times as strongly as the class error")
    # Alignment moves the second stream alone, which has emotion primitives where it has a decoder. A weak gradient of
    # mining is no fault: it fades once the levels differ.
    terms = ["reconstruction", *(["alignment"] if "train.reconstruction.second" in numbers else [])]
    for term in terms:
        gradient = numbers.get(f"health.gradient.{term}")
        if gradient is not None and gradient < SMALLEST_GRADIENT:
            found = f"does not reach the emotion primitives, gradient {gradient:.4f} of the class error's"
            yield Fault(term, found)


def _of_styles(numbers: dict[str, float]) -> Iterator[Fault]:
    for adversary, other in (("style", "emotion"), ("emotion", "style")):
        read = numbers.get(f"health.adversary.{adversary}")
        if read is not None and read > MOST_READ:
            found = f"{adversary}s can still be told from the {other} primitives, {read:.2f} of their entropy"
            yield Fault(f"{adversary} adversary", found)
    sizes = [size for name, size in numbers.items() if name.startswith("style.size.")]
    if sizes and min(sizes) * len(sizes) < SMALLEST_STYLE * sum(sizes):
        yield Fault("style clusters", f"the smallest holds {min(sizes):.0f} of {sum(sizes):.0f} clips")
    agreement = numbers.get("style.ari.last")
    if agreement is not None and agreement < SETTLED:
        yield Fault("style clusters", f"not those of the epoch before, ARI {agreement:.2f}")
    shared = numbers.get("style.nmi.emotion")
    if shared is not None and shared > MOST_SHARED:
        yield Fault("style clusters", f"follow the emotion, NMI {shared:.2f}")
