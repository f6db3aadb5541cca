"""Figures other papers report, to stand beside a run on the same corpus.

They were made by choosing the checkpoint on the test fold, so they compare with `selection: oracle` only. Figures are
percentages, averaged over the official folds; no paper gives a deviation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cimeu.tables import MISSING


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


@dataclass(frozen=True)
class Benchmark:
    """What one method reached on one benchmark, in the benchmark's own metrics."""

    corpus: str
    part: str
    """What was tested."""
    method: str
    figures: str
    """Metrics and values, as the source prints them."""
    source: str
    differs: str = ""
    """Why a run here does not compare with it directly."""


_BLEMORE_SOURCE = "repository of BLEMORE (arXiv 2601.13225)"
_TUNED = "thresholds chosen on the scored fold"
_HIDDEN = "labels are hidden; `cimeu submit` writes the file"
_SUPERB = "linear probe on all layers, leave one session out; validation shares speakers with training"
_SIMS_SOURCE = "CH-SIMS v2 (ICMI 2022)"
_MER_SOURCE = "MER 2023 (ACM Multimedia 2023)"
_MSP_SOURCE = "Interspeech 2025 challenge, published systems"

BENCHMARKS = (
    *(
        Benchmark(
            "blemore", "validation, 5 folds", method, f"ACC_presence {one}, ACC_salience {two}", _BLEMORE_SOURCE, why
        )
        for method, one, two, why in (
            ("most frequent emotion", ".078", "0", ""),
            ("most frequent blend", ".057", ".035", ""),
            ("WavLM, MLP-512", ".265", ".121", _TUNED),
            ("VideoMAEv2, MLP-512", ".260", ".124", _TUNED),
            ("ImageBind, MLP-512", ".290", ".130", _TUNED),
            ("ImageBind + WavLM, MLP-512", ".345", ".170", _TUNED),
        )
    ),
    *(
        Benchmark("blemore", "test", method, f"ACC_presence {one}, ACC_salience {two}", _BLEMORE_SOURCE, _HIDDEN)
        for method, one, two in (
            ("most frequent emotion", ".074", "0"),
            ("most frequent blend", ".059", ".036"),
            ("WavLM, MLP-512", ".311", ".084"),
            ("VideoMAEv2, MLP-512", ".293", ".054"),
            ("VideoMAEv2 + HuBERT, MLP-512", ".332", ".114"),
            ("ImageBind + WavLM, MLP-512", ".327", ".114"),
        )
    ),
    Benchmark("iemocap", "4 classes, 5 sessions", "wav2vec2-base", "WA 63.43", "SUPERB (Interspeech 2021)", _SUPERB),
    Benchmark("iemocap", "4 classes, 5 sessions", "HuBERT-large", "WA 67.62", "SUPERB (Interspeech 2021)", _SUPERB),
    Benchmark("iemocap", "4 classes, 5 sessions", "WavLM-large", "WA 70.62", "WavLM (IEEE JSTSP 2022)", _SUPERB),
    Benchmark(
        "msppodcast", "Test3, 8 classes", "best published systems", "macro-F1 41.0", _MSP_SOURCE, "labels are hidden"
    ),
    Benchmark(
        "msppodcast",
        "Test3, attributes",
        "a fourth place",
        "mean CCC .593, valence .694",
        _MSP_SOURCE,
        "labels are hidden",
    ),
    Benchmark("mer2023", "MULTI", "baseline", "weighted F1 77.57, MSE of valence .82", _MER_SOURCE),
    Benchmark("mer2023", "NOISE", "baseline", "weighted F1 69.82, MSE of valence 1.12", _MER_SOURCE),
    Benchmark("mer2023", "SEMI", "baseline", "weighted F1 86.75", _MER_SOURCE),
    *(
        Benchmark(
            "chsims",
            "test",
            method,
            f"Acc2 {acc2}, F1 {f1}, weak Acc2 {weak}, correlation {r}, MAE {mae}",
            _SIMS_SOURCE,
            "reads text too",
        )
        for method, acc2, f1, weak, r, mae in (
            ("TFN", "76.51", "76.31", "66.27", "66.65", ".323"),
            ("MulT", "79.50", "79.59", "69.61", "70.32", ".317"),
            ("MISA", "80.53", "80.63", "70.50", "72.49", ".314"),
            ("AV-MC", "82.50", "82.55", "74.54", "73.17", ".297"),
            ("AV-MC, with unlabelled clips", "83.46", "83.52", "74.54", "76.04", ".286"),
        )
    ),
)


def benchmark_rows(rows: Iterable[Benchmark]) -> list[dict[str, str]]:
    """Published figures in the metrics of their benchmark, by column."""
    return [
        {
            "Tested on": row.part,
            "Method": row.method,
            "Figures as published": row.figures,
            "Source": row.source,
            "What differs": row.differs or MISSING,
        }
        for row in rows
    ]


def benchmarks_of(corpora: Iterable[str]) -> list[Benchmark]:
    """What was published on the benchmark that one corpus is; nothing for several corpora together."""
    names = {_plain(corpus) for corpus in corpora}
    return [row for row in BENCHMARKS if {_plain(row.corpus)} == names]


def published_for(corpora: Iterable[str], n_emotions: int) -> list[Published]:
    """Figures on the corpus, when the tested clips are of one corpus and have its number of emotions."""
    names = {_plain(corpus) for corpus in corpora}
    return [method for method in PUBLISHED if {_plain(method.corpus)} == names and method.n_emotions == n_emotions]


def _plain(corpus: str) -> str:
    return "".join(sign for sign in corpus.lower() if sign.isalnum())
