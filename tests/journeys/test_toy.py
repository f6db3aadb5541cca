"""From files to a report and a timeline, on the real parts, once."""

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import cimeu
from cimeu.experiments.recipe import load_recipe
from cimeu.experiments.run import evaluate_run, run_recipe
from cimeu.inference.batch import predict_files

PROGRAM = Path(sys.executable).with_name("cimeu")


class Addresses(HTMLParser):
    """Everything a page asks a browser to fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.found += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data")]


def fetched_by(page: Path) -> list[str]:
    parser = Addresses()
    parser.feed(page.read_text(encoding="utf-8"))
    return [address for address in parser.found if not address.startswith(("#", "data:"))]


def test_evaluating_a_run_gives_the_numbers_that_training_wrote(toy, tmp_path: Path) -> None:
    written = (toy.run / "predictions.csv").read_bytes()
    evaluate_run(toy.run)
    assert (toy.run / "predictions.csv").read_bytes() == written


def test_the_report_of_a_toy_run_opens_offline_and_says_what_it_is(toy, tmp_path: Path) -> None:
    page = cimeu.report([toy.run], tmp_path / "report.html")
    assert fetched_by(page) == []
    assert "ynthetic" in page.read_text(encoding="utf-8").partition("<table")[0]
    figures = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    fused = next(row for row in figures["results"] if row["group"] == "east" and row["kind"] == "fused")
    rows = pd.read_csv(toy.run / "predictions.csv").query("part == 'test'")
    called = rows.filter(regex=r"^fused\.").idxmax(axis=1).str.removeprefix("fused.")
    recalls = (called == rows["emotion"]).groupby(rows["emotion"]).mean()
    assert fused["uar"]["value"] == pytest.approx(recalls.mean())
    assert fused["n_clips"] == len(rows) == 12


def test_a_clip_of_the_corpus_becomes_a_timeline(toy, tmp_path: Path) -> None:
    clip = toy.manifest.parent / "east" / "east01" / "anger_01.mp4"
    failures = predict_files([clip], tmp_path, toy.run).failures
    assert failures.empty
    said = json.loads((tmp_path / "anger_01.json").read_text(encoding="utf-8"))
    assert said["demonstration"] is True
    table = pd.read_csv(tmp_path / "anger_01.csv", comment="#")
    assert len(table) == len(said["segments"]) >= 1
    assert table["start_s"].iloc[0] == 0
    assert table["end_s"].iloc[-1] == pytest.approx(said["duration_s"], abs=0.05)
    assert fetched_by(tmp_path / "anger_01.html") in ([], [clip.name])


@pytest.mark.long
def test_a_training_that_was_killed_goes_on_to_the_same_predictions(toy, tmp_path: Path) -> None:
    settings = [f"output={tmp_path}"]
    run = tmp_path / toy.run.name
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    training = subprocess.Popen([PROGRAM, "train", toy.recipe, *settings], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(run.glob("*/resume.pt")):
        assert training.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    training.send_signal(signal.SIGKILL)
    assert training.wait() == -signal.SIGKILL
    assert not (run / "predictions.csv").exists()
    assert run_recipe(load_recipe(toy.recipe, settings)) == [run]
    assert (run / "predictions.csv").read_bytes() == (toy.run / "predictions.csv").read_bytes()
    assert not list(run.rglob("*partial*"))
