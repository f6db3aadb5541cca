from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from cimeu import plugins
from cimeu.baselines import registry
from cimeu.baselines.coral import CORAL, moment_distance
from cimeu.baselines.dann import DANN
from cimeu.baselines.erm import ERM
from cimeu.baselines.erm_balanced import BalancedERM
from cimeu.baselines.groupdro import GroupDRO
from cimeu.baselines.logit_adjustment import LogitAdjustment
from cimeu.baselines.mixstyle import MixStyle, moments
from cimeu.baselines.registry import METHODS, Method, method_named
from cimeu.baselines.task import Task
from cimeu.batching.collate import Batch
from cimeu.errors import RecipeError
from cimeu.evaluation.probes import probe
from cimeu.pyramid import Stream
from cimeu.training.optim import OptimiserConfig

WIDTH, STEPS, EMOTIONS, GROUPS = 6, 4, 2, 3


def task(**changes: object) -> Task:
    counts = torch.full((GROUPS, EMOTIONS), 16)
    plain = Task(emotions=EMOTIONS, first=WIDTH, counts=counts, updates=60, optimiser=OptimiserConfig(warm_up=0.0))
    return replace(plain, **changes)


def batch(group: int, seed: int, *, n: int = 32, spread: float = 1.0, strength: float = 3.0) -> Batch:
    """Emotion moves the first two features, the group the last three."""
    generator = torch.Generator().manual_seed(1000 * group + seed)
    emotion = torch.arange(n) % EMOTIONS
    features = spread * torch.randn(n, STEPS, WIDTH, generator=generator)
    features[:, :, :2] += 2.0 * torch.nn.functional.one_hot(emotion, 2)[:, None]
    features[:, :, 3 + group % 3] += strength
    stream = Stream(features, torch.ones(n, STEPS, dtype=torch.bool), torch.ones(n, dtype=torch.bool))
    return Batch(stream, None, emotion, torch.full((n,), -1), torch.arange(n))


def streams_of(clips: Batch) -> tuple[Stream | None, Stream | None]:
    return clips.first, clips.second


def vectors_of(method: ERM, clips: Batch) -> torch.Tensor:
    return method.backbone(*streams_of(clips))


def trained(method: ERM, updates: int = 60) -> ERM:
    method.train()
    for seed in range(updates):
        method.update([batch(group, seed) for group in range(GROUPS)])
    return method.eval()


def group_probe(method: ERM) -> float:
    """How well a fresh linear probe names the group from the vectors of new clips."""
    with torch.no_grad():
        vectors = [torch.cat([vectors_of(method, batch(group, seed)) for group in range(3)]) for seed in (900, 901)]
    group = np.repeat(np.arange(3), 32)
    result = probe(vectors[0].numpy(), group, vectors[1].numpy(), group, speakers=[str(i) for i in range(96)])
    assert result is not None
    return result.accuracy


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_learns_what_the_groups_share(name: str) -> None:
    torch.manual_seed(0)
    method = trained(METHODS[name](task()))
    with torch.no_grad():
        right = [(method.logits(batch(group, 900)).argmax(1) == batch(group, 900).emotion) for group in range(GROUPS)]
    assert torch.cat(right).float().mean() > 0.9


@pytest.mark.parametrize("name", list(METHODS))
def test_an_update_names_its_terms_and_their_sum(name: str) -> None:
    numbers = METHODS[name](task()).update([batch(group, 0) for group in range(GROUPS)])
    assert numbers["total"] == pytest.approx(sum(value for term, value in numbers.items() if term != "total"), rel=1e-5)


@pytest.mark.parametrize("name", list(METHODS))
def test_padding_and_a_missing_stream_never_change_the_scores_of_other_clips(name: str) -> None:
    torch.manual_seed(0)
    method = METHODS[name](task(second=WIDTH)).eval()
    clips = batch(0, 0, n=4)
    assert clips.first is not None
    absent = Stream(torch.zeros(4, STEPS, WIDTH), torch.zeros(4, STEPS, dtype=torch.bool), torch.zeros(4).bool())
    plain = method.logits(replace(clips, second=absent))
    padded = Stream(
        torch.cat([clips.first.features, torch.full((4, 3, WIDTH), 99.0)], 1),
        torch.cat([clips.first.mask, torch.zeros(4, 3, dtype=torch.bool)], 1),
        clips.first.present,
    )
    torch.testing.assert_close(method.logits(replace(clips, first=padded, second=absent)), plain)


