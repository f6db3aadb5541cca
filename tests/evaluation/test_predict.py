"""Scoring with a real network on a small store, and the arithmetic of fusion."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.manifest import read_manifest
from cimeu.errors import CheckpointError
from cimeu.evaluation.calibration import at_temperature
from cimeu.evaluation.predict import (
    EnsembleSettings,
    Scores,
    direction_probabilities,
    evaluation_collator,
    fused_probabilities,
    mixture,
    project,
    score_clips,
)
from cimeu.features.store import FeatureStore, Row, key_of
from cimeu.labels import LabelSpace
from cimeu.model.checkpoint import Specifications
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU

EMOTIONS = ("anger", "happiness", "sadness")
WIDTHS = {"alpha": 6, "beta": 4}
NO_FIRST, NO_SECOND, NOTHING = 2, 3, 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ClipDataset:
    """Seven clips; one lacks its first stream, one its second, one both."""
    folder: Path = tmp_path_factory.mktemp("corpus")
    for clip in range(7):
        (folder / f"{clip}.wav").write_text(f"clip {clip}")
    rows = [f"{clip}.wav,{EMOTIONS[clip % 3]}" for clip in range(7)]
    (folder / "manifest.csv").write_text("\n".join(["path,emotion", *rows]))
    manifest = read_manifest(folder / "manifest.csv")
    generator = np.random.default_rng(0)
    for name, missing in (("alpha", (NO_FIRST, NOTHING)), ("beta", (NO_SECOND, NOTHING))):
        description = {
            "name": name,
            "version": "1",
            "width": WIDTHS[name],
            "window": {"length": 16, "stride": 4},
            "source": "sound",
            "kind": "steps",
            "optional": [],
            "preprocessing": {},
        }
        with FeatureStore.open(folder / name, description, writable=True) as store:
            for index, clip in enumerate(manifest.clips()):
                features = None
                if index not in missing:
                    features = (5 + 3 * generator.normal(size=(9 + index, WIDTHS[name]))).astype(np.float32)
                problem = "no sound" if features is None else ""
                store.add(key_of(clip, description, "forward"), Row(clip.clip_id, features, problem, 1.0))
    first, second = FeatureStore.open(folder / "alpha"), FeatureStore.open(folder / "beta")
    return ClipDataset(manifest, LabelSpace("three", EMOTIONS), first=first, second=second, direction="forward")


@pytest.fixture(scope="module")
def model() -> CiMEU:
    torch.manual_seed(0)
    config = ModelConfig(
        emotions=EMOTIONS,
        first=StreamConfig(width=6, encoder="alpha"),
        second=StreamConfig(width=4, encoder="beta"),
        size="tiny",
    )
    statistics = {
        f"{stream}_statistics": {"mean": [5.0] * width, "deviation": [3.0] * width}
        for stream, width in (("first", 6), ("second", 4))
    }
    return CiMEU(config, Specifications(emotions=EMOTIONS, shares_windows=True, **statistics))


@pytest.fixture(scope="module")
def scores(model, dataset) -> Scores:
    return score_clips(model, dataset)


def test_every_clip_has_a_row_and_only_unusable_ones_have_no_numbers(scores, dataset):
    assert scores.clip_ids == dataset.clip_ids
    assert np.flatnonzero(np.isnan(scores.first).any(axis=(0, 2))).tolist() == [NOTHING]
    assert scores.present.tolist() == [
        [clip not in (NO_FIRST, NOTHING), clip not in (NO_SECOND, NOTHING)] for clip in range(7)
    ]


def test_scores_do_not_depend_on_the_batch(model, dataset, scores):
    one_by_one = score_clips(model, dataset, batch_size=1)
    np.testing.assert_allclose(one_by_one.first, scores.first, atol=1e-5)
    np.testing.assert_allclose(one_by_one.gate, scores.gate, atol=1e-5)


def test_a_missing_stream_has_no_say(scores):
    np.testing.assert_allclose(scores.gate[:, NO_FIRST], 1)
    np.testing.assert_allclose(scores.gate[:, NO_SECOND], 0)
    by_hand = direction_probabilities(scores, a=0.7)
    np.testing.assert_allclose(by_hand[NO_FIRST], softmax(scores.second[0, NO_FIRST]), atol=1e-6)
    np.testing.assert_allclose(by_hand[NO_SECOND], softmax(scores.first[0, NO_SECOND]), atol=1e-6)


def test_stored_logits_mix_to_what_the_network_answers(model, dataset, scores):
    batch = evaluation_collator(model)([dataset[0], dataset[NO_SECOND]], None)
    with torch.inference_mode():
        output = model.eval()(batch.first, batch.second)
    expected = torch.stack(output.logits).softmax(-1).numpy()
    rows = [0, NO_SECOND]
    np.testing.assert_allclose(direction_probabilities(scores)[rows], expected[0], atol=1e-5)
    np.testing.assert_allclose(direction_probabilities(scores, levels="mean")[rows], expected.mean(0), atol=1e-5)


def test_scoring_leaves_a_model_in_training_as_it_was(model, dataset):
    model.train()
    score_clips(model, dataset)
    assert model.training


def test_the_statistics_of_the_model_are_used(model, dataset, scores):
    plain = CiMEU(model.config, Specifications(emotions=EMOTIONS, shares_windows=True))
    plain.load_state_dict(model.state_dict())
    assert np.abs(score_clips(plain, dataset).first - scores.first)[:, 0].max() > 1e-3


def test_primitives_have_a_row_per_clip_and_no_numbers_without_a_stream(model, dataset):
    for vectors in project(model, dataset):
        assert vectors.shape == (7, 2 * model.config.sizes.width)
        assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [NOTHING]


def test_primitives_of_one_disentangled_stream_need_that_stream(model, dataset):
    published = CiMEU(replace(model.config, disentangle="first"), model.specifications)
    for vectors in project(published, dataset):
        assert vectors.shape == (7, model.config.sizes.width)
        assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [NO_FIRST, NOTHING]


def test_without_disentangling_there_is_no_style(dataset, model):
    alone = CiMEU(replace(model.config, disentangle="off"), model.specifications)
    assert project(alone, dataset)[1] is None


def test_fusion_mixes_probabilities_and_then_applies_the_temperature(scores):
    other = Scores(scores.clip_ids, -scores.first, None, scores.gate, scores.present)
    fused = fused_probabilities(scores, other, EnsembleSettings(mu=0.3, temperature=2.0))
    np.testing.assert_allclose(
        fused["fused"], at_temperature(0.3 * fused["forward"] + 0.7 * fused["backward"], 2.0), atol=1e-9
    )


def test_a_clip_known_to_one_direction_is_fused_from_that_one():
    nothing = [np.nan, np.nan]
    forward = np.array([[0.9, 0.1], nothing, nothing])
    backward = np.array([[0.5, 0.5], [0.2, 0.8], nothing])
    np.testing.assert_allclose(mixture([forward, backward], 0.5), [[0.7, 0.3], [0.2, 0.8], nothing])


def test_clips_in_another_order_are_our_own_bug(scores):
    turned = Scores(scores.clip_ids[::-1], scores.first, scores.second, scores.gate, scores.present)
    with pytest.raises(AssertionError, match="same order"):
        fused_probabilities(scores, turned, EnsembleSettings())


def test_settings_come_back_from_their_file(tmp_path):
    settings = EnsembleSettings(mu=0.45, levels="mean", a=0.3, temperature=1.7, abstain_below=0.4, selection="oracle")
    settings.save(tmp_path)
    assert EnsembleSettings.load(tmp_path) == settings


def test_missing_settings_are_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"ensemble.json` does not exist\n\nhint:"):
        EnsembleSettings.load(tmp_path)
    (tmp_path / "ensemble.json").write_text('{"mu": 0.6}')
    with pytest.raises(CheckpointError, match=r"ensemble.json` has no `levels`\n\nhint:"):
        EnsembleSettings.load(tmp_path)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()
