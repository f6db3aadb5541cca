import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cimeu.model.style_set import trust
from cimeu.model.support_rule import stream_config
from cimeu.training.style_set import styles_of

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_finds_everything_it_imports(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(path.parent))
    assert callable(runpy.run_path(str(path), run_name="imported").get("main")), "a benchmark is run by `main`"


def test_the_page_of_published_figures_is_what_its_command_prints() -> None:
    folder = Path(__file__).parents[1]
    page = runpy.run_path(str(folder / "benchmarks" / "published_figures.py"), run_name="imported")["page"]
    assert (folder / "docs" / "results" / "benchmarks.md").read_text(encoding="utf-8") == page()


class SyntheticSupports:
    """A random pool of clips with supports of 0 to 6 of them, and the set encoder of `learned_style.py`."""

    def __init__(self) -> None:
        path = Path(__file__).parents[1] / "benchmarks" / "learned_style.py"
        module: dict[str, Any] = runpy.run_path(str(path), run_name="imported")
        generator = torch.Generator().manual_seed(0)
        self.z, deltas = (torch.randn(n, 5, generator=generator) for n in (20, 3))
        self.posteriors = torch.randn(20, 3, generator=generator).softmax(1)
        supports = [np.array(rows, int) for rows in 5 * ([], [3], [1, 4, 9], [0, 2, 5, 7, 11, 19])]
        marked = torch.tensor([[row in support for row in range(20)] for support in supports])
        self.trust = trust(self.posteriors, marked, 2.0)
        config = stream_config(("anger", "neutral", "sadness"), 5, 1.0)
        self.rule, _ = styles_of(self.z, self.posteriors, supports, deltas, config)
        index = torch.full((20, 6), -1)
        for place, support in enumerate(supports):
            index[place, : len(support)] = torch.from_numpy(support)
        self.sets = module["Sets"](index, self.trust, self.rule, 1.0)
        torch.manual_seed(0)
        self.style = module["LearnedStyle"](deltas, 4)

    def learned(self) -> None:
        """Move every parameter, as a training does."""
        with torch.no_grad():
            for parameter in self.style.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))


def test_a_style_that_has_learned_nothing_yet_is_the_linear_rule() -> None:
    given = SyntheticSupports()
    offset, scale, trusted = given.style(given.z, given.posteriors, given.sets)
    torch.testing.assert_close(offset, given.rule)
    torch.testing.assert_close(trusted, given.trust)
    assert not scale.any()


def test_a_learned_style_is_the_same_in_any_order_of_the_support_and_nothing_without_one() -> None:
    given = SyntheticSupports()
    given.learned()
    before = given.style(given.z, given.posteriors, given.sets)
    assert (before[0] - given.rule)[1:].abs().max() > 0.01, "something was learned"
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    place = torch.cat([order.argsort(), torch.tensor([-1])])  # -1 stays: no clip
    index = place[given.sets.index][:, torch.randperm(6, generator=torch.Generator().manual_seed(3))]
    shuffled = type(given.sets)(index, given.trust, given.rule, 1.0)
    after = given.style(given.z[order], given.posteriors[order], shuffled)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)
        assert not one[0].any(), "the first support is empty"
