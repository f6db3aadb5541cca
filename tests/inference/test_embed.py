import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from cimeu.atomic import ROOM
from cimeu.errors import OutputError
from cimeu.inference.embed import COLUMNS, embed_files
from cimeu.inference.recogniser import Recogniser
from cimeu.timeline.segments import USE_LIMITS

from .conftest import RunMaker


@pytest.fixture(scope="module")
def recogniser(make_run: RunMaker) -> Recogniser:
    return Recogniser.from_pretrained(make_run(), style="none")


def test_every_scored_window_has_its_vectors(recogniser: Recogniser, recordings: Path, tmp_path: Path) -> None:
    embed_files([recordings / "speech.wav"], tmp_path / "one.parquet", recogniser)
    table = parquet.read_table(tmp_path / "one.parquet").to_pandas()
    scored = [window for window in recogniser(recordings / "speech.wav").series or () if window.scores is not None]
    assert list(table.columns) == list(COLUMNS)
    assert list(table["start_s"]) == [window.start_s for window in scored]
    assert list(table["person"]) == [window.person for window in scored]
    assert set(table["recording"]) == {"speech"}
    assert len(set(map(len, table["emotion_primitives"]))) == 1
    assert np.isfinite(np.stack(table["emotion_primitives"])).all()


def test_a_stream_that_is_missing_is_null(recogniser: Recogniser, recordings: Path, tmp_path: Path) -> None:
    embed_files([recordings / "speech.wav", recordings / "mute.mp4"], tmp_path / "two.parquet", recogniser)
    table = parquet.read_table(tmp_path / "two.parquet").to_pandas().groupby("recording")
    assert table.get_group("speech")["first"].isna().all()
    assert table.get_group("speech")["second"].notna().all()
    assert table.get_group("mute")["second"].isna().all()


def test_the_table_says_which_model_and_which_limits(recogniser: Recogniser, recordings: Path, tmp_path: Path) -> None:
    embed_files([recordings / "speech.wav"], tmp_path / "one.parquet", recogniser)
    metadata = parquet.read_schema(tmp_path / "one.parquet").metadata
    assert metadata[b"use_limits"].decode() == USE_LIMITS
    about = json.loads(metadata[b"cimeu"])
    assert about["model"] == recogniser.model_id
    assert "media" not in about


def test_copies_of_a_recording_keep_their_names(recogniser: Recogniser, recordings: Path, tmp_path: Path) -> None:
    shutil.copy(recordings / "speech.wav", tmp_path / "again.wav")
    embed_files([recordings / "speech.wav", tmp_path / "again.wav"], tmp_path / "two.parquet", recogniser)
    table = parquet.read_table(tmp_path / "two.parquet").to_pandas()
    assert table["recording"].value_counts().nunique() == 1
    assert set(table["recording"]) == {"speech", "again"}


def test_one_bad_file_stops_no_other(recogniser: Recogniser, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    report = embed_files([tmp_path / "broken.mp4", recordings / "speech.wav"], tmp_path / "e.parquet", recogniser)
    assert (report.recordings, len(report.failures)) == (2, 1)
    assert set(parquet.read_table(tmp_path / "e.parquet")["recording"].to_pylist()) == {"speech"}
    assert not list((tmp_path / ROOM).glob("*.parts"))


def test_what_an_interrupted_call_finished_is_used_again(
    recogniser: Recogniser, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(recordings / "speech.wav", tmp_path / "again.wav")  # the same content as the first: read once
    monkeypatch.setattr("cimeu.inference.embed._join", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        embed_files([recordings / "speech.wav"], tmp_path / "e.parquet", recogniser)
    monkeypatch.undo()
    monkeypatch.setattr(Recogniser, "read", lambda *_, **__: pytest.fail("read again"))
    embed_files([recordings / "speech.wav"], tmp_path / "e.parquet", recogniser)
    assert parquet.read_table(tmp_path / "e.parquet").num_rows


def test_a_table_of_somebody_else_is_kept(recogniser: Recogniser, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "e.parquet.parts").mkdir()
    (tmp_path / "e.parquet.parts" / "notes.txt").write_text("mine")
    embed_files([recordings / "speech.wav"], tmp_path / "e.parquet", recogniser)
    assert (tmp_path / "e.parquet.parts" / "notes.txt").read_text() == "mine"
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"mine\.parquet"):
        embed_files([recordings / "speech.wav"], tmp_path / "mine.parquet", recogniser)
    assert (tmp_path / "mine.parquet").read_bytes() == b"mine"
