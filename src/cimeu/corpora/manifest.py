"""A manifest: one row per clip, everything a corpus knows about it.

A CSV needs only `path,emotion`; extra columns are kept. Unknown cells are empty strings. A clip that cannot be used
keeps its row, with the reason in `problem`, because a published test set does not shrink.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cimeu.atomic import write_whole
from cimeu.corpora.paths import FROM_DISK, MISSING_FILE, PathFinder, absolute, clip_id_of, inside, problem_of
from cimeu.csv_files import frame_text, read_csv
from cimeu.errors import DuplicateClip, EmptyClass, ManifestError, UnknownLabel, guess
from cimeu.labels import LabelSpace, canonical

COLUMNS = (
    *("clip_id", "path", "audio_path", "emotion", "corpus", "speaker", "culture", "language", "gender", "acted"),
    *("start_s", "end_s", "fold", "split", "problem"),
)
NEVER_RELEASED = "never released"
"""Reason of a clip that its corpus lists and nobody outside has."""
UNLABELLED = "unlabelled"
"""Extra column: why a row has no emotion, such as `no agreement`; of such a row only continuous labels are used."""
HIDDEN = "hidden"
"""Reason of a test clip whose label its corpus keeps to itself."""
_TIMES = ("start_s", "end_s")


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
        """The named clips, in the given order. Raises ManifestError for one that is not here."""
        rows = pd.Index(self.table["clip_id"]).get_indexer(list(clip_ids))
        if (rows < 0).any():
            absent = clip_ids[int((rows < 0).argmax())]
            raise ManifestError(
                f"clip `{absent}` is not in the manifest\n\nhint: a clip_id is the path without its suffix"
            )
        return Manifest(self.table.iloc[rows].reset_index(drop=True), self.root)


def build_manifest(table: pd.DataFrame, root: Path, *, labelled: bool = True) -> Manifest:
    """Fill, normalise and check a table that has at least `path` and, unless `labelled` is off, `emotion`.

    Emotions get their canonical names; a row may lack one where its column `unlabelled` says why. A clip_id that is not
    given is the path inside the corpus without suffix, plus `@start-end` for a stretch of a file. Raises ManifestError,
    UnknownLabel (a row without emotion), DuplicateClip.
    """
    needed = ("path", "emotion") if labelled else ("path",)
    for column in needed:
        if column not in table.columns:
            raise ManifestError(
                f"manifest without a column `{column}`, found: {', '.join(map(str, table.columns[:20]))}\n\n"
                f"hint: the first line names the columns, at least `{','.join(needed)}`; "
                f"`cimeu prepare csv FOLDER --csv FILE --column {column}=NAME` takes another column for it"
            )
    if table.empty:
        raise ManifestError("manifest without a single clip\n\nhint: add a row per clip below `path,emotion`")
    root = absolute(root)
    # Messages name lines of the file; a table built in memory has its header in line 1 once it is written.
    lines = table.index if table.index.name == "line" else range(2, len(table) + 2)
    table = _filled(table)
    _check_cells(table, lines, labelled=labelled)
    _find_files(table, root)
    table["emotion"] = _texts(table["emotion"].map({emotion: canonical(emotion) for emotion in set(table["emotion"])}))
    table["clip_id"] = _texts(
        clip_id or _clip_id(path, start_s, end_s)
        for clip_id, path, start_s, end_s in zip(*(table[name] for name in ("clip_id", "path", *_TIMES)), strict=True)
    )
    repeated = table["clip_id"][table["clip_id"].duplicated()]
    if len(repeated):
        paths = table["path"][table["clip_id"] == repeated.iloc[0]].unique()
        of_files = f", as {' and '.join(f'`{path}`' for path in paths[:2])}" if len(paths) > 1 else ""
        raise DuplicateClip(
            f"clip `{repeated.iloc[0]}` is listed twice ({len(repeated)} repeated rows){of_files}\n\n"
            "hint: remove the repeated row; give stretches of one file their start_s and end_s, sound in its own file "
            "the column audio_path, and clips that differ in the suffix alone a column clip_id"
        )
    return Manifest(table, root)


def read_manifest(
    path: Path | str,
    *,
    root: Path | str | None = None,
    labelled: bool = True,
    columns: Mapping[str, str] | None = None,
) -> Manifest:
    """Read any table that `cimeu.csv_files.read_csv` reads.

    Args:
        path: the table.
        root: folder that its paths start from; by default its own.
        labelled: whether every clip needs an emotion.
        columns: column of the table by the manifest's name for it, such as {"path": "file"}.

    Raises:
        ManifestError: no table, a column that it lacks, and what `build_manifest` raises.
    """
    path = Path(path)
    if not path.exists():
        raise ManifestError(f"no manifest at `{path}`\n\nhint: `cimeu prepare` writes one from a folder of clips")
    if path.is_dir():
        raise ManifestError(
            f"`{path}` is a folder, not a manifest\n\nhint: `cimeu prepare folder {path}` writes a manifest of it"
        )
    file = read_csv(path)
    if columns:
        file = file.renamed({source: name for name, source in columns.items()})
    times = {column: file.numbers(column) for column in _TIMES if column in file.columns}
    table = file.frame.assign(**times)
    del file  # of a large table, the cells would be there twice
    return build_manifest(table, Path(root) if root else path.parent, labelled=labelled)


def join_manifests(manifests: Sequence[Manifest]) -> Manifest:
    """One manifest of several, whose paths become absolute.

    A clip_id that two of them have gets the name of its corpus in front. Raises DuplicateClip where the clips still
    have one name.
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
    # Both sides get the name of their corpus: neither is the one that came first.
    again = table["clip_id"].duplicated(keep=False)
    table["clip_id"] = table["clip_id"].where(~again, table["corpus"] + "/" + table["clip_id"])
    return build_manifest(table, manifests[0].root, labelled=False)


