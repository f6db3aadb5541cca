"""Style labels for clips nobody labelled: clusters of the style primitives, found again each epoch (H-NTL, ICLR 2024).

Style vectors are standardised, reduced, put on the unit sphere and clustered by k-means. Clusters have no names, so
each epoch's are matched to the last epoch's by the clips they share. Clusters can follow the wrong thing (emotion, or
how much padding a clip has), so every epoch says how much they share with what is known about the clips.

Axes: N training clips, C width of a style vector, P channels of all streams' styles, S styles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy  # its parts are imported when they are used
import torch
from jaxtyping import Float, Float32, Int64
from threadpoolctl import threadpool_limits
from torch import Tensor

from cimeu.batching.collate import Collator, evaluation_batches
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import RecipeError
from cimeu.model.network import CiMEU
from cimeu.training.config import TrainingConfig
from cimeu.training.journal import Entry
from cimeu.training.resume import State

WARM_UP_EPOCHS = 3
"""Epochs without style labels, until style primitives mean something."""
STARTS = 10
COMPONENTS = 64
DEVIATION_FLOOR = 1e-3
LENGTH_GROUPS = 5
GROUPS_BESIDE_STYLES = ("emotion", "culture", "speaker")


def epoch_styles(
    model: CiMEU, train: ClipDataset, collator: Collator, config: TrainingConfig, state: State
) -> tuple[Int64[Tensor, " N"], Entry]:
    """Style of every training clip in this epoch, and what the journal says about it."""
    none = torch.full((len(train),), -1)
    if config.style_labels == "off" or model.config.disentangle == "off":
        return none, {}
    if config.style_labels not in ("pseudo", "random"):
        return torch.from_numpy(train.styles), {}
    # Clusters of untrained primitives would be the random projection's, and training would fit them.
    if state.epoch < WARM_UP_EPOCHS:
        return none, {}
    n_styles, previous = model.config.styles, None if state.styles is None else state.styles.numpy()
    if config.style_labels == "random":
        labels = random_labels(len(train), config.style_sizes or (1,) * n_styles, seed=config.seed)
    else:
        vectors = style_vectors(model, train, collator, config.batch_size)
        # A seed of the epoch: a resumed run clusters like one that was never stopped.
        seed = int(np.random.SeedSequence((config.seed, state.epoch)).generate_state(1)[0])
        labels = pseudo_labels(vectors, n_styles, previous=previous, seed=seed)
    groups = {name: train.groups(name) for name in GROUPS_BESIDE_STYLES if name in train.manifest.table.columns}
    groups["length"] = length_groups([0 if row is None else len(row) for row in train.first_features])
    state.styles = torch.from_numpy(labels)
    return state.styles, style_numbers(labels, previous, groups, n_styles)


def style_vectors(
    model: CiMEU, dataset: ClipDataset, collator: Collator, batch_size: int
) -> Float32[np.ndarray, "N P"]:
    """Masked mean of S at H of every clip, streams side by side; NaN where a clip has no disentangled stream."""
    vectors = np.full((len(dataset), model.config.sizes.width * len(model.config.disentangled)), np.nan, np.float32)
    device = next(model.parameters()).device
    if len(model.config.disentangled) == 1:  # the second stream has no style, and may be costly to read
        collator = replace(collator, second=None)
    model.eval()
    with torch.inference_mode():
        for batch in evaluation_batches(dataset, collator, batch_size):
            assert batch.first is not None
            present = batch.first.present if batch.second is None else batch.first.present | batch.second.present
            index, clips = batch.index.numpy(), present.numpy()
            on_device = batch.to(device)
            assert on_device.first is not None
            vectors[index[clips]] = model.pooled_styles(on_device.first, on_device.second).cpu().numpy()[clips]
    return vectors


def pseudo_labels(
    vectors: Float32[np.ndarray, "N C"],
    n_styles: int,
    *,
    previous: Int64[np.ndarray, " N"] | None,
    seed: int,
) -> Int64[np.ndarray, " N"]:
    """Cluster the style primitives of the training clips.

    Args:
        vectors: masked mean of S at H of each clip; NaN where a clip has no first stream (its label is -1).
        n_styles: number of clusters.
        previous: labels of the last epoch, where k-means starts and whose numbers are kept; None: 10 random starts.
        seed: of k-means and PCA.
    """
    labels = np.full(len(vectors), -1, np.int64)
    finite = np.isfinite(vectors).all(1)
    if finite.sum() <= n_styles:
        return labels
    # One thread: k-means sums in another order with several, and labels would differ between machines.
    with threadpool_limits(1):
        # Directions, not lengths: how strongly somebody expresses is not a style of its own here.
        points = _on_the_sphere(vectors[finite], seed)
        start = None if previous is None else previous[finite]
        clusters = _cluster(points, n_styles, start, seed)
        clusters = _without_small_clusters(points, clusters, n_styles, seed)
    # Numbers are kept from epoch to epoch, because the style classifier's rows are tied to them.
    labels[finite] = clusters if start is None else _renumbered(clusters, start, n_styles)
    return labels


def random_labels(n_clips: int, sizes: Sequence[int], *, seed: int) -> Int64[np.ndarray, " N"]:
    """The control: styles drawn once per clip, with clusters in the proportion of `sizes`. Raises RecipeError."""
    if len(sizes) < 2 or min(sizes) <= 0:
        raise RecipeError(f"style sizes are {list(sizes)}\n\nhint: one number above 0 for each of two styles or more")
    # Cumulative, so that rounding never loses or adds a clip.
    edges = np.round(np.cumsum(sizes) / np.sum(sizes) * n_clips).astype(int)
    labels = np.searchsorted(edges, np.arange(n_clips), side="right").astype(np.int64)
    return np.random.default_rng(seed).permutation(labels)


def style_numbers(
    labels: Int64[np.ndarray, " N"],
    previous: Int64[np.ndarray, " N"] | None,
    known_about_clips: Mapping[str, Sequence[object]],
    n_styles: int,
) -> Entry:
    """What the journal says about styles: sizes, ARI to the last epoch, NMI with everything known about the clips.

    Clips without a style or with an empty cell are left out; a number that needs two groups and finds one is None.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    labelled = labels >= 0
    numbers: Entry = {f"style.size.{style}": int((labels == style).sum()) for style in range(n_styles)}
    if previous is not None:
        both = labelled & (previous >= 0)
        numbers["style.ari.last"] = float(adjusted_rand_score(previous[both], labels[both])) if both.any() else None
    for name, values in known_about_clips.items():
        cells = np.array([str(value) for value in values])
        recorded = labelled & (cells != "")
        enough = recorded.any() and len(set(cells[recorded])) > 1
        numbers[f"style.nmi.{name}"] = (
            float(normalized_mutual_info_score(cells[recorded], labels[recorded])) if enough else None
        )
    return numbers


