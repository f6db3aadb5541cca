from pathlib import Path

import pytest

from cimeu.corpora.adapters.afew import from_afew
from cimeu.errors import ManifestError

EMOTIONS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def test_val_is_the_test_part_and_the_film_is_in_the_name(fill, tmp_path: Path) -> None:
    fill(tmp_path, [f"Train_AFEW/{emotion}/000149120.avi" for emotion in EMOTIONS])
    fill(tmp_path, [f"Val_AFEW/{emotion}/Hangover_005437980.avi" for emotion in EMOTIONS])
    table = from_afew(tmp_path).table
    assert dict(table.groupby("split").size()) == {"train": 7, "test": 7}
    assert dict(table.groupby("split")["film"].first()) == {"train": "", "test": "Hangover"}
    assert "Val_AFEW/Angry/Hangover_005437980" in set(table["clip_id"])


def test_a_part_without_an_emotion_is_an_error(fill, tmp_path: Path) -> None:
    fill(tmp_path, [f"Train_AFEW/{emotion}/1.avi" for emotion in EMOTIONS] + ["Val_AFEW/Sad/2.avi"])
    with pytest.raises(ManifestError, match=r"`afew` test: emotions anger, .* expected, sadness found"):
        from_afew(tmp_path)
    assert len(from_afew(tmp_path, check_counts=False)) == 8


def test_a_missing_part_shows_the_layout(fill, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing at .*Val_AFEW"):
        from_afew(fill(tmp_path, ["Train_AFEW/Sad/2.avi"]))
