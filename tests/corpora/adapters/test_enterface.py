from pathlib import Path

import pytest

from cimeu.corpora.adapters.enterface import from_enterface
from cimeu.errors import ManifestError

CODES = {"anger": "an", "disgust": "di", "fear": "fe", "happiness": "ha", "sadness": "sa", "surprise": "su"}


def whole() -> list[str]:
    paths = [
        f"subject {subject}/{emotion}/sentence {sentence}/s{12 if subject == 11 else subject}_{code}_{sentence}.avi"
        for subject in range(1, 45)
        if subject != 6
        for emotion, code in CODES.items()
        for sentence in range(1, 6)
        if not (subject == 23 and emotion == "happiness" and sentence > 2)
    ]
    return paths + [f"subject 6/{emotion}/s6_{code}.avi" for emotion, code in CODES.items()]


def test_a_whole_enterface_has_1287_sentences_of_43_people(
    fill, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(from_enterface(fill(tmp_path, whole()))) == 1287
    assert "6 files below" in caplog.text


def test_the_folder_says_who_speaks_not_the_file(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["subject 11/anger/sentence 2/s12_an_2.avi", "subject 12/anger/sentence 2/s12_an_2.avi"])
    table = from_enterface(tmp_path, check_counts=False).table
    assert list(table["speaker"]) == ["enterface_11", "enterface_12"]
    assert list(table["clip_id"]) == [f"subject {n}/anger/sentence 2/s12_an_2" for n in (11, 12)]


def test_sentences_belong_to_their_emotion(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["subject 1/fear/sentence 2/s1_fe_2.avi", "subject 1/anger/sentence 2/s1_an_2.avi"])
    assert list(from_enterface(tmp_path, check_counts=False).table["sentence"]) == ["anger-2", "fear-2"]


def test_a_missing_subject_is_counted(fill, tmp_path: Path) -> None:
    paths = [path for path in whole() if not path.startswith("subject 44/")]
    with pytest.raises(ManifestError, match=r"clips: 1,287 expected, 1,257 found; speakers: 43 expected, 42 found"):
        from_enterface(fill(tmp_path, paths))


def test_another_folder_shows_the_layout(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"expected `subject 1/anger/sentence 1/s1_an_1.avi`"):
        from_enterface(tmp_path)
