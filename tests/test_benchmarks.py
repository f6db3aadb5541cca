import runpy
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_finds_everything_it_imports(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(path.parent))
    assert callable(runpy.run_path(str(path), run_name="imported").get("main")), "a benchmark is run by `main`"


def test_the_page_of_published_figures_is_what_its_command_prints() -> None:
    folder = Path(__file__).parents[1]
    page = runpy.run_path(str(folder / "benchmarks" / "published_figures.py"), run_name="imported")["page"]
    assert (folder / "docs" / "results" / "benchmarks.md").read_text(encoding="utf-8") == page()
