import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cimeu.atomic import LIST, ROOM
from cimeu.errors import RecipeError
from cimeu.timeline.result import Timeline
from cimeu.timeline.segmenting import segments_of
from cimeu.timeline.segments import BRIEF, UNLIKE, UNSURE, Cell, Header, Segment
from cimeu.timeline.settings import TimelineSettings

EMOTIONS = ("anger", "sadness")
ROUGH = TimelineSettings(smoothing_s=0.0, minimum_s=0.0)


def cells(*anger: float | None, modality: str = "face", reason: str = "") -> list[Cell]:
    """One cell of half a second for each probability of anger; None: nothing to say."""
    return [
        Cell(0.5 * n, 0.5 * (n + 1), None, "", "no face")
        if p is None
        else Cell(0.5 * n, 0.5 * (n + 1), np.array([p, 1 - p]), modality, reason)
        for n, p in enumerate(anger)
    ]


def labels(segments: list[Segment]) -> list[tuple[float, float, str]]:
    return [(segment.start_s, segment.end_s, segment.label) for segment in segments]


def test_equal_neighbours_become_one_segment() -> None:
    found = segments_of("a", cells(0.9, 0.7, 0.2), EMOTIONS, ROUGH, 0.0)
    assert labels(found) == [(0.0, 1.0, "anger"), (1.0, 1.5, "sadness")]


def test_scores_are_the_mean_over_the_segment() -> None:
    segment = segments_of("a", cells(0.9, 0.7), EMOTIONS, ROUGH, 0.0)[0]
    assert segment.scores == {"anger": 0.8, "sadness": 0.2}
    assert segment.confidence == 0.8


def test_a_low_confidence_abstains_and_says_so() -> None:
    segment = segments_of("a", cells(0.55, 0.5), EMOTIONS, ROUGH, 0.6)[0]
    assert (segment.label, segment.abstain, segment.reason) == ("", True, UNSURE)
    assert segment.scores == {"anger": 0.525, "sadness": 0.475}


def test_nothing_said_keeps_its_reason_and_no_score() -> None:
    found = segments_of("a", cells(0.9, None, 0.9), EMOTIONS, ROUGH, 0.0)
    assert labels(found) == [(0.0, 0.5, "anger"), (0.5, 1.0, ""), (1.0, 1.5, "anger")]
    assert (found[1].reason, found[1].scores, found[1].confidence, found[1].abstain) == ("no face", {}, None, False)


def test_a_missing_stream_is_told_beside_the_label() -> None:
    segment = segments_of("a", cells(0.9, reason="silent sound"), EMOTIONS, ROUGH, 0.0)[0]
    assert (segment.label, segment.modality, segment.reason) == ("anger", "face", "silent sound")


def test_smoothing_outvotes_a_single_window() -> None:
    wobble = cells(0.9, 0.9, 0.4, 0.9, 0.9)
    assert len(segments_of("a", wobble, EMOTIONS, ROUGH, 0.0)) == 3
    smooth = TimelineSettings(smoothing_s=1.0, minimum_s=0.0)
    assert labels(segments_of("a", wobble, EMOTIONS, smooth, 0.0)) == [(0.0, 2.5, "anger")]


def test_smoothing_does_not_cross_a_gap() -> None:
    found = segments_of("a", cells(1.0, None, 0.0), EMOTIONS, TimelineSettings(smoothing_s=4.0, minimum_s=0.0), 0.0)
    assert found[0].scores["anger"] == 1.0
    assert found[2].scores["anger"] == 0.0


def test_short_segments_join_the_one_before() -> None:
    settings = TimelineSettings(smoothing_s=0.0, minimum_s=1.0)
    found = segments_of("a", cells(0.9, 0.9, 0.4, 0.9, 0.9), EMOTIONS, settings, 0.0)
    assert labels(found) == [(0.0, 2.5, "anger")]


def test_segments_tile_the_lane() -> None:
    probabilities = np.random.default_rng(0).random(40)
    found = segments_of("a", cells(*probabilities), EMOTIONS, TimelineSettings(minimum_s=1.0), 0.55)
    assert [s.end_s for s in found[:-1]] == [s.start_s for s in found[1:]]
    assert (found[0].start_s, found[-1].end_s) == (0.0, 20.0)
    assert all(s.end_s - s.start_s >= 1.0 for s in found)
    assert all(one.label != other.label for one, other in itertools.pairwise(found))


