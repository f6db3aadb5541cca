from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from cimeu.corpora.adapters.cameo import from_cameo
from cimeu.corpora.content_hash import content_of
from cimeu.corpora.manifest import read_manifest, write_manifest
from cimeu.errors import ManifestError, MediaError
from cimeu.media.audio import read_sound, write_sound
from cimeu.media.packed import packed_bytes
from cimeu.media.video import probe

Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Write one table of a corpus, a tone of its own pitch per row."""

    def write(name: str, rows: list[tuple[str, str, str]], *, language: str = "English") -> Path:
        sounds = []
        for place, (file_id, _, _) in enumerate(rows):
            tone = 0.3 * np.sin(2 * np.pi * 200 * (place + 1) * np.arange(4000) / 16000)
            path = tmp_path / "one.flac"
            write_sound(path, tone.astype(np.float32))
            sounds.append({"bytes": path.read_bytes(), "path": file_id})
            path.unlink()
        texts = {
            "file_id": [file_id for file_id, _, _ in rows],
            "audio": sounds,
            "emotion": [emotion for _, emotion, _ in rows],
            "speaker_id": [speaker for _, _, speaker in rows],
        }
        same = {"transcription": "words", "gender": "female", "age": "", "dataset": name, "language": language}
        columns = texts | {key: [value] * len(rows) for key, value in (same | {"license": "CC0"}).items()}
        path = tmp_path / "CAMEO" / "data" / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
        return path

    return write


@pytest.fixture
def cameo(table: Table, tmp_path: Path) -> Path:
    table("ravdess", [("a.wav", "anger", "1"), ("b.wav", "calm", "2"), ("c.wav", "fear", "2")])
    table("mesd", [("a.wav", "sadness", "")], language="Spanish")
    return tmp_path / "CAMEO"


def test_rows_of_a_table_are_clips_named_after_corpus_and_file(cameo: Path) -> None:
    table = from_cameo(cameo, check_counts=False).table
    assert table[["clip_id", "emotion", "speaker", "language", "dataset", "problem"]].to_numpy().tolist() == [
        ["mesd/a", "sadness", "", "es", "mesd", ""],
        ["ravdess/a", "anger", "ravdess_1", "en", "ravdess", ""],
        ["ravdess/b", "calm", "ravdess_2", "en", "ravdess", ""],
        ["ravdess/c", "fear", "ravdess_2", "en", "ravdess", ""],
    ]


def test_sound_is_read_from_the_table_whichever_row_group_holds_it(cameo: Path) -> None:
    clips = from_cameo(cameo, check_counts=False).clips()
    pitches = [np.abs(np.fft.rfft(read_sound(clip.path)[:4000])).argmax() * 4 for clip in clips]
    assert pitches == [200, 200, 400, 600]
    assert probe(clips[3].path).has_sound


def test_no_second_copy_is_written(cameo: Path) -> None:
    before = sorted(cameo.rglob("*"))
    for clip in from_cameo(cameo, check_counts=False).clips():
        read_sound(clip.path, start_s=0.05, end_s=0.1)
    assert sorted(cameo.rglob("*")) == before


def test_the_manifest_of_a_table_is_written_and_read_again(cameo: Path, tmp_path: Path) -> None:
    manifest = from_cameo(cameo, check_counts=False)
    write_manifest(manifest, tmp_path / "cameo.csv")
    again = read_manifest(tmp_path / "cameo.csv")
    assert set(again.table["problem"]) == {""}
    assert [content_of(clip) for clip in again.clips()] == [content_of(clip) for clip in manifest.clips()]


def test_content_is_that_of_the_row_and_equal_in_two_tables(cameo: Path) -> None:
    contents = {clip.clip_id: content_of(clip) for clip in from_cameo(cameo, check_counts=False).clips()}
    assert contents["mesd/a"] == contents["ravdess/a"]
    assert len(set(contents.values())) == 3


def test_a_row_behind_the_end_is_a_missing_file(cameo: Path) -> None:
    path = cameo / "data" / "mesd-00000-of-00001.parquet" / "1"
    with pytest.raises(MediaError, match=r"is not a row of an existing table\n\nhint: run `cimeu prepare` again"):
        packed_bytes(path)


def test_a_damaged_table_is_named(cameo: Path) -> None:
    path = cameo / "data" / "mesd-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(
        ManifestError, match=r"`.*mesd-00000-of-00001.parquet` is not a Parquet table .*\n\nhint: download"
    ):
        from_cameo(cameo, check_counts=False)


def test_counts_that_are_remembered_are_a_warning(cameo: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(from_cameo(cameo)) == 4
    assert "clips: 41,265 expected, 4 found" in caplog.text
