"""Parts of a network that do nothing are named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cimeu.batching.collate import collator_of, evaluation_batches
from cimeu.batching.dataset import ClipDataset
from cimeu.model.config import ModelConfig
from cimeu.model.network import CiMEU
from cimeu.training.config import TrainingConfig
from cimeu.training.distributed import fabric_of
from cimeu.training.faults import faults, read_faults
from cimeu.training.health import (
    StreamHealth,
    absent,
    gradient_shares,
    layer_scale,
    primitives_of,
    still_read,
    variance_of,
)
from cimeu.training.journal import read_journal, write_journal
from cimeu.training.loop import train
from cimeu.training.objective import LossWeights, objective

Corpus = Callable[..., ClipDataset]
Network = Callable[..., ModelConfig]
HEALTHY = {
    "train.explained_variance.second": 0.5, "health.clip_mean.second": 0.3, "health.uar.first": 0.5,
    "health.changed_without.first": 0.3, "health.layer_scale": 0.1, "health.gradient.mining": 0.1,
    "health.gradient.alignment": 0.1, "train.reconstruction.second": 0.5, "health.adversary.style": 0.1,
    "health.adversary.emotion": -0.1, "style.size.0": 100, "style.size.1": 30, "style.ari.last": 0.9,
    "style.nmi.emotion": 0.02,
}  # fmt: skip


def test_a_clip_mean_explains_what_one_minus_the_variance_within_clips_says(corpus: Corpus) -> None:
    clips = corpus(n_clips=8)
    collator = collator_of(clips)
    variance = variance_of(clips, collator, 3)
    (batch,) = evaluation_batches(clips, collator, 8)
    rows = [x[mask] for x, mask in zip(batch.first.features.numpy(), batch.first.mask.numpy(), strict=True)]
    within = sum(((x - x.mean(0)) ** 2).sum() for x in rows)
    total = sum((x**2).sum() for x in rows)
    assert variance["first"].by_clip_mean == pytest.approx(1 - within / total, rel=1e-5)
    assert variance["first"].total == pytest.approx(total / sum(x.size for x in rows), rel=1e-5)


def test_clips_less_a_style_are_explained_by_the_variance_that_is_left(
    corpus: Corpus, network: Network, tmp_path: Path
) -> None:
    clips = corpus(n_clips=12)
    nearly_nothing = [np.stack([0.9 * steps.mean(0) for steps in stream]) for stream in clips.streams]
    moved = clips.in_episodes(lambda number: tuple(nearly_nothing))
    folder = train(network(), moved, moved.episode(0), TrainingConfig(epochs=1, batch_size=6), tmp_path / "run")
    entry = read_journal(folder)[-1]
    total = variance_of(moved.episode(0), collator_of(moved), 6)["first"].total
    assert abs(total - 1) > 0.1
    expected = 1 - entry["train.reconstruction.first"] / total
    assert entry["train.explained_variance.first"] == pytest.approx(expected)


def test_gradient_shares_are_those_of_the_emotion_primitives(corpus: Corpus, network: Network) -> None:
    clips = corpus(n_clips=8)
    (batch,) = evaluation_batches(clips, collator_of(clips), 8)
    model = CiMEU(network())
    with primitives_of(model) as primitives:
        output = model(batch.first, batch.second)
    assert len(primitives) == 2
    named = {"class": output.logits[0].sum(), "twice": 2 * output.logits[0].sum(), "absent": None}
    shares = gradient_shares(named, primitives, fabric_of(TrainingConfig()))
    assert shares == {"class": pytest.approx(1), "twice": pytest.approx(2)}


def test_scales_are_those_of_the_configuration_until_they_move(network: Network) -> None:
    assert layer_scale(CiMEU(network(layer_scale=0.1))) == pytest.approx(0.1)
    assert layer_scale(CiMEU(network(layer_scale=1e-4))) == pytest.approx(1e-4)


def test_a_stream_that_decides_nothing_changes_no_answer(corpus: Corpus) -> None:
    clips = corpus(n_clips=8)
    health = StreamHealth()
    for batch in evaluation_batches(clips, collator_of(clips), 3):
        first = batch.first.features[:, 0, :2] - torch.tensor([0.0, 1e-6])
        nothing = torch.zeros_like(first) - torch.tensor([0.0, 1e-6])
        health.add(batch, first, {"first": first, "second": -first}, {"first": nothing, "second": first})
    entry = health.entry()
    assert entry["health.changed_without.second"] == 0
    assert entry["health.changed_without.first"] > 0
    assert entry["health.uar.first"] + entry["health.uar.second"] == pytest.approx(1)


def test_a_stream_can_be_taken_away_whole(corpus: Corpus) -> None:
    clips = corpus(n_clips=4)
    (batch,) = evaluation_batches(clips, collator_of(clips), 4)
    gone = absent(batch.first)
    assert not gone.present.any()
    assert not gone.mask.any()


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("train.explained_variance.second", 0.2,
         "decoder of the second stream: explains 0.20 of the variance, each clip's mean 0.30"),
        ("health.uar.first", 0.26, "classifiers of the first stream: at chance, UAR 0.26"),
        ("health.changed_without.first", 0.01, "first stream: 1.0% of the answers change without it"),
        ("health.layer_scale", 0.0001, "temporal blocks: attention and MLP hardly contribute, mean scale 0.000"),
        ("health.gradient.mining", 4.0,
         "mining: pulls the emotion primitives 4.0 times as strongly as the class error"),
        ("health.gradient.alignment", 0.0,
         "alignment: does not reach the emotion primitives, gradient 0.0000 of the class error's"),
        ("health.adversary.style", 0.314,
         "style adversary: styles can still be told from the emotion primitives, 0.31 of their entropy"),
        ("health.adversary.emotion", 0.5,
         "emotion adversary: emotions can still be told from the style primitives, 0.50 of their entropy"),
        ("style.size.1", 3, "style clusters: the smallest holds 3 of 103 clips"),
        ("style.nmi.emotion", 0.8, "style clusters: follow the emotion, NMI 0.80"),
        ("style.ari.last", 0.1, "style clusters: not those of the epoch before, ARI 0.10"),
    ],
)  # fmt: skip
def test_each_part_without_effect_gets_one_line(name: str, value: float, line: str) -> None:
    assert faults(HEALTHY, emotions=4) == []
    (only,) = faults({**HEALTHY, name: value}, emotions=4)
    assert str(only) == line


def test_alignment_that_moves_no_primitives_by_design_is_no_fault() -> None:
    entry = {name: value for name, value in HEALTHY.items() if name != "train.reconstruction.second"}
    assert faults({**entry, "health.gradient.alignment": 0.0}, emotions=4) == []


def test_faults_are_those_of_the_last_epoch_of_a_network(tmp_path: Path) -> None:
    assert read_faults(tmp_path, emotions=4) is None
    write_journal(tmp_path, [{"epoch": 1, "train.total": 0.5}])
    assert read_faults(tmp_path, emotions=4) is None
    write_journal(tmp_path, [{"epoch": 1, **HEALTHY, "style.ari.last": 0.1}, {"epoch": 2, **HEALTHY}])
    assert read_faults(tmp_path, emotions=4) == []
    write_journal(tmp_path, [{"epoch": 1, **HEALTHY}, {**HEALTHY, "epoch": 2, "health.layer_scale": 0.0}])
    assert [fault.part for fault in read_faults(tmp_path, emotions=4)] == ["temporal blocks"]


def test_what_adversaries_read_is_a_share_of_the_entropy_that_the_emotion_leaves() -> None:
    told = torch.tensor([[0, 0], [0, 1], [1, 2], [1, 2]])  # one bit about the style of the first emotion
    emotions = torch.tensor([[0, 0], [0, 1]])
    asked = {"style_adversary": [told[:3], told[3:]], "emotion_adversary": [emotions]}
    entry = still_read({"train.style_adversary": np.log(2) / 8, "train.emotion_adversary": np.log(2)}, asked)
    assert entry == {
        "health.adversary.style": pytest.approx(0.75),
        "health.adversary.emotion": pytest.approx(0, abs=1e-12),
    }
    alike = {**asked, "style_adversary": [told[2:]]}
    assert still_read({"train.style_adversary": 0.1}, alike) == {"health.adversary.style": None}
    assert still_read({"train.style_adversary": None}, {}) == {"health.adversary.style": None}
    assert still_read({}, {}) == {}


def test_an_adversary_that_knows_nothing_is_at_chance_and_one_that_knows_all_is_not(
    corpus: Corpus, network: Network
) -> None:
    clips = corpus(n_clips=12, holes=True)
    (batch,) = evaluation_batches(clips, collator_of(clips), 12)
    batch = replace(batch, style=torch.tensor([0, 1, 1] * 3 + [-1] * 3), emotion=batch.emotion.clone())
    batch.emotion[4] = -1
    output = CiMEU(network())(batch.first, batch.second, emotion=batch.emotion)
    clips_asked = (batch.first.present | batch.second.present) & (batch.emotion >= 0)
    shares = torch.bincount(batch.emotion[clips_asked]) / clips_asked.sum()
    chance, certain = (shares.log().expand(12, 2), 50 * torch.nn.functional.one_hot(batch.emotion.clamp(min=0), 2))
    for logits, expected in ((chance, 0), (certain.float(), 1)):
        losses = objective(replace(output, emotion_adversary=(logits,) * 3), batch, LossWeights())
        named = {f"train.{name}": losses.named[name].item() for name in ("style_adversary", "emotion_adversary")}
        entry = still_read(named, {name: [labels] for name, labels in losses.asked.items()})
        assert entry["health.adversary.emotion"] == pytest.approx(expected, abs=1e-5)
    known = clips_asked & (batch.style >= 0)
    assert losses.asked["style_adversary"].tolist() == torch.stack((batch.emotion, batch.style), 1)[known].tolist()


def test_a_run_writes_its_health(corpus: Corpus, network: Network, tmp_path) -> None:
    clips = corpus(n_clips=12)
    config = replace(TrainingConfig(), epochs=2, batch_size=8, selection="average")
    train(network(), clips, clips, config, tmp_path / "run")
    *_, last = read_journal(tmp_path / "run")
    for name in ("health.gate", "health.uar.first", "health.changed_without.second", "health.layer_scale",
                 "health.clip_mean.first", "health.gradient.mining", "train.explained_variance.second",
                 "health.adversary.emotion"):  # fmt: skip
        assert isinstance(last[name], float), name
    assert 0.2 <= last["health.gate"] <= 0.8
    assert last["health.adversary.style"] is None  # no style label yet
