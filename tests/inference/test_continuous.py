"""Valence and arousal of a recording, window by window; networks have random weights."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cimeu.evaluation.ensemble import Ensemble
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.inference.recogniser import Recogniser
from cimeu.inference.side_by_side import SideBySide
from cimeu.model.checkpoint import Specifications
from cimeu.model.classifier import Clip
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import CONTINUOUS_CAUTION

from .conftest import EMOTIONS, RunMaker

SCALES = {"valence": (1.0, 7.0), "arousal": (-1.0, 1.0)}


@pytest.fixture(scope="module")
def recogniser(make_run: RunMaker) -> Recogniser:
    return Recogniser.from_pretrained(make_run(scales=tuple(SCALES.items()), mu=0.5))


@pytest.fixture(scope="module")
def timeline(recogniser: Recogniser, recordings: Path) -> Timeline:
    return recogniser(recordings / "speech.wav")


def test_every_window_with_scores_has_a_value_on_the_scale_of_each_label(timeline: Timeline) -> None:
    table = timeline.series_dataframe()
    scored = table["confidence"].notna()
    assert 0 < scored.sum() < len(table)
    for name, (low, high) in SCALES.items():
        assert table.loc[scored, f"value.{name}"].between(low, high).all()
        assert table.loc[~scored, f"value.{name}"].isna().all()
        assert table[f"value.{name}"].nunique() > 1


def test_values_are_the_mean_over_forward_and_backward(make_run: RunMaker, recordings: Path) -> None:
    alone = [
        Recogniser.from_pretrained(make_run(scales=tuple(SCALES.items()), mu=mu))(recordings / "speech.wav")
        for mu in (1.0, 0.0, 0.5)
    ]
    forward, backward, both = (
        timeline.series_dataframe()[["value.valence", "value.arousal"]].to_numpy() for timeline in alone
    )
    assert np.nanmax(np.abs(forward - backward)) > 1e-3
    np.testing.assert_allclose(both, (forward + backward) / 2, atol=1.1e-4)


def test_files_name_the_scales_and_say_what_the_head_was_tested_on(timeline: Timeline, tmp_path: Path) -> None:
    csv = timeline.save(tmp_path / "a.series.csv").read_text()
    assert f"# continuous labels: valence 1 to 7, arousal -1 to 1; {CONTINUOUS_CAUTION}\n" in csv
    assert "# series: schema 2," in csv
    table = pd.read_csv(tmp_path / "a.series.csv", comment="#")
    metadata = pq.read_schema(timeline.save(tmp_path / "a.series.parquet")).metadata
    header = json.loads(metadata[b"cimeu"])
    assert header["continuous"] == {"valence": [1, 7], "arousal": [-1, 1]}
    assert header["continuous_caution"] == CONTINUOUS_CAUTION
    assert metadata[b"cimeu_series"] == b"2"
    whole = pd.read_parquet(tmp_path / "a.series.parquet")
    np.testing.assert_allclose(whole["value.arousal"], table["value.arousal"])


def test_json_gives_values_and_scales_back(timeline: Timeline, recordings: Path, tmp_path: Path) -> None:
    path = timeline.save(tmp_path / "a.json")
    assert Timeline.from_json(path.read_bytes(), recordings / "speech.wav") == timeline


def test_models_side_by_side_keep_their_own(
    recogniser: Recogniser, timeline: Timeline, make_run: RunMaker, recordings: Path
) -> None:
    models = [recogniser, Recogniser.from_pretrained(make_run()), Recogniser.from_pretrained(make_run(mu=0.2))]
    side_by_side = SideBySide(models)
    assert side_by_side.passes == 1
    together = [side_by_side(model, recordings / "speech.wav") for model in models]
    assert together[0] == timeline
    assert [list(made.header.continuous) for made in together] == [["valence", "arousal"], [], []]
    assert all(window.continuous is None for made in together[1:] for window in made.series or ())


@pytest.mark.parametrize(("disentangle", "is_read"), [("both", True), ("first", False)])
def test_a_clip_without_the_stream_that_primitives_come_from_has_probabilities_and_no_values(
    disentangle: str, is_read: bool
) -> None:
    streams = {"first": StreamConfig(width=8), "second": StreamConfig(width=3)}
    config = ModelConfig(emotions=EMOTIONS, **streams, size="tiny", disentangle=disentangle, continuous=tuple(SCALES))
    model = CiMEU(config, Specifications(emotions=EMOTIONS, continuous=SCALES))
    ensemble = Ensemble({"forward": model}, EnsembleSettings(mu=1.0, directions=("forward",)))
    face, voice = np.ones((16, 8), np.float32), np.ones((16, 3), np.float32)
    answers = ensemble.answer([Clip({"forward": face}, voice), Clip({}, voice)])
    assert np.isfinite(answers.probabilities).all()
    assert answers.continuous is not None
    assert np.isfinite(answers.continuous).all(axis=1).tolist() == [True, is_read]
