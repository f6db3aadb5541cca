"""The model that ships says much the same about a clip by itself and inside a recording."""

from pathlib import Path

import numpy as np
import pytest

from cimeu.encoders.encoding import encode
from cimeu.encoders.moonshine import Moonshine
from cimeu.inference.buffers import SoundBuffer
from cimeu.inference.model_store import STARTER
from cimeu.inference.recogniser import Recogniser
from cimeu.inference.utterances import Utterances
from cimeu.media.audio import RATE_HZ, write_sound
from cimeu.model.classifier import Clip
from cimeu.model.style_set import StyleSet
from cimeu.timeline.settings import TimelineSettings

from ..media.whole_clips import read_clip

SPEAKER_CLIPS = "emodb/*/03*.flac"


@pytest.fixture(scope="module")
def clips(trial_data: Path) -> list[np.ndarray]:
    """Eight clips of one speaker, trimmed and levelled."""
    paths = sorted((trial_data / "speech").glob(SPEAKER_CLIPS))[::4][:8]
    read = [read_clip(path, want={"sound"}).samples for path in paths]
    return [samples for samples in read if samples is not None]


def joined(clips: list[np.ndarray]) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The clips with pauses of half a second, quieter than they were, and when each is heard."""
    parts, spans, at = [], [], 0
    pause = (1e-4 * np.random.default_rng(0).standard_normal(RATE_HZ // 2)).astype(np.float32)
    for samples in clips:
        spans.append((at / RATE_HZ, (at + len(samples)) / RATE_HZ))
        parts += [0.3 * samples, pause]
        at += len(samples) + len(pause)
    return np.concatenate(parts), spans


def test_a_clip_inside_a_recording_is_scored_like_the_clip(clips: list[np.ndarray]) -> None:
    encoder, model = Moonshine(), StyleSet.from_pretrained(STARTER / "forward")
    alone = model.answer([Clip({"forward": encode(encoder, samples, "forward")}) for samples in clips])
    samples, spans = joined(clips)
    utterances = Utterances(SoundBuffer(iter([samples])), encoder, ("forward",))
    inside = model.answer([Clip(utterances.window(*span)[0]) for span in spans])
    differences = np.abs(inside.probabilities - alone.probabilities)
    assert differences.mean() < 0.03
    assert differences.max() < 0.25
    assert np.mean(inside.probabilities.argmax(axis=1) == alone.probabilities.argmax(axis=1)) > 0.8


def test_a_style_changes_answers_and_the_export_says_from_how_many_windows(
    clips: list[np.ndarray], tmp_path: Path
) -> None:
    write_sound(tmp_path / "talk.wav", joined(clips)[0])
    everything = TimelineSettings(abstain_below=0.0)
    plain, adapted = (
        Recogniser.from_pretrained(STARTER, style=style, settings=everything)(tmp_path / "talk.wav")
        for style in ("none", "recording")
    )
    assert plain.persons == adapted.persons == ("voice",)
    assert (plain.header.style, plain.header.style_windows) == ("none", 0)
    assert adapted.header.style_windows >= 5
    assert [one.scores for one in plain.segments] != [one.scores for one in adapted.segments]
