"""What a cell says of its clips."""

import pandas as pd
import pytest

from cimeu.bench.cells import CellResult, mean_of
from cimeu.evaluation.predictions import uar_of

SAID = pd.DataFrame(
    [
        ("test", "anger", 0.9, 0.1),
        ("test", "anger", None, None),
        ("test", "neutral", 0.2, 0.8),
        ("validation", "anger", 0.6, 0.4),
        ("validation", "neutral", None, None),
    ],
    columns=["part", "emotion", "fused.anger", "fused.neutral"],
)


@pytest.mark.parametrize(("part", "wanted"), [("test", (1 / 2 + 1) / 2), ("validation", (1 + 0) / 2)])
def test_a_clip_that_could_not_be_used_is_wrong_in_every_part(part: str, wanted: float) -> None:
    assert uar_of(SAID, part) == pytest.approx(wanted)


def test_members_of_an_ensemble_are_averaged_in_each_direction() -> None:
    tables = [pd.DataFrame({"clip_id": ["a"], "forward.anger": [x], "fused.anger": [x / 2]}) for x in (0.2, 0.6)]
    mean = mean_of([CellResult(table) for table in tables]).predictions
    assert mean["forward.anger"][0] == pytest.approx(0.4)
    assert mean["fused.anger"][0] == pytest.approx(0.2)
