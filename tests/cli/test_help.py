"""Help: commands by use, an example each, a corpus's options alone, versions and completion."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import typer.main

from cimeu.cli.help import EXAMPLES, example_words
from cimeu.cli.main import app
from cimeu.cli.prepare import APPLIES_TO, EXAMPLE_OF

Command = Callable[..., tuple[int, str, str]]


def leaf(name: str) -> Any:
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    return command


def names(command: Any, words: tuple[str, ...] = ()) -> list[str]:
    if not hasattr(command, "commands"):
        return [" ".join(words)]
    return [name for word, inner in command.commands.items() for name in names(inner, (*words, word))]


def test_commands_are_listed_by_what_they_are_for(cimeu: Command) -> None:
    help_text = cimeu("--help")[1]
    panels = dict(re.findall(r"^(\w+):\n((?:  \w.*\n?)+)", help_text, re.MULTILINE))
    assert {panel: re.findall(r"^  (\w+)", rows, re.MULTILINE) for panel, rows in panels.items()} == {
        "Data": ["prepare", "audit", "overlap", "extract", "features", "weights"],
        "Train": ["train", "adapt", "recipes"],
        "Judge": ["bench", "evaluate", "report", "score", "submit", "agree"],
        "Use": ["predict", "collect", "utterances", "embed", "bundle", "publish", "serve"],
    }


@pytest.mark.parametrize("name", names(typer.main.get_command(app)))
def test_every_command_has_an_example_that_parses(cimeu: Command, name: str) -> None:
    assert f"Example:\n    {EXAMPLES[name]}\n" in cimeu(*name.split(), "--help")[1]
    leaf(name).make_context(name, example_words(name))


@pytest.mark.parametrize("corpus", EXAMPLE_OF)
def test_the_example_of_a_corpus_parses(corpus: str) -> None:
    assert leaf("prepare").make_context("prepare", EXAMPLE_OF[corpus].split()[2:]).params["corpus"] == corpus


@pytest.mark.parametrize(
    ("corpus", "own"),
    [
        ("toy", {"takes", "speakers", "strength", "habit", "seed"}),
        ("folder", {"name", "csv", "column"}),
        ("mafw", {"task", "allow-partial"}),
        ("emodb", {"allow-partial"}),
    ],
)
def test_help_behind_a_corpus_shows_its_options_alone(cimeu: Command, corpus: str, own: set[str]) -> None:
    options = set(re.findall(r"^  --([a-z-]+)", cimeu("prepare", corpus, "--help")[1], re.MULTILINE)) - {"help"}
    others = {option.replace("_", "-").replace("lists", "list") for option in APPLIES_TO} | {"allow-partial"}
    assert options & others == own


def test_an_option_of_another_corpus_is_refused(cimeu: Command) -> None:
    status, _, err = cimeu("prepare", "folder", ".", "--speaker", "x")
    assert (status, "--speaker does not apply to `folder`\n\nhint: it is for lists" in err) == (1, True)
    status, _, err = cimeu("prepare", "folder", ".", "--allow-partial")
    assert (status, "--allow-partial does not apply to `folder`" in err) == (1, True)


def test_the_version_is_the_packages(cimeu: Command) -> None:
    assert cimeu("--version") == (0, f"cimeu {version('cimeu')}\n", "")


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "cimeu", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"cimeu {version('cimeu')}\n"


@pytest.mark.parametrize(
    ("line", "completions"), [("cimeu pre", ["predict", "prepare"]), ("cimeu train toy/", ["toy/demo"])]
)
def test_a_shell_completes_commands_and_recipes(line: str, completions: list[str]) -> None:
    words = {"_CIMEU_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    program = [sys.executable, "-c", "from cimeu.cli.main import main; main()"]
    code = "import sys; sys.argv[0] = 'cimeu'; from cimeu.cli.main import main; main()"
    done = subprocess.run([*program[:2], code], env=os.environ | words, capture_output=True, text=True, check=True)
    assert set(completions) <= set(done.stdout.split())
