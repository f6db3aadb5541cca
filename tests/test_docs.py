"""The documentation speaks of the package as it is."""

import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest
import typer.main

import cimeu
from cimeu.cli.main import app
from cimeu.encoders.presets import PRESETS
from cimeu.experiments.recipe import EvaluationConfig
from cimeu.model.config import SIZES
from cimeu.training.config import TrainingConfig
from cimeu.training.objective import LossWeights

DOCS = Path(__file__).parents[1] / "docs"
GENERATED = DOCS / "reference" / "cli.md"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts and page != GENERATED]
METHOD = (DOCS / "concepts" / "method.md").read_text(encoding="utf-8")


def test_every_public_name_stands_in_the_reference() -> None:
    reference = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"::\s+cimeu\.(\w+)$", reference, re.MULTILINE)) - {"errors"} == set(cimeu.__all__)


def test_every_public_name_can_be_imported() -> None:
    for name in cimeu.__all__:
        assert getattr(cimeu, name).__name__ == name


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module `cimeu` has no attribute `Trainer`"):
        cimeu.Trainer  # noqa: B018


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_one_of_the_program(page: Path) -> None:
    program = typer.main.get_command(app)
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in "\n".join(blocks).splitlines():
        if line.startswith("cimeu "):
            words = shlex.split(line.split("#")[0])[1:]
            command = program
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            command.make_context(line, words)  # fails for an option or argument it does not have


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_a_page_points_to_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"benchmarks/[\w/]+\.py", text)
    assert [path for path in named if not (DOCS.parent / path).exists()] == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parents[1].name != "results"], ids=lambda page: page.stem
)
def test_a_table_of_figures_stands_beside_the_command_that_prints_it(page: Path) -> None:
    for section in re.split(r"^#+ ", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        figures = re.findall(r"^\|.*\b\d{2}\.\d\b.*\|$", section, re.MULTILINE)
        assert not figures or re.search(r"\b(cimeu [a-z]+|python benchmarks/)", section), section.splitlines()[0]


def test_the_command_reference_has_every_command_and_option_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    from command_line import command_reference

    page, program = command_reference(), typer.main.get_command(app)
    sections = dict(re.findall(r"^## `cimeu (.*?)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    commands = {name: command for name, command in program.commands.items() if not command.hidden}
    for group in [name for name, command in commands.items() if getattr(command, "commands", None)]:
        commands |= {f"{group} {name}": child for name, child in commands.pop(group).commands.items()}
    assert sections.keys() == commands.keys()
    for name, command in commands.items():
        for parameter in command.params:
            if parameter.name != "help" and not getattr(parameter, "hidden", False):
                assert max(parameter.opts, key=len).lower().lstrip("-") in sections[name].lower(), name


def test_how_to_stands_before_the_method() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert index.index("install.md") < index.index("guides/") < index.index("concepts/")


def test_the_method_page_gives_the_weights_that_training_starts_from() -> None:
    weights = asdict(LossWeights())
    for term in ("reconstruction", "style", "style_adversary", "emotion_adversary", "covariance"):
        assert re.search(rf"^\| `{term}` \| {weights[term]:g} \|", METHOD, re.MULTILINE), term
    assert f"(`model.alignment`; weight {weights['alignment']:g})" in METHOD


def test_the_method_page_gives_the_sizes_of_the_networks() -> None:
    for name, size in SIZES.items():
        row = f"{size.width} | {size.temporal_mlp} | {size.layers} | {size.feed_forward} | "
        assert re.search(
            rf"^\| `{name}`.* \| {re.escape(row)}{size.ast_layers} layers of {size.ast_width} \|$", METHOD, re.M
        )


def test_pages_give_the_defaults_of_training_and_evaluation() -> None:
    config = TrainingConfig()
    assert f"`training.adversary_steps` ({config.adversary_steps})" in METHOD
    assert f"`training.optimiser.adversary_rate` ({config.optimiser.adversary_rate:g})" in METHOD
    assert f"AdamW at {config.optimiser.learning_rate:g} with weight decay" in METHOD
    assert f"at most {config.epochs}\nepochs, stopping {config.patience} epochs after" in METHOD
    evaluation = (DOCS / "concepts" / "evaluation.md").read_text(encoding="utf-8")
    assert f"`evaluation.coverage` ({EvaluationConfig().coverage:g})" in evaluation


def test_the_guide_on_extraction_has_every_preset_as_it_is() -> None:
    guide = (DOCS / "guides" / "extraction.md").read_text(encoding="utf-8")
    for name, preset in PRESETS.items():
        layer = f"{preset.settings['layer']} of {preset.depth}"
        facts = (f"`{name}`", f"`{preset.model}`", layer, preset.width, preset.licence, preset.trained_on)
        assert "| " + " | ".join(map(str, facts)) + " |\n" in guide
