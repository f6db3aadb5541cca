"""What the adapters of published corpora share: files by name, tables, folds from lists, and counts.

An adapter turns a folder as its authors packed it into manifest rows. Labels go by name, a clip goes by its path inside
the corpus, and the counts are compared with the published ones before anything is computed.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cimeu.corpora.manifest import Manifest, build_manifest
from cimeu.corpora.paths import MISSING_FILE
from cimeu.csv_files import read_csv
from cimeu.errors import FoldLeak, ManifestError
from cimeu.labels import KNOWN_EMOTIONS, canonical
from cimeu.media.recordings import SOUND_SUFFIXES, is_hidden

logger = logging.getLogger(__name__)

PARTIAL = "copy or download again what is missing, or accept a part with `--allow-partial` (check_counts=False)"

Row = dict[str, str]


@dataclass(frozen=True)
class Published:
    """A corpus with a documented layout."""

    name: str
    """Under which `cimeu prepare` knows it."""
    read: Callable[..., Manifest]
    """Its manifest, from the root of a copy; `check_counts` compares it with what was published."""
    terms: str = ""
    """As its publishers state them; empty where they state none."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Published counts by the name of the corpus in the manifest, as `differing` compares them."""


def needed(path: Path, layout: str) -> Path:
    """The path, if there is something. Raises ManifestError that says what the layout is."""
    if not path.exists():
        raise ManifestError(f"nothing at `{path}`\n\nhint: expected {layout}")
    return path


def rows_by_name(
    root: Path,
    *,
    pattern: str,
    example: str,
    row: Callable[[Mapping[str, str]], Row],
    suffixes: Collection[str] = SOUND_SUFFIXES,
) -> list[Row]:
    """A row for each file anywhere below `root` whose path without suffix ends with the pattern.

    A pattern without `/` is that of a whole file name. `row` turns its named groups into cells, with the emotion among
    them; a group that took no part is empty. A second copy of a file (the archive of one corpus that circulates holds
    all of it twice) is left out. Raises ManifestError where no file has such a name, where two files of one name
    differ, or where a folder contradicts the emotion in the name.
    """
    needed(root, f"a folder with files such as `{example}` in it")
    # The end of the path, because archives are unpacked at any depth.
    ending = re.compile(rf"(?:^|/)(?:{pattern})$")
    rows: dict[str, Row] = {}
    kept: dict[str, Path] = {}
    others = 0
    for path in sorted(root.absolute().rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        match = ending.search(path.with_suffix("").as_posix())
        if match is None:
            others += 1
        elif path.stem in rows:
            # Sizes only: copies of one archive are equal, and thousands of files would take minutes to compare.
            if path.stat().st_size != kept[path.stem].stat().st_size:
                raise ManifestError(
                    f"`{path}` and `{kept[path.stem]}` have one name and differ\n\nhint: remove one of them"
                )
            logger.warning("`%s` is left out: a copy of `%s`", path, kept[path.stem])
        else:
            kept[path.stem] = path
            rows[path.stem] = {"path": str(path), **row(match.groupdict(default=""))}
            _check_folders(path.relative_to(root.absolute()), rows[path.stem]["emotion"])
    if not rows:
        raise ManifestError(f"no file of the corpus below `{root}`\n\nhint: expected names such as `{example}`")
    if others:
        logger.warning("%d files below `%s` are left out: their names are not of the form `%s`", others, root, example)
    return list(rows.values())


def manifest_of(rows: Iterable[Row], root: Path, *, corpus: str, **cells_of_all: str) -> Manifest:
    """The rows with the name of the corpus, and with cells that are the same in every row."""
    return build_manifest(pd.DataFrame(list(rows)).assign(corpus=corpus, **cells_of_all), root)


def checked(
    manifest: Manifest, expected: Mapping[str, int], *, unverified: Mapping[str, int] | None = None
) -> Manifest:
    """The manifest, if it has the published counts (see `differing`) and no file is missing.

    Counts in `unverified` were derived or are remembered, not read in a publication: a difference is a warning.
    Raises ManifestError that says what was expected and what was found.
    """
    table = manifest.table
    corpus = table["corpus"].iloc[0]
    for difference in differing(table, unverified or {}):
        logger.warning("`%s`: %s (this count was never checked against the release)", corpus, difference)
    wrong = differing(table, expected)
    if wrong:
        raise ManifestError(f"`{corpus}` below `{manifest.root}` is not whole: {'; '.join(wrong)}\n\nhint: {PARTIAL}")
    missing = table["path"][table["problem"] == MISSING_FILE]
    if len(missing):
        raise ManifestError(
            f"{len(missing):,} of {len(table):,} files of `{corpus}` are missing, the first is "
            f"`{manifest.root / missing.iloc[0]}`\n\nhint: {PARTIAL}"
        )
    return manifest


def differing(table: pd.DataFrame, expected: Mapping[str, int]) -> list[str]:
    """Each count that is not as published, with what was expected and found.

    Counted are `clips`, `speakers`, `emotions`, clips that are `unlabelled`, each emotion by its name, `fold 1`,
    `split test`.
    """
    counts = {
        "clips": len(table),
        "speakers": len(set(table["speaker"]) - {""}),
        "emotions": len(set(table["emotion"]) - {""}),
        "unlabelled": int((table["emotion"] == "").sum()),
        **table["emotion"].value_counts(),
        **{f"{part} {name}": count for part in ("fold", "split") for name, count in table[part].value_counts().items()},
    }
    return [
        f"{what}: {count:,} expected, {counts.get(what, 0):,} found"
        for what, count in expected.items()
        if counts.get(what, 0) != count
    ]


def fold_of_each(
    parts: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]], *, corpus: str
) -> dict[str, tuple[str, str]]:
    """Emotion and fold of each clip, from the training and the test list (clip to emotion) of every published fold.

    Raises FoldLeak for a clip that is tested twice or trained on in its own fold, ManifestError where its labels
    differ or where a training list is not what the other folds test.
    """
    clips: dict[str, tuple[str, str]] = {}
    for fold, (train, test) in parts.items():
        for clip, emotion in test.items():
            if clip in train:
                raise FoldLeak(
                    f"clip `{clip}` is in both train and test of fold {fold} of `{corpus}`\n\n"
                    "hint: fetch the lists again"
                )
            if clip in clips:
                raise FoldLeak(
                    f"clip `{clip}` is tested in fold {clips[clip][1]} and in fold {fold} of `{corpus}`\n\n"
                    "hint: fetch the lists again"
                )
            clips[clip] = (emotion, fold)
    for fold, (train, test) in parts.items():
        for clip, emotion in train.items():
            if clip not in clips or clips[clip][0] != emotion:
                tested = f"{clips[clip][0]} in its test list" if clip in clips else "in no test list"
                raise ManifestError(
                    f"clip `{clip}` is {emotion} in the training list of fold {fold} of `{corpus}` and {tested}\n\n"
                    "hint: fetch the lists again"
                )
        left_out = clips.keys() - train.keys() - test.keys()
        if left_out:
            raise ManifestError(
                f"fold {fold} of `{corpus}` leaves out {len(left_out):,} clips, such as `{min(left_out)}`\n\n"
                "hint: these are not the published lists; fetch them again"
            )
    return clips


