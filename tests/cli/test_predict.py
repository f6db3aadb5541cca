"""`predict`, `agree` and `bundle`, on the run of the toy corpus (SYNTHETIC clips)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from cimeu.sealed import unseal
from cimeu.timeline.formats import EVERY_FORMAT
from cimeu.timeline.timeline import DEMONSTRATION

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cimeu(cimeu: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in an empty folder with an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIMEU_HOME", str(tmp_path / "home"))
    return cimeu


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


def test_a_synthetic_model_is_used_only_when_it_is_named(toy, clip: Path, cimeu: Command) -> None:
    shutil.copytree(toy.run, "runs/toy-east-s0")
    status, _, err = cimeu("predict", clip, "-o", "results")
    assert status == 1
    assert "error: no model is named, and no real one is here" in err
    assert "\n  runs/toy-east-s0: DEMONSTRATION (synthetic clips), anger, " in err
    assert not Path("results").exists()
    status, _, err = cimeu("predict", clip, "-o", "results", "--model", "toy-east-s0", "--format", "csv")
    assert status == 0
    assert sorted(path.suffix for path in Path("results").glob(f"{clip.stem}.*")) == [".csv", ".json"]


def test_the_one_real_model_is_used_and_named(toy, clip: Path, cimeu: Command) -> None:
    shutil.copytree(toy.run, "runs/mine")
    unseal(Path("runs/mine"))
    for file in Path("runs/mine").glob("*/config.json"):
        said = json.loads(file.read_text())
        said["specifications"]["synthetic"] = False
        file.write_text(json.dumps(said))
    status, _, err = cimeu("predict", clip, "-o", "results", "--format", "rttm")
    assert status == 0
    assert err.startswith("model: runs/mine (the only real one here)\n")
    assert DEMONSTRATION not in Path("results", f"{clip.stem}.rttm").read_text()


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
    assert cimeu("predict", clip, "-o", "results", "--model", "given/model.zip", "--format", "csv")[0] == 0
    assert Path("results", f"{clip.stem}.csv").is_file()


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
