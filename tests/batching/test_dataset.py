"""Clips beside their features, and statistics of training clips."""

from collections.abc import Callable

import numpy as np
import pytest

from cimeu.batching.dataset import ClipDataset, Statistics
from cimeu.corpora.manifest import Manifest
from cimeu.errors import FeatureError, ManifestError, UnknownLabel
from cimeu.features.store import FeatureStore
from cimeu.labels import LabelSpace

TWO = LabelSpace("two", ("anger", "happiness"))
Store = Callable[..., FeatureStore]


def vectors(n_steps: int, width: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(5, 2, (n_steps, width)).astype(np.float32)


def test_a_clip_comes_with_its_features_and_labels(manifest: Manifest, store: Store) -> None:
    rows = [vectors(4), vectors(9), vectors(20)]
    clips = ClipDataset(manifest, TWO, first=store("alpha", {"forward": rows}), second=None, direction="forward")
    sample = clips[1]
    assert (sample.clip_id, sample.emotion, sample.style, sample.index) == ("1", 1, -1, 1)
    np.testing.assert_array_equal(sample.first, rows[1])
    assert sample.second is None
    assert clips.emotions.tolist() == [0, 1, 0, 1]


def test_backward_reads_the_reversed_first_stream_and_the_second_as_it_is(manifest: Manifest, store: Store) -> None:
    forward, backward, other = ([vectors(4, seed=seed)] for seed in range(3))
    alpha, beta = store("alpha", {"forward": forward, "backward": backward}), store("beta", {"forward": other})
    sample = ClipDataset(manifest, TWO, first=alpha, second=beta, direction="backward")[0]
    np.testing.assert_array_equal(sample.first, backward[0])
    np.testing.assert_array_equal(sample.second, other[0])


def test_clips_without_any_stream_keep_their_place_and_are_not_usable(manifest: Manifest, store: Store) -> None:
    alpha = store("alpha", {"forward": [vectors(4), None, None]})
    beta = store("beta", {"forward": [vectors(4), vectors(4), None]})
    clips = ClipDataset(manifest, TWO, first=alpha, second=beta, direction="forward")
    assert len(clips) == 4
    assert clips.usable.tolist() == [0, 1]
    assert clips.present.tolist() == [[True, True], [False, True], [False, False], [False, False]]
    assert clips[3].first is None


def test_styles_are_numbered_by_a_column_and_unknown_where_it_is_empty(manifest: Manifest, store: Store) -> None:
    alpha = store("alpha", {"forward": [vectors(4)]})
    clips = ClipDataset(manifest, TWO, first=alpha, second=None, direction="forward", style_column="culture")
    assert clips.style_names == ("a", "b")
    assert clips.styles.tolist() == [1, 0, -1, 0]
    assert clips.groups("culture") == ["b", "a", "", "a"]
    with pytest.raises(ManifestError, match=r"no column `tribe` in the manifest\n\nhint: columns are clip_id"):
        clips.groups("tribe")


def test_an_emotion_outside_the_label_space_is_refused(manifest: Manifest, store: Store) -> None:
    alpha = store("alpha", {"forward": [vectors(4)]})
    with pytest.raises(UnknownLabel, match="happiness"):
        ClipDataset(manifest, LabelSpace("other", ("anger", "fear")), first=alpha, second=None, direction="forward")


@pytest.mark.parametrize(
    ("window", "shared"), [({"length": 16, "stride": 4}, True), ({"length": 16, "stride": 8}, False)]
)
def test_equal_windows_are_shared(manifest: Manifest, store: Store, window: dict[str, int], shared: bool) -> None:
    alpha, beta = store("alpha", {"forward": [vectors(4)]}), store("beta", {"forward": [vectors(4)]}, window=window)
    assert ClipDataset(manifest, TWO, first=alpha, second=beta, direction="forward").shares_windows is shared
    assert not ClipDataset(manifest, TWO, first=alpha, second=None, direction="forward").shares_windows


def test_clips_that_see_the_whole_clip_share_no_windows(manifest: Manifest, store: Store) -> None:
    alpha, beta = (store(name, {"forward": [vectors(1)]}, window=None) for name in ("alpha", "beta"))
    assert not ClipDataset(manifest, TWO, first=alpha, second=beta, direction="forward").shares_windows


def test_statistics_are_those_of_all_steps_of_all_clips() -> None:
    clips = [1e4 + vectors(n, seed=n) for n in (3, 40, 200)]
    statistics, steps = Statistics.of(clips), np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, steps.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.deviation, steps.std(0), rtol=1e-4)
    whole = statistics.apply(np.concatenate(clips))
    np.testing.assert_allclose(whole.mean(0), 0, atol=1e-2)
    np.testing.assert_allclose(whole.std(0), 1, rtol=1e-2)


def test_what_was_not_measurable_is_left_out_and_becomes_the_mean() -> None:
    clip = np.array([[1.0, np.nan], [3.0, 7.0], [5.0, np.nan]], np.float32)
    statistics = Statistics.of([clip])
    np.testing.assert_allclose(statistics.mean, [3, 7])
    assert statistics.apply(clip)[:, 1].tolist() == [0, 0, 0]


def test_a_dimension_never_measured_becomes_nothing() -> None:
    clip = np.array([[1.0, np.nan], [3.0, np.nan]], np.float32)
    assert (Statistics.of([clip]).apply(clip)[:, 1] == 0).all()


def test_a_constant_dimension_gets_the_least_deviation() -> None:
    assert Statistics.of([np.full((9, 1), 4.0, np.float32)]).deviation.tolist() == pytest.approx([1e-3])


def test_filterbanks_get_one_mean_and_twice_the_deviation() -> None:
    clips = [vectors(30, 8, seed) for seed in range(3)]
    statistics, values = Statistics.of_filterbanks(clips), np.concatenate(clips)
    np.testing.assert_allclose(statistics.mean, np.full(8, values.mean()), rtol=1e-5)
    np.testing.assert_allclose(statistics.deviation, np.full(8, 2 * values.std()), rtol=1e-5)


def test_statistics_of_no_clip_are_refused() -> None:
    with pytest.raises(FeatureError, match=r"no training clip has features\n\nhint: extract"):
        Statistics.of([])


def test_statistics_of_a_dataset_follow_the_kind_of_each_stream(manifest: Manifest, store: Store) -> None:
    alpha, beta = store("alpha", {"forward": [vectors(4)]}), store("beta", {"forward": [vectors(4)]}, kind="tokens")
    first, second = ClipDataset(manifest, TWO, first=alpha, second=beta, direction="forward").statistics()
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first.mean, vectors(4).mean(0), rtol=1e-6)
    assert second.mean.tolist() == [0, 0, 0]
    assert second.deviation.tolist() == [1, 1, 1]