def length_groups(n_steps: Sequence[int]) -> list[str]:
    """Fifths of the clips by length, empty for a clip without steps."""
    lengths = np.asarray(n_steps)
    measured = lengths > 0
    if not measured.any():
        return [""] * len(lengths)
    edges = np.quantile(lengths[measured], np.arange(1, LENGTH_GROUPS) / LENGTH_GROUPS)
    return [str(np.searchsorted(edges, length)) if length else "" for length in lengths]


def _on_the_sphere(vectors: Float[np.ndarray, "N C"], seed: int) -> Float[np.ndarray, "N P"]:
    from sklearn.decomposition import PCA

    values = vectors.astype(np.float64)
    values = (values - values.mean(0)) / np.maximum(values.std(0), DEVIATION_FLOOR)
    n_clips, width = values.shape
    # In many dimensions all distances are alike, and k-means has nothing to go by.
    reduced = PCA(min(COMPONENTS, width, n_clips - 1), random_state=seed).fit_transform(values)
    return reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12)


def _cluster(points: np.ndarray, n_styles: int, start: np.ndarray | None, seed: int) -> Int64[np.ndarray, " N"]:
    if start is None or len(set(start[start >= 0])) < n_styles:
        return _k_means(points, n_styles, None, seed)
    # Warm start: clusters move with the primitives and are not found anew.
    centres = np.stack([points[start == style].mean(0) for style in range(n_styles)])
    return _k_means(points, n_styles, centres, seed)


def _k_means(points: np.ndarray, n_styles: int, centres: np.ndarray | None, seed: int) -> Int64[np.ndarray, " N"]:
    from sklearn.cluster import KMeans

    starts = {"init": "k-means++", "n_init": STARTS} if centres is None else {"init": centres, "n_init": 1}
    return KMeans(n_styles, random_state=seed, **starts).fit_predict(points).astype(np.int64)


def _without_small_clusters(points: np.ndarray, labels: np.ndarray, n_styles: int, seed: int) -> np.ndarray:
    """Re-seed each cluster under 1/(4S) of the clips from one half of the largest, once per cluster."""
    from sklearn.decomposition import PCA

    for _ in range(n_styles):
        sizes = np.bincount(labels, minlength=n_styles)
        small, large = int(sizes.argmin()), int(sizes.argmax())
        if sizes[small] >= len(points) / (4 * n_styles):
            break
        centres = np.stack(
            [
                points[labels == style].mean(0) if sizes[style] else np.zeros(points.shape[1])
                for style in range(n_styles)
            ]
        )
        members = points[labels == large]
        # The largest cluster is cut where it is longest, at the median, into equal halves.
        along = PCA(1, random_state=seed).fit_transform(members)[:, 0]
        upper = along > np.median(along)
        centres[large], centres[small] = members[~upper].mean(0), members[upper].mean(0)
        labels = _k_means(points, n_styles, centres, seed)
    return labels


def _renumbered(labels: np.ndarray, previous: np.ndarray, n_styles: int) -> np.ndarray:
    """Give each cluster the number of the last epoch's cluster it shares most clips with (Hungarian assignment)."""
    shared = np.zeros((n_styles, n_styles), np.int64)
    kept = previous >= 0
    np.add.at(shared, (labels[kept], previous[kept]), 1)
    # Greedy matching can leave two clusters with one number; the assignment is one to one.
    rows, columns = scipy.optimize.linear_sum_assignment(shared, maximize=True)
    numbers = np.empty(n_styles, np.int64)
    numbers[rows] = columns
    return numbers[labels]