def timeline() -> Timeline:
    header = Header("a.mp4", "00", 2.0, "cimeu-0", EMOTIONS, {"hog": "ff"}, {"window_s": 2.0}, False, "0.1.0", "")
    return Timeline(header, tuple(segments_of("a", cells(0.9, None), EMOTIONS, ROUGH, 0.0)), Path("a.mp4"))


def test_the_table_has_a_row_per_segment_and_a_score_per_emotion() -> None:
    table = timeline().to_dataframe()
    assert list(table.columns[-2:]) == ["score.anger", "score.sadness"]
    assert table["label"].tolist() == ["anger", ""]
    assert table["score.anger"].tolist()[0] == 0.9
    assert np.isnan(table["score.anger"][1])


def test_an_unknown_suffix_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"saved as `a\.docx`\n\nhint: end the name in one of \.csv, \.json"):
        timeline().save(tmp_path / "a.docx")


def test_saving_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    timeline().save(tmp_path / "deep" / "a.csv")
    assert [path.name for path in (tmp_path / "deep").iterdir() if path.name != ROOM] == ["a.csv"]
    assert [path.name for path in (tmp_path / "deep" / ROOM).iterdir()] == [LIST]


def test_neighbours_of_one_label_are_one_segment_with_every_reason() -> None:
    seen = cells(0.9, 0.9, modality="face", reason="no speech")
    heard = [replace(cell, start_s=cell.start_s + 1, end_s=cell.end_s + 1) for cell in cells(0.8, 0.8, modality="both")]
    gone = [
        replace(cell, start_s=cell.start_s + 2, end_s=cell.end_s + 2)
        for cell in cells(0.7, modality="voice", reason="no face; no speech")
    ]
    (segment,) = segments_of("a", [*seen, *heard, *gone], EMOTIONS, ROUGH, 0.0)
    assert (segment.start_s, segment.end_s, segment.label, segment.modality) == (0.0, 2.5, "anger", "both")
    assert segment.reason == "no speech (in part); no face (in part)"


def test_stretches_without_an_answer_are_one_segment_with_every_reason() -> None:
    silent = [
        replace(cell, reason=reason)
        for cell, reason in zip(cells(None, None), ("no speech", "silent sound"), strict=True)
    ]
    (segment,) = segments_of("a", silent, EMOTIONS, ROUGH, 0.0)
    assert (segment.end_s, segment.reason) == (1.0, "no speech (in part); silent sound (in part)")


def test_a_short_segment_with_nothing_to_join_says_why() -> None:
    found = segments_of("a", cells(None, 0.9, None, 0.9, 0.9), EMOTIONS, TimelineSettings(smoothing_s=0.0), 0.0)
    assert [(one.end_s - one.start_s, one.label, one.reason) for one in found] == [
        (0.5, "", "no face"),
        (0.5, "anger", BRIEF),
        (0.5, "", "no face"),
        (1.0, "anger", ""),
    ]


def unlike(*anger: float) -> list[Cell]:
    return [replace(cell, ood_score=1.5) for cell in cells(*anger, reason="no speech")]


def test_what_is_unlike_the_training_clips_gets_no_label_and_its_reason_first() -> None:
    (segment,) = segments_of("a", unlike(0.9, 0.9), EMOTIONS, ROUGH, 0.0)
    assert (segment.label, segment.abstain, segment.unlike_training) == ("", True, True)
    assert (segment.reason, segment.guess, segment.confidence) == (f"{UNLIKE}; no speech", "anger", 0.9)


def test_the_guess_may_be_wanted_all_the_same() -> None:
    settings = replace(ROUGH, abstain_unlike=False)
    (segment,) = segments_of("a", unlike(0.9, 0.9), EMOTIONS, settings, 0.0)
    assert (segment.label, segment.abstain, segment.reason) == ("anger", False, f"{UNLIKE}; no speech")


def test_reasons_to_abstain_are_told_together() -> None:
    (segment,) = segments_of(
        "a", [*unlike(0.9), *(replace(cell, start_s=0.5, end_s=1.0) for cell in cells(0.5))], EMOTIONS, ROUGH, 0.6
    )
    assert (segment.label, segment.reason) == ("", f"{UNLIKE}; {UNSURE}; no speech (in part)")


def test_one_strange_window_does_not_make_a_stretch_strange() -> None:
    mixed = cells(0.9, 0.9, 0.9, 0.9)
    mixed[1] = replace(mixed[1], ood_score=2.0)
    mixed = [cell if cell.ood_score == 2.0 else replace(cell, ood_score=0.5) for cell in mixed]
    (segment,) = segments_of("a", mixed, EMOTIONS, TimelineSettings(), 0.0)
    assert (segment.label, segment.unlike_training) == ("anger", False)
