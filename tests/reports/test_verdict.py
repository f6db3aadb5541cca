"""What figures say in words follows from the figures alone."""

import pytest

from cimeu.reports.verdict import against_chance, baseline_interval, report_answer
from cimeu.tables import Interval


def summary_of(forward: tuple[float, float], backward: tuple[float, float]) -> dict:
    """A report with one group: (difference, p) of the fused model against each direction."""
    uar = {"value": 0.5, "low": 0.45, "high": 0.55}
    comparisons = [
        {"name": f"fused − {name}", "value": value, "low": value - 0.02, "high": value + 0.02, "p_holm": p}
        for name, (value, p) in (("forward", forward), ("backward", backward))
    ]
    results = [{"kind": "fused", "group": "west", "is_mean": False, "n_clips": 64, "uar": uar}]
    return {
        "results": results,
        "comparisons": comparisons,
        "synthetic": False,
        "chance": 0.25,
        "group_word": "culture",
        "baselines": None,
    }


@pytest.mark.parametrize(
    ("forward", "backward", "sentence"),
    [
        (
            (0.031, 0.01),
            (-0.078, 0.02),
            "The backward model helped: the fused model is above the forward one by 3.1 points [+1.1, +5.1], "
            "but below the backward one by 7.8 points [−9.8, −5.8].",
        ),
        (
            (0.004, 0.6),
            (0.05, 0.001),
            "The backward model has no detectable effect: the fused model minus the forward one is +0.4 points "
            "[−1.6, +2.4], and above the backward one by 5.0 points [+3.0, +7.0].",
        ),
        (
            (-0.06, 0.01),
            (-0.01, 0.3),
            "The backward model did harm: the fused model is below the forward one by 6.0 points [−8.0, −4.0], and "
            "without a detectable difference to the backward one, −1.0 points [−3.0, +1.0].",
        ),
    ],
)
def test_the_worth_of_the_backward_model_is_said_by_what_fusion_gains_and_loses(forward, backward, sentence) -> None:
    first, second = report_answer(summary_of(forward, backward))
    assert first == "On 64 clips, the fused model has a UAR of 50.0 [45.0, 55.0] %, above chance (25.0 %)."
    assert second == sentence


def test_one_speaker_gives_no_interval_and_no_verdict_against_chance() -> None:
    sentence = against_chance("It", Interval(0.6, None, None), 0.25)
    assert sentence == "It has a UAR of 60.0 %, where chance is 25.0 %; one speaker gives no interval."


def test_a_model_below_chance_is_called_so() -> None:
    assert "below chance (25.0 %)" in against_chance("It", Interval(0.1, 0.05, 0.2), 0.25)


def test_baselines_above_the_fused_model_are_counted() -> None:
    rows = [
        {"row": "erm", "UAR, %": "53.6 [50.4, 58.1]"},
        {"row": "majority", "UAR, %": "25.0"},
        {"row": "dann", "UAR, %": "–"},
    ]
    *_, last = report_answer(summary_of((0.1, 0.01), (0.1, 0.01)) | {"baselines": rows})
    assert last == "1 of 2 baselines has a higher UAR; the best, `erm`, has 53.6 %."


def test_a_figure_of_a_table_is_read_with_its_interval_or_not_at_all() -> None:
    assert baseline_interval({"row": "a", "UAR, %": "50.0 [40.0, 60.0]"}) == Interval(0.5, 0.4, 0.6)
    assert baseline_interval({"row": "a", "UAR, %": 25.0}) == Interval(0.25, None, None)
    assert baseline_interval({"row": "a", "UAR, %": "–"}) is None
    assert baseline_interval({"row": "a", "UAR, %": "n/a"}) is None