def files_below(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Absolute paths in order, without the `._*` files that macOS leaves beside the real ones."""
    return [
        path
        for path in sorted(root.absolute().rglob("*"))
        if path.suffix.lower() in suffixes and not is_hidden(path.name)
    ]


def first_of(root: Path, *names: str) -> Path:
    """The first of these paths below `root` that is there, else the first; releases name one thing differently."""
    return next((root / name for name in names if (root / name).exists()), root / names[0])


def read_table(path: Path, columns: Iterable[str], *, quotes: bool = True, errors: str = "strict") -> pd.DataFrame:
    """A table as text with at least these columns, options as of `read_csv`; empty cells are empty strings.

    Raises ManifestError where the file or a column is missing.
    """
    needed(path, f"the table `{path.name}` of the corpus")
    table = read_csv(path, quotes=quotes, errors=errors).frame.reset_index(drop=True)
    columns_needed(table, columns, path)
    return table


def read_xlsx(path: Path) -> pd.DataFrame:
    """The first sheet as text, column names without blanks around them, empty rows left out.

    Raises ManifestError where the file or the library that reads it is missing.
    """
    needed(path, f"the table `{path.name}` of the corpus")
    try:
        table = pd.read_excel(path, dtype=str, engine="openpyxl")
    except ImportError as error:
        raise ManifestError(
            f'`{path}` cannot be read without openpyxl\n\nhint: pip install "cimeu[corpora]"'
        ) from error
    table.columns = [str(column).strip() for column in table.columns]
    return table.dropna(how="all").fillna("").map(str.strip)


def columns_needed(table: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raises ManifestError for a column that the table lacks."""
    for column in columns:
        if column not in table.columns:
            raise ManifestError(
                f"`{path}` has no column `{column}`, found: {', '.join(map(str, table.columns))}\n\n"
                "hint: use the table as its authors released it"
            )


def _check_folders(path: Path, emotion: str) -> None:
    named = [name for name in map(canonical, path.parts[:-1]) if name in KNOWN_EMOTIONS]
    if named and named[-1] != canonical(emotion):
        raise ManifestError(
            f"`{path}` is named {canonical(emotion)} and lies in a folder of {named[-1]}\n\nhint: one of them is wrong"
        )
