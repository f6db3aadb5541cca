"""A few labels of a new group, and what they may and may not change."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from cimeu.batching.collate import collator_of
from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.manifest import Manifest
from cimeu.errors import EmptyClass, RecipeError
from cimeu.evaluation.metrics import predicted_labels, uar
from cimeu.evaluation.predict import direction_probabilities, score_clips
from cimeu.model.checkpoint import Specifications
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU
from cimeu.training.finetune import (
    FineTuning,
    Part,
    correct_prior,
    divide_target,
    estimated_prior,
    fine_tune,
    labelled,
    parameters_of,
)

EMOTIONS = ("anger", "neutral", "sadness")


@pytest.fixture(scope="module")
def target(world: Any) -> Manifest:
    """The clips of one culture."""
    table = world.manifest.table
    return world.manifest.select(list(table["clip_id"][table["culture"] == "c2"]))


@pytest.fixture
def model(world: Any, target: Manifest) -> CiMEU:
    torch.manual_seed(0)
    collator = collator_of(dataset(world, target, list(target.table["clip_id"])))
    statistics = {
        f"{name}_statistics": {"mean": each.mean.tolist(), "deviation": each.deviation.tolist()}
        for name, each in (("first", collator.first), ("second", collator.second))
        if each is not None
    }
    config = ModelConfig(emotions=EMOTIONS, first=StreamConfig(width=8), second=StreamConfig(width=3), size="tiny")
    return CiMEU(config, Specifications(emotions=EMOTIONS, **statistics)).eval()


def dataset(world: Any, target: Manifest, clip_ids: Any) -> ClipDataset:
    return ClipDataset(
        target.select(list(clip_ids)), world.labels, first=world.first, second=world.second, direction="forward"
    )


def answers(model: CiMEU, clips: ClipDataset) -> np.ndarray:
    return direction_probabilities(score_clips(model, clips))


def test_no_speaker_gives_labels_and_is_tested(target: Manifest) -> None:
    for seed in range(5):
        divided = divide_target(target, 4, seed=seed)
        speakers = [set(target.select(part).table["speaker"]) for part in (divided.pool, divided.test)]
        assert speakers[0].isdisjoint(speakers[1])
        assert len(speakers[1]) >= len(speakers[0]) > 0
        assert divided.speakers_known


def test_as_many_speakers_give_labels_as_the_labels_need(target: Manifest) -> None:
    few, many = (divide_target(target, shots, seed=1) for shots in (2, 6))
    assert len(set(target.select(few.pool).table["speaker"])) == 1
    assert len(set(target.select(many.pool).table["speaker"])) in (2, 3)  # one of them lacks a clip
    assert set(few.pool) < set(many.pool)
    assert all(count >= 6 for count in target.select(many.pool).table["emotion"].value_counts())


def test_without_speakers_clips_are_drawn_one_by_one(target: Manifest) -> None:
    unknown = Manifest(target.table.assign(speaker=""), target.root)
    divided = divide_target(unknown, 3)
    assert not divided.speakers_known
    assert set(divided.pool).isdisjoint(divided.test)
    assert set(divided.pool) | set(divided.test) == set(target.table["clip_id"])


def test_one_speaker_cannot_give_labels_and_be_tested(target: Manifest) -> None:
    alone = target.select(list(target.table["clip_id"][target.table["speaker"] == "c2-s1"]))
    with pytest.raises(RecipeError, match="the new group has one speaker"):
        divide_target(alone, 2)


@pytest.mark.parametrize("part", ["heads", "style"])
def test_labels_teach_a_part_and_leave_everything_else_bit_by_bit(
    world: Any, target: Manifest, model: CiMEU, part: Part
) -> None:
    divided = divide_target(target, 6, seed=1)
    learned = dataset(world, target, labelled(target.select(divided.pool).table, 6))
    tested = dataset(world, target, divided.test)
    before = copy.deepcopy(model.state_dict())
    came = uar(tested.emotions, predicted_labels(answers(model, tested)))
    fine_tune(model, learned, part, FineTuning(steps=40, learning_rate=1e-2))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert changed <= set(parameters_of(model, part))
    assert uar(tested.emotions, predicted_labels(answers(model, tested))) > came
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_heads_and_style_share_nothing_and_both_reach_the_answers(world: Any, target: Manifest, model: CiMEU) -> None:
    heads, style = parameters_of(model, "heads"), parameters_of(model, "style")
    assert heads
    assert style
    assert not set(heads) & set(style)
    clips = dataset(world, target, target.table["clip_id"][:6])
    for chosen in (heads, style):
        other = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                if name in chosen:
                    parameter.add_(0.5 * torch.randn_like(parameter))
        assert not np.allclose(answers(model, clips), answers(other, clips))


def test_without_a_usable_label_nothing_is_fitted(world: Any, target: Manifest, model: CiMEU) -> None:
    with pytest.raises(EmptyClass, match="no labelled clip of the new group can be used"):
        fine_tune(model, dataset(world, target, ["c2/s0/8"]), "heads")


def test_shares_of_unlabelled_clips_are_found_from_calibrated_answers() -> None:
    generator = np.random.default_rng(0)
    training, true = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    truth = generator.choice(3, 5000, p=true)
    evidence = np.exp(2 * np.eye(3)[truth] + generator.normal(0, 1, (5000, 3)) * np.sqrt(2))  # log odds of a true model
    answers = evidence * training
    answers /= answers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(estimated_prior(answers, training), true, atol=0.04)


def test_a_corrected_prior_multiplies_the_odds_of_every_level(world: Any, target: Manifest, model: CiMEU) -> None:
    clips = dataset(world, target, target.table["clip_id"][:6])
    training, wanted = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    before = score_clips(model, clips)
    correct_prior(model, wanted, training)
    after = score_clips(model, clips)
    old, new = (direction_probabilities(each) for each in (before, after))
    expected = old * wanted / training
    np.testing.assert_allclose(new, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)
