"""Which clips form which batch: a pure function of seed and epoch, so a resumed run draws the same batches.

Axes: N clips that may be drawn.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64


def epoch_batches(
    clips: Int64[np.ndarray, " N"],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    emotions: Int64[np.ndarray, " N"] | None = None,
    groups: Sequence[str] | None = None,
) -> list[Int64[np.ndarray, " _"]]:
    """As many draws as clips, shuffled; the last smaller batch is dropped when there is another.

    Without `groups` every clip is drawn once. With them groups take turns, so that every batch has as many clips of
    each (one more at most): the clips of a small group come round again, and a large group is not gone through. With
    `emotions`, clips are drawn with replacement, emotions equally likely (within each group).

    >>> [len(batch) for batch in epoch_batches(np.arange(10), 4, seed=0, epoch=0)]
    [4, 4]
    """
    generator = np.random.default_rng((seed, epoch))
    names = np.asarray(groups if groups is not None else [""] * len(clips))
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    turns = -(-len(clips) // len(members))
    drawn = [rows[_places(rows, turns, emotions, generator)] for rows in members]
    order = clips[np.stack(drawn, axis=1).ravel()[: len(clips)]]
    batches = np.split(order, range(batch_size, len(order), batch_size))
    if len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def _places(
    rows: Int64[np.ndarray, " M"],
    turns: int,
    emotions: Int64[np.ndarray, " N"] | None,
    generator: np.random.Generator,
) -> Int64[np.ndarray, " _"]:
    """Places in a group of the clips that it gives in its turns."""
    if emotions is not None:
        return generator.choice(len(rows), turns, p=_equal_shares(emotions[rows]))
    passes = -(-turns // len(rows))
    return np.concatenate([generator.permutation(len(rows)) for _ in range(passes)])[:turns]


def _equal_shares(emotions: Int64[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """Chance of each clip that makes emotions equally likely."""
    share = 1 / np.bincount(emotions + 1)[emotions + 1]
    return share / share.sum()
