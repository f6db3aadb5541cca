import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cimeu.errors import RecipeError
from cimeu.timeline.formats import WRITERS, to_json
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import CONTINUOUS_CAUTION, Cell, Header, ScoredWindow, Segment
from cimeu.timeline.series import COLUMNS, PLAIN, curves, runs_with_values, scored_windows

EMOTIONS = ("anger", "happiness")
CELLS = [
    Cell(0.0, 0.5, np.array([0.7, 0.3]), "both", "", 0.5),
    Cell(0.5, 1.0, np.array([0.2, 0.8]), "face", "silent sound", 1.5),
    Cell(1.0, 1.5, None, "", "no face"),
]


@pytest.fixture
def timeline() -> Timeline:
    header = Header("a.mp4", "00ff", 1.5, "cimeu-abc", EMOTIONS, {"hog": "12"}, {"hop_s": 0.5}, False, "0.1.0", "")
    scores = {"anger": 0.45, "happiness": 0.55}
    segments = (
        Segment("# Anna", 0.0, 1.0, "happiness", 0.55, scores, False, "both", ""),
        Segment("# Anna", 1.0, 1.5, "", None, {}, False, "", "no face"),
    )
    return Timeline(header, segments, Path("a.mp4"), series=tuple(scored_windows("# Anna", CELLS)))


def test_every_window_is_a_row_with_its_own_scores_and_the_label_of_its_segment(timeline: Timeline) -> None:
    table = timeline.series_dataframe()
    assert list(table) == [*COLUMNS, "score.anger", "score.happiness"]
    assert table["score.anger"].tolist()[:2] == [0.7, 0.2]  # unsmoothed: the segment's mean is 0.45
    assert table["label"].tolist() == ["happiness", "happiness", ""]
    assert table["seen"].tolist() == [True, True, False]
    assert table["heard"].tolist() == [True, False, False]
    assert table["reason"].tolist() == ["", "silent sound", "no face"]


def test_a_window_without_scores_has_no_numbers(timeline: Timeline) -> None:
    last = timeline.series_dataframe().iloc[2]
    assert last[["score.anger", "score.happiness", "confidence", "ood_score"]].isna().all()
    assert not last["abstain"]


def test_a_window_of_a_segment_without_a_label_abstains(timeline: Timeline) -> None:
    unsure = replace(timeline.segments[0], label="", abstain=True, reason="unsure")
    table = replace(timeline, segments=(unsure, timeline.segments[1])).series_dataframe()
    assert table["abstain"].tolist() == [True, True, False]


def test_csv_and_parquet_hold_the_same_table(timeline: Timeline) -> None:
    comma = pd.read_csv(io.BytesIO(WRITERS[".series.csv"](timeline, Path("a"))), comment="#", keep_default_na=False)
    whole = pd.read_parquet(io.BytesIO(WRITERS[".series.parquet"](timeline, Path("a"))))
    assert list(comma) == list(whole)
    assert comma["person"].tolist() == whole["person"].tolist() == ["# Anna"] * 3
    assert pd.to_numeric(comma["score.happiness"]).tolist()[:2] == whole["score.happiness"].tolist()[:2]


def test_parquet_says_which_version_its_columns_have(timeline: Timeline) -> None:
    metadata = pq.read_schema(io.BytesIO(WRITERS[".series.parquet"](timeline, Path("a")))).metadata
    assert metadata[b"cimeu_series"] == str(PLAIN).encode()
    assert json.loads(metadata[b"cimeu"])["model"] == "cimeu-abc"


def test_json_gives_the_series_back(timeline: Timeline) -> None:
    assert Timeline.from_json(to_json(timeline, Path("a.json")), Path("a.mp4")) == timeline


def test_results_of_an_earlier_version_open_and_name_the_way_to_a_series(timeline: Timeline) -> None:
    values = json.loads(to_json(timeline, Path("a.json")))
    del values["series"]
    earlier = Timeline.from_json(json.dumps(values).encode(), Path("a.mp4"))
    assert earlier.segments == timeline.segments
    with pytest.raises(RecipeError, match=r"the timeline of `a\.mp4` holds no series: .*\n\nhint: run `cimeu predict`"):
        WRITERS[".series.csv"](earlier, Path("a"))


def windows(*scores: float | None) -> list[ScoredWindow]:
    return [
        ScoredWindow("voice", n / 2, n / 2 + 0.5, None if score is None else (score, 1 - score), "voice", "", None)
        for n, score in enumerate(scores)
    ]


def test_a_curve_breaks_where_there_are_no_scores() -> None:
    runs = curves(windows(0.1, 0.2, None, 0.4), 100)
    assert [[point.scores[0] for point in run] for run in runs] == [[0.1, 0.2], [0.4]]


def test_a_curve_goes_on_where_the_first_stretches_are_shorter_than_the_others() -> None:
    edges = [0.0, 0.413, 0.827, *(1.24 + 0.48 * n for n in range(40))]
    times = list(pairwise(round(edge, 3) for edge in edges))
    whole = [ScoredWindow("voice", *time_s, (0.1, 0.9), "voice", "", None) for time_s in times]
    (run,) = curves(whole, 600)
    assert [(point.start_s, point.end_s) for point in run] == times
    broken = [replace(window, scores=None) if number in (0, 20) else window for number, window in enumerate(whole)]
    assert [len(run) for run in curves(broken, 600)] == [19, 21]


