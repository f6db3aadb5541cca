"""Occlusion is checked against asking the ensemble by hand, and against networks that look at one stream alone."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from cimeu.errors import RecipeError
from cimeu.inference.explain import MOMENTS, Occluder, explain, explained_timeline
from cimeu.inference.model_store import STARTER
from cimeu.inference.neighbours import TrainingClips
from cimeu.inference.recogniser import Recogniser
from cimeu.inference.windows import WindowInput
from cimeu.media.video import write_video
from cimeu.timeline.formats import to_json
from cimeu.timeline.result import Timeline
from cimeu.timeline.settings import TimelineSettings

from .conftest import FORWARD, RunMaker, pictures, voice


@pytest.fixture(scope="module")
def recogniser(make_run: RunMaker) -> Recogniser:
    """Pictures and sound, played forward."""
    return Recogniser.from_pretrained(make_run(**FORWARD))


@pytest.fixture(scope="module")
def timeline(recogniser: Recogniser, recordings: Path) -> Timeline:
    return explained_timeline(recogniser, recordings / "one.mp4")


def test_every_segment_that_was_asked_about_is_explained(timeline: Timeline) -> None:
    assert timeline.explanations is not None
    told = [(each.person, each.start_s, each.end_s, each.label) for each in timeline.explanations]
    assert told == [(each.person, each.start_s, each.end_s, each.label) for each in timeline.segments]


def test_explaining_changes_no_segment(recogniser: Recogniser, recordings: Path, timeline: Timeline) -> None:
    assert replace(timeline, explanations=None) == recogniser(recordings / "one.mp4")


def test_one_segment_is_explained_as_in_the_whole(recogniser: Recogniser, recordings: Path, timeline: Timeline) -> None:
    assert timeline.explanations is not None
    one = explain(recogniser, timeline, timeline.segments[0])
    assert one == timeline.explanations[0]


def test_explaining_a_segment_reads_only_around_it(make_run: RunMaker, tmp_path: Path) -> None:
    settings = TimelineSettings(window_s=1.0, smoothing_s=0.0, minimum_s=0.0)
    recogniser = Recogniser.from_pretrained(make_run(**FORWARD), settings=settings)
    media = tmp_path / "long.mp4"
    frames = list(pictures(7.0, {90: (0, 6), 230: (1, 20)}, radius=48))
    frames[85:110] = [np.zeros_like(frames[0])] * 25  # dark and silent: nothing is said, and segments end
    samples = voice(7.0)
    samples[48_000:80_000] = 0
    write_video(media, frames, rate_hz=25, samples=samples)
    timeline = explained_timeline(recogniser, media)
    read: list[int] = []
    for person in ("person 1", "person 2"):
        wanted = [each for each in timeline.explanations or () if each.person == person][-1]
        segment = next(each for each in timeline.segments if (each.person, each.start_s) == (person, wanted.start_s))
        found = explain(recogniser, timeline, segment, progress=lambda *step: read.append(step[2]))
        assert (found.n_windows, found.label) == (wanted.n_windows, wanted.label)
        assert found.score == pytest.approx(wanted.score, abs=0.02)
        assert [each.stream for each in found.streams] == [each.stream for each in wanted.streams]
    assert max(read) < 6


def test_nobody_in_sight_is_explained_too(recogniser: Recogniser, recordings: Path) -> None:
    timeline = explained_timeline(recogniser, recordings / "leaves.mp4")
    wanted = [each for each in timeline.explanations or () if each.person == "off screen"][-1]
    segment = next(each for each in timeline.segments if (each.person, each.end_s) == ("off screen", wanted.end_s))
    found = explain(recogniser, timeline, segment)
    assert (found.person, found.n_windows) == ("off screen", wanted.n_windows)
    assert found.score == pytest.approx(wanted.score, abs=0.01)


def test_each_stream_is_taken_away_as_a_whole_and_in_stretches(timeline: Timeline) -> None:
    assert timeline.explanations is not None
    explanation = timeline.explanations[0]
    assert [each.stream for each in explanation.streams] == ["face (hog)", "voice (spectral)"]
    for stream in ("face (hog)", "voice (spectral)"):
        moments = [each for each in explanation.moments if each.stream == stream]
        assert 2 < len(moments) <= MOMENTS
        assert all(a.end_s == b.start_s for a, b in pairwise(moments))


def test_a_contribution_is_the_probability_lost(recogniser: Recogniser, recordings: Path) -> None:
    windows: list[WindowInput] = []
    reading = recogniser.read(recordings / "mute.mp4", watch=windows.extend)
    timeline = recogniser.timeline(reading)
    segment = timeline.segments[0]
    emotion = recogniser.emotions.index(segment.label)
    answer = recogniser.answer(windows).probabilities[:, emotion].mean()
    unknown = [
        replace(window, first={way: np.full_like(rows, np.nan) for way, rows in window.first.items()})
        for window in windows
    ]
    without = recogniser.answer(unknown).probabilities[:, emotion].mean()
    explanation = explain(recogniser, timeline, segment)
    assert explanation.score == pytest.approx(answer, abs=1e-4)
    assert explanation.streams[0].lost == pytest.approx(answer - without, abs=2e-4)


def test_a_stream_that_the_network_ignores_contributes_nothing(make_run: RunMaker, recordings: Path) -> None:
    recogniser = Recogniser.from_pretrained(make_run("spectral", "prosody", mu=0.5))
    with torch.no_grad():
        for model in recogniser.classifier.models.values():
            for heads in (model.first_heads, model.second_heads):
                for head in heads.heads:
                    head.weight.zero_()
                    head.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    explanations = explained_timeline(recogniser, recordings / "speech.wav").explanations
    assert explanations
    assert all(each.lost == 0 for each in (*explanations[0].streams, *explanations[0].moments))


def test_only_the_stretch_in_question_is_asked_again(recogniser: Recogniser, recordings: Path) -> None:
    occluder, seen = Occluder(recogniser, from_s=2.5, until_s=3.0), []

    def watch(windows: Sequence[WindowInput]) -> None:
        seen.extend((each.lane, each.number, each.start_s, each.end_s) for each in windows)
        occluder(windows)

    recogniser.read(recordings / "one.mp4", watch=watch)
    concerned = {(lane, number) for lane, number, start_s, end_s in seen if start_s < 3.0 and end_s > 2.5}
    assert set(occluder.evidence) == concerned
    assert 0 < len(concerned) < len(seen)


def test_training_clips_near_a_segment_are_named(make_run: RunMaker, recordings: Path, tmp_path: Path) -> None:
    run = shutil.copytree(make_run("hog", None), tmp_path / "run")
    windows: list[WindowInput] = []
    Recogniser.from_pretrained(run).read(recordings / "mute.mp4", watch=windows.extend)
    answers = Recogniser.from_pretrained(run).answer(windows)
    emotion, style = answers.representation, answers.style
    assert style is not None
    away = np.linspace(-1, 1, 7, dtype=np.float32)[:, None] * np.arange(1, emotion.shape[1] + 1, dtype=np.float32)
    names = {name: tuple(f"{name}{row}" for row in range(7)) for name in ("clip_id", "corpus", "culture")}
    names["emotion"] = ("anger",) * 7
    TrainingClips(names=names, emotion=emotion.mean(0) + away, style=style.mean(0) - away).save(run)
    explanations = explained_timeline(Recogniser.from_pretrained(run), recordings / "mute.mp4").explanations
    assert explanations is not None
    for near in (explanations[0].neighbours, explanations[0].neighbours_with_style):
        assert len(near) == 5
    assert explanations[0].neighbours != explanations[0].neighbours_with_style


def test_an_explanation_is_plain_json(timeline: Timeline) -> None:
    assert timeline.explanations is not None
    content = json.loads(to_json(timeline, Path("a.json")))
    assert content["explanations"][0] == json.loads(json.dumps(asdict(timeline.explanations[0])))


def test_a_segment_without_scores_cannot_be_explained(recogniser: Recogniser, recordings: Path) -> None:
    timeline = recogniser(recordings / "empty.mp4")
    with pytest.raises(RecipeError, match=r"`off screen` from 0\.0 to 2\.4 s got no label: no face; silent sound\n\n"):
        explain(recogniser, timeline, timeline.segments[0])


def test_a_segment_of_another_recording_is_refused(
    recogniser: Recogniser, recordings: Path, timeline: Timeline
) -> None:
    with pytest.raises(RecipeError, match=r"speech\.wav` has no segment of `person 1` from 0\.0"):
        explain(recogniser, replace(timeline, media_path=recordings / "speech.wav"), timeline.segments[0])


def test_a_model_that_reads_one_stream_says_nothing_without_it(trial_data: Path, tmp_path: Path) -> None:
    recogniser = Recogniser.from_pretrained(STARTER, settings=TimelineSettings(abstain_below=0.0))
    shutil.copy(sorted((trial_data / "speech").glob("emodb/*/03*.flac"))[0], tmp_path / "talk.flac")
    timeline = explained_timeline(recogniser, tmp_path / "talk.flac")
    assert timeline.explanations
    for each in timeline.explanations:
        assert [(one.stream, one.lost) for one in each.streams] == [("voice (moonshine)", pytest.approx(each.score))]
        assert all(-1 <= one.lost <= 1 for one in each.moments)
    assert b"NaN" not in to_json(timeline, tmp_path / "talk.json")
