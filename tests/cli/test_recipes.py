"""`cimeu recipes` shows what ships, and copies it."""

from pathlib import Path

import pytest

from cimeu.recipes import shipped_recipes


def test_every_recipe_is_listed_with_its_command(cimeu) -> None:
    status, out, _ = cimeu("recipes", "list")
    assert status == 0
    for recipe in shipped_recipes():
        assert f"{recipe.name}\n  {recipe.about}\n  {recipe.command}\n" in out


def test_a_copy_is_named_after_its_recipe(cimeu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cimeu("recipes", "copy", "toy/demo")[:2] == (0, "toy-demo.yaml\n")
    status, _, err = cimeu("recipes", "copy", "toy/demo")
    assert status == 1
    assert "`toy-demo.yaml` already exists" in err
    assert Path("toy-demo.yaml").read_text(encoding="utf-8").startswith("# cimeu train toy-demo.yaml ")
