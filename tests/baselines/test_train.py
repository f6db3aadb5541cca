"""Every rival becomes a folder of tensors that answers like the classifier that was trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cimeu.baselines.fit import fit
from cimeu.baselines.registry import METHODS
from cimeu.baselines.simple import pooled
from cimeu.baselines.train import SIMPLE, Rivalry, check_rival, train_rival
from cimeu.batching.dataset import ClipDataset
from cimeu.bench.cells import Parts
from cimeu.errors import CheckpointError, FeatureError, RecipeError
from cimeu.evaluation.ensemble import answers_of, load_classifier
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.evaluation.rivals import read_rival
from cimeu.model.config import StreamConfig
from cimeu.model.rivals.rival import RivalConfig
from cimeu.training.config import TrainingConfig

STREAMS = (StreamConfig(width=8, encoder="first"), StreamConfig(width=3, encoder="second"))
TRAINING = TrainingConfig(epochs=2, batch_size=24)


@pytest.fixture(scope="module")
def parts(world: Any) -> Parts:
    return world.parts(world.folds[0])


def train(parts: Parts, method: str, folder: Path, **settings: float) -> Path:
    rivalry = Rivalry(method=method, settings=settings)
    return train_rival(rivalry, parts.train, parts.validation, STREAMS, TRAINING, folder)


@pytest.mark.parametrize("name", list(SIMPLE))
def test_a_simple_model_on_disk_answers_like_the_classifier_that_was_fitted(
    parts: Parts, tmp_path: Path, name: str
) -> None:
    baseline = SIMPLE[name](len(parts.train.labels))
    labels = [clips.emotions[clips.usable] for clips in (parts.train, parts.validation)]
    baseline.fit(pooled(parts.train), labels[0], pooled(parts.validation), labels[1], 0)
    answers = answers_of(read_rival(train(parts, name, tmp_path)), parts.test)
    expected = baseline.probabilities(pooled(parts.test))
    np.testing.assert_allclose(answers.probabilities[parts.test.usable], expected, atol=1e-4)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_on_disk_answers_like_the_network_that_was_trained(parts: Parts, tmp_path: Path, name: str) -> None:
    fitted = fit(METHODS[name], parts.train, parts.validation, TRAINING)
    answers = answers_of(read_rival(train(parts, name, tmp_path)), parts.test)
    np.testing.assert_allclose(answers.probabilities, fitted.probabilities(parts.test), atol=1e-5)


@pytest.mark.parametrize("seen", [(0, 2), (1, 2)])
@pytest.mark.parametrize("name", ["linear", "rbf", "majority"])
def test_an_emotion_without_a_training_clip_gets_no_probability(name: str, seen: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    labels = np.array(seen * 20)
    vectors = np.eye(3)[labels] * 3 + generator.normal(0, 1, (40, 3))
    baseline = SIMPLE[name](3)
    baseline.fit(vectors, labels, vectors, labels, 0)
    config = RivalConfig(emotions=("a", "b", "c"), first=StreamConfig(width=3), moments=(1,))
    network = baseline.network(config)
    with torch.no_grad():
        probabilities = network(torch.from_numpy(vectors).float()).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, baseline.probabilities(vectors), atol=1e-4)
    assert probabilities[:, ({0, 1, 2} - set(seen)).pop()].max() == 0


def test_the_temperature_of_a_run_is_part_of_its_answers(parts: Parts, tmp_path: Path) -> None:
    train(parts, "linear", tmp_path / "forward")
    cold, hot = (
        answers_of(load_classifier(tmp_path, settings), parts.test).probabilities[parts.test.usable]
        for settings in (
            EnsembleSettings(directions=("forward",)),
            EnsembleSettings(directions=("forward",), temperature=2.0),
        )
    )
    assert (hot.max(axis=1) < cold.max(axis=1)).all()
    assert (hot.argmax(axis=1) == cold.argmax(axis=1)).all()


def test_a_clip_that_lacks_a_stream_is_answered_and_one_that_lacks_both_is_not(parts: Parts, tmp_path: Path) -> None:
    for name in ("linear", "erm"):
        classifier = read_rival(train(parts, name, tmp_path / name))
        answers = answers_of(classifier, parts.test)
        blank = np.isnan(answers.probabilities).all(axis=1)
        assert (blank == ~parts.test.present.any(axis=1)).all()
        assert blank.sum() == 1


def test_a_finished_rival_is_left_as_it_is(parts: Parts, tmp_path: Path) -> None:
    folder = train(parts, "linear", tmp_path)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    train(parts, "linear", tmp_path)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_settings_that_are_given_are_not_chosen(parts: Parts, tmp_path: Path) -> None:
    train(parts, "linear", tmp_path, C=0.5)
    (entry,) = map(json.loads, (tmp_path / "journal.jsonl").read_text().splitlines())
    assert entry["chosen.C"] == 0.5


def test_a_method_that_does_not_exist_is_refused_with_a_guess() -> None:
    check_rival("dann")
    with pytest.raises(RecipeError, match=r"unknown method `lineer`\n\nhint: did you mean `linear`\?"):
        check_rival("lineer")


def test_a_damaged_rival_names_its_file(parts: Parts, tmp_path: Path) -> None:
    train(parts, "linear", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="is not a readable safetensors file"):
        read_rival(tmp_path)


def test_a_dataset_without_features_is_an_error(world: Any) -> None:
    broken = world.manifest.select(["c0/s0/8"])
    dataset = ClipDataset(broken, world.labels, first=world.first, second=None, direction="forward")
    with pytest.raises(FeatureError, match="none of 1 clips has features"):
        pooled(dataset)


def test_pooled_vectors_hold_the_means_of_both_streams(parts: Parts) -> None:
    assert pooled(parts.train).shape == (len(parts.train.usable), 8 + 3)
