"""A person's style is what other clips of the person share, less what they share of an emotion."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cimeu.errors import CheckpointError, RecipeError
from cimeu.model.checkpoint import save_checkpoint
from cimeu.model.classifier import Classifier, Clip, StyleReader
from cimeu.model.config import StreamConfig
from cimeu.model.network import CiMEU
from cimeu.model.style_set import StyleSet, StyleSetConfig, offsets, trust

EMOTIONS = ("anger", "neutral", "sadness")
WIDTH = 6


def config(**changes: object) -> StyleSetConfig:
    return StyleSetConfig(emotions=EMOTIONS, first=StreamConfig(width=WIDTH), **changes)  # type: ignore[arg-type]


@pytest.fixture
def model() -> StyleSet:
    """Random classifiers, and emotions two deviations apart along their own dimensions."""
    made = StyleSet(config())
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    deltas = torch.eye(3, WIDTH) * 2
    made.deltas.copy_(deltas - deltas.mean(0))
    return made.eval()


def one_hot(*emotions: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(emotions), len(EMOTIONS)).float()


def test_without_support_there_is_no_style(model: StyleSet) -> None:
    z, nothing = torch.randn(4, WIDTH), torch.zeros(2, 4, dtype=torch.bool)
    assert offsets(z, one_hot(0, 1, 2, 0), nothing, model.deltas, model.config).eq(0).all()


def test_a_style_is_the_shrunk_mean_of_the_support_less_its_emotions(model: StyleSet) -> None:
    style = torch.randn(WIDTH)
    emotions = (0, 0, 1, 2)
    z = style + model.deltas[list(emotions)]
    marked = torch.ones(1, 4, dtype=torch.bool)
    found = offsets(z, one_hot(*emotions), marked, model.deltas, config(shrink=1.0))
    torch.testing.assert_close(found[0], style * 4 / 5)
    found = offsets(z, one_hot(*emotions), marked, model.deltas, config(shrink=0.0))
    torch.testing.assert_close(found[0], style)


def test_only_marked_clips_are_read_in_any_order(model: StyleSet) -> None:
    z, posteriors = torch.randn(5, WIDTH), torch.rand(5, 3).softmax(-1)
    marked = torch.tensor([[True, True, False, True, False]])
    found = offsets(z, posteriors, marked, model.deltas, model.config)
    order = [3, 0, 1]
    alone = offsets(z[order], posteriors[order], torch.ones(1, 3, dtype=torch.bool), model.deltas, model.config)
    torch.testing.assert_close(found, alone)


def test_what_one_emotion_adds_to_a_whole_support_is_hardly_taken_for_style(model: StyleSet) -> None:
    z = model.deltas[[0] * 10]  # a person without style who is angry throughout
    unsure = torch.tensor([[0.5, 0.3, 0.2]]).expand(10, 3)
    marked = torch.ones(1, 10, dtype=torch.bool)
    as_they_are, refined = (offsets(z, unsure, marked, model.deltas, config(passes=passes)).norm() for passes in (0, 3))
    assert refined < 0.75 * as_they_are


def test_answers_are_probabilities_and_clips_without_steps_have_none(model: StyleSet) -> None:
    steps = np.random.default_rng(0).standard_normal((7, WIDTH)).astype(np.float32)
    steps[2, 1] = np.nan  # not measurable in one step
    answers = model.answer([Clip({"forward": steps}), Clip({})])
    assert answers.probabilities[0].sum() == pytest.approx(1)
    np.testing.assert_allclose(answers.representation[0], np.nanmean(steps, axis=0), rtol=1e-5)
    assert np.isnan(answers.probabilities[1]).all()
    assert isinstance(model, Classifier)
    assert isinstance(model, StyleReader)


def test_an_adapted_answer_is_that_of_the_clip_less_its_style(model: StyleSet) -> None:
    generator = np.random.default_rng(0)
    x, pool = (generator.standard_normal((n, WIDTH)).astype(np.float32) for n in (2, 4))
    support = np.array([[True, True, False, False], [False] * 4])
    given = model.adapt(x, pool, support)
    assert given.trust.tolist() == [1, 0]
    assert (given.styles[1] == 0).all()
    with torch.inference_mode():
        expected = [model.adapted(torch.from_numpy(x[:1] - given.styles[:1])), model.alone(torch.from_numpy(x[1:]))]
    np.testing.assert_allclose(given.probabilities, torch.cat(expected).softmax(-1), rtol=1e-5)


def test_a_support_of_one_emotion_counts_less_than_an_even_one_and_none_not_at_all() -> None:
    posteriors = torch.cat([torch.eye(3), torch.tensor([[0.9, 0.1, 0.0]])])
    support = torch.tensor([[True, True, True, False], [True, True, False, False], [False, False, False, True]])
    even, mostly, single = trust(posteriors, support, 2.0).tolist()
    assert even == pytest.approx(1)
    assert even > mostly > single > 0
    assert trust(posteriors, support[2:], 4.0).item() == pytest.approx(single**2, rel=1e-5)
    assert trust(posteriors, torch.zeros_like(support), 0.0).tolist() == [0, 0, 0]
    assert trust(posteriors, support, 0.0).tolist() == [1, 1, 1]


def test_half_a_trust_is_half_way_between_the_logits_with_style_and_without(model: StyleSet) -> None:
    x, style = torch.randn(2, 1, WIDTH)
    with torch.inference_mode():
        alone, given, between = model(x), model(x, style, torch.ones(1)), model(x, style, torch.full((1,), 0.5))
    torch.testing.assert_close(between, (alone + given) / 2)


def test_a_folder_gives_back_the_same_model(model: StyleSet, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path)
    read = StyleSet.from_pretrained(tmp_path)
    assert read.config == model.config
    assert all(read.state_dict()[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_a_style_set_is_no_network(model: StyleSet, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path)
    with pytest.raises(CheckpointError, match=r"is not the configuration of a CiMEU network .*kind `style-set`"):
        CiMEU.from_pretrained(tmp_path)


def test_constants_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"`shrink` is -1\.0\n\nhint: a number of 0 or more"):
        config(shrink=-1.0)
