"""Every block of the tutorials runs as it stands; only the sizes of a training are replaced."""

import re
import shutil
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
QUICK = ["model.size=tiny", "training.epochs=1", "training.batch_size=16", "evaluation.probes=false", "data.workers=1"]
ON_TOY = ["streams.second.encoder=filterbank"]
"""The second stream whose features the toy run has left."""


@pytest.fixture
def workplace(toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the tutorials start from: manifest, features, a run, a recording and somebody's annotation."""
    clips = toy.manifest.parent
    (tmp_path / "manifest.csv").symlink_to(toy.manifest)
    for path in clips.iterdir():
        if path.is_dir():
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(toy.features, tmp_path / "features")
    shutil.copytree(toy.run, tmp_path / "runs" / toy.run.name)
    (tmp_path / "model.zip").symlink_to(toy.run)
    shutil.copy(clips / "east" / "east01" / "anger_01.mp4", tmp_path / "interview.mp4")
    (tmp_path / "mine.csv").write_text("start_s,end_s,label\n0,0.5,anger\n0.5,2,happiness\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_blocks(name: str) -> dict[str, object]:
    page = (TUTORIALS / name).read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        smaller = block.replace('"recordings", settings', f'"recordings", [*settings, *{[*QUICK, *ON_TOY]}]')
        exec(compile(smaller, name, "exec"), names)
    return names


@pytest.mark.long
def test_a_corpus_becomes_a_report(workplace: Path) -> None:
    names = run_blocks("corpus.md")
    assert [fold.name for fold in names["folds"]] == ["east", "north", "south"]
    assert [run.name for run in names["runs"]] == ["recordings-east-s0"]
    assert "east" in Path("report.md").read_text(encoding="utf-8")


def test_an_interview_becomes_a_timeline_and_tables(workplace: Path) -> None:
    names = run_blocks("interview.md")
    assert names["table"]["person"].nunique() == 1
    assert Path("results/interview.series.parquet").is_file()
    assert -1 <= names["agreement"].kappa <= 1


def test_a_run_says_what_a_culture_costs_and_what_its_primitives_hold(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run_blocks("culture.md")
    printed = capsys.readouterr().out
    assert re.search(r"toy-east-s0 validation \(north, south\): \d+\.\d \[", printed)
    assert re.search(r"toy-east-s0 test \(east\): \d+\.\d \[", printed)
    assert {"emotion", "raw", "style"} <= set(names["probes"]["representation"])
    assert names["rows"]["answered"].dtype == bool