def test_domain_adversarial_training_makes_the_group_harder_to_read() -> None:
    predictability = {}
    for kind in (ERM, DANN):
        torch.manual_seed(0)
        predictability[kind.name] = group_probe(trained(kind(task(updates=150)), 150))
    assert predictability["erm"] > 0.9
    assert predictability["dann"] < predictability["erm"] - 0.2


def test_coral_brings_the_moments_of_groups_together() -> None:
    apart = {}
    for kind in (ERM, CORAL):
        torch.manual_seed(0)
        method = trained(kind(task()))
        with torch.no_grad():
            vectors = [vectors_of(method, batch(group, 900)) for group in range(2)]
            scale = torch.cat(vectors).var(0).mean()
            apart[kind.name] = float(moment_distance(*vectors) / scale)
    assert apart["coral"] < 0.5 * apart["erm"]


def test_group_weights_move_to_the_worst_group() -> None:
    torch.manual_seed(0)
    method = GroupDRO(task(settings={"eta": 0.5}))
    confused = batch(2, 0)
    for seed in range(10):
        swapped = replace(confused, emotion=1 - confused.emotion)
        method.update([batch(0, seed), batch(1, seed), swapped])
    assert method.weights.argmax() == 2
    assert float(method.weights.sum()) == pytest.approx(1)


def test_logit_adjustment_undoes_the_priors_of_training() -> None:
    """Clips that say nothing, nine in ten of emotion 0: ERM learns the prior, logit adjustment does not."""
    scores = {}
    for kind in (ERM, LogitAdjustment):
        torch.manual_seed(0)
        method = kind(task(counts=torch.tensor([[90, 10]]), updates=80))
        for seed in range(80):
            mute = batch(0, seed, n=50, strength=0.0)
            assert mute.first is not None
            blank = replace(mute.first, features=torch.randn(50, STEPS, WIDTH) * 0.1)
            method.update([replace(mute, first=blank, emotion=(torch.arange(50) % 10 == 0).long())])
        with torch.no_grad():
            probabilities = method.eval().logits(batch(0, 900, strength=0.0)).softmax(1)
        scores[kind.name] = float(probabilities[:, 0].mean())
    assert scores["erm"] > 0.8
    assert 0.35 < scores["logit_adjustment"] < 0.65


def test_balanced_weights_are_inverse_frequencies_up_to_a_cap() -> None:
    method = BalancedERM(task(counts=torch.tensor([[30, 10], [400, 1]])))
    torch.testing.assert_close(method.weights[:, 1] / method.weights[:, 0], torch.tensor([3.0, 20.0]))


def test_mixed_clips_take_moments_of_other_groups_and_keep_their_shape_over_time() -> None:
    torch.manual_seed(0)
    method = MixStyle(task(settings={"chance": 1.0}))
    opened = [method.backbone.open(*streams_of(batch(group, 0)))[0] for group in range(GROUPS)]
    mixed = method._mixed(opened)

    def shape(features: torch.Tensor) -> torch.Tensor:
        return (features - features.mean(1, keepdim=True)) / features.std(1, keepdim=True)

    changed = (moments(mixed[0])[0] - moments(opened[0])[0]).abs().mean(1) > 1e-4
    assert changed.any()
    moving = opened[0].features.std(1) > 1e-2
    torch.testing.assert_close(
        shape(mixed[0].features).transpose(1, 2)[moving], shape(opened[0].features).transpose(1, 2)[moving],
        atol=1e-3, rtol=1e-3,
    )  # fmt: skip


def test_an_unknown_setting_of_a_method_is_an_error() -> None:
    with pytest.raises(RecipeError, match="method `coral` has no setting `wieght`\n\nhint: its settings: weight"):
        CORAL(task(settings={"wieght": 1.0}))


def test_an_unknown_method_is_an_error_with_a_guess() -> None:
    with pytest.raises(RecipeError, match="unknown method `gropdro`\n\nhint: did you mean `groupdro`"):
        method_named("gropdro")


def offered(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint("own", value, registry.ENTRY_POINTS)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])


def test_another_package_adds_a_method_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, "cimeu.baselines.erm:ERM")
    assert method_named("own") is ERM
    assert isinstance(method_named("own")(task()), Method)


def test_a_package_that_fails_to_import_ends_in_its_own_short_message(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, "cimeu.nowhere:Method")
    message = r"`own` of the package .* \(ModuleNotFoundError: .*\)\n\nhint: `python -c 'import cimeu.nowhere'` shows"
    with pytest.raises(RecipeError, match=message):
        method_named("own")


def test_another_package_must_offer_the_shape_of_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, "cimeu.model.rivals.backbone:Backbone")
    with pytest.raises(RecipeError, match="method `own` of another package lacks `update` or `logits`"):
        method_named("own")
