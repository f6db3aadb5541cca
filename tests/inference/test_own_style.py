"""The support of a window holds other windows of its person that share nothing with it."""

import numpy as np
import pytest
import torch

from cimeu.errors import RecipeError
from cimeu.inference.own_style import MOST_SUPPORT, Windows, adapt, scope_named
from cimeu.model.config import StreamConfig
from cimeu.model.style_set import StyleSet, StyleSetConfig


@pytest.fixture
def model() -> StyleSet:
    made = StyleSet(StyleSetConfig(emotions=("anger", "sadness"), first=StreamConfig(width=3)))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made.eval()


def windows(model: StyleSet, count: int, *, every_s: float = 0.5, long_s: float = 2.0) -> Windows:
    x = np.random.default_rng(0).standard_normal((count, 3)).astype(np.float32)
    starts = np.arange(count) * every_s
    with torch.inference_mode():
        probabilities = model(torch.from_numpy(x)).softmax(-1).double().numpy()
    return Windows(tuple(range(count)), x, np.stack([starts, starts + long_s], axis=1), probabilities)


def test_windows_of_a_support_do_not_overlap(model: StyleSet) -> None:
    support = windows(model, 40).support()
    assert (support.reach_s[1:, 0] >= support.reach_s[:-1, 1]).all()
    assert len(support.x) == 10


def test_a_long_recording_is_thinned_evenly(model: StyleSet) -> None:
    support = windows(model, 4000).support()
    assert len(support.x) == MOST_SUPPORT
    steps = np.diff(support.reach_s[:, 0])
    assert steps.max() <= steps.min() + 2.0


def test_a_window_never_supports_what_overlaps_it(model: StyleSet) -> None:
    own = windows(model, 40)
    marked = own.support().apart_from(own)
    for row, (start_s, end_s) in enumerate(own.reach_s):
        for other in own.support().reach_s[marked[row]]:
            assert other[1] <= start_s or other[0] >= end_s
    assert marked.sum(axis=1).min() >= 8


def test_a_single_window_is_answered_without_style(model: StyleSet) -> None:
    adapted = adapt(model, windows(model, 1), scope="recording")
    assert (adapted.styles == 0).all()


def test_a_window_does_not_change_its_own_style(model: StyleSet) -> None:
    own = windows(model, 9, every_s=2.0)
    before = adapt(model, own, scope="recording")
    own.x[4] += 100
    after = adapt(model, own, scope="recording")
    np.testing.assert_allclose(after.styles[4], before.styles[4])
    assert not np.allclose(after.styles[5], before.styles[5])


def test_other_recordings_of_the_person_support_every_window(model: StyleSet) -> None:
    own, other = windows(model, 1), windows(model, 40).support()
    assert (adapt(model, own, [other], scope="person").styles != 0).any()
    person, study = (np.abs(adapt(model, own, [other], scope=scope).styles) for scope in ("person", "study"))
    assert (study < person).all()


def test_a_support_that_looks_like_one_emotion_is_told(model: StyleSet) -> None:
    own = windows(model, 9, every_s=2.0)
    own.probabilities[:] = (0.9, 0.1)
    assert adapt(model, own, scope="recording").looks_like == 0
    own.probabilities[:4] = (0.1, 0.9)
    assert adapt(model, own, scope="recording").looks_like is None


def test_an_unknown_scope_is_refused_with_a_guess() -> None:
    with pytest.raises(RecipeError, match=r"unknown scope `recordings` of style\n\nhint: did you mean `recording`"):
        scope_named("recordings")