def test_a_long_curve_is_thinned_by_means() -> None:
    (run,) = curves(windows(*[0.2, 0.4] * 50), 25)
    assert len(run) == 25
    assert {point.scores[0] for point in run} == {0.3}


def test_the_page_draws_a_line_per_emotion_and_reads_values(timeline: Timeline) -> None:
    page = WRITERS[".html"](timeline, Path("a.html")).decode()
    assert page.count("<polyline") == 2
    assert "<title>0:00.2: anger 0.70, happiness 0.30</title>" in page


def test_the_page_of_an_hour_stays_small(timeline: Timeline) -> None:
    hour = tuple(windows(*np.linspace(0, 1, 7200).round(3).tolist()))
    header = replace(timeline.header, duration_s=3600.0)
    segments = (replace(timeline.segments[0], person="voice", end_s=3600.0),)
    page = WRITERS[".html"](replace(timeline, header=header, segments=segments, series=hour), Path("a.html"))
    assert page.count(b"<title>") == 1 + 240
    assert len(page) < 70_000


PLAIN_CSV = """\
person,start_s,end_s,label,abstain,confidence,modality,seen,heard,reason,ood_score,score.anger,score.happiness
"# Anna",0.0,0.5,happiness,False,0.7,both,True,True,,0.5,0.7,0.3
"# Anna",0.5,1.0,happiness,False,0.8,face,True,False,silent sound,1.5,0.2,0.8
"# Anna",1.0,1.5,,False,,,False,False,no face,,,
"""
PLAIN_JSON = (
    '"series": {"schema":1,"persons":{"# Anna":[[0.0,0.5,[0.7,0.3],"both","",0.5],'
    '[0.5,1.0,[0.2,0.8],"face","silent sound",1.5],[1.0,1.5,null,"","no face",null]]}}'
)
"""As version 0.1 wrote them."""


def test_a_model_without_continuous_labels_writes_what_it_always_wrote(timeline: Timeline) -> None:
    csv = WRITERS[".series.csv"](timeline, Path("a")).decode()
    assert csv.split("schema 1, one row per person and window\n")[1] == PLAIN_CSV
    assert PLAIN_JSON in to_json(timeline, Path("a.json")).decode()
    for suffix in (".series.csv", ".series.parquet", ".json", ".jsonl", ".csv", ".html", ".eaf"):
        content = WRITERS[suffix](timeline, Path("a"))
        assert not any(word in content for word in (b"continuous", b"value.", b"line-0"))


SCALES = {"valence": (-1.0, 1.0), "arousal": (-1.0, 1.0), "dominance": (1.0, 7.0)}


@pytest.fixture
def with_values(timeline: Timeline) -> Timeline:
    """The same windows with continuous labels, which the second one lacks."""
    first, second, third = timeline.series or ()
    series = (replace(first, continuous=(0.5, -0.25, 4.0)), second, third)
    return replace(timeline, header=replace(timeline.header, continuous=SCALES), series=series)


def test_continuous_labels_are_columns_behind_the_scores_and_empty_where_they_could_not_be_read(
    with_values: Timeline,
) -> None:
    table = with_values.series_dataframe()
    assert list(table)[-3:] == ["value.valence", "value.arousal", "value.dominance"]
    assert table.iloc[0, -3:].tolist() == [0.5, -0.25, 4.0]
    assert table.iloc[1:, -3:].isna().all(axis=None)
    whole = pd.read_parquet(io.BytesIO(WRITERS[".series.parquet"](with_values, Path("a"))))
    pd.testing.assert_frame_equal(whole, table)


def test_a_series_with_continuous_labels_is_of_schema_2_and_comes_back(with_values: Timeline) -> None:
    written = to_json(with_values, Path("a.json"))
    assert json.loads(written)["series"]["schema"] == 2
    assert Timeline.from_json(written, Path("a.mp4")) == with_values


def test_the_page_draws_labels_of_one_scale_on_one_axis_with_its_zero_line(with_values: Timeline) -> None:
    page = WRITERS[".html"](with_values, Path("a.html")).decode()
    assert page.count("<polyline") == 2 + 3
    assert page.count('y1="50.0" y2="50.0"') == 2
    assert "<title>0:00.2: valence 0.50, arousal -0.25</title>" in page
    assert "<title>0:00.2: dominance 4.00</title>" in page
    assert 'points="0.0,25.0 166.7,25.0 333.3,25.0"' in page  # 0.5 on a scale from -1 to 1
    assert "1 to 7</small>" in page
    assert f"valence, arousal, dominance: {CONTINUOUS_CAUTION}." in page


def test_a_curve_of_continuous_labels_breaks_where_they_could_not_be_read() -> None:
    known = [replace(window, continuous=None if n == 1 else (0.1 * n,)) for n, window in enumerate(windows(*[0.5] * 4))]
    (run,) = curves(known, 100)
    runs = runs_with_values([run])
    assert [[values for _, values in part] for part in runs] == [[(0.0,)], [(0.2,), (0.3,)]]
