"""MSP-Podcast: turns of English podcasts, eight emotions by vote, attributes from 1 to 7; releases 1.10 to 2.0.

`Audios/*.wav`, `Labels/labels_consensus.csv` (misspelt `labels_concensus.csv` in older releases, folders sometimes
doubled), votes in `Labels/labels_detailed.csv` in two shapes. The consensus columns come in the order activation,
valence, dominance. X (no agreement) and O (other) are rows, no classes. Test3 has neither labels nor speakers, its
consensus may be a dummy. The partitions moved between releases: figures of two releases do not compare.

Source: Lotfian and Busso, Building naturalistic emotionally balanced speech corpus, IEEE TAC 2019; the release notes.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from cimeu.corpora.adapters.layout import Published, checked, first_of, read_table
from cimeu.corpora.manifest import HIDDEN, UNLABELLED, Manifest, build_manifest
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
ATTRIBUTES = {"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}
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
    votes = _votes(labels / "labels_detailed.csv", table["FileName"])
    wrong = ~(table["Split_Set"].isin(list(SPLITS)) & table["EmoClass"].isin([*EMOTIONS, *NO_CLASS]))
    if wrong.any():
        name, partition, code = table.loc[wrong.idxmax(), ["FileName", "Split_Set", "EmoClass"]]
        raise ManifestError(
            f"`{name}` of `{path}` is in `{partition}` with the class `{code}`\n\n"
            f"hint: expected {', '.join(SPLITS)} and {', '.join([*EMOTIONS, *filter(None, NO_CLASS)])}"
        )
    is_hidden, is_unknown = table["Split_Set"] == "Test3", table["SpkrID"].str.lower().isin(["", "unknown"])
    cells = {
        "path": sounds + "/" + table["FileName"],
        "emotion": table["EmoClass"].map(EMOTIONS).mask(is_hidden, ""),
        UNLABELLED: table["EmoClass"].map(NO_CLASS).mask(is_hidden, HIDDEN),
        "speaker": ("msppodcast_" + table["SpkrID"]).mask(is_unknown, ""),
        "gender": table["Gender"].map({"Male": "m", "Female": "f"}),
        "split": table["Split_Set"].map(SPLITS),
        "partition": table["Split_Set"],
        "podcast": table["FileName"].str.split("_").str[1],
        **{name: table[column].mask(is_hidden, "") for name, column in ATTRIBUTES.items()},
        **{name: votes.mask(is_hidden, "") for name, votes in votes.items()},
        "corpus": "msppodcast",
        "language": "en",
        "acted": "no",
    }
    manifest = build_manifest(pd.DataFrame(cells), root)
    return checked(manifest, _release_of(len(manifest))) if check_counts else manifest


CORPUS = Published(
    "msppodcast", from_msppodcast, "licence form signed by the institution; no redistribution, not even of transcripts"
)


def _release_of(n_turns: int) -> dict[str, int]:
    """Counts of the release with this many turns; of the nearest where there is none."""
    # The release is named nowhere in its files; its size tells.
    return min(RELEASES.values(), key=lambda counts: abs(counts["clips"] - n_turns))


def _votes(path: Path, files: pd.Series) -> dict[str, pd.Series]:
    """Primary votes for each emotion in each of the files: one row per rater, or (1.10, 1.11) one string that begins
    `WORKER1; Neutral; ...`.

    Votes for "Other" are dropped; files without a rater have no votes rather than none for each emotion.
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
    rated, names = pd.factorize(table["FileName"])
    kinds = pd.Index(list(VOTES)).get_indexer(primary.str.strip())
    counts = np.zeros((len(names), len(VOTES)), np.int64)
    np.add.at(counts, (rated[kinds >= 0], kinds[kinds >= 0]), 1)
    numbers = np.array([str(number) for number in range(counts.max(initial=0) + 1)], dtype=object)
    texts = pd.DataFrame(numbers[counts], names, [f"votes_{emotion}" for emotion in VOTES.values()])
    of_files = texts.reindex(files).fillna("")
    return {str(name): votes.reset_index(drop=True) for name, votes in of_files.items()}
