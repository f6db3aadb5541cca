"""`predict`, `agree` and `bundle`, on the run of the toy corpus (SYNTHETIC clips)."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from cimeu.media.audio import RATE_HZ, write_sound
from cimeu.timeline.formats import EVERY_FORMAT
from cimeu.timeline.segments import DEMONSTRATION

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cimeu(cimeu: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in an empty folder with an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIMEU_HOME", str(tmp_path / "home"))
    return cimeu


def voice(duration_s: float) -> np.ndarray:
    """A buzzing tone in syllables, with pauses."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * harmonic * time_s) / harmonic for harmonic in range(1, 9))
    return (0.1 * buzz * np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1) * (time_s % 2 < 1.6)).astype(np.float32)


@pytest.fixture
def clip(toy) -> Path:
    return next(toy.manifest.parent.glob("east/east01/*.mp4"))


def test_a_model_of_synthetic_clips_marks_every_format(toy, clip: Path, cimeu: Command) -> None:
    status, out, err = cimeu("predict", clip, "-o", "results", "--model", toy.run, "--format", "all", "--explain")
    assert (status, out) == (0, "")
    assert "1 of 1 timelines written to results" in err
    for suffix in EVERY_FORMAT:
        path = Path("results", f"{clip.stem}{suffix}")
        if suffix == ".mp4":
            with av.open(str(path)) as container:
                content = container.metadata["comment"].encode()
        else:
            content = path.read_bytes()
        assert DEMONSTRATION.encode() in content, suffix
    explained = json.loads(Path("results", f"{clip.stem}.json").read_text())["explanations"][0]
    assert [each["stream"] for each in explained["streams"]] == ["face (hog)", "voice (filterbank)"]
    assert len(explained["neighbours"]) == len(explained["neighbours_with_style"]) == 5
    assert {each["culture"] for each in explained["neighbours"]} <= {"north", "south"}


def test_tables_of_a_study_are_checked_before_the_work_and_found_by_collect(cimeu: Command) -> None:
    write_sound(Path("speech.wav"), voice(3.0))
    Path("people.csv").write_text("file;participant;age\nspeech.wav;p01;30\nlost.mp4;p02;31\n")
    Path("events.csv").write_text("file,start,end,condition\nspeech,0,0:01,rest\n")
    words = ["predict", "speech.wav", "-o", "results", "--format", "series.parquet,csv", "--events"]
    status, _, err = cimeu(*words, "people.csv")
    assert (status, "no column `start`" in err, Path("results").exists()) == (1, True, False)
    status, _, err = cimeu(*words, "events.csv", "--participants", "people.csv")
    assert (status, "not among the recordings, though a table names it: lost.mp4" in err) == (0, True)
    status, _, err = cimeu("collect", "results", "-o", "study")
    assert (status, "events: `results/events.csv`, which lies beside the results" in err) == (3, True)
    assert "p01,rest,30," in Path("study", "participants.csv").read_text()


def test_a_recording_that_is_called_like_a_kept_table_is_refused_before_the_work(cimeu: Command) -> None:
    write_sound(Path("events.wav"), voice(3.0))
    Path("table.csv").write_text("file,start,end,condition\nevents,0,0:01,rest\n")
    status, _, err = cimeu("predict", "events.wav", "-o", "results", "--events", "table.csv")
    assert (status, "`events.wav` and the table `table.csv` would both be `events.csv`" in err) == (1, True)
    assert not Path("results").exists()


def test_without_a_model_the_voice_that_ships_answers_and_is_named(cimeu: Command) -> None:
    write_sound(Path("speech.wav"), voice(6.0))
    status, _, err = cimeu("predict", "speech.wav", "-o", "results", "--format", "csv,rttm")
    assert status == 0
    assert err.startswith("model: the voice model that ships with cimeu (research use; ")
    content = Path("results/speech.csv").read_text()
    assert re.search(r"^# model: cimeu-voice-[0-9a-f]{12}, ", content, re.MULTILINE)
    style = r"^# style: recording, from \d+ other windows of the same recording, without labels \(transductive\)"
    assert re.search(style, content, re.MULTILINE)
    assert any(line.startswith("voice,") and line.split(",")[6] == "voice" for line in content.splitlines())
    assert "SPEAKER speech 1 " in Path("results/speech.rttm").read_text()


