"""Corpora of sound files whose names say everything, and nEMO with its table."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from cimeu.corpora.adapters.nemo import from_nemo
from cimeu.corpora.adapters.registry import COUNTS, PUBLISHED, TERMS
from cimeu.corpora.adapters.speech import SPEECH_SETS
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.errors import ManifestError


@pytest.mark.parametrize("corpus", ["emodb", "urdu", "ased", "ravdess"])
def test_real_files_get_the_people_and_emotions_of_the_trial_table(trial_data: Path, corpus: str) -> None:
    manifest = PUBLISHED[corpus](trial_data / "speech" / corpus, check_counts=corpus == "urdu")
    wanted = pd.read_csv(trial_data / "speech" / "manifest.csv", dtype=str)
    wanted = wanted[wanted["corpus"] == corpus].assign(name=wanted["path"].map(lambda path: Path(path).stem))
    found = manifest.table.assign(name=manifest.table["path"].map(lambda path: Path(path).stem))
    both = wanted.merge(found, on="name", suffixes=("", "_found"))
    assert len(both) == len(wanted) == len(found)
    for column in ("emotion", "speaker", "gender", "culture", "language", "acted"):
        assert list(both[column]) == list(both[f"{column}_found"])


def test_emodb_reads_speaker_sentence_and_the_initial_of_the_german_name(fill, tmp_path: Path) -> None:
    manifest = PUBLISHED["emodb"](fill(tmp_path, ["wav/03a01Wa.wav", "wav/16b10Lb.wav"]), check_counts=False)
    columns = ["clip_id", "emotion", "speaker", "gender", "age", "sentence", "language"]
    assert manifest.table[columns].to_numpy().tolist() == [
        ["wav/03a01Wa", "anger", "emodb_03", "m", "31", "a01", "de"],
        ["wav/16b10Lb", "boredom", "emodb_16", "f", "31", "b10", "de"],
    ]


def test_urdu_reads_gender_speaker_and_emotion(fill, tmp_path: Path) -> None:
    manifest = PUBLISHED["urdu"](fill(tmp_path, ["Angry/SM1_F1_A01.wav", "Sad/SF12_F7_S033.wav"]), check_counts=False)
    assert manifest.table[["emotion", "speaker", "gender"]].to_numpy().tolist() == [
        ["anger", "urdu_M1", "m"],
        ["sadness", "urdu_F12", "f"],
    ]


def test_ased_reads_the_initial_of_the_emotion_and_the_last_field(fill, tmp_path: Path) -> None:
    manifest = PUBLISHED["ased"](fill(tmp_path, ["h3-01-02-01-33.wav", "f2-01-02-02-07.wav"]), check_counts=False)
    assert manifest.table[["emotion", "speaker", "gender"]].to_numpy().tolist() == [
        ["fear", "ased_07", "m"],
        ["happiness", "ased_33", "f"],
    ]


EMOVO = [
    f"{speaker}/{emotion}-{speaker}-{sentence}.wav"
    for speaker in ("f1", "f2", "f3", "m1", "m2", "m3")
    for emotion in ("dis", "gio", "pau", "rab", "sor", "tri", "neu")
    for sentence in (*("b1", "b2", "b3", "l1", "l2", "l3", "l4"), *("n1", "n2", "n3", "n4", "n5", "d1", "d2"))
]


def test_a_whole_emovo_has_the_published_counts(fill, tmp_path: Path) -> None:
    manifest = PUBLISHED["emovo"](fill(tmp_path, EMOVO))
    assert set(manifest.table["emotion"]) == {
        *("disgust", "happiness", "fear", "anger"),
        "surprise",
        "sadness",
        "neutral",
    }
    assert set(manifest.table["gender"][manifest.table["speaker"] == "emovo_f2"]) == {"f"}


def test_people_of_emovo_never_cross_a_fold(fill, tmp_path: Path) -> None:
    manifest = PUBLISHED["emovo"](fill(tmp_path, EMOVO))
    speakers = manifest.table.set_index("clip_id")["speaker"]
    for fold in make_folds(manifest, FoldsConfig(n_folds=3)):
        assert not set(speakers[list(fold.test)]) & set(speakers[[*fold.train, *fold.validation]])


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("emodb", "`emodb` below .* is not whole: clips: 535 expected, 1 found; speakers: 10 expected"),
        ("urdu", "clips: 400 expected, 1 found"),
        ("ased", "clips: 2,474 expected, 1 found"),
        ("emovo", "disgust: 84 expected, 1 found; happiness: 84 expected, 0 found"),
        ("esd", "clips: 35,000 expected, 1 found; anger: 7,000 expected, 1 found; .* fold 1: 7,000 expected, 1 found"),
        ("subesco", "clips: 7,000 expected, 1 found; anger: 1,000 expected, 0 found; .* speakers: 20 expected"),
        ("shemo", "clips: 3,000 expected, 1 found; speakers: 87 expected, 1 found"),
        ("cafe", "clips: 936 expected, 1 found; anger: 144 expected, 1 found; .* neutral: 72 expected, 0 found"),
        ("jl", "clips: 2,400 expected, 1 found; speakers: 4 expected, 1 found; emotions: 10 expected, 1 found"),
    ],
)
def test_a_part_of_a_corpus_says_what_was_expected_and_found(fill, tmp_path: Path, corpus: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        PUBLISHED[corpus](fill(tmp_path, [SPEECH_SETS[corpus].example]))


@pytest.mark.parametrize("corpus", [*SPEECH_SETS, "ravdess"])
def test_a_folder_of_other_files_shows_the_names_expected(fill, tmp_path: Path, corpus: str) -> None:
    with pytest.raises(ManifestError, match=r"no file of the corpus below .*\n\nhint: expected names such as `"):
        PUBLISHED[corpus](fill(tmp_path, ["holiday.wav"]))


@pytest.mark.parametrize("corpus", SPEECH_SETS)
def test_every_speech_set_has_counts_and_terms_unless_they_are_unknown(corpus: str) -> None:
    assert COUNTS[corpus]["clips"] > 0
    assert corpus in TERMS or corpus == "emovo"


def test_esd_reads_speaker_and_emotion_from_its_folders(fill, tmp_path: Path) -> None:
    files = [
        "0004/Happy/test/0004_000701.wav",
        "ESD/0015/Surprise/0015_001401.wav",
        "0004/Happy/test/._0004_000702.wav",
    ]
    table = PUBLISHED["esd"](fill(tmp_path, files), check_counts=False).table
    columns = ["emotion", "speaker", "gender", "language", "fold", "part", "split"]
    assert table[columns].to_numpy().tolist() == [
        ["happiness", "esd_0004", "m", "zh", "3", "test", ""],
        ["surprise", "esd_0015", "f", "en", "2", "", ""],
    ]


def test_folds_of_esd_hold_four_speakers_each_and_share_none() -> None:
    folds = [person["fold"] for person in SPEECH_SETS["esd"].people.values()]
    assert sorted(folds) == sorted("12345" * 4)


def test_subesco_reads_its_names_with_and_without_the_stray_bracket(fill, tmp_path: Path) -> None:
    files = ["F_10_FAHMEE_S_6_FEAR_5.wav", "M_02_NAME_S_1_HAPPY_1.wav", "F_02_MONIKA_S_2_SURPRISE_3].wav"]
    table = PUBLISHED["subesco"](fill(tmp_path, files), check_counts=False).table
    assert table[["emotion", "speaker", "gender", "sentence", "repetition"]].to_numpy().tolist() == [
        ["surprise", "subesco_F02", "f", "2", "3"],
        ["fear", "subesco_F10", "f", "6", "5"],
        ["happiness", "subesco_M02", "m", "1", "1"],
    ]


def test_shemo_reads_fear_after_a_woman_and_surprise_after_a_man(fill, tmp_path: Path) -> None:
    files = ["female/F21F01.wav", "male/M36S02.wav", "male/M06W11.wav"]
    table = PUBLISHED["shemo"](fill(tmp_path, files), check_counts=False).table
    assert table[["emotion", "speaker", "gender", "language"]].to_numpy().tolist() == [
        ["fear", "shemo_F21", "f", "fa"],
        ["surprise", "shemo_M06", "m", "fa"],
        ["sadness", "shemo_M36", "m", "fa"],
    ]


def test_cafe_knows_age_and_gender_of_its_actors(fill, tmp_path: Path) -> None:
    files = ["Colère/Fort/02-C-2-1.wav", "Neutre/07-N-1-6.wav"]
    table = PUBLISHED["cafe"](fill(tmp_path, files), check_counts=False).table
    assert table[["emotion", "speaker", "gender", "age", "level", "sentence"]].to_numpy().tolist() == [
        ["anger", "cafe_02", "f", "64", "high", "1"],
        ["neutral", "cafe_07", "m", "15", "low", "6"],
    ]


def test_jl_keeps_excitement_apart_from_happiness(fill, tmp_path: Path) -> None:
    files = ["female1_excited_1a_1.wav", "male2_happy_15b_2.wav", "male1_apologetic_3a_1.wav"]
    table = PUBLISHED["jl"](fill(tmp_path, files), check_counts=False).table
    assert table[["emotion", "speaker", "gender"]].to_numpy().tolist() == [
        ["excitement", "jl_female1", "f"],
        ["apology", "jl_male1", "m"],
        ["happiness", "jl_male2", "m"],
    ]


def test_a_folder_that_contradicts_the_name_is_an_error(fill, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"`Happy/SM1_F1_A01.wav` is named anger and lies in a folder of happiness"):
        PUBLISHED["urdu"](fill(tmp_path, ["Happy/SM1_F1_A01.wav"]))


def test_a_second_copy_of_a_file_is_left_out(fill, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = PUBLISHED["emodb"](fill(tmp_path, ["a/03a01Wa.wav", "b/03a01Wa.wav"]), check_counts=False)
    assert list(manifest.table["clip_id"]) == ["a/03a01Wa"]
    assert "b/03a01Wa.wav` is left out: a copy of" in caplog.text


def test_two_files_of_one_name_that_differ_are_an_error(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["a/03a01Wa.wav"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "03a01Wa.wav").write_bytes(b"x")
    with pytest.raises(ManifestError, match=r"have one name and differ"):
        PUBLISHED["emodb"](tmp_path)


def test_files_with_other_names_are_counted(fill, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    PUBLISHED["emodb"](fill(tmp_path, ["03a01Wa.wav", "noise.wav"]), check_counts=False)
    assert "1 files below" in caplog.text


NEMO = (
    "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
    'SB0_anger_1.wav\tanger\tOna "tak\tona tak\tSB0\tfemale\t23\n'
    "PKS_surprised_2\tsurprised\tNA\tna\tPKS\tmale\t25\n"
)


def test_nemo_reads_its_table(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["samples/SB0_anger_1.wav", "samples/PKS_surprised_2.wav"])
    (tmp_path / "data.tsv").write_text(NEMO, encoding="utf-8")
    manifest = from_nemo(tmp_path, check_counts=False)
    assert manifest.table[["clip_id", "emotion", "speaker", "gender", "age", "text"]].to_numpy().tolist() == [
        ["samples/SB0_anger_1", "anger", "nemo_SB0", "f", "23", 'Ona "tak'],
        ["samples/PKS_surprised_2", "surprise", "nemo_PKS", "m", "25", "NA"],
    ]


def test_nemo_without_its_table_says_what_it_looks_like(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing at .*data.tsv`\n\nhint: expected `data.tsv` and the folder"):
        from_nemo(tmp_path)


def test_nemo_with_another_table_names_the_column(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("file_id\temotion\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"has no column `raw_text`, found: file_id, emotion"):
        from_nemo(tmp_path)


def test_nemo_has_4481_clips(fill, tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text(NEMO, encoding="utf-8")
    with pytest.raises(ManifestError, match=r"clips: 4,481 expected, 2 found; speakers: 9 expected, 2 found"):
        from_nemo(tmp_path)
