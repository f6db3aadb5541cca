"""MSP-Podcast: turns of English podcasts, eight emotions by vote, attributes from 1 to 7; releases 1.10 to 2.0.

`Audios/*.wav`, `Labels/labels_consensus.csv` (misspelt `labels_concensus.csv` in older releases, folders sometimes
doubled), votes in `Labels/labels_detailed.csv` in two shapes. The consensus columns come in the order activation,
valence, dominance. X (no agreement) and O (other) are rows, no classes. Test3 has neither labels nor speakers, its
consensus may be a dummy. The partitions moved between releases: figures of two releases do not compare.

Source: Lotfian and Busso, Building naturalistic emotionally balanced speech corpus, IEEE TAC 2019; the release notes.
"""

import os
from collections import Counter
from pathlib import Path

from cimeu.corpora.adapters.layout import Row, checked, first_of, manifest_of, read_table
from cimeu.corpora.manifest import HIDDEN, UNLABELLED, Manifest
from cimeu.errors import ManifestError

EMOTIONS = {
    "A": "anger",
    "S": "sadness",
    "H": "happiness",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
}
NO_CLASS = {"X": "no agreement", "O": "other", "": "no consensus"}
VOTES = dict(
    zip(("Angry", "Sad", "Happy", "Surprise", "Fear", "Disgust", "Contempt", "Neutral"), EMOTIONS.values(), strict=True)
)
SPLITS = {
    "Train": "train",
    "Development": "validation",
    "Validation": "validation",
    **dict.fromkeys(("Test1", "Test2", "Test3"), "test"),
}
RELEASES: dict[str, dict[str, int]] = {
    "1.11": {"clips": 151_654, "split train": 84_030, "split validation": 19_815, "split test": 47_809},
    "1.12": {"clips": 207_136},
    "2.0": {"clips": 264_705},
}
"""Turns of each release whose numbers are published; the test parts of 1.11 are 30,647, 14,815 and 2,347."""


def from_msppodcast(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the turns.

    Extra columns: `partition` (as published), `podcast`, `arousal`, `valence`, `dominance` (1 to 7), `unlabelled`, and
    where the votes are there `votes_anger` .. `votes_neutral`. Raises ManifestError.
    """
    labels = first_of(root, "Labels", "Labels/Labels", "label", "labels")
    labels = first_of(labels, "Labels") if (labels / "Labels").is_dir() else labels
    sounds = str(first_of(root, "Audios/Audios", "Audios", "Audio/Audio", "Audio").absolute())
    path = first_of(labels, "labels_consensus.csv", "labels_concensus.csv")
    columns = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
    table = read_table(path, columns)
    votes = _votes(labels / "labels_detailed.csv")
    rows: list[Row] = []
    for cells in table.to_dict("records"):
        name, partition, code = cells["FileName"], cells["Split_Set"], cells["EmoClass"]
        if partition not in SPLITS or code not in EMOTIONS | NO_CLASS:
            raise ManifestError(
                f"`{name}` of `{path}` is in `{partition}` with the class `{code}`\n\n"
                f"hint: expected {', '.join(SPLITS)} and {', '.join([*EMOTIONS, *filter(None, NO_CLASS)])}"
            )
        is_hidden = partition == "Test3"
        speaker = "" if cells["SpkrID"].lower() in ("", "unknown") else f"msppodcast_{cells['SpkrID']}"
        attributes = {"arousal": cells["EmoAct"], "valence": cells["EmoVal"], "dominance": cells["EmoDom"]}
        rows.append(
            {
                "path": os.path.join(sounds, name),
                "emotion": "" if is_hidden else EMOTIONS.get(code, ""),
                UNLABELLED: HIDDEN if is_hidden else NO_CLASS.get(code, ""),
                "speaker": speaker,
                "gender": {"Male": "m", "Female": "f"}.get(cells["Gender"], ""),
                "split": SPLITS[partition],
                "partition": partition,
                "podcast": name.split("_")[1],
                **(dict.fromkeys(attributes, "") if is_hidden else attributes),
                **({} if is_hidden else votes.get(name, {})),
            }
        )
    manifest = manifest_of(rows, root, corpus="msppodcast", language="en", acted="no")
    return checked(manifest, _release_of(len(manifest))) if check_counts else manifest


def _release_of(n_turns: int) -> dict[str, int]:
    """Counts of the release with this many turns; of the nearest where there is none."""
    # The release is named nowhere in its files; its size tells.
    return min(RELEASES.values(), key=lambda counts: abs(counts["clips"] - n_turns))


def _votes(path: Path) -> dict[str, Row]:
    """Primary votes of each file: one row per rater, or (1.10, 1.11) one string that begins `WORKER1; Neutral; ...`.

    Votes for "Other" are dropped.
    """
    if not path.is_file():
        return {}
    table = read_table(path, ("FileName",))
    if "EmoClass_Major" in table.columns:
        primary = table["EmoClass_Major"]
    elif "EmoDetail" in table.columns:
        # `WORKER1; Neutral; Sad,Tired; ...`: the second field is the primary emotion.
        primary = table["EmoDetail"].str.split(";").str[1].fillna("")
    else:
        raise ManifestError(f"`{path}` has no column `EmoClass_Major` or `EmoDetail`\n\nhint: use the released table")
    by_file: dict[str, Counter[str]] = {}
    for name, vote in zip(table["FileName"], primary.str.strip(), strict=True):
        by_file.setdefault(name, Counter())[vote] += 1
    return {
        name: {f"votes_{emotion}": str(counts[vote]) for vote, emotion in VOTES.items()}
        for name, counts in by_file.items()
    }
