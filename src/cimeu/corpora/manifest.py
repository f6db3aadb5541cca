"""A manifest: one row per clip, everything a corpus knows about it.

A CSV needs only `path,emotion`; extra columns are kept. Unknown cells are empty strings. A clip that cannot be used
keeps its row, with the reason in `problem`, because a published test set does not shrink.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from cimeu.atomic import write_whole
from cimeu.errors import DuplicateClip, EmptyClass, ManifestError, UnknownLabel
from cimeu.labels import LabelSpace, canonical, guess

COLUMNS = (
    *("clip_id", "path", "audio_path", "emotion", "corpus", "speaker", "culture", "language", "gender", "acted"),
    *("start_s", "end_s", "fold", "split", "problem"),
)
MISSING_FILE = "missing file"
NEVER_RELEASED = "never released"
"""Reason of a clip that its corpus lists and nobody outside has."""
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Clip:
    """One labelled stretch of a file; `path` is absolute, `end_s` None means to the end of the file."""

    clip_id: str
    path: Path
    audio_path: Path | None
    start_s: float
    end_s: float | None
    emotion: str
    speaker: str
    culture: str
    problem: str


@dataclass(frozen=True)
class Manifest:
    """The clips of a corpus.

    `table` has COLUMNS and then whatever else the corpus knows, all text except the numbers `start_s` (0 at the
    beginning) and `end_s` (NaN: to the end); `clip_id` is unique. Paths in it are relative to `root`, or absolute.
    """

    table: pd.DataFrame
    root: Path

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count:,}" for name, count in self.table["emotion"].value_counts().items())
        return f"<Manifest {self.root}: {len(self):,} clips ({counts})>"

    def __len__(self) -> int:
        return len(self.table)

    def clips(self) -> list[Clip]:
        """Every row as a Clip, in the table's order."""
        columns = list(Clip.__dataclass_fields__)
        return [
            Clip(
                clip_id,
                self.root / path,
                self.root / audio_path if audio_path else None,
                float(start_s),
                None if pd.isna(end_s) else float(end_s),
                *texts,
            )
            for clip_id, path, audio_path, start_s, end_s, *texts in self.table[columns].itertuples(index=False)
        ]

    def select(self, clip_ids: Sequence[str]) -> "Manifest":
        """The named clips, in the order asked for. Raises ManifestError for one that is not here."""
        rows = pd.Index(self.table["clip_id"]).get_indexer(list(clip_ids))
        if (rows < 0).any():
            absent = clip_ids[int((rows < 0).argmax())]
            raise ManifestError(
                f"clip `{absent}` is not in the manifest\n\nhint: a clip_id is the path without its suffix"
            )
        return Manifest(self.table.iloc[rows].reset_index(drop=True), self.root)


def build_manifest(table: pd.DataFrame, root: Path) -> Manifest:
    """Fill, normalise and check a table that has at least `path` and `emotion`.

    Emotions get their canonical names. A clip_id that is not given is the path inside the corpus without suffix, plus
    `@start-end` for a stretch of a file. Raises ManifestError, UnknownLabel (a row without emotion), DuplicateClip.
    """
    for column in ("path", "emotion"):
        if column not in table.columns:
            raise ManifestError(
                f"manifest without a column `{column}`, found: {', '.join(map(str, table.columns))}\n\n"
                f"hint: the first line names the columns, at least `path,emotion`"
            )
    if table.empty:
        raise ManifestError("manifest without a single clip\n\nhint: add a row per clip below `path,emotion`")
    root = absolute(root)
    extra = [column for column in table.columns if column not in COLUMNS]
    table = table.reindex(columns=[*COLUMNS, *extra]).reset_index(drop=True)
    times = {column: _seconds(table[column], column) for column in ("start_s", "end_s")}
    texts = {column: table[column].astype(object) for column in table.columns if column not in times}
    texts = {column: values.where(values.notna(), "").map(str) for column, values in texts.items()}
    table = pd.DataFrame({column: times.get(column, texts.get(column)) for column in table.columns})
    table["start_s"] = table["start_s"].fillna(0.0)
    _check_cells(table)
    for column in ("path", "audio_path"):
        table[column] = [_inside(path, root) if path else "" for path in table[column]]
    table["emotion"] = table["emotion"].map(canonical)
    table["clip_id"] = [
        clip_id or _clip_id(path, start_s, end_s)
        for clip_id, path, start_s, end_s in table[["clip_id", "path", "start_s", "end_s"]].itertuples(index=False)
    ]
    repeated = table["clip_id"][table["clip_id"].duplicated()]
    if len(repeated):
        raise DuplicateClip(
            f"clip `{repeated.iloc[0]}` is listed twice ({len(repeated)} repeated rows)\n\n"
            "hint: remove the repeated row; give stretches of one file their start_s and end_s, "
            "and sound in its own file the column audio_path"
        )
    missing = [not ((root / path).exists() and (root / sound).exists())
               for path, sound in zip(table["path"], table["audio_path"], strict=True)]  # fmt: skip
    table["problem"] = table["problem"].where(table["problem"] != MISSING_FILE, "")
    table.loc[pd.Series(missing) & (table["problem"] == ""), "problem"] = MISSING_FILE
    return Manifest(table, root)


