"""Agreement of several annotators, against published examples worked by hand."""

from collections.abc import Sequence
from pathlib import Path

import krippendorff
import numpy as np
import pytest

from cimeu.errors import ManifestError
from cimeu.timeline.annotations import Annotation, Tier
from cimeu.timeline.raters import agree_all, alpha_of_counts, fleiss_kappa, further_tiers, pairs_csv

KRIPPENDORFF_2011 = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
"""Four observers, twelve units, missing data: alpha is 0.743 (Krippendorff 2011, part C)."""
FLEISS_1971 = (
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
)
"""Fourteen raters, ten subjects: kappa is 0.210 (the worked example of the statistic)."""
EMOTIONS = ("anger", "happiness", "sadness", "fear", "disgust")


def counts_of(rows: Sequence[str]) -> np.ndarray:
    answers = np.array([row.split() for row in rows]).T
    return np.array([[(unit == str(label)).sum() for label in range(1, 6)] for unit in answers], dtype=float)


def tier_of(name: str, row: str) -> Tier:
    """Each unit is half a second; a dot is no annotation."""
    annotations = [
        Annotation(start_s=number / 2, end_s=(number + 1) / 2, label=EMOTIONS[int(answer) - 1])
        for number, answer in enumerate(row.split())
        if answer != "."
    ]
    return Tier(name="emotion", source=f"{name}.csv", annotations=tuple(annotations))


def test_alpha_is_that_of_the_published_example() -> None:
    counts = counts_of(KRIPPENDORFF_2011)
    assert alpha_of_counts(counts, np.ones(12)) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_that_of_the_krippendorff_package() -> None:
    answers = np.random.default_rng(0).integers(0, 4, (5, 200)).astype(float)
    answers[np.random.default_rng(1).random(answers.shape) < 0.3] = np.nan
    counts = np.array([[(unit == label).sum() for label in range(4)] for unit in answers.T], dtype=float)
    expected = krippendorff.alpha(answers, level_of_measurement="nominal")
    assert alpha_of_counts(counts, np.ones(200)) == pytest.approx(expected)


def test_fleiss_kappa_is_that_of_the_published_example() -> None:
    assert fleiss_kappa(np.array(FLEISS_1971, dtype=float), np.ones(10)) == pytest.approx(0.210, abs=5e-4)


def test_tiers_of_files_give_the_published_alpha_and_every_pair() -> None:
    tiers = [tier_of(name, row) for name, row in zip("abcd", KRIPPENDORFF_2011, strict=True)]
    # A moment is a unit here: with more moments per unit, alpha's correction for few data gets smaller.
    agreement = agree_all(tiers, grid_s=0.5)
    assert agreement.alpha == pytest.approx(0.743, abs=5e-4)
    assert (agreement.alpha_s, agreement.fleiss_s) == (5.5, 4.0)
    assert len(agreement.pairs) == 6
    assert agreement.pairs[0][:2] == ("a.csv", "b.csv")
    assert "all,,krippendorff_alpha,0.743" in pairs_csv(agreement)


def test_full_agreement_is_one_and_a_single_label_says_nothing() -> None:
    full, single = "1 2 3 1", "1 1 1 1"
    assert agree_all([tier_of(name, full) for name in "abc"]).fleiss_kappa == pytest.approx(1)
    assert agree_all([tier_of(name, full) for name in "abc"]).alpha == pytest.approx(1)
    alone = agree_all([tier_of(name, single) for name in "abc"])
    assert (alone.alpha, alone.fleiss_kappa) == (None, None)


def test_annotators_without_common_time_are_named() -> None:
    with pytest.raises(ManifestError, match=r"no two annotations share labelled time\n\nhint: "):
        agree_all([tier_of("a", "1 . ."), tier_of("b", ". 1 ."), tier_of("c", ". . 1")])
    with pytest.raises(ManifestError, match=r"2 annotators\n\nhint: give three or more"):
        agree_all([tier_of("a", "1"), tier_of("b", "1")])


def test_an_annotator_of_another_recording_is_named_and_a_pair_without_common_time_keeps_its_row() -> None:
    with pytest.raises(
        ManifestError, match=r"`emotion` of `c\.csv` shares no labelled time with any other annotator\n"
    ):
        agree_all([tier_of("a", "1 2 . ."), tier_of("b", "1 1 . ."), tier_of("c", ". . . 1")])
    agreement = agree_all([tier_of("a", "1 2 ."), tier_of("b", "1 1 2"), tier_of("c", ". . 1")])
    assert ("a.csv", "c.csv", None, 0.0) in agreement.pairs
    assert "a.csv,c.csv,cohen_kappa,,0.0\n" in pairs_csv(agreement)


def test_further_files_are_read_like_the_first(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("start_s,end_s,label\n0,1,Wut\n")
    (tier,) = further_tiers([tmp_path / "c.csv"], "emotion", label_map={"Wut": "anger"})
    assert tier.labels == {"anger"}


def test_a_single_label_has_no_kappa_however_long_its_stretches_are() -> None:
    generator = np.random.default_rng(0)
    counts = np.zeros((7, 2))
    counts[:, 0] = 3
    # Sums of lengths are rounded: in one of two hundred draws, the share of the only label was not 1.
    assert {fleiss_kappa(counts, generator.integers(1, 10**5, 7) * 0.1 / 0.1) for _ in range(500)} == {None}
