"""MELD: utterances of the series Friends, seven emotions.

`train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv`, and clips `dia0_utt0.mp4` in a folder for each part. The
numbers start again in each part: a clip goes by its part too. The main characters speak in all three parts, so the
published split is not speaker-independent: `official` folds refuse it unless `allow_shared_speakers` is set.

Source: Poria et al., MELD: a multimodal multi-party dataset for emotion recognition in conversations, ACL 2019.
"""

from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, manifest_of, read_table
from cimeu.corpora.manifest import NEVER_RELEASED, Manifest
from cimeu.errors import ManifestError

PARTS = {
    "train": ("train_splits", "train"),
    "dev": ("dev_splits_complete", "dev_splits", "dev"),
    "test": ("output_repeated_splits_test", "test_splits", "test"),
}
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
COUNTS = {"clips": 13_708, "emotions": 7, "split train": 9_989, "split validation": 1_109, "split test": 2_610}
GENDERS = {"Monica": "f", "Phoebe": "f", "Rachel": "f", "Chandler": "m", "Joey": "m", "Ross": "m"}
SEVERAL_PEOPLE = frozenset({"All", "Both"})
GAP = ("dev", "dia110_utt7")
"""Part and name of the clip that has a row in its table and no file in the archive."""


def from_meld(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the three tables. Extra columns: `dialogue`, `season`, `episode`, `text`. Raises ManifestError."""
    rows: list[Row] = []
    for part, folders in PARTS.items():
        path = _nearest(root, f"{part}_sent_emo.csv")
        # Quotation marks of another encoding are in some lines; they matter to no one here.
        columns = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
        table = read_table(path, columns, errors="replace")
        folder = _nearest(root, *folders)
        for cells in table.to_dict("records"):
            speaker = cells["Speaker"].strip()
            clip = folder / f"dia{cells['Dialogue_ID']}_utt{cells['Utterance_ID']}.mp4"
            rows.append(
                {
                    "path": str(clip),
                    "problem": NEVER_RELEASED if (part, clip.stem) == GAP and not clip.exists() else "",
                    "emotion": cells["Emotion"],
                    "speaker": "" if speaker in SEVERAL_PEOPLE else f"meld_{speaker}",
                    "gender": GENDERS.get(speaker, ""),
                    "split": SPLITS[part],
                    "dialogue": f"{part}-{cells['Dialogue_ID']}",
                    "season": cells.get("Season", ""),
                    "episode": cells.get("Episode", ""),
                    "text": cells["Utterance"],
                }
            )
    manifest = manifest_of(rows, root, corpus="meld", culture="north-american", language="en", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("meld", from_meld, "GPL-3.0 (annotations); clips of a television series", {"meld": COUNTS})


def _nearest(root: Path, *names: str) -> Path:
    """The first of these below `root`, nearest first."""
    for name in names:
        places = sorted(root.absolute().rglob(name), key=lambda path: len(path.parts))
        places = [place for place in places if place.suffix == ".csv" or next(place.glob("dia*.mp4"), None)]
        if places:
            return places[0]
    raise ManifestError(
        f"no `{names[0]}` below `{root}`\n\nhint: expected train, dev and test_sent_emo.csv and a folder of "
        "`dia0_utt0.mp4` for each, such as train_splits"
    )
