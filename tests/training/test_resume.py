"""What a stopped run leaves: one flat tensor a dtype, and the form before it."""

from pathlib import Path

import torch
from torch import Tensor

from cimeu.model.checkpoint import Specifications
from cimeu.model.network import CiMEU
from cimeu.training.resume import pack, resumed, saved, unpack

from .conftest import network_of


def state() -> dict[str, object]:
    return {
        "model": {"weight": torch.arange(6.0).reshape(2, 3).T, "mask": torch.tensor([True, False])},
        "optimiser": {"state": {0: {"step": torch.tensor(3.0)}}, "groups": [{"params": [0], "betas": (0.9, 0.99)}]},
        "best": {},
        "best_uar": None,
        "styles": torch.tensor([1, 0, 2]),
        "entries": [{"epoch": 1, "loss": 0.5}],
    }


def same(one: object, other: object) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def test_what_was_packed_comes_back_in_memory_of_its_own() -> None:
    tree, flat = pack(state())
    assert {dtype: tensor.tolist() for dtype, tensor in flat.items()} == {
        torch.float32: [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 3.0],
        torch.bool: [True, False],
        torch.int64: [1, 0, 2],
    }
    restored = unpack(tree, flat)
    assert same(restored, state())
    restored["model"]["weight"].zero_()
    assert same(unpack(tree, flat), state())


def test_a_run_that_an_earlier_version_stopped_goes_on(tmp_path: Path) -> None:
    torch.save({"identity": {"processes": 1}, **state()}, tmp_path / "resume.pt")
    assert same(saved(tmp_path, {"processes": 1}), state())


def test_the_best_score_of_an_earlier_version_has_another_name(tmp_path: Path) -> None:
    config = network_of()
    network = CiMEU(config, Specifications(emotions=config.emotions))
    optimiser = torch.optim.AdamW(network.parameters())
    parts = {"model": network.state_dict(), "optimiser": optimiser.state_dict()}
    earlier = {**parts, "epoch": 3, "best_epoch": 2, "best_uar": 0.6}
    state = resumed(tmp_path, earlier, network, optimiser)
    assert (state.epoch, state.best_epoch, state.best_score) == (3, 2, 0.6)
