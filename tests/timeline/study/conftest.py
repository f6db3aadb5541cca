"""Results of `predict` with known scores, written by the writers that `predict` uses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import Header, ScoredWindow, Segment

EMOTIONS = ("anger", "happiness", "neutral")
HOP_S = 0.5
Lane = Sequence[tuple[float, float, float] | None]
ResultMaker = Callable[..., Path]


def write_result(
    results: Path,
    name: str,
    lanes: Mapping[str, Lane],
    *,
    model: str = "cimeu-abc",
    hop_s: float = HOP_S,
    valence: Sequence[float | None] | None = None,
) -> Path:
    """Write the series and the segments of a recording; a row without scores says `no face`."""
    series, segments = [], []
    for person, rows in lanes.items():
        for number, scores in enumerate(rows):
            start_s, end_s = number * hop_s, (number + 1) * hop_s
            kept = None if scores is None else tuple(scores)
            modality, reason = ("", "no face") if scores is None else ("both", "")
            value = None if valence is None else valence[number]
            continuous = None if value is None else (value,)
            series.append(ScoredWindow(person, start_s, end_s, kept, modality, reason, None, continuous))
            named = {} if kept is None else dict(zip(EMOTIONS, kept, strict=True))
            label = max(named, key=named.__getitem__) if named and max(named.values()) >= 0.5 else ""
            confidence = max(named.values(), default=None)
            abstain = bool(named) and not label
            segments.append(Segment(person, start_s, end_s, label, confidence, named, abstain, modality, reason))
    duration_s = max((window.end_s for window in series), default=0.0)
    settings = {"hop_s": hop_s, "abstain_below": 0.5}
    header = Header(f"{name}.mp4", "00ff", duration_s, model, EMOTIONS, {}, settings, False, "0.1.0", "")
    header = header if valence is None else replace(header, continuous={"valence": (-1.0, 1.0)})
    timeline = Timeline(header, tuple(segments), Path(f"{name}.mp4"), series=tuple(series))
    for suffix in (".series.parquet", ".csv"):
        timeline.save(results / f"{name}{suffix}")
    return results


@pytest.fixture
def make_result(tmp_path: Path) -> ResultMaker:
    """`write_result` into a folder of the test."""
    return partial(write_result, tmp_path / "results")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people: a minute of rest, then a minute of a task in which happiness is 0.2 higher and anger is as before.

    Each person has a level and noise of their own; neutral takes what is left.
    """
    folder = tmp_path_factory.mktemp("study")
    generator = np.random.default_rng(4)
    people, events = ["file,participant,age"], ["file,start,end,condition"]
    for number in range(12):
        level = generator.uniform(0.2, 0.4)
        happiness = level + np.repeat([0.0, 0.2], 120) + generator.normal(0, 0.05, 240)
        anger = 0.15 + generator.normal(0, 0.03, 240)
        rows = np.stack([anger, happiness, 1 - anger - happiness], axis=1).round(4)
        write_result(folder / "results", f"s{number:02}", {"person 1": [tuple(row) for row in rows.tolist()]})
        people.append(f"s{number:02}.mp4,p{number:02},{20 + number}")
        events += [f"s{number:02}.mp4,0,1:00,rest", f"s{number:02}.mp4,1:00,2:00,task"]
    (folder / "participants.csv").write_text("\n".join(people) + "\n")
    (folder / "events.csv").write_text("\n".join(events) + "\n")
    return folder
