"""The command line: data on stdout, everything else on stderr, a deliberate error is one message."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer.main

from cimeu.cli.main import app
from cimeu.cli.terminal import parse_shard
from cimeu.errors import CimeuError, RecipeError
from cimeu.experiments.recipe import load_recipe
from cimeu.media.audio import write_sound

HEAVY = (
    "torch", "numpy", "pandas", "av", "transformers", "sklearn", "lightning_fabric", "matplotlib", "pyarrow",
    "pydantic",
)  # fmt: skip
Command = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
OPTION = r"(?<![\w-])--[a-z][a-z-]*"


def _texts(path: Path) -> Iterator[str]:
    """Every text of a source file, without what is filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.fixture(scope="module")
def messages() -> list[tuple[str, str]]:
    """Every text of the sources, with the name of its file."""
    return [(path.name, text) for path in sorted((ROOT / "src").rglob("*.py")) for text in _texts(path)]


def test_parsing_a_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, cimeu.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_names_every_command(cimeu: Command) -> None:
    status, out, _ = cimeu("--help")
    assert status == 0
    for name in ("prepare", "extract", "features", "train", "evaluate", "report", "bench", "predict"):
        assert re.search(rf"^\s+{name}\s", out, re.MULTILINE), name


def test_the_installed_command_prints_one_message_and_no_traceback(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("cimeu")
    done = subprocess.run([program, "train", "none.yaml"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: recipe `none.yaml` does not exist\n\nhint: give a file, or a name that `cimeu recipes list` shows\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prepare", "atlantis", "."), "unknown corpus `atlantis`"),
        (("prepare", "folder", "none"), "`none`"),
        (("prepare", "csv", ".", "--csv", "none.csv"), "none.csv"),
        (("prepare", "toy", "toy", "--strength", "2"), "`culture_strength` is 2.0"),
        (("extract", "none.csv"), "no manifest at `none.csv`"),
        (("extract", "{toy}", "-o", "features", "--shard", "3/2"), "shard `3/2` is not i/N"),
        (("extract", "{toy}", "-o", "features", "--encoder", "hogg"), "unknown encoder `hogg`"),
        (("features", "import", "none.txt", "--root", ".", "--encoder", "x"), "none.txt"),
        (("train", "none.yaml"), "recipe `none.yaml` does not exist"),
        (("train", "{recipe}", "training.epoch=3"), "unknown setting `training.epoch`"),
        (("train", "{recipe}", "epochs"), "`epochs` sets nothing"),
        (("train", "{recipe}", "seeds=[1"), "`seeds=[1` is not YAML"),
        (("train", "{recipe}", "fold=west"), "no fold `west`"),
        (("evaluate", "none"), "`none` is not a run folder"),
        (("report", "none"), "none"),
        (("bench", "{recipe}", "--methods", "fulll"), "unknown row `fulll`"),
        (("bench", "{recipe}", "--shard", "x"), "shard `x` is not i/N"),
        (("bench", "{recipe}", "--protocol", "matrx"), "unknown protocol `matrx`"),
        (("bench", "{recipe}", "--selection", "orcale"), "unknown selection `orcale`"),
        (("bench", "{recipe}", "--protocol", "few-shot", "--shots", "0,some"), "`0,some` is not a list of counts"),
        (("score", "none.csv", "{toy}"), "no predictions at `none.csv`"),
        (("adapt", "none", "--target", "{toy}"), "none"),
        (("extract", "{toy}", "--encoder", "hog", "--forward-only", "hogg"), "--forward-only `hogg` is not among"),
        (("predict", "none.mp4", "--model", "none"), "no model `none` is known here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_deliberate_error_is_a_message_with_its_way_out(
    toy, cimeu: Command, words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = cimeu(*(word.format(toy=toy.manifest, recipe=toy.recipe) for word in words))
    assert (status, out) == (1, "")
    error = err[err.index("error: ") :]
    assert message in error.splitlines()[0]
    assert re.search(r"\n\nhint: .+\n$", error)
    assert "Traceback" not in err


def test_an_option_that_does_not_exist_is_a_question_of_usage(cimeu: Command) -> None:
    status, out, err = cimeu("train", "--epochs", "3")
    assert (status, out) == (2, "")
    assert "--epochs" in err


@pytest.mark.parametrize(
    "words",
    [
        ("extract", "m.csv", "--encoder", "hog", "--workers", "-1"),
        ("extract", "m.csv", "--encoder", "hog", "--batch", "-1"),
        ("audit", "m.csv", "--workers", "-1"),
        ("overlap", "m.csv", "m.csv", "--workers", "-1"),
        ("bench", "toy/demo", "--workers", "-1"),
        ("bench", "toy/demo", "--seeds", "0"),
        ("bench", "toy/demo", "--tune", "-1"),
        ("adapt", "run", "--target", "m.csv", "--seed", "-1"),
    ],
)
def test_a_count_below_its_minimum_is_refused(cimeu: Command, words: tuple[str, ...]) -> None:
    status, _, err = cimeu(*words)
    assert status == 2
    assert f"Invalid value for '{words[-2]}': Input should be greater than or equal to" in err


def test_train_prints_its_run_folders_and_nothing_else(toy, cimeu: Command) -> None:
    status, out, err = cimeu("train", toy.recipe)
    assert (status, out) == (0, f"{toy.run}\n")
    assert "UAR" in err
    assert "synthetic clips" in err


def test_report_prints_the_page_and_nothing_else(toy, cimeu: Command, tmp_path: Path) -> None:
    assert cimeu("report", toy.run, "-o", tmp_path / "page.html")[:2] == (0, f"{tmp_path / 'page.html'}\n")


def test_bench_prints_the_table_and_nothing_else(toy, cimeu: Command, tmp_path: Path) -> None:
    words = ("bench", toy.recipe, "--methods", "majority,linear", "--seeds", "1", "--workers", "1", "-o", tmp_path)
    status, out, err = cimeu(*words)
    assert status == 0
    assert "majority" in out
    assert "2 cells run, 0 already there" in err
    assert "2 cells run" not in out


def test_prepare_counts_the_clips_that_cannot_be_used(toy, cimeu: Command, tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,emotion\nhere.wav,anger\ngone.wav,sadness\n")
    (tmp_path / "here.wav").write_bytes(b"x")
    manifest = tmp_path / "manifest.csv"
    status, out, err = cimeu("prepare", "csv", tmp_path, "--csv", tmp_path / "clips.csv", "-o", manifest)
    assert (status, out) == (3, "")
    assert f"{manifest}: 2 clips, 1 of them unusable (column `problem`)" in err
    assert "missing: 1 files below `" in err
    assert list(pd.read_csv(manifest, keep_default_na=False)["problem"]) == ["", "missing file"]


def test_prepare_of_missing_files_alone_is_an_error(cimeu: Command, tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,emotion\na.wav,anger\nb.wav,sadness\n")
    manifest = tmp_path / "manifest.csv"
    status, _, err = cimeu("prepare", "csv", tmp_path, "--csv", tmp_path / "clips.csv", "-o", manifest)
    assert status == 1
    assert f"none of the 2 clips can be used: missing file, such as `{tmp_path / 'a.wav'}`" in err
    assert f"name the folder that the paths start from instead of `{tmp_path}`" in err
    assert manifest.is_file()


def test_extract_keeps_what_is_there_and_lists_what_failed(toy, cimeu: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    (tmp_path / "manifest.csv").write_text("path,emotion\nbroken.mp4,anger\n")
    words = ("extract", tmp_path / "manifest.csv", "-o", tmp_path / "features", "--encoder", "hog", "--workers", "1")
    assert "1 clips computed, 0 already there" in cimeu(*words)[2]
    assert "0 clips computed, 1 already there" in cimeu(*words)[2]
    failures = pd.read_csv(tmp_path / "features" / "failures.csv")
    assert list(failures["clip_id"]) == ["broken"]
    assert failures["reason"].str.contains("broken.mp4").all()


def test_extract_counts_a_missing_file_as_failed(cimeu: Command, tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", np.random.default_rng(0).normal(size=8000).astype(np.float32) / 10)
    (tmp_path / "m.csv").write_text("path,emotion\na.wav,anger\nb.wav,anger\n")
    words = ("extract", tmp_path / "m.csv", "-o", tmp_path / "f", "--encoder", "prosody", "--workers", "1")
    status, _, err = cimeu(*words)
    assert status == 3
    assert "1 of 2 clips have all features, 1 failed: " in err


@pytest.mark.parametrize(("text", "shard"), [("1/1", (1, 1)), ("2/8", (2, 8)), ("8/8", (8, 8))])
def test_a_shard_is_one_of_so_many(text: str, shard: tuple[int, int]) -> None:
    assert parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "2", "0/8", "9/8", "a/b", "1/0", "-1/2", "1/2/3"])
def test_any_other_shard_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=f"shard `{text}` is not i/N\n\nhint: write 2/8"):
        parse_shard(text)


def test_every_command_and_option_that_a_message_names_exists(messages: list[tuple[str, str]]) -> None:
    commands = dict(_commands(typer.main.get_command(app)))
    known = set().union(*commands.values(), {"--help", "--version", "--revision"})  # the last one is of `hf download`
    named = [
        (command, set(re.findall(OPTION, command)))
        for _, text in messages
        for command in re.findall(r"`cimeu ([a-z][^`]*)`", text)
    ]
    assert len(named) > 20
    for command, options in named:
        fitting = [found for words, found in commands.items() if f"{command} ".startswith(f"{words} ")]
        assert fitting or command in ("weights", "features", "recipes"), command
        assert options <= set().union(*fitting), command
    sentences = [(name, text) for name, text in messages if " " in text.strip()]  # others are arguments of programs
    for name, text in sentences:
        ours = re.sub(r"`(?:ray|benchmarks/)[^`]*`|style=\"[^\"]*", "", text)
        assert set(re.findall(OPTION, ours)) <= known, f"{name}: {text}"


def test_every_setting_that_a_hint_names_exists(messages: list[tuple[str, str]]) -> None:
    hints = [text.split("hint: ", 1)[1] for _, text in messages if "hint: " in text]
    settings = {setting for hint in hints for setting in re.findall(r"\b([a-z]+(?:\.[a-z_]+)+)=", hint)}
    assert len(settings) > 5
    assert [setting for setting in sorted(settings) if "unknown setting" in _refusal(f"{setting}=null")] == []
    assert "unknown setting" in _refusal("training.epoch=null")


def _refusal(setting: str) -> str:
    """What a recipe says to a setting, if it refuses it."""
    try:
        load_recipe("toy/demo", [setting])
    except CimeuError as error:
        return str(error)
    return ""


def _commands(command: Any, words: str = "") -> Iterator[tuple[str, set[str]]]:
    """Words of each command, with its options."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{words} {name}".strip())
    else:
        yield words, {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
