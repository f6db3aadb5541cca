"""Several models on one pass over a recording say what each of them says alone."""

from pathlib import Path

import pytest

from cimeu.inference.batch import predict_files
from cimeu.inference.recogniser import Recogniser
from cimeu.inference.side_by_side import SideBySide
from cimeu.timeline.settings import TimelineSettings

from .conftest import RunMaker


@pytest.fixture(scope="module")
def models(make_run: RunMaker) -> dict[str, Recogniser]:
    """The same encoders and networks, put together in two ways; and one that reads other encoders."""
    runs = {"first": make_run(), "soft": make_run(mu=0.1, temperature=5.0), "deaf": make_run(second=None)}
    return {name: Recogniser.from_pretrained(run) for name, run in runs.items()}


@pytest.mark.parametrize("name", ["two.mp4", "speech.wav"])
def test_models_side_by_side_say_what_each_says_alone(
    models: dict[str, Recogniser], recordings: Path, name: str
) -> None:
    alone = [recogniser(recordings / name) for recogniser in models.values()]
    side_by_side = SideBySide(list(models.values()))
    assert [side_by_side(recogniser, recordings / name) for recogniser in models.values()] == alone
    scores = [[window.scores for window in timeline.series] for timeline in alone]
    assert scores[0] != scores[1]


def test_models_with_the_same_encoders_and_settings_read_together(models: dict[str, Recogniser]) -> None:
    first, soft, _ = models.values()
    assert SideBySide(list(models.values())).passes == 2
    assert SideBySide([first, soft]).passes == 1
    assert SideBySide([first, soft.with_settings(TimelineSettings(hop_s=1.0))]).passes == 2


def test_each_model_writes_to_its_folder_and_the_second_decodes_nothing(
    make_run: RunMaker, recordings: Path, tmp_path: Path
) -> None:
    models = {name: Recogniser.from_pretrained(make_run(mu=mu)) for name, mu in (("a", 0.6), ("b", 0.2))}
    report = predict_files([recordings / "mute.mp4", tmp_path / "none.mp4"], tmp_path, models, formats=[".csv"])
    assert (report.recordings, len(report.failures)) == (4, 2)
    for name, recogniser in models.items():
        assert recogniser.model_id in (tmp_path / name / "mute.csv").read_text()
        assert "none.mp4" in (tmp_path / name / "failures.csv").read_text()
    assert set(models["b"].stopwatch.seconds) == {"models and fusion"} < set(models["a"].stopwatch.seconds)


def test_a_finished_timeline_of_one_model_is_kept_while_another_is_added(
    make_run: RunMaker, recordings: Path, tmp_path: Path
) -> None:
    first, second = (Recogniser.from_pretrained(make_run(mu=mu)) for mu in (0.6, 0.2))
    predict_files([recordings / "speech.wav"], tmp_path / "a", first, formats=[".csv"])
    written = (tmp_path / "a" / "speech.json").stat().st_mtime_ns
    predict_files([recordings / "speech.wav"], tmp_path, {"a": first, "b": second}, formats=[".csv"])
    assert (tmp_path / "a" / "speech.json").stat().st_mtime_ns == written
    assert (tmp_path / "b" / "speech.csv").is_file()
