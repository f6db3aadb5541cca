"""Figures other papers report, to stand beside a run on the same corpus.

They were made by choosing the checkpoint on the test fold, so they compare with `selection: oracle` only. Figures are
percentages, averaged over the official folds; no paper gives a deviation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Published:
    """One figure of one paper; a method of one model stands with the fused ones."""

    corpus: str
    n_emotions: int
    method: str
    kind: Literal["forward", "backward", "fused"]
    uar: float
    war: float
    source: str
    selection: str = "oracle"


_PTH_NET = "IEEE TIP 2024"
_MAE_DFER = "ACM Multimedia 2023"
_HICMAE = "Information Fusion 2024"
_MMA_DFER = "CVPR Workshops 2024"
_AVF_MAE = "CVPR 2025"

PUBLISHED = (
    Published("dfew", 7, "PTH-Net", "forward", 61.21, 69.81, _PTH_NET),
    Published("dfew", 7, "PTH-Net", "backward", 60.29, 68.75, _PTH_NET),
    Published("dfew", 7, "PTH-Net", "fused", 62.28, 70.85, _PTH_NET),
    Published("dfew", 7, "MAE-DFER", "fused", 63.41, 74.43, _MAE_DFER),
    Published("dfew", 7, "HiCMAE", "fused", 63.76, 75.01, _HICMAE),
    Published("dfew", 7, "MMA-DFER", "fused", 67.01, 77.51, _MMA_DFER),
    Published("dfew", 7, "AVF-MAE++", "fused", 66.88, 77.45, _AVF_MAE),
    Published("mafw", 11, "MAE-DFER", "fused", 41.62, 54.31, _MAE_DFER),
    Published("mafw", 11, "HiCMAE", "fused", 42.65, 56.17, _HICMAE),
    Published("mafw", 11, "MMA-DFER", "fused", 44.11, 58.52, _MMA_DFER),
    Published("mafw", 11, "AVF-MAE++", "fused", 46.05, 60.24, _AVF_MAE),
    Published("ferv39k", 7, "PTH-Net", "forward", 39.83, 49.65, _PTH_NET),
    Published("ferv39k", 7, "PTH-Net", "backward", 39.23, 48.07, _PTH_NET),
    Published("ferv39k", 7, "PTH-Net", "fused", 40.29, 50.47, _PTH_NET),
    Published("ferv39k", 7, "MAE-DFER", "fused", 43.12, 52.07, _MAE_DFER),
    Published("cremad", 6, "MAE-DFER", "fused", 77.33, 77.38, _MAE_DFER),
    Published("cremad", 6, "HiCMAE", "fused", 84.91, 84.89, _HICMAE),
    Published("cremad", 6, "AVF-MAE++", "fused", 86.02, 85.95, _AVF_MAE),
    Published("ravdess", 8, "MAE-DFER", "fused", 75.91, 75.56, _MAE_DFER),
    Published("ravdess", 8, "HiCMAE", "fused", 87.96, 87.99, _HICMAE),
    Published("ravdess", 8, "AVF-MAE++", "fused", 87.44, 87.57, _AVF_MAE),
)


def published_for(corpora: Iterable[str], n_emotions: int) -> list[Published]:
    """Figures on the corpus, when the tested clips are of one corpus and have its number of emotions."""
    names = {_plain(corpus) for corpus in corpora}
    return [each for each in PUBLISHED if {_plain(each.corpus)} == names and each.n_emotions == n_emotions]


def _plain(corpus: str) -> str:
    return "".join(sign for sign in corpus.lower() if sign.isalnum())