def read_manifest(path: Path | str, *, root: Path | str | None = None) -> Manifest:
    """Read a CSV whose paths are relative to `root`, or to the manifest's own folder.

    Comma, semicolon or tab separated, UTF-8. Raises ManifestError and what `build_manifest` raises.
    """
    path = Path(path)
    if not path.is_file():
        raise ManifestError(f"no manifest at `{path}`\n\nhint: `cimeu prepare` writes one from a folder of clips")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            separator = max(_SEPARATORS, key=lines.readline().count)
            lines.seek(0)
            reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"`{path}` is not a table in UTF-8 ({error})\n\nhint: save it as CSV UTF-8 in your table program"
        ) from error
    if not rows:
        raise ManifestError(f"`{path}` is empty\n\nhint: the first line names the columns, at least `path,emotion`")
    (_, header), *body = rows
    for number, cells in body:
        if len(cells) != len(header):
            raise ManifestError(
                f"line {number} of `{path}` has {len(cells)} cells, the first line {len(header)}\n\n"
                f"hint: quote cells that hold the separator `{separator}`"
            )
    if len(set(header)) < len(header):
        twice = next(column for column in header if header.count(column) > 1)
        raise ManifestError(f"column `{twice}` of `{path}` is there twice\n\nhint: remove or rename one")
    table = pd.DataFrame([cells for _, cells in body], columns=header, dtype=str)
    return build_manifest(table, Path(root) if root else path.parent)


def join_manifests(manifests: Sequence[Manifest]) -> Manifest:
    """One manifest of several, whose paths become absolute.

    A clip_id that two of them have gets the name of its corpus in front. Raises DuplicateClip where that does not tell
    the clips apart.
    """
    if len(manifests) == 1:
        return manifests[0]
    tables = []
    for manifest in manifests:
        table = manifest.table.copy()
        for column in ("path", "audio_path"):
            table[column] = [str(manifest.root / cell) if cell else "" for cell in table[column]]
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    again = table["clip_id"].duplicated(keep=False)
    table["clip_id"] = table["clip_id"].where(~again, table["corpus"] + "/" + table["clip_id"])
    return build_manifest(table, manifests[0].root)


def write_manifest(manifest: Manifest, path: Path | str) -> None:
    """Write a CSV; paths below its folder become relative to it, so that folder and manifest can move together."""
    path = Path(path)
    table = manifest.table.copy()
    for column in ("path", "audio_path"):
        table[column] = [_inside(manifest.root / cell, absolute(path.parent)) if cell else "" for cell in table[column]]
    write_whole(path, table.to_csv(index=False), "manifest")


def check_labels(manifest: Manifest, labels: LabelSpace) -> None:
    """Every clip has an emotion of the space, every emotion a usable clip. Raises UnknownLabel, EmptyClass."""
    for clip_id, emotion in zip(manifest.table["clip_id"], manifest.table["emotion"], strict=True):
        if emotion not in labels:
            raise UnknownLabel(
                f"emotion `{emotion}` of clip `{clip_id}` is not in the label space `{labels.name}`\n\n"
                f"hint: {guess(emotion, labels.emotions)}"
            )
    usable = set(manifest.table["emotion"][manifest.table["problem"] == ""])
    for emotion in labels:
        if emotion not in usable:
            raise EmptyClass(
                f"no usable clip of `{emotion}` among {len(manifest)} clips\n\n"
                f"hint: choose a label space without it, or look at the column `problem`"
            )


def _seconds(cells: pd.Series, column: str) -> pd.Series:
    blank = cells.isna() | (cells.astype(str).str.strip() == "")
    numbers = pd.to_numeric(cells.where(~blank, None), errors="coerce").astype(float)
    wrong = cells[numbers.isna() & ~blank]
    if len(wrong):
        raise ManifestError(f"`{column}` holds `{wrong.iloc[0]}`\n\nhint: write seconds as a number, such as 12.5")
    return numbers


def _check_cells(table: pd.DataFrame) -> None:
    for row, (path, emotion, start_s, end_s) in enumerate(
        table[["path", "emotion", "start_s", "end_s"]].itertuples(index=False), start=2
    ):
        if not path.strip():
            raise ManifestError(f"line {row} of the manifest has no path\n\nhint: fill the column `path`")
        if not emotion.strip():
            raise UnknownLabel(f"clip `{path}` has no emotion\n\nhint: fill the column `emotion`, or drop the row")
        if start_s < 0 or end_s <= start_s:
            raise ManifestError(f"clip `{path}` runs from {start_s} s to {end_s} s\n\nhint: 0 <= start_s < end_s")


def absolute(path: Path) -> Path:
    """Absolute and without `..`, so that what clips are called does not depend on where one stands."""
    return Path(os.path.abspath(path))


def _inside(path: str | Path, root: Path) -> str:
    """Path relative to `root` with forward slashes where it lies below it, else absolute."""
    whole = Path(os.path.normpath(root / path))
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else whole.as_posix()


def _clip_id(path: str, start_s: float, end_s: float) -> str:
    stem = PurePosixPath(path).with_suffix("").as_posix().lstrip("/")
    if start_s == 0 and pd.isna(end_s):
        return stem
    return f"{stem}@{start_s:g}-{'' if pd.isna(end_s) else f'{end_s:g}'}"