@pytest.mark.parametrize("scope", ["none", "person"])
def test_the_scope_of_a_style_is_chosen_and_stands_in_the_export(cimeu: Command, scope: str) -> None:
    for name in ("one.wav", "two.wav"):
        write_sound(Path(name), voice(5.0))
    status, *_ = cimeu("predict", "one.wav", "two.wav", "-o", "results", "--style", scope, "--format", "csv")
    assert status == 0
    assert ("style: person, from " in Path("results/two.csv").read_text()) == (scope == "person")


def test_absent_weights_of_the_voice_are_named_with_the_command_that_gets_them(
    cimeu: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", "nowhere")
    status, _, err = cimeu("predict", "speech.wav", "-o", "results")
    assert status == 1
    assert "error: weights of `moonshine` are not at `" in err
    assert "cimeu weights fetch moonshine" in err


def test_an_unknown_format_is_refused(toy, clip: Path, cimeu: Command) -> None:
    status, _, err = cimeu("predict", clip, "-o", "results", "--model", toy.run, "--format", "csv,doc")
    assert status == 1
    assert "error: unknown format `.doc`\n\nhint: one of .csv, " in err


def test_weights_name_their_encoder(toy, clip: Path, cimeu: Command) -> None:
    status, _, err = cimeu("predict", clip, "--model", toy.run, "--weights", "models/wav2vec2")
    assert status == 1
    assert "error: `models/wav2vec2` is not name=value\n\nhint: such as --weights hub-sound=FOLDER" in err


def test_a_bundle_is_a_model(toy, clip: Path, cimeu: Command) -> None:
    status, out, err = cimeu("bundle", toy.run, "-o", "given/model.zip")
    assert (status, out) == (0, "given/model.zip\n")
    assert "MiB; its terms are in LICENCES.md" in err
    # Beside the run that it was made from: each writes to a folder of its name.
    words = "predict", clip, "-o", "results", "--format", "csv", "--model", "given/model.zip", "--model", toy.run
    status, _, err = cimeu(*words, "--style", "person")
    assert status == 0
    assert err.count(" reads no style: each window is answered alone (`training.supports=true` trains one)\n") == 2
    assert "2 models read each recording once together\n" in err
    assert "2 of 2 timelines written to results" in err
    bundled, run = (Path("results", name, f"{clip.stem}.csv").read_text() for name in ("model", toy.run.name))
    assert bundled == run


def test_two_models_of_one_name_are_refused(cimeu: Command) -> None:
    status, _, err = cimeu("predict", "a.wav", "--model", "runs/a", "--model", "other/a")
    assert status == 1
    assert "2 models are called `a`, and each writes to a folder of its name\n\nhint: predict with one" in err


def test_agree_prints_the_page_and_nothing_else(cimeu: Command) -> None:
    Path("human.csv").write_text("start_s,end_s,label\n0,2,Angry\n2,4,sadness\n")
    Path("model.csv").write_text("start_s,end_s,label\n0,4,anger\n")
    status, out, err = cimeu("agree", "human.csv", "model.csv", "-o", "out/agreement.html", "--grid", "0.5")
    assert (status, out) == (0, "out/agreement.html\n")
    assert "kappa 0.00, same label 50% (50% by chance) of 4 s" in err
    assert "labels that one side never uses: sadness" in err
    assert json.loads(Path("out/agreement.json").read_text())["grid_s"] == 0.5


def test_agree_says_what_it_cannot_read(cimeu: Command) -> None:
    status, out, err = cimeu("agree", "none.eaf", "none.csv")
    assert (status, out) == (1, "")
    assert "error: `none.eaf` does not exist\n\nhint: give the file of an annotation" in err


def test_thresholds_are_set_by_name_and_stand_in_every_result(toy, clip: Path, cimeu: Command) -> None:
    words = ("--setting", "minimum_s=0.5", "--setting", "abstain_unlike=no")
    assert cimeu("predict", clip, "-o", "results", "--model", toy.run, "--format", "csv", *words)[0] == 0
    head = Path("results", f"{clip.stem}.csv").read_text()
    assert "minimum_s 0.5" in head
    assert "abstain_unlike 0" in head


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("minimun_s=2", "unknown setting `minimun_s` of the timeline"),
        ("minimum_s", "`minimum_s` is not name=value"),
        ("hop_s=0", "hop_s is 0.0"),
    ],
)
def test_a_threshold_that_cannot_be_is_refused_before_anything_is_read(
    cimeu: Command, setting: str, message: str
) -> None:
    status, _, err = cimeu("predict", "a.mp4", "--model", "nowhere", "--setting", setting)
    assert (status, message in err) == (1, True), err
