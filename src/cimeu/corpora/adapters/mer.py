"""MER2023, MER2024, MER2025: Chinese film and television, six emotions and valence; the year follows from the layout.

2023: `train-label.csv`, `mer2023train/train`, `test1`, `test2`, `mer2023train/test3`, `test-labels/test1-label.csv`.
2024: `label-disdim.csv`, `video-labeled`, `video-unlabeled-with-test2noise`. 2025: `track1_train_disdim.csv`, `video`,
`track_all_candidates.csv`, `subtitle_chieng.csv`. By their counts each year's training set is the former year's
training and test sets under other names: a model trained on a later year has seen the tests of an earlier one. Nobody
is named, and the published folds shuffle clips of one series over both parts.

Source: Lian et al., MER 2023 (ACM MM 2023), MER 2024 (MRAC 2024), MER 2025 (ACM MM 2025), and their baselines.
"""

from collections.abc import Mapping
from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, files_below, first_of, manifest_of, read_table
from cimeu.corpora.manifest import HIDDEN, UNLABELLED, Manifest
from cimeu.errors import ManifestError
from cimeu.media.recordings import VIDEO_SUFFIXES

TESTS_2023 = {"test1": "MULTI", "test2": "NOISE", "test3": "SEMI"}
NO_VALENCE = "-10"
COUNTS: dict[str, dict[str, int]] = {
    "mer2023": {"split train": 3373, "split test": 1657},
    "mer2024": {"split train": 5030},
    "mer2025": {"split train": 7369},
}
UNVERIFIED: dict[str, dict[str, int]] = {
    "mer2023": {},
    "mer2024": {"neutral": 1248, "anger": 1208, "happiness": 1038, "sadness": 730, "worry": 616, "surprise": 190},
    "mer2025": {},
}


def from_mer(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the labelled clips, and of those whose labels are hidden as far as their files or names are there.

    Extra columns: `valence`, `part` (MULTI, NOISE, SEMI of 2023), `text`, `text_en`, `unlabelled`.
    Raises ManifestError.
    """
    # The newest first: later years are packed with files of earlier ones.
    if (root / "track1_train_disdim.csv").is_file():
        corpus, rows = "mer2025", _rows_2025(root)
    elif (root / "label-disdim.csv").is_file():
        corpus, rows = "mer2024", _rows_2024(root)
    elif first_of(root, "mer2023train/train-label.csv", "train-label.csv").is_file():
        corpus, rows = "mer2023", _rows_2023(root)
    else:
        raise ManifestError(
            f"no MER2023, MER2024 or MER2025 at `{root}`\n\nhint: expected `train-label.csv`, `label-disdim.csv` or "
            "`track1_train_disdim.csv`"
        )
    manifest = manifest_of(rows, root, corpus=corpus, culture="chinese", language="zh", acted="yes")
    return checked(manifest, COUNTS[corpus], unverified=UNVERIFIED[corpus]) if check_counts else manifest


CORPUS = Published("mer", from_mer, "EULA, academic only", COUNTS)


def _rows_2023(root: Path) -> list[Row]:
    train = first_of(root, "mer2023train/train-label.csv", "train-label.csv")
    rows = _labelled(train, _files(first_of(root, "mer2023train/train", "train")), split="train")
    for part, name in TESTS_2023.items():
        files = _files(first_of(root, f"mer2023train/{part}", part))
        labels = root / "test-labels" / f"{part}-label.csv"
        test = _labelled(labels, files, split="test") if labels.is_file() else _hidden(files)
        rows += [{**row, "part": name} for row in test]
    return rows


def _rows_2024(root: Path) -> list[Row]:
    rows = _labelled(root / "label-disdim.csv", _files(root / "video-labeled"), split="train")
    rows += _hidden(_files(root / "video-unlabeled-with-test2noise"))
    return _with_texts(rows, root / "label-transcription.csv")


def _rows_2025(root: Path) -> list[Row]:
    files = _files(root / "video")
    rows = _labelled(root / "track1_train_disdim.csv", files, split="train")
    if (root / "track_all_candidates.csv").is_file():
        names = read_table(root / "track_all_candidates.csv", ("name",))["name"]
        trained = {Path(row["path"]).stem for row in rows}
        rows += _hidden(
            {name: files.get(name, root / "video" / f"{name}.mp4") for name in names if name not in trained}
        )
    return _with_texts(rows, root / "subtitle_chieng.csv")


def _files(folder: Path) -> dict[str, Path]:
    """Clips of a folder by name."""
    return {path.stem: path for path in files_below(folder, VIDEO_SUFFIXES)} if folder.is_dir() else {}


def _labelled(table: Path, files: Mapping[str, Path], *, split: str) -> list[Row]:
    rows: list[Row] = []
    cells = read_table(table, ("name", "discrete"))
    for row in cells.to_dict("records"):
        valence = row.get("valence", "")
        rows.append(
            {
                "path": str(files.get(row["name"], table.parent / row["name"])),
                "emotion": row["discrete"],
                UNLABELLED: "" if row["discrete"] else "no label",
                # -10 or -10.0: no value, which would wreck a regression.
                "valence": "" if valence.split(".")[0] == NO_VALENCE else valence,
                "split": split,
            }
        )
    return rows


def _hidden(files: Mapping[str, Path]) -> list[Row]:
    return [
        {"path": str(path), "emotion": "", UNLABELLED: HIDDEN, "valence": "", "split": "test"}
        for _, path in sorted(files.items())
    ]


def _with_texts(rows: list[Row], path: Path) -> list[Row]:
    if not path.is_file():
        return rows
    table = read_table(path, ("name", "chinese", "english")).set_index("name")
    texts = {str(name): (chinese, english) for name, chinese, english in table[["chinese", "english"]].itertuples()}
    for row in rows:
        row["text"], row["text_en"] = texts.get(Path(row["path"]).stem, ("", ""))
    return rows
