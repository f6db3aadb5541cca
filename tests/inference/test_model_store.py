import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from cimeu.errors import RecipeError
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.inference.bundle import write_bundle
from cimeu.inference.model_store import STARTER, FoundModel, found_models, home, model_id, model_named

from .conftest import RunMaker


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an empty home of models beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CIMEU_HOME", str(tmp_path / "home"))
    return tmp_path / "here"


def test_the_home_is_named_by_the_environment(here: Path) -> None:
    assert home() == here.parent / "home"


def test_without_a_name_the_home_is_the_platforms_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIMEU_HOME", raising=False)
    assert home().name == "cimeu"
    assert home().is_absolute()


def test_runs_bundles_and_the_home_are_searched(here: Path, make_run: RunMaker) -> None:
    shutil.copytree(make_run(), here / "runs" / "toy-run")
    shutil.copytree(make_run("hog", None, synthetic=False), here / ".demo" / "runs" / "real-run")
    write_bundle(make_run("hog", None), here.parent / "home" / "models" / "given.zip")
    (here / "runs" / "notes.txt").write_text("no model")
    (here / "runs" / "unfinished").mkdir()
    (here.parent / "home" / "models" / "broken.zip").write_bytes(b"PK no zip")
    assert [str(model.path) for model in found_models()] == [
        "runs/toy-run",
        ".demo/runs/real-run",
        str(home() / "models" / "given.zip"),
    ]


def test_a_model_in_a_list_says_what_it_is(here: Path, make_run: RunMaker) -> None:
    shutil.copytree(make_run(), here / "runs" / "toy-run")
    assert str(found_models()[0]) == (
        "runs/toy-run: DEMONSTRATION (synthetic clips), anger, happiness, sadness; from hog and spectral; "
        "trained on corpora not recorded"
    )


def test_without_a_name_the_model_that_ships_is_used(here: Path, make_run: RunMaker) -> None:
    shutil.copytree(make_run("hog", None, synthetic=False), here / "runs" / "real-run")
    assert model_named(None) == model_named("voice") == STARTER
    assert (STARTER / "ensemble.json").is_file()


def test_the_model_that_ships_keeps_its_name_where_it_is_copied(tmp_path: Path) -> None:
    ensemble, copy = EnsembleSettings.load(STARTER), shutil.copytree(STARTER, tmp_path / "unpacked")
    assert model_id(copy, ensemble) == model_id(STARTER, ensemble)
    assert model_id(STARTER, ensemble).startswith("cimeu-voice-")
    config = copy / "forward" / "config.json"
    config.write_text(config.read_text() + " ")
    assert re.fullmatch(r"cimeu-[0-9a-f]{12}", model_id(copy, ensemble))


def test_a_model_here_wins_over_the_name_of_the_one_that_ships(here: Path, make_run: RunMaker) -> None:
    shutil.copytree(make_run("hog", None, synthetic=False), here / "runs" / "voice")
    assert model_named("voice") == Path("runs/voice")


def test_a_folder_of_results_does_not_hide_the_model_of_its_name(here: Path) -> None:
    (here / "voice").mkdir()
    (here / "voice" / "interview.csv").touch()
    assert model_named("voice") == STARTER
    assert model_named("./voice") == Path("voice")  # a path, not a name
    assert model_named(here / "voice") == here / "voice"
    (here / "voice" / "ensemble.json").touch()  # a damaged run is what was named
    assert model_named("voice") == Path("voice")


def test_a_folder_without_a_run_is_named_as_it_is_where_nothing_else_has_its_name(here: Path) -> None:
    (here / "results").mkdir()
    assert model_named("results") == Path("results")


def test_a_bundle_is_found_by_its_name(here: Path, make_run: RunMaker) -> None:
    write_bundle(make_run(), home() / "models" / "given.zip")
    assert model_named("given") == model_named("given.zip") == home() / "models" / "given.zip"


def test_a_name_that_is_nowhere_is_an_error(here: Path) -> None:
    with pytest.raises(RecipeError, match=r"no model `nowhere` is known here\n\nhint: name one with --model"):
        model_named("nowhere")


def test_a_path_is_taken_as_it_is(here: Path) -> None:
    (here / "some").mkdir()  # without it, the name would be one of the hub
    assert model_named("some/where") == Path("some/where")
    assert model_named("some/where/deeper") == Path("some/where/deeper")


def test_a_model_without_its_description_is_none(here: Path, make_run: RunMaker) -> None:
    shutil.copytree(make_run(), here / "runs" / "cut")
    for direction in ("forward", "backward"):
        (here / "runs" / "cut" / direction / "config.json").write_text(json.dumps({"model": {}}))
    assert found_models() == []


def test_a_real_model_is_not_called_a_demonstration() -> None:
    model = FoundModel(path=Path("a"), emotions=("anger",), encoders=("hog",), corpora=("one", "two"), synthetic=False)
    assert str(model) == "a: anger; from hog; trained on one, two"


def test_what_is_not_named_is_not_opened(here: Path, make_run: RunMaker) -> None:
    """A pipe would wait for a writer for ever, and an archive may expand to any size."""
    shutil.copytree(make_run(), here / "runs" / "toy-run")
    os.mkfifo(here / "pipe.zip")
    with zipfile.ZipFile(here / "planted.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("forward/config.json", bytes(100_000_000))
    assert model_named("toy-run") == Path("runs/toy-run")
    assert model_named("runs/toy-run") == Path("runs/toy-run")
    assert [model.path for model in found_models()] == [Path("runs/toy-run")]


@pytest.mark.parametrize("content", ["{}", "[]", '{"specifications": []}', '{"specifications": {"emotions": 3}}', ""])
def test_an_archive_without_a_description_is_no_model(here: Path, content: str) -> None:
    with zipfile.ZipFile(here / "x.zip", "w") as archive:
        archive.writestr("forward/config.json", content)
    assert found_models() == []
