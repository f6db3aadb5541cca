from pathlib import Path

import pytest

from cimeu.corpora.adapters.ravdess import from_ravdess
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.errors import ManifestError


def takes(modality: str, actors: range = range(1, 25), suffix: str = "mp4") -> list[str]:
    return [
        f"Actor_{actor:02d}/{modality}-01-{emotion:02d}-{intensity:02d}-{sentence:02d}-{repetition:02d}-{actor:02d}.{suffix}"
        for actor in actors
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for sentence in (1, 2)
        for repetition in (1, 2)
    ]


def test_a_whole_ravdess_has_1440_takes_in_six_folds(fill, tmp_path: Path) -> None:
    manifest = from_ravdess(fill(tmp_path, takes("01")))
    assert set(manifest.table["speaker"][manifest.table["fold"] == "6"]) == {f"ravdess_{n}" for n in (21, 22, 23, 24)}
    assert [fold.name for fold in make_folds(manifest, FoldsConfig(protocol="official"))] == list("123456")


def test_silent_copies_of_the_same_takes_are_not_used(fill, tmp_path: Path) -> None:
    fill(tmp_path, takes("01"))
    fill(tmp_path, takes("02"))
    assert set(from_ravdess(tmp_path).table["modality"]) == {"01"}


def test_sound_alone_is_used_where_there_is_no_picture(fill, tmp_path: Path) -> None:
    manifest = from_ravdess(fill(tmp_path, takes("03", suffix="wav")))
    assert set(manifest.table["modality"]) == {"03"}


def test_songs_are_left_out(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["Actor_01/01-02-03-01-01-01-01.mp4", "Actor_01/01-01-03-01-01-01-01.mp4"])
    assert list(from_ravdess(tmp_path, check_counts=False).table["take"]) == ["01-03-01-01-01-01"]


def test_odd_actors_are_men_and_emotions_go_by_name(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["01-01-02-01-01-01-01.mp4", "01-01-06-02-02-01-02.mp4"])
    table = from_ravdess(tmp_path, check_counts=False).table
    assert table[["emotion", "gender", "intensity", "acted"]].to_numpy().tolist() == [
        ["calm", "m", "normal", "yes"],
        ["fear", "f", "strong", "yes"],
    ]


def test_a_modality_that_is_not_there_is_named(fill, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no take of modality 02 below .* found: 01"):
        from_ravdess(fill(tmp_path, ["01-01-02-01-01-01-01.mp4"]), modality="02")


def test_a_missing_actor_is_counted(fill, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"clips: 1,440 expected, 1,380 found; speakers: 24 expected, 23 found"):
        from_ravdess(fill(tmp_path, takes("01", range(1, 24))))


def test_real_videos_are_four_takes_with_sound(trial_data: Path) -> None:
    manifest = from_ravdess(trial_data / "video", check_counts=False)
    assert set(manifest.table["emotion"]) == {"neutral", "surprise"}
    assert len(manifest) == 4
