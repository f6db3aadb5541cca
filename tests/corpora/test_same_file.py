"""Files of the same bytes are one recording, whatever they are called."""

from pathlib import Path

import pandas as pd
import pytest

from cimeu.corpora.folds import FoldsConfig, check_contents, make_folds
from cimeu.corpora.manifest import Manifest, build_manifest
from cimeu.corpora.same_file import SAME_FILE, with_same_file
from cimeu.errors import FoldLeak


def corpus(folder: Path, contents: dict[str, bytes], **columns: list[str]) -> Manifest:
    """A clip per file; anger and sadness in turn."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    emotions = [("anger", "sadness")[place % 2] for place in range(len(contents))]
    return build_manifest(pd.DataFrame({"path": list(contents), "emotion": emotions, **columns}), folder)


def test_clips_of_the_same_bytes_have_one_name(tmp_path: Path) -> None:
    contents = {"a.wav": b"one", "b.wav": b"two", "c.wav": b"one", "d/0.png": b"1", "e.wav": b"longer"}
    manifest = with_same_file(corpus(tmp_path, contents))
    assert list(manifest.table[SAME_FILE]) == ["a", "", "a", "", ""]


def test_folders_of_the_same_images_have_one_name(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        corpus(tmp_path / name, {"0.png": b"1", "1.png": b"3" if name == "c" else b"2"})
    table = pd.DataFrame({"path": ["a", "b", "c"], "emotion": "anger"})
    assert list(with_same_file(build_manifest(table, tmp_path)).table[SAME_FILE]) == ["a", "a", ""]


def test_stretches_of_one_file_are_not_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"one")
    table = pd.DataFrame({"path": "a.wav", "emotion": "anger", "start_s": [0.0, 1.0], "end_s": [1.0, 2.0]})
    assert SAME_FILE not in with_same_file(build_manifest(table, tmp_path)).table


@pytest.fixture
def repeated(tmp_path: Path) -> Manifest:
    """Two groups of four speakers; one clip of `south` has the bytes of one of `north`."""
    names = [f"{group}/{speaker}-{take}.wav" for group in ("north", "south") for speaker in range(4) for take in (0, 1)]
    contents = {name: name.encode() for name in names} | {"south/3-1.wav": b"north/0-0.wav"}
    return corpus(
        tmp_path,
        contents,
        culture=[name.split("/")[0] for name in names],
        speaker=[name.split("-")[0] for name in names],
    )


def test_no_fold_trains_on_the_bytes_of_a_test_clip(repeated: Manifest) -> None:
    manifest = with_same_file(repeated)
    for fold in make_folds(manifest, FoldsConfig(protocol="leave-one-group-out")):
        parts = {*fold.train, *fold.validation}, set(fold.test)
        assert not any("north/0-0" in one and "south/3-1" in other for one, other in (parts, parts[::-1]))
        assert "1 training clips" in fold.note
        check_contents(fold, manifest)


def test_a_fold_that_tests_the_bytes_of_a_training_clip_is_refused(repeated: Manifest) -> None:
    fold = make_folds(repeated, FoldsConfig(protocol="leave-one-group-out", validation_share=0.0))[0]  # not marked yet
    message = "1 of 8 test clips of fold north hold recordings of training clips: `north/0-0` is `south/3-1`"
    with pytest.raises(FoldLeak, match=message):
        check_contents(fold, with_same_file(repeated))