def write_manifest(manifest: Manifest, path: Path | str) -> None:
    """Write a CSV; paths below its folder become relative to it, so that folder and manifest can move together."""
    path = Path(path)
    table = manifest.table.copy()
    folder, root = absolute(path.parent), str(manifest.root)
    for column in ("path", "audio_path"):
        cells = table[column].to_numpy(object)
        if folder != manifest.root:
            cells = (cell and os.path.join(root, cell) for cell in cells)
        table[column] = _texts(cell and inside(cell, folder) for cell in cells)
    write_whole(path, frame_text(table), "manifest")


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
                f"hint: choose a label space without it, or read the column `problem`"
            )


def _find_files(table: pd.DataFrame, root: Path) -> None:
    """Paths as the disk has them, and the problem of each row that has none of its own."""
    finder = PathFinder(root)
    # Problems that were seen on the disk are looked at again: a missing file may have come back.
    from_disk = table["problem"].isin(FROM_DISK | {""}).to_numpy()
    problems = table["problem"].to_numpy(object, copy=True)
    paths, sounds = (table[column].to_numpy(object, copy=True) for column in ("path", "audio_path"))
    # a row that has a problem of its own may have a path that no file can have
    for place in np.flatnonzero(from_disk):
        paths[place], is_there = finder.find(paths[place])
        if sounds[place]:
            sounds[place], _ = finder.find(sounds[place])
        sound = sounds[place] and os.path.join(root, sounds[place])
        problems[place] = problem_of(os.path.join(root, paths[place]), sound) if is_there else MISSING_FILE
    table["path"], table["audio_path"], table["problem"] = _texts(paths), _texts(sounds), _texts(problems)


def _as_text(column: pd.Series) -> pd.Series:
    """Equal cells as one string, the missing ones empty: nearly all cells of a large table repeat others."""
    numbers, values = pd.factorize(column)
    texts = np.array([*map(str, values.astype(object)), ""], dtype=object)
    return pd.Series(texts[numbers], column.index, dtype=object)


def _texts(cells: Iterable[str]) -> pd.Series:
    """A column of Python's own strings: pandas would make others of them, each time that a loop reads them."""
    return pd.Series(list(cells), dtype=object)


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in order, text in every cell but those of times; a copy."""
    extra = [column for column in table.columns if column not in COLUMNS]
    table = table.reindex(columns=[*COLUMNS, *extra]).reset_index(drop=True)
    times = {column: table[column] for column in _TIMES}
    typed = [column for column, dtype in table.dtypes.items() if not pd.api.types.is_object_dtype(dtype)]
    table[typed] = table[typed].apply(_as_text)
    # All at once: column by column, a hundred thousand of them would take a minute.
    cells = table.to_numpy(dtype=object, copy=True)
    cells[pd.isna(cells)] = ""
    if pd.api.types.infer_dtype(cells.ravel(), skipna=False) != "string":
        cells = np.array([str(cell) for cell in cells.flat], dtype=object).reshape(cells.shape)
    filled = pd.DataFrame(cells, columns=table.columns, dtype=object)
    for column in _TIMES:
        filled[column] = _seconds(times[column], column)
    filled["start_s"] = filled["start_s"].fillna(0.0)
    return filled


def _seconds(cells: pd.Series, column: str) -> pd.Series:
    blank = cells.isna() | (cells.astype(str).str.strip() == "")
    numbers = pd.to_numeric(cells.where(~blank, None), errors="coerce").astype(float)
    wrong = cells[(~np.isfinite(numbers)) & ~blank]
    if len(wrong):
        raise ManifestError(f"`{column}` holds `{wrong.iloc[0]}`\n\nhint: write seconds as a number, such as 12.5")
    return numbers


def _check_cells(table: pd.DataFrame, lines: pd.Index | range, *, labelled: bool) -> None:
    """Refuse the first row without path or emotion, or whose times are out of order."""
    pathless = table["path"].str.strip() == ""
    unnamed = (table["emotion"].str.strip() == "") & labelled
    if UNLABELLED in table.columns:
        unnamed &= table[UNLABELLED].str.strip() == ""
    wrong = (pathless | unnamed | (table["start_s"] < 0) | (table["end_s"] <= table["start_s"])).to_numpy()
    if not wrong.any():
        return
    place = int(wrong.argmax())
    path, line = table["path"][place], lines[place]
    if pathless[place]:
        raise ManifestError(f"line {line} of the manifest has no path\n\nhint: fill the column `path`")
    if unnamed[place]:
        raise UnknownLabel(
            f"clip `{path}` in line {line} has no emotion\n\nhint: fill the column `emotion`, drop the row, or say "
            f"why in a column `{UNLABELLED}`"
        )
    raise ManifestError(
        f"clip `{path}` runs from {table['start_s'][place]} s to {table['end_s'][place]} s\n\n"
        "hint: 0 <= start_s < end_s"
    )


def _clip_id(path: str, start_s: float, end_s: float) -> str:
    name = clip_id_of(path)
    if start_s == 0 and pd.isna(end_s):
        return name
    return f"{name}@{start_s:g}-{'' if pd.isna(end_s) else f'{end_s:g}'}"
