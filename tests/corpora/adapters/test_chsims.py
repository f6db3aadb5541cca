from pathlib import Path

import pytest

from cimeu.corpora.adapters.chsims import from_chsims
from cimeu.errors import ManifestError

META = (
    "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
    "video_0001,1,你好,0.6,0.4,-0.2,0.8,Positive,train\n"
    "video_0001,0002,嗯,0.0,0.0,0.0,0.0,Neutral,train\n"
    "video_0002,0001,不,-1.0,-0.8,-1.0,-0.6,Negative,valid\n"
    "video_0003,0007,好,0.2,0.2,0.2,0.2,Positive,test\n"
)


@pytest.fixture
def corpus(fill, tmp_path: Path) -> Path:
    clips = ("video_0001/0001", "video_0001/0002", "video_0002/0001", "video_0003/0007", "video_0003/0008")
    fill(tmp_path, [f"ch-simsv2s/Raw/{clip}.mp4" for clip in clips])
    (tmp_path / "ch-simsv2s" / "meta.csv").write_text(META, encoding="utf-8-sig")
    return tmp_path


def test_clips_are_those_of_the_table_and_their_numbers_keep_leading_zeros(corpus: Path) -> None:
    table = from_chsims(corpus, check_counts=False).table
    assert table["clip_id"].iloc[0] == "ch-simsv2s/Raw/video_0001/0001"
    assert len(table) == 4
    assert set(table["problem"]) == {""}
    assert list(table["split"]) == ["train", "train", "validation", "test"]


def test_label_v_is_the_sentiment_of_the_vision_and_no_valence(corpus: Path) -> None:
    table = from_chsims(corpus, check_counts=False).table
    first = table.iloc[0]
    assert (first["sentiment"], first["sentiment_audio"], first["sentiment_vision"]) == ("0.6", "-0.2", "0.8")
    assert not {"valence", "arousal"} & set(table.columns)


def test_a_video_stands_for_its_speaker(corpus: Path) -> None:
    assert from_chsims(corpus, check_counts=False).table["speaker"].nunique() == 3


def test_the_published_counts_are_expected(corpus: Path) -> None:
    with pytest.raises(ManifestError, match=r"clips: 4,403 expected, 4 found; split train: 2,722 expected, 2 found"):
        from_chsims(corpus)
