"""MAFW: clips of films, series, shows and news of several countries; 11 single and 43 compound emotions.

`data/clips/00001.mp4`; `Train & Test Set/{single,compound}/{no_caption,with_caption}/set_1/{train,test}.txt` to set_5.
1,097 of its clips are also in DFEW and 98 in AFEW: a model that moves from one to the other has seen them, unless
near-duplicates are taken out first (`cimeu audit`). Lists of "face" clips that circulate lack 657 of the hardest ones.

Source: Liu et al., MAFW: a large-scale, multi-modal, compound affective database, ACM MM 2022.
"""

from pathlib import Path
from typing import Literal

from cimeu.corpora.adapters.layout import Published, checked, fold_of_each, manifest_of, needed
from cimeu.corpora.manifest import Manifest
from cimeu.errors import ManifestError
from cimeu.labels import canonical

COUNTS = {
    "single": {"clips": 9172, "emotions": 11}
    | {f"fold {fold}": count for fold, count in enumerate((1839, 1837, 1833, 1832, 1831), start=1)},
    "compound": {"clips": 8996, "emotions": 43},
}

Task = Literal["single", "compound"]


def from_mafw(root: Path, *, task: Task = "single", check_counts: bool = True) -> Manifest:
    """Rows of the clips of one task with their published fold; compound emotions are joined by `_`.

    Extra columns, where only the lists with captions are there: `caption_zh`, `caption_en`.
    Raises ManifestError, FoldLeak.
    """
    lists = needed(root / "Train & Test Set" / task, f"`data/clips` and `Train & Test Set/{task}`")
    lists = lists / "no_caption" if (lists / "no_caption").is_dir() else lists / "with_caption"
    captions: dict[str, list[str]] = {}
    parts = {
        str(fold): (
            _labels(lists / f"set_{fold}" / "train.txt", captions),
            _labels(lists / f"set_{fold}" / "test.txt", captions),
        )
        for fold in range(1, 6)
    }
    rows = []
    for name, (emotion, fold) in sorted(fold_of_each(parts, corpus="mafw").items()):
        row = {"path": f"data/clips/{name}", "emotion": emotion, "fold": fold}
        if captions:
            row |= dict(zip(("caption_zh", "caption_en"), captions.get(name, ()), strict=False))
        rows.append(row)
    manifest = manifest_of(rows, root, corpus="mafw")
    return checked(manifest, COUNTS[task]) if check_counts else manifest


CORPUS = Published(
    "mafw", from_mafw, "by request, research only", {"mafw": COUNTS["single"], "mafw-compound": COUNTS["compound"]}
)


def _labels(path: Path, captions: dict[str, list[str]]) -> dict[str, str]:
    """Emotion by file name; the captions of a list that has some are added to `captions`."""
    needed(path, "`train.txt` and `test.txt` in `set_1` to `set_5`")
    labels: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="gb18030", errors="replace").splitlines(), start=1):
        if not line.strip("\ufeff \t"):
            continue
        cells = [cell.strip("\ufeff ") for cell in (line.split("\t") if "\t" in line else line.split())]
        if len(cells) < 2 or not cells[0].endswith(".mp4"):
            raise ManifestError(
                f"line {number} of `{path}` is `{line.strip()}`\n\nhint: expected `03747.mp4 anger`, or with captions "
                "after tabs"
            )
        labels[cells[0]] = "_".join(canonical(part) for part in cells[1].split("_"))
        if len(cells) > 2:
            captions[cells[0]] = cells[2:4]
    return labels
