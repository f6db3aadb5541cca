"""The series of a folder of results: found, checked against each other, and read one at a time."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from cimeu.errors import ManifestError, guess
from cimeu.reading import blaming, require_regular
from cimeu.timeline.series import COLUMNS, PLAIN, SCHEMAS, SCORE, SUFFIX, VALUE

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_BYTES = 2**30
"""Of the series of one recording; a day of ten people has less."""
AGAIN = "run `cimeu predict` on the recording again"
SAME = ("model", "emotions", "settings", "style", "continuous")
"""What all recordings of a study have in common: scores of other models and thresholds cannot be compared."""


@runtime_checkable
class Named(Protocol):
    """A recording that tables speak of, with results or before it has any."""

    @property
    def name(self) -> str:
        """Place below the folder of results, without suffix."""
        ...

    @property
    def media(self) -> str:
        """Name of its file."""
        ...


@dataclass(frozen=True)
class Measures:
    """What is measured in every window: the score of each emotion, and each continuous label."""

    emotions: tuple[str, ...]
    scales: Mapping[str, tuple[float, float]]
    """Continuous labels with the ends of their scales; empty where the model has none."""

    @property
    def names(self) -> tuple[str, ...]:
        """Emotions first."""
        return (*self.emotions, *self.scales)

    def scale(self, name: str) -> tuple[float, float]:
        """Ends of the scale of a measure; scores are probabilities."""
        return self.scales.get(name, (0.0, 1.0))


@dataclass(frozen=True)
class Recording:
    """A series, and what its header says."""

    name: str
    """Place below the folder of results, without suffix."""
    path: Path
    header: Mapping[str, Any]

    @property
    def media(self) -> str:
        return str(self.header["media"])

    @property
    def duration_s(self) -> float:
        return float(self.header["duration_s"])

    @property
    def start_s(self) -> float:
        """From when on the recording was read."""
        return float(self.header["settings"].get("start_s", 0.0))

    @property
    def emotions(self) -> tuple[str, ...]:
        return tuple(self.header["emotions"])

    @cached_property
    def measures(self) -> Measures:
        scales = self.header.get("continuous", {})
        return Measures(self.emotions, {name: (float(low), float(high)) for name, (low, high) in scales.items()})

    @property
    def columns(self) -> list[str]:
        """Of the series."""
        scores = [f"{SCORE}{emotion}" for emotion in self.emotions]
        return [*COLUMNS, *scores, *(f"{VALUE}{name}" for name in self.measures.scales)]

    @property
    def segments_path(self) -> Path:
        """The table of segments that is written beside the series."""
        return self.path.with_name(self.path.name.removesuffix(SUFFIX) + ".csv")


@dataclass(frozen=True)
class Windows:
    """The rows of one lane as arrays: N windows, K emotions, V continuous labels."""

    start_s: Float[np.ndarray, " N"]
    end_s: Float[np.ndarray, " N"]
    labels: Int[np.ndarray, " N"]
    """Number of the emotion; -1 where none is named."""
    abstain: Bool[np.ndarray, " N"]
    scores: Float[np.ndarray, "N K"]
    """NaN where there are none."""
    unlike: Bool[np.ndarray, " N"]
    """Unlike the training clips."""
    values: Float[np.ndarray, "N V"]
    """Continuous labels; NaN where there are none."""

    @cached_property
    def centre_s(self) -> Float[np.ndarray, " N"]:
        return (self.start_s + self.end_s) / 2

    @cached_property
    def measures(self) -> Float[np.ndarray, "N M"]:
        """Scores, then continuous labels."""
        return np.concatenate([self.scores, self.values], axis=1)

    @cached_property
    def has_scores(self) -> Bool[np.ndarray, " N"]:
        return np.isfinite(self.scores).all(axis=1)


def find_series(folders: Iterable[Path]) -> dict[str, Path]:
    """Files of series by the name of their recording, in the order of their names.

    Raises:
        ManifestError: a folder holds none, or two recordings have one name.
    """
    paths: dict[str, Path] = {}
    for folder in folders:
        below = sorted(folder.rglob(f"*{SUFFIX}")) if folder.is_dir() else []
        # Hidden folders hold files that are being written.
        below = [path for path in below if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
        if not below:
            raise ManifestError(
                f"`{folder}` holds no series (`NAME{SUFFIX}`)\n\nhint: give the folder that `cimeu predict` wrote to"
            )
        for path in below:
            name = path.relative_to(folder).as_posix().removesuffix(SUFFIX)
            if name in paths:
                raise ManifestError(
                    f"`{paths[name]}` and `{path}` are both called `{name}`\n\nhint: give the folder that holds both"
                )
            paths[name] = path
    return paths


def read_recording(name: str, path: Path) -> Recording:
    """The header of a series.

    Raises:
        ManifestError: not a series of this version, or damaged.
    """
    from pyarrow import parquet

    require_regular(path, ManifestError, AGAIN, at_most=LARGEST_BYTES)
    with blaming(path, ManifestError, AGAIN):
        schema = parquet.read_schema(path)
        metadata = schema.metadata or {}
        version = int(metadata.get(b"cimeu_series", b"0"))
        header = json.loads(metadata.get(b"cimeu", b"null"))
        recording = Recording(name, path, header)
        # Columns are looked at only in a schema that is known: another version may have others.
        is_complete = version not in SCHEMAS or (
            {*recording.columns} <= {*schema.names}
            and (version == PLAIN) == (not recording.measures.scales)
            and recording.duration_s >= 0
            and bool(recording.media)
        )
    if version not in SCHEMAS:
        known = " and ".join(map(str, SCHEMAS))
        raise ManifestError(f"`{path}` is of schema {version}, this version reads {known}\n\nhint: {AGAIN}")
    if not is_complete:
        raise ManifestError(f"`{path}` lacks columns of a series\n\nhint: {AGAIN}")
    return recording


def check_comparable(recordings: Sequence[Recording]) -> None:
    """Raises ManifestError where recordings were scored by different models or with different settings."""
    first = recordings[0]
    for other in recordings[1:]:
        for part in SAME:
            ours, theirs = (_without_part(recording.header.get(part)) for recording in (first, other))
            if ours == theirs:
                continue
            # Of the settings, the first that differs is named, not all twenty.
            if isinstance(ours, dict) and isinstance(theirs, dict):
                part, ours, theirs = next(
                    (name, ours.get(name), theirs.get(name))
                    for name in {**ours, **theirs}
                    if ours.get(name) != theirs.get(name)
                )
            raise ManifestError(
                f"`{first.name}` has {part} {_short(ours)}, `{other.name}` {_short(theirs)}: their scores cannot be "
                "compared\n\nhint: predict all recordings with one model and the same settings"
            )


def read_table(recording: Recording) -> "pa.Table":
    """All rows of a series.

    Raises:
        ManifestError: damaged.
    """
    from pyarrow import parquet

    with blaming(recording.path, ManifestError, AGAIN):
        return parquet.read_table(recording.path, columns=recording.columns).replace_schema_metadata(None)


def lanes_of(table: "pa.Table", recording: Recording) -> dict[str, Windows]:
    """The rows of each lane, in order of appearance."""
    import pyarrow.compute as pc

    # Encoded once: a comparison of strings per lane would take as many passes as there are lanes.
    person = pc.dictionary_encode(table["person"].combine_chunks())
    codes, names = person.indices.to_numpy(), person.dictionary.to_pylist()
    number_of = {emotion: number for number, emotion in enumerate(recording.emotions)}
    label = pc.dictionary_encode(table["label"].combine_chunks())
    numbers = np.array([number_of.get(text, -1) for text in label.dictionary.to_pylist()], dtype=int)
    labels = numbers[label.indices.to_numpy()] if len(numbers) else np.empty(0, int)
    start_s, end_s, abstain, ood_score = (
        table[name].to_numpy() for name in ("start_s", "end_s", "abstain", "ood_score")
    )
    scores = _side_by_side(table, [f"{SCORE}{emotion}" for emotion in recording.emotions])
    values = _side_by_side(table, [f"{VALUE}{name}" for name in recording.measures.scales])
    with np.errstate(invalid="ignore"):
        # False where nothing was measured.
        unlike = ood_score.astype(float) > 1
    lanes = {}
    for code, name in enumerate(names):
        rows = codes == code
        lanes[name] = Windows(
            start_s[rows],
            end_s[rows],
            labels[rows],
            abstain[rows].astype(bool),
            scores[rows],
            unlike[rows],
            values[rows],
        )
    return lanes


def _side_by_side(table: "pa.Table", columns: Sequence[str]) -> Float[np.ndarray, "N _"]:
    values = [table[name].to_numpy() for name in columns]
    return np.stack(values, axis=1) if values else np.empty((len(table), 0))


class FileNames:
    """Finds the recording that a table means: by name of the file, with or without folders and suffix."""

    def __init__(self, recordings: Iterable[Named]) -> None:
        self._by_text: dict[str, list[Named]] = {}
        self.known: list[str] = []
        for recording in recordings:
            parent = PurePosixPath(recording.name).parent
            # Researchers write what they see: the name of the file, sometimes with its folder, with or without the
            # suffix.
            texts = {recording.name, str(parent / recording.media), PurePosixPath(recording.name).name, recording.media}
            for text in texts:
                self._by_text.setdefault(_plain(text), []).append(recording)
            self.known.append(recording.media)

    def find(self, text: str, place: str) -> Named | None:
        """The recording, or None where there is none of this name.

        Raises:
            ManifestError: several recordings have the name.
        """
        plain = _plain(text)
        candidates = self._by_text.get(plain) or self._by_text.get(plain.rsplit("/", 1)[-1], [])
        if len(candidates) > 1:
            listed = ", ".join(f"`{candidate.name}`" for candidate in candidates[:3])
            raise ManifestError(f"{place}: `{text}` may be {listed}\n\nhint: write the folder as well")
        return candidates[0] if candidates else None

    def hint(self, text: str) -> str:
        return guess(text, self.known[:20])


def _without_part(value: object) -> object:
    """Settings without the part of the recording that was read."""
    return {k: v for k, v in value.items() if k not in ("start_s", "end_s")} if isinstance(value, dict) else value


def _plain(text: str) -> str:
    """A path with `/` between folders and one form of letters with accents, whatever system it was typed on."""
    # macOS stores an accent as a letter and a mark, a spreadsheet as one letter.
    return re.sub(r"^(\./)+", "", unicodedata.normalize("NFC", text.strip()).replace("\\", "/"))


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else f"{value}"
    return f"`{text[:80]}`"
