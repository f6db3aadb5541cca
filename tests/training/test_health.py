"""Parts of a network that do nothing are named."""

import re
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
from cimeu.training.health import (
    StreamHealth,
    absent,
    faults,
    gradient_shares,
    layer_scale,
    primitives_of,
    variance_of,
)
from cimeu.training.journal import read_journal
from cimeu.training.loop import train

Corpus = Callable[..., ClipDataset]
Network = Callable[..., ModelConfig]


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
        ("train.explained_variance.second", 0.2, "the decoder of the second stream explains 0.20 of the variance"),
        ("health.uar.first", 0.26, r"the first stream's own logits are at chance \(UAR 0.26\)"),
        ("health.changed_without.first", 0.01, "without the first stream 1.0% of the answers change"),
        ("health.layer_scale", 0.0001, "the temporal blocks' scales are 0.000"),
        ("health.gradient.mining", 4.0, "mining pulls the emotion primitives 4.0 times as strongly"),
    ],
)
def test_each_part_without_effect_gets_one_line(name: str, value: float, line: str) -> None:
    healthy = {
        "train.explained_variance.second": 0.5, "health.clip_mean.second": 0.3, "health.uar.first": 0.5,
        "health.changed_without.first": 0.3, "health.layer_scale": 0.1, "health.gradient.mining": 0.1,
    }  # fmt: skip
    assert faults(healthy, emotions=4) == []
    (only,) = faults({**healthy, name: value}, emotions=4)
    assert re.search(line, only)


def test_a_run_writes_its_health(corpus: Corpus, network: Network, tmp_path) -> None:
    clips = corpus(n_clips=12)
    config = replace(TrainingConfig(), epochs=2, batch_size=8, selection="average")
    train(network(), clips, clips, config, tmp_path / "run")
    *_, last = read_journal(tmp_path / "run")
    for name in ("health.gate", "health.uar.first", "health.changed_without.second", "health.layer_scale",
                 "health.clip_mean.first", "health.gradient.mining", "train.explained_variance.second"):  # fmt: skip
        assert isinstance(last[name], float), name
    assert 0.2 <= last["health.gate"] <= 0.8
