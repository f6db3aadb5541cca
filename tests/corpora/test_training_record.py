"""A run knows which recordings it was trained on, under any name."""

from pathlib import Path

import pandas as pd
import pytest

from cimeu.corpora.manifest import Manifest, build_manifest
from cimeu.corpora.training_record import check_unseen, record_training, training_record
from cimeu.errors import FoldLeak, RecipeError


def corpus(folder: Path, contents: dict[str, bytes], **columns: list[str] | str) -> Manifest:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return build_manifest(pd.DataFrame({"path": list(contents), "emotion": "anger", **columns}), folder)


def test_clips_that_a_run_was_trained_on_are_refused_under_any_name(tmp_path: Path) -> None:
    trained = corpus(tmp_path / "one", {"a.wav": b"1", "b.wav": b"2", "c.wav": b"3"})
    record = record_training(trained, ["a"], ["b"], tmp_path)
    fresh = corpus(tmp_path / "two", {"a.wav": b"4", "x.wav": b"3"})
    check_unseen(fresh, record, "run")
    again = corpus(tmp_path / "three", {"x.wav": b"1", "b.wav": b"2", "y.wav": b"5"})
    message = r"2 of 3 clips hold recordings that `run` was trained on: `x` \(there `a`\), `b`\n\nhint: leave them out"
    with pytest.raises(FoldLeak, match=message):
        check_unseen(again, record, "run")


def test_a_corpus_that_holds_a_tested_one_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained = corpus(tmp_path / "one", {"a.wav": b"1"}, corpus="cameo")
    record = record_training(trained, ["a"], [], tmp_path)
    check_unseen(corpus(tmp_path / "two", {"a.wav": b"2"}, corpus="emodb"), record, "run")
    check_unseen(corpus(tmp_path / "three", {"a.wav": b"3"}, corpus="cameo"), record, "run")
    assert not caplog.messages
    check_unseen(corpus(tmp_path / "four", {"a.wav": b"4"}, corpus="ravdess"), record, "run")
    assert caplog.messages == [
        "`cameo` holds 1,440 clips of `ravdess` (at most: it is a member of the collection): `run` may have learned "
        "some of these clips; `cimeu overlap` names them"
    ]


def test_a_record_comes_back_equal_and_grows(tmp_path: Path) -> None:
    trained = corpus(tmp_path / "one", {"a.wav": b"1", "b.wav": b"2"}, speaker=["=s", "t"])
    first = record_training(trained, ["a", "b"], [], tmp_path)
    assert training_record(tmp_path).to_dict("list") == first.to_dict("list")
    other = corpus(tmp_path / "two", {"a.wav": b"3"})
    assert list(record_training(other, ["a"], [], tmp_path)["content"]) == [
        *first["content"],
        *record_training(other, ["a"], [], tmp_path / "alone")["content"],
    ]


def test_the_content_of_a_file_that_is_gone_stays(tmp_path: Path) -> None:
    trained = corpus(tmp_path / "one", {"a.wav": b"1"})
    before = record_training(trained, ["a"], [], tmp_path)
    (tmp_path / "one" / "a.wav").unlink()
    assert record_training(trained, ["a"], [], tmp_path).to_dict("list") == before.to_dict("list")


def test_a_run_that_does_not_say_what_it_was_trained_on_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"does not say which clips it was trained on\n\nhint: `cimeu evaluate .*` n"):
        training_record(tmp_path)
