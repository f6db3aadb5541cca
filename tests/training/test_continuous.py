"""The second head, on made-up clips whose valence is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.manifest import Manifest
from cimeu.errors import RecipeError
from cimeu.evaluation.continuous import concordance
from cimeu.evaluation.metrics import predicted_labels, uar
from cimeu.evaluation.predict import EnsembleSettings, fused_probabilities, score_clips
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU
from cimeu.training.config import TrainingConfig
from cimeu.training.journal import read_journal
from cimeu.training.loop import train
from cimeu.training.optim import OptimiserConfig

SCALES = {"valence": (1.0, 7.0)}
VALENCE = {"anger": 2.0, "neutral": 4.0, "sadness": 6.5}


TRAINING = TrainingConfig(
    epochs=6,
    batch_size=16,
    selection="last",
    style_labels="off",
    adversary_steps=0,
    optimiser=OptimiserConfig(learning_rate=3e-3),
)


def with_valence(table: pd.DataFrame) -> pd.DataFrame:
    """Every fifth clip is unlabelled; labels vary around the value of the emotion."""
    noise = np.random.default_rng(0).normal(0, 0.2, len(table))
    values = [f"{VALENCE[emotion] + shift:.2f}" for emotion, shift in zip(table["emotion"], noise, strict=True)]
    return table.assign(valence=["" if row % 5 == 0 else value for row, value in enumerate(values)])


def parts(world, table: pd.DataFrame, targets: str = "classes") -> list[ClipDataset]:
    """Training, validation and test clips."""
    manifest, fold = Manifest(table, world.manifest.root), world.folds[0]
    return [
        ClipDataset(
            manifest.select(ids),
            world.labels,
            first=world.first,
            second=None,
            direction="forward",
            targets=targets,
            continuous=SCALES,
        )
        for ids in (fold.train, fold.validation, fold.test)
    ]


def network(world) -> ModelConfig:
    return ModelConfig(
        emotions=world.labels.emotions,
        first=StreamConfig(width=8),
        size="tiny",
        disentangle="off",
        continuous=("valence",),
    )


def test_valence_of_a_culture_never_seen_is_learned_from_clips_of_which_some_have_none(world, tmp_path: Path) -> None:
    learned, checked, tested = parts(world, with_valence(world.manifest.table))
    trained = train(network(world), learned, checked, TRAINING, tmp_path / "run")
    scores = score_clips(CiMEU.from_pretrained(trained), tested)
    assert scores.continuous is not None
    truth, predicted = tested.manifest.table["valence"].to_numpy(), scores.continuous[:, 0]
    labelled = (truth != "") & np.isfinite(predicted)
    assert np.isnan(predicted).sum() == 1, "the broken clip of the culture"
    assert concordance(truth[labelled].astype(float), predicted[labelled].astype(float)) > 0.4


def test_the_epoch_is_that_of_the_best_criterion(world, tmp_path: Path) -> None:
    learned, checked, _ = parts(world, with_valence(world.manifest.table))
    training = replace(TRAINING, epochs=3, selection="validation", criterion="ccc")
    journal = read_journal(folder := train(network(world), learned, checked, training, tmp_path / "run"))
    scores = [entry["validation.ccc"] for entry in journal]
    assert journal[-1]["best_epoch"] == 1 + int(np.argmax(scores))
    assert journal[0]["validation.ccc"] == journal[0]["validation.ccc.valence"]
    assert journal[0]["validation.uar_ccc"] == pytest.approx(
        (journal[0]["validation.uar"] + journal[0]["validation.ccc"]) / 2
    )
    # The kept network agrees with the labels as the journal says of its epoch.
    scored = score_clips(CiMEU.from_pretrained(folder), checked).continuous
    assert scored is not None
    truth = pd.to_numeric(checked.manifest.table["valence"]).to_numpy(float)
    kept = np.isfinite(truth) & np.isfinite(scored[:, 0])
    agreement = concordance(truth[kept], scored[kept, 0].astype(float))
    assert agreement == pytest.approx(journal[int(np.argmax(scores))]["validation.ccc"], abs=1e-4)


def test_a_clip_without_an_emotion_trains_valence_and_leaves_the_classes_alone(world, tmp_path: Path) -> None:
    table = with_valence(world.manifest.table)
    unnamed = (np.arange(len(table)) % 3 == 1) & (table["valence"] != "")
    without = table.assign(emotion=table["emotion"].where(~unnamed, ""))
    learned, checked, _ = parts(world, without)
    assert (learned.emotions == -1).sum() > 5
    assert (checked.emotions == -1).any()
    journal = read_journal(train(network(world), learned, checked, replace(TRAINING, epochs=1), tmp_path / "run"))
    model = CiMEU.from_pretrained(tmp_path / "run")
    # UAR of the validation clips is that of those with an emotion, CCC that of all with a value.
    scores = score_clips(model, checked)
    fused = predicted_labels(fused_probabilities(scores, None, EnsembleSettings(mu=1.0, levels="mean"))["fused"])
    has_emotion = checked.emotions >= 0
    assert journal[0]["validation.uar"] == pytest.approx(
        uar(checked.emotions[has_emotion], fused[has_emotion]), abs=0.2
    )
    truth = pd.to_numeric(checked.manifest.table["valence"]).to_numpy(float)
    assert scores.continuous is not None
    kept = np.isfinite(truth) & np.isfinite(scores.continuous[:, 0])
    assert kept.sum() > has_emotion[kept].sum()
    expected = concordance(truth[kept], scores.continuous[kept, 0].astype(float))
    assert journal[0]["validation.ccc"] == pytest.approx(expected, abs=1e-4)


def test_no_validation_clip_with_a_value_is_an_error(world, tmp_path: Path) -> None:
    table = with_valence(world.manifest.table)
    table = table.assign(valence=table["valence"].where(~table["clip_id"].isin(world.folds[0].validation), ""))
    learned, checked, _ = parts(world, table)
    training = replace(TRAINING, selection="validation", criterion="ccc")
    with pytest.raises(
        RecipeError, match=r"no validation clip has a continuous label, .* by ccc\n\nhint: training\.crit"
    ):
        train(network(world), learned, checked, training, tmp_path / "run")


def test_shares_of_votes_and_valence_are_learned_together(world, tmp_path: Path) -> None:
    table = with_valence(world.manifest.table)
    votes = {f"votes_{name}": np.where(table["emotion"] == name, "7", "1") for name in world.labels.emotions}
    learned, checked, tested = parts(world, table.assign(**votes), targets="shares")
    assert learned.shares is not None
    assert learned.shares.max() == pytest.approx(7 / 9)
    trained = train(network(world), learned, checked, replace(TRAINING, epochs=4), tmp_path / "run")
    first, *_, last = read_journal(trained)
    # Soft labels cannot be met by a cross-entropy of 0: it stays above their entropy.
    entropy = -(7 / 9) * np.log(7 / 9) - 2 * (1 / 9) * np.log(1 / 9)
    assert entropy < last["train.class"] < first["train.class"]
    assert last["train.continuous"] < first["train.continuous"]
    scores = score_clips(CiMEU.from_pretrained(trained), tested)
    assert scores.continuous is not None
