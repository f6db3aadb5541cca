"""Pseudo styles: found, kept in name, never tiny; and what the journal says about them."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from cimeu.errors import RecipeError
from cimeu.training.styles import length_groups, pseudo_labels, random_labels, style_numbers


def blobs(sizes: list[int], *, seed: int = 0, spread: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around one direction per group, shuffled."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(len(sizes), 20))
    truth = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (centres[truth] + spread * generator.normal(size=(len(truth), 20))).astype(np.float32), truth


def test_clusters_are_found() -> None:
    vectors, truth = blobs([40, 30, 30])
    labels = pseudo_labels(vectors, 3, previous=None, seed=0)
    assert adjusted_rand_score(truth, labels) == 1.0


def test_the_scale_of_a_dimension_does_not_matter() -> None:
    vectors, truth = blobs([40, 30, 30])
    vectors[:, 0] = 1000 * np.random.default_rng(1).normal(size=100)
    assert adjusted_rand_score(truth, pseudo_labels(vectors, 3, previous=None, seed=0)) > 0.9


@pytest.mark.parametrize("names", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_clusters_keep_the_numbers_of_the_last_epoch(names: list[int]) -> None:
    vectors, truth = blobs([40, 30, 30])
    previous = np.array(names)[truth]
    np.testing.assert_array_equal(pseudo_labels(-vectors, 3, previous=previous, seed=5), previous)


def test_labels_are_a_function_of_vectors_and_seed() -> None:
    vectors, _ = blobs([40, 30, 30], spread=3.0)
    one, other = (pseudo_labels(vectors, 3, previous=None, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_clips_without_a_first_stream_get_no_style() -> None:
    vectors, truth = blobs([40, 30, 30])
    vectors[7] = np.nan
    labels = pseudo_labels(vectors, 3, previous=None, seed=0)
    assert labels[7] == -1
    there = np.arange(100) != 7
    assert adjusted_rand_score(truth[there], labels[there]) == 1.0


def test_a_tiny_cluster_is_seeded_anew_from_the_largest() -> None:
    vectors, truth = blobs([60, 39, 1])
    labels = pseudo_labels(vectors, 3, previous=None, seed=0)
    assert np.bincount(labels, minlength=3).min() >= 100 / 12
    assert truth[labels == labels[truth == 2][0]].tolist() != [2]


def test_fewer_clips_than_styles_have_none() -> None:
    vectors, _ = blobs([1, 1, 1])
    assert pseudo_labels(vectors, 3, previous=None, seed=0).tolist() == [-1, -1, -1]


def test_random_labels_have_the_given_proportions_and_never_change() -> None:
    labels = random_labels(100, (10, 30, 60), seed=3)
    assert np.bincount(labels).tolist() == [10, 30, 60]
    np.testing.assert_array_equal(labels, random_labels(100, (10, 30, 60), seed=3))
    assert np.bincount(random_labels(50, (10, 30, 60), seed=3)).tolist() == [5, 15, 30]
    assert (random_labels(100, (10, 30, 60), seed=4) != labels).any()


def test_random_labels_need_two_sizes() -> None:
    with pytest.raises(RecipeError, match=r"style sizes are \[5\]"):
        random_labels(10, (5,), seed=0)


def test_numbers_say_what_styles_share_with_the_clips() -> None:
    labels = np.array([0, 0, 1, 1, -1])
    known = {
        "culture": ["a", "a", "b", "b", "b"],
        "emotion": ["x", "y", "x", "y", "x"],
        "speaker": ["", "", "p", "p", "q"],
    }
    numbers = style_numbers(labels, np.array([1, 1, 0, 0, 0]), known, 3)
    assert numbers == {
        "style.size.0": 2,
        "style.size.1": 2,
        "style.size.2": 0,
        "style.ari.last": 1.0,
        "style.nmi.culture": pytest.approx(1.0),
        "style.nmi.emotion": pytest.approx(0.0, abs=1e-9),
        "style.nmi.speaker": None,
    }


def test_lengths_fall_into_fifths() -> None:
    groups = length_groups([*range(1, 101), 0])
    assert {name: groups.count(name) for name in set(groups)} == {"": 1, "0": 20, "1": 20, "2": 20, "3": 20, "4": 20}
