"""DFEW: clips of films, seven emotions, ten annotators each.

`Clip/original/2522.mp4`, or frames in `Clip/clip_224x224/02522/`; `EmoLabel_DataSplit/{train,test}(single-labeled)/
set_1.csv` .. `set_5.csv` (`video_name,label`); `Annotation/annotation.xlsx` with the votes. Neither person nor film is
known: keep near-duplicates together (`cimeu audit --mark`).

Source: Jiang et al., DFEW: a large-scale database for recognizing dynamic facial expressions in the wild, ACM MM 2020.
"""

import re
from pathlib import Path

from cimeu.corpora.adapters.layout import (
    Published,
    checked,
    columns_needed,
    fold_of_each,
    manifest_of,
    needed,
    read_table,
    read_xlsx,
)
from cimeu.corpora.manifest import Manifest
from cimeu.errors import ManifestError, UnknownLabel
from cimeu.labels import canonical

EMOTIONS = {
    "1": "happiness",
    "2": "sadness",
    "3": "neutral",
    "4": "anger",
    "5": "surprise",
    "6": "disgust",
    "7": "fear",
}
COUNTS = (
    {"clips": 11_697}
    | dict(zip(EMOTIONS.values(), (2445, 1894, 2669, 2173, 1469, 145, 902), strict=True))
    | {f"fold {fold}": count for fold, count in enumerate((2341, 2341, 2340, 2339, 2336), start=1)}
)


def from_dfew(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the single-labelled clips with their published fold: the recordings where they are there, else frames.

    Extra columns, where the annotation is there: `votes_happiness` .. `votes_fear`. Raises ManifestError, UnknownLabel
    (a label that is none of 1 to 7: those clips have no single label), FoldLeak.
    """
    lists = needed(root / "EmoLabel_DataSplit", "`Clip`, `EmoLabel_DataSplit` and `Annotation`")
    parts = {
        str(fold): (
            _labels(lists / "train(single-labeled)" / f"set_{fold}.csv"),
            _labels(lists / "test(single-labeled)" / f"set_{fold}.csv"),
        )
        for fold in range(1, 6)
    }
    recorded = (root / "Clip" / "original").is_dir()
    votes = _votes(root / "Annotation" / "annotation.xlsx")
    rows = []
    for clip, (emotion, fold) in sorted(fold_of_each(parts, corpus="dfew").items(), key=lambda item: int(item[0])):
        path = f"Clip/original/{clip}.mp4" if recorded else f"Clip/clip_224x224/{clip:0>5}"
        rows.append({"path": path, "emotion": emotion, "fold": fold, **votes.get(clip, {})})
        _check_votes(clip, emotion, votes.get(clip, {}))
    manifest = manifest_of(rows, root, corpus="dfew", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("dfew", from_dfew, "by request, research only", {"dfew": COUNTS})


def _labels(path: Path) -> dict[str, str]:
    """Emotion by clip; a clip goes by its number without leading zeros."""
    table = read_table(path, ("video_name", "label"))
    for clip, label in zip(table["video_name"], table["label"], strict=True):
        if label not in EMOTIONS:
            raise UnknownLabel(
                f"clip `{clip}` of `{path}` has the label `{label}`\n\n"
                "hint: 1 to 7 are emotions; 0 means that the annotators did not agree, such clips are in no fold"
            )
    return {_number(clip): EMOTIONS[label] for clip, label in zip(table["video_name"], table["label"], strict=True)}


def _votes(path: Path) -> dict[str, dict[str, str]]:
    """Votes by clip, joined by its name: the rows of the table are in another order than the names."""
    if not path.is_file():
        return {}
    table = read_xlsx(path)
    name = "video_name" if "video_name" in table.columns else "order"
    columns = {column: canonical(column[1:]) for column in table.columns if re.fullmatch(r"[1-7][a-zA-Z]+", column)}
    columns_needed(table, (name,), path)
    if [columns[column] for column in sorted(columns)] != list(EMOTIONS.values()):
        raise ManifestError(
            f"`{path}` counts votes for {', '.join(sorted(columns)) or 'nothing'}\n\n"
            "hint: expected 1happy, 2sad, 3neutral, 4angry, 5surprise, 6disgust, 7fear"
        )
    return {
        _number(clip): {f"votes_{emotion}": row[column] for column, emotion in columns.items()}
        for clip, row in zip(table[name], table.to_dict("records"), strict=True)
    }


def _check_votes(clip: str, emotion: str, votes: dict[str, str]) -> None:
    """A label that others outvote means another numbering, or votes joined by row."""
    counts = {name: float(count or 0) for name, count in votes.items()}
    if counts and counts[f"votes_{emotion}"] < max(counts.values()):
        most = max(counts, key=counts.__getitem__).removeprefix("votes_")
        raise ManifestError(
            f"clip `{clip}` of `dfew` is labelled {emotion}, but most of its annotators chose {most}\n\n"
            "hint: lists and annotation are not of one release"
        )


def _number(clip: str) -> str:
    stem = re.sub(r"\.(mp4|0)$", "", str(clip).strip())
    return stem.lstrip("0") or "0"
