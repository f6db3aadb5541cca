"""A TextGrid is read by another program: tiers that cover the recording, with everything that was said."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from pympi import Praat

from cimeu.errors import ManifestError
from cimeu.timeline.annotations import Annotation, read_tiers
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import USE_LIMITS, Header, RatedSegment, RaterTier, Segment
from cimeu.timeline.study.transcripts import read_utterances

SCORES = {"anger": 0.7, "sadness": 0.3}


@pytest.fixture
def timeline() -> Timeline:
    """Anna is seen twice with a gap between, and Eva rated her."""
    header = Header("a.mp4", "0" * 32, 6.0, "cimeu-1", ("anger", "sadness"), {}, {}, False, "0", "")
    segments = (
        Segment('Anna "A"', 0.0, 1.5, "anger", 0.7, SCORES, False, "face", ""),
        Segment('Anna "A"', 1.5, 2.0, "", 0.5, SCORES, True, "face", "unsure; no sound"),
        Segment('Anna "A"', 3.0, 6.0004, "", None, {}, False, "", "no face"),
    )
    rated = RatedSegment(0.25, 1.0, "sadness"), RatedSegment(1.0, 6.0, "unsure")
    return Timeline(header, segments, Path("a.mp4"), raters=(RaterTier("Eva", 'Anna "A"', rated),))


def intervals(timeline: Timeline, tmp_path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """By name of the tier, as pympi reads them."""
    grid = Praat.TextGrid(str(timeline.save(tmp_path / "a.TextGrid")))
    assert (grid.xmin, grid.xmax) == (0.0, 6.0)
    return {tier.name: list(tier.get_all_intervals()) for tier in grid.get_tiers()}


def test_labels_reasons_and_raters_are_tiers(timeline: Timeline, tmp_path: Path) -> None:
    tiers = intervals(timeline, tmp_path)
    person = next(name for name in tiers if name.startswith("Anna"))
    assert [label for _, _, label in tiers[person]] == ["anger", "unsure", "", ""]  # a gap, and no face
    assert tiers[f"{person}, reason"] == [
        *((0.0, 1.5, ""), (1.5, 2.0, "unsure; no sound"), (2.0, 3.0, ""), (3.0, 6.0, "no face")),
    ]
    assert tiers[f"{person}, rater Eva"] == [(0.0, 0.25, ""), (0.25, 1.0, "sadness"), (1.0, 6.0, "unsure")]
    assert USE_LIMITS in tiers["about this file"][0][2]


def test_every_tier_covers_the_recording_without_gaps(timeline: Timeline, tmp_path: Path) -> None:
    for tier in intervals(timeline, tmp_path).values():
        assert (tier[0][0], tier[-1][1]) == (0.0, 6.0)
        assert all(before[1] == after[0] for before, after in pairwise(tier))


def test_our_own_reader_gives_a_tier_back(timeline: Timeline, tmp_path: Path) -> None:
    path = timeline.save(tmp_path / "a.TextGrid")
    rated = read_utterances(path, 'Anna "A", rater Eva')
    assert [(one.start_s, one.end_s, one.text) for one in rated] == [(0.25, 1.0, "sadness"), (1.0, 6.0, "unsure")]


def test_the_tiers_of_people_and_raters_can_be_compared_again(timeline: Timeline, tmp_path: Path) -> None:
    tiers = {tier.name: tier for tier in read_tiers(timeline.save(tmp_path / "a.TextGrid"))}
    assert not any(tier.fault for tier in tiers.values())
    assert tiers['Anna "A"'].annotations == (Annotation(start_s=0.0, end_s=1.5, label="anger"),)
    assert tiers['Anna "A", rater Eva'].annotations == (Annotation(start_s=0.25, end_s=1.0, label="sadness"),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 4", "size = 1e999", "is not a TextGrid, or breaks off"),
        ("xmin = 0.000", 'xmin = "', "is not a TextGrid, or breaks off"),
        ("xmax = 1.500", "xmax = 360000", "the interval at 0 s of .* ends at 360,000 s, after 100.0 hours"),
    ],
)
def test_a_damaged_text_grid_is_named(timeline: Timeline, tmp_path: Path, old: str, new: str, message: str) -> None:
    path = timeline.save(tmp_path / "a.TextGrid")
    assert old in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        read_tiers(path)


def test_line_breaks_and_control_characters_stay_out_of_a_text(timeline: Timeline, tmp_path: Path) -> None:
    tier = replace(timeline.raters[0], rater="E\nv\x0ba")
    assert any(name.endswith("rater E v\ufffda") for name in intervals(replace(timeline, raters=(tier,)), tmp_path))
