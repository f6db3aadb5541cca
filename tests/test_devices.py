"""One place decides where networks are computed, and in which precision."""

import pytest
import torch

from cimeu import devices
from cimeu.devices import Placement, choose_device, choose_precision, describe_device
from cimeu.errors import RecipeError

CPU = torch.device("cpu")
A100, T4 = (8, 0), (7, 5)


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What PyTorch says on a machine with an A100 and a T4."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: T4 if device.index == 1 else A100)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "T4" if device.index == 1 else "A100")


def processor_with(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr(devices, "_processor_flags", lambda: frozenset(flags))


@pytest.mark.parametrize(
    ("flags", "precision"),
    [(("avx2", "avx512f"), "fp32"), (("avx512_bf16",), "bf16"), (("amx_bf16",), "bf16"), (("asimd", "bf16"), "bf16")],
)
def test_a_processor_computes_in_bf16_only_where_it_multiplies_it(
    flags: tuple[str, ...], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor_with(monkeypatch, *flags)
    assert choose_precision("auto", CPU) == precision


def test_a_card_computes_in_bf16_only_from_ampere_on(two_cards: None) -> None:
    assert Placement.choose("cuda:0") == Placement(torch.device("cuda:0"), "bf16")
    assert Placement.choose("cuda:1") == Placement(torch.device("cuda:1"), "fp32")


def test_a_card_is_taken_where_there_is_one(two_cards: None) -> None:
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cpu") == CPU


def test_without_a_card_the_processor_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_precision_that_is_named_is_taken_everywhere(precision, monkeypatch: pytest.MonkeyPatch) -> None:
    processor_with(monkeypatch)
    assert choose_precision(precision, CPU) == precision


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"unknown device `{name}`\n\nhint: auto, cpu, cuda, or cuda:1"):
        choose_device(name)


def test_a_card_that_is_not_there_is_refused(two_cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"device `cuda:2` is not on this machine, which has 2 CUDA devices"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match=r"device `cuda` is not on this machine, which has 0 CUDA devices"):
        choose_device("cuda")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"unknown precision `fp16`\n\nhint: one of auto, bf16, fp32"):
        Placement.choose("cpu", "fp16")


def test_what_was_chosen_is_printed_with_what_the_hardware_can_do(
    two_cards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor_with(monkeypatch)
    assert describe_device(CPU).endswith("no native bf16)")
    assert str(Placement.choose("cuda:1")) == "fp32 on cuda:1 (T4, no native bf16)"


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_placed_network_computes_without_gradients_near_fp32(precision) -> None:
    torch.manual_seed(0)
    network, batch = torch.nn.Linear(64, 8), torch.randn(4, 64)
    expected = network(batch).detach()
    placement = Placement(CPU, precision)
    with placement.arithmetic():
        computed = placement.place(network)(batch.to(placement.dtype))
    assert not computed.requires_grad
    assert torch.nn.functional.cosine_similarity(computed.float(), expected).min() > 0.999
    assert torch.equal(computed.float(), expected) == (precision == "fp32")
