"""CH-SIMS v2: Chinese film and television, sentiment from -1 to 1 for the whole clip and for each modality.

`meta.csv` and `Raw/video_0001/0001.mp4`. `label_V` is the sentiment of the *vision* and `label_A` that of the audio:
neither is valence or arousal. `clip_id` has leading zeros. Clips on disk that `meta.csv` lacks are not used. It holds
the 2,281 clips of version 1: the two must not be mixed. No person is known, so that a video stands for its speaker.

Source: Liu et al., Make acoustic and visual cues matter: CH-SIMS v2.0, ICMI 2022, and its repository.
"""

from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, first_of, manifest_of, read_table
from cimeu.corpora.manifest import UNLABELLED, Manifest

SPLITS = {"train": "train", "valid": "validation", "test": "test"}
SENTIMENTS = {
    "label": "sentiment",
    "label_T": "sentiment_text",
    "label_A": "sentiment_audio",
    "label_V": "sentiment_vision",
}
COUNTS = {"clips": 4403, "split train": 2722, "split validation": 647, "split test": 1034}


def from_chsims(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of `meta.csv`; the emotion is the annotation (positive, neutral, negative).

    Extra columns: `sentiment`, `sentiment_text`, `sentiment_audio`, `sentiment_vision` (-1 to 1), `text`, `video`,
    `unlabelled`. Raises ManifestError.
    """
    folder = first_of(root, "ch-simsv2s") if (root / "ch-simsv2s").is_dir() else root
    columns = ("video_id", "clip_id", "text", *SENTIMENTS, "annotation", "mode")
    table = read_table(folder / "meta.csv", columns)
    rows: list[Row] = []
    for cells in table.to_dict("records"):
        clip = cells["clip_id"].zfill(4)  # spreadsheets drop the zeros
        rows.append(
            {
                "path": str((folder / "Raw" / cells["video_id"] / f"{clip}.mp4").absolute()),
                "emotion": cells["annotation"].lower(),
                UNLABELLED: "" if cells["annotation"] else "no annotation",
                "speaker": f"chsims_{cells['video_id']}",
                "split": SPLITS.get(cells["mode"], cells["mode"]),
                "video": cells["video_id"],
                "text": cells["text"],
                **{name: cells[column] for column, name in SENTIMENTS.items()},
            }
        )
    manifest = manifest_of(rows, root, corpus="chsims", culture="chinese", language="zh", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("chsims", from_chsims, "research", {"chsims": COUNTS})
