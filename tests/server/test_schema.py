"""What the viewer draws of continuous labels."""

from dataclasses import replace
from pathlib import Path

from cimeu.server.schema import curves_of
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import CONTINUOUS_CAUTION, Header, ScoredWindow


def test_curves_hold_continuous_labels_with_their_scales_and_what_is_known_of_them() -> None:
    header = Header("a.wav", "00ff", 1.0, "m", ("anger", "joy"), {}, {}, False, "0.2.0", "")
    windows = tuple(ScoredWindow("voice", n / 2, n / 2 + 0.5, (0.4, 0.6), "voice", "", None) for n in range(2))
    plain = Timeline(header, (), Path("a.wav"), series=windows)
    assert "continuous" not in curves_of(plain, 100).model_dump_json(exclude_none=True)
    header = replace(header, continuous={"valence": (1.0, 7.0)})
    windows = (ScoredWindow("voice", 0.0, 0.5, (0.4, 0.6), "voice", "", None, (5.5,)), windows[1])
    found = curves_of(Timeline(header, (), Path("a.wav"), series=windows), 100).model_dump(exclude_none=True)
    assert found["continuous"] == [{"name": "valence", "low": 1.0, "high": 7.0}]
    assert found["continuous_caution"] == CONTINUOUS_CAUTION
    ((first, second),) = found["lanes"]["voice"]
    assert first["continuous"] == [5.5]
    assert "continuous" not in second
