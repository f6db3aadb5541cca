"""FERv39k: clips of 22 kinds of scenes, seven emotions.

`0_7_LabelClips/<Scene>/<Emotion>/0010.mp4`, or frames of faces in `2_ClipsforFaceCrop/<Scene>/<Emotion>/0010/`;
`4_setups/All_scenes/train_All.csv` and `test_All.csv` with lines `Action/Sad/0010 Sad`. The numbers start again in each
scene and emotion: a clip goes by its whole path. There is no validation part, no person and no film.

Source: Wang et al., FERV39k: a large-scale multi-scene dataset for facial expression recognition in videos, CVPR 2022.
"""

from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, manifest_of, needed
from cimeu.corpora.manifest import Manifest
from cimeu.errors import FoldLeak, ManifestError
from cimeu.labels import canonical
from cimeu.reading import MEBI, read_text

COUNTS = {"clips": 38_935, "emotions": 7, "split train": 31_088, "split test": 7_847}
LISTS = {"train": "train_All.csv", "test": "test_All.csv"}


def from_ferv39k(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the list over all scenes: the recordings where they are there, else the frames of faces.

    Extra column: `scene`. Raises ManifestError, FoldLeak.
    """
    recorded = (root / "0_7_LabelClips").is_dir()
    folder = "0_7_LabelClips" if recorded else "2_ClipsforFaceCrop"
    rows: dict[str, Row] = {}
    for split, name in LISTS.items():
        path = needed(root / "4_setups" / "All_scenes" / name, "`4_setups/All_scenes` with its two lists")
        text = read_text(path, ManifestError, "fetch it again", at_most=256 * MEBI)
        for number, line in enumerate(text.splitlines(), start=1):
            clip, _, label = line.strip().rpartition(" ")
            if not line.strip():
                continue
            parts = clip.strip().split("/")
            if len(parts) != 3 or canonical(parts[1]) != canonical(label):
                raise ManifestError(
                    f"line {number} of `{path}` is `{line.strip()}`\n\nhint: expected scene, emotion and number, then "
                    "the same emotion, such as `Action/Sad/0010 Sad`"
                )
            if rows.get(clip, {}).get("split", split) != split:
                raise FoldLeak(f"clip `{clip}` is in both train and test of `ferv39k`\n\nhint: fetch the lists again")
            file = f"{folder}/{clip}.mp4" if recorded else f"{folder}/{clip}"
            rows[clip] = {"path": file, "emotion": label, "split": split, "scene": parts[0]}
    manifest = manifest_of(rows.values(), root, corpus="ferv39k")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("ferv39k", from_ferv39k, "by request, research only", {"ferv39k": COUNTS})
