"""The second head, on made-up clips whose valence is known."""

from pathlib import Path

import numpy as np

from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.manifest import Manifest
from cimeu.evaluation.continuous import concordance
from cimeu.evaluation.predict import score_clips
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU
from cimeu.training.config import TrainingConfig
from cimeu.training.loop import train
from cimeu.training.optim import OptimiserConfig

SCALES = {"valence": (1.0, 7.0)}
VALENCE = {"anger": 2.0, "neutral": 4.0, "sadness": 6.5}


def test_valence_of_a_culture_never_seen_is_learned_from_clips_of_which_some_have_none(world, tmp_path: Path) -> None:
    table = world.manifest.table
    # Every fifth clip is unlabelled; labels vary around the value of the emotion.
    noise = np.random.default_rng(0).normal(0, 0.2, len(table))
    values = [f"{VALENCE[emotion] + shift:.2f}" for emotion, shift in zip(table["emotion"], noise, strict=True)]
    table = table.assign(valence=["" if row % 5 == 0 else value for row, value in enumerate(values)])
    manifest, fold = Manifest(table, world.manifest.root), world.folds[0]
    learned, checked, tested = (
        ClipDataset(
            manifest.select(ids),
            world.labels,
            first=world.first,
            second=world.second,
            direction="forward",
            continuous=SCALES,
        )
        for ids in (fold.train, fold.validation, fold.test)
    )
    config = ModelConfig(
        emotions=world.labels.emotions,
        first=StreamConfig(width=8),
        second=StreamConfig(width=3),
        size="tiny",
        disentangle="off",
        continuous=("valence",),
    )
    training = TrainingConfig(
        epochs=6,
        batch_size=16,
        selection="last",
        style_labels="off",
        adversary_steps=0,
        optimiser=OptimiserConfig(learning_rate=3e-3),
    )
    scores = score_clips(CiMEU.from_pretrained(train(config, learned, checked, training, tmp_path / "run")), tested)
    assert scores.continuous is not None
    truth, predicted = tested.manifest.table["valence"].to_numpy(), scores.continuous[:, 0]
    labelled = (truth != "") & np.isfinite(predicted)
    assert np.isnan(predicted).sum() == 1, "the broken clip of the culture"
    assert concordance(truth[labelled].astype(float), predicted[labelled].astype(float)) > 0.4
