"""What surrounds the code: files for contributors, workflows, the image, the metadata of the distribution."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
import typer.main
import yaml
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from cimeu.cli.main import app

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def parse_command(line: str) -> None:
    """Fail for a command, option or argument that the program does not have."""
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if words[0] == "--help":
            return
        command = command.commands[words.pop(0)]
    command.make_context(line, words)


def commands_in(script: str) -> list[str]:
    """Calls of `cimeu`, by whatever path, in lines of a shell script."""
    return re.findall(r"^\s*(?:- run: )?(?:\S*/)?(cimeu .*)$", script, re.MULTILINE)


def test_workflows_have_the_form_that_their_runner_reads() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_targets_and_commands_that_are_there(workflow: Path) -> None:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    script = "\n".join(scripts)
    assert set(re.findall(r"^make ([\w-]+)", script, re.MULTILINE)) <= TARGETS
    for path in re.findall(r"^(\.ci/\S+)", script, re.MULTILINE):
        assert (ROOT / path).is_file()
    for command in commands_in(script):
        parse_command(command)


def test_continuous_integration_runs_what_runs_on_a_fresh_machine_on_every_supported_python() -> None:
    jobs = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    versions = jobs["test"]["strategy"]["matrix"]["python-version"]
    named = [each.rsplit(" ", 1)[1] for each in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert versions == named
    assert {"run": ".ci/run"} in jobs["test"]["steps"]
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}"


@pytest.mark.parametrize("form", [form for form in FORMS if form.stem != "config"], ids=lambda path: path.stem)
def test_issue_forms_have_a_name_and_fields_with_labels(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert content["name"]
    assert content["description"]
    for field in content["body"]:
        assert field["type"] in ("textarea", "input", "checkboxes", "dropdown", "markdown")
        assert field["attributes"]["label"]
    identifiers = [field["id"] for field in content["body"]]
    assert len(set(identifiers)) == len(identifiers)


def test_the_image_copies_what_is_there_and_starts_a_server_that_asks_for_a_token() -> None:
    lines = re.sub(r"\\\n", " ", text("Dockerfile")).splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert instructions[0][0] == "FROM"
    assert {name for name, _ in instructions} <= {*("FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE")} | {
        *("HEALTHCHECK", "CMD")
    }
    admitted = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    for name, rest in instructions:
        if name == "COPY":
            sources = rest.split()[:-1]
            assert all((ROOT / source).exists() for source in sources)
            assert set(sources) <= admitted
    assert [rest for name, rest in instructions if name == "USER"] == ["1000"]
    started = yaml.safe_load(next(rest for name, rest in instructions if name == "CMD"))
    parse_command(shlex.join(started))
    assert started[started.index("--host") + 1] == "0.0.0.0"


def test_the_hooks_before_a_commit_have_a_repository_a_revision_and_names() -> None:
    for repository in yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]:
        assert repository["repo"].startswith("https://")
        assert repository["rev"]
        assert all(hook["id"] for hook in repository["hooks"])


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md"])
def test_pages_for_contributors_name_files_and_targets_that_are_there(page: str) -> None:
    content = text(page)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", content) if "://" not in link]
    paths = re.findall(r"`((?:src|tests|docs)/[\w/.]*|[A-Z_]+\.(?:md|cff))`", content)
    assert [path for path in (*links, *paths) if "NAME" not in path and not (ROOT / path).exists()] == []
    assert set(re.findall(r"^make ([\w-]+)", content, re.MULTILINE)) <= TARGETS


def test_every_addition_touches_at_most_three_files() -> None:
    rows = re.findall(r"^\| an? ([\w ]+) \| (.*) \|$", text("CONTRIBUTING.md"), re.MULTILINE)
    assert [kind for kind, _ in rows] == [
        *("corpus", "encoder", "loss", "baseline", "export"),
        *("fusion rule", "smoothing", "report column", "face detector", "training option"),
    ]
    for kind, files in rows:
        changed = set(re.findall(r"`((?:src|tests)/[^`]+)`", files)) - set(re.findall(r"start from `([^`]+)`", files))
        assert 2 <= len(changed) <= 3, kind
        assert [path for path in changed if "NAME" not in path and not (ROOT / path).exists()] == [], kind


def test_the_wheel_carries_licence_and_notices() -> None:
    for name in PROJECT["project"]["license-files"]:
        assert (ROOT / name).is_file()
    assert PROJECT["project"]["license-files"] == ["LICENSE", "NOTICES.md", "src/cimeu/starter/LICENSE.md"]


def test_every_tool_of_the_tests_has_a_pinned_version() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in text("constraints.txt").splitlines() if "==" in line
    }
    named = [
        re.split(r"[\[>=<]", requirement)[0].lower()
        for requirement in (*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"])
    ]
    assert [name for name in named if name not in pinned] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("cimeu", cache_dir=None)
    names = sorted(graph.modules)
    rows = [
        [int(other in imported) for other in names] for imported in map(graph.find_modules_directly_imported_by, names)
    ]
    _, circle_of = connected_components(csr_array(rows), connection="strong")
    circles: dict[int, list[str]] = {}
    for name, circle in zip(names, circle_of.tolist(), strict=True):
        circles.setdefault(circle, []).append(name)
    assert [members for members in circles.values() if len(members) > 1] == []
