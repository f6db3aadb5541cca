from pathlib import Path

import pytest

from cimeu.corpora.adapters.iemocap import from_iemocap
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.errors import ManifestError

HEADING = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def line(utterance: str, code: str) -> str:
    raters = "C-E1:\tAnger;\t()\nA-E3:\tval 2; act 4; dom  4;\t()\n\n"
    return f"[6.2901 - 8.2357]\t{utterance}\t{code}\t[1.5000, 4.0000, 4.5000]\n{raters}"


@pytest.fixture
def corpus(fill, tmp_path: Path) -> Path:
    """Two dialogs of each session; the woman wears the markers in one and the man in the other."""
    for session in range(1, 6):
        for dialog, pair in (("F_impro01", ("ang", "xxx")), ("M_script02_2", ("exc", "neu"))):
            name = f"Ses0{session}{dialog}"
            here = tmp_path / f"Session{session}"
            labels = here / "dialog" / "EmoEvaluation" / f"{name}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(HEADING + line(f"{name}_F000", pair[0]) + line(f"{name}_M001", pair[1]))
            labels.with_name(f"._{labels.name}").write_bytes(b"\x00\x05\x16\x07")
            (labels.parent / "Self-evaluation").mkdir(exist_ok=True)
            (labels.parent / "Self-evaluation" / labels.name).write_text(line(f"{name}_F000", "sad"))
            words = here / "dialog" / "transcriptions" / f"{name}.txt"
            words.parent.mkdir(parents=True, exist_ok=True)
            words.write_text(f"{name}_F000 [006.2901-008.2357]: Excuse me.\n")
            fill(here / "sentences" / "wav" / name, [f"{name}_F000.wav", f"{name}_M001.wav", f"._{name}_F000.wav"])
    return tmp_path


def test_an_utterance_has_its_label_attributes_words_and_speaker(corpus: Path) -> None:
    table = from_iemocap(corpus, check_counts=False).table
    columns = [
        "emotion",
        "unlabelled",
        "speaker",
        "gender",
        "fold",
        "setting",
        "valence",
        "arousal",
        "dominance",
        "text",
    ]
    assert len(table) == 20
    assert set(table["problem"]) == {""}
    assert table[columns].head(2).to_numpy().tolist() == [
        ["anger", "", "iemocap_01F", "f", "1", "improvised", "1.5000", "4.0000", "4.5000", "Excuse me."],
        ["", "no agreement", "iemocap_01M", "m", "1", "improvised", "1.5000", "4.0000", "4.5000", ""],
    ]


def test_the_last_letter_speaks_and_the_first_one_wears_the_markers(corpus: Path) -> None:
    table = from_iemocap(corpus, check_counts=False).table.set_index("clip_id")
    sides = {clip_id.rpartition("/")[2]: half for clip_id, half in table["half"].items() if "Ses01" in clip_id}
    assert sides == {
        "Ses01F_impro01_F000": "left",
        "Ses01F_impro01_M001": "right",
        "Ses01M_script02_2_F000": "right",
        "Ses01M_script02_2_M001": "left",
    }


def test_a_fold_is_a_session_and_a_clip_without_agreement_counts_nowhere(corpus: Path) -> None:
    manifest = from_iemocap(corpus, check_counts=False)
    labelled = manifest.select(list(manifest.table["clip_id"][manifest.table["emotion"] != ""]))
    folds = make_folds(labelled, FoldsConfig(protocol="official", group="corpus"))
    assert [fold.name for fold in folds] == ["1", "2", "3", "4", "5"]
    assert all(len(fold.test) == 3 and fold.speakers_known for fold in folds)


def test_the_published_counts_are_expected(corpus: Path) -> None:
    with pytest.raises(
        ManifestError,
        match=r"clips: 10,039 expected, 20 found; unlabelled: 2,507 expected, 5 found; .*fold 3: 2,136 expected",
    ):
        from_iemocap(corpus)


def test_an_unknown_code_is_named(corpus: Path) -> None:
    path = corpus / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.write_text(line("Ses01F_impro01_F000", "joy"))
    with pytest.raises(ManifestError, match=r"line 1 of `.*` has the label `joy`\n\nhint: expected neu, hap"):
        from_iemocap(corpus, check_counts=False)
