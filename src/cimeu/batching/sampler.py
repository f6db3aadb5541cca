"""Which clips form which batch: a pure function of seed and epoch, so a resumed run draws the same batches.

Axes: N clips that may be drawn.
"""

import numpy as np
from jaxtyping import Int64


def epoch_batches(
    clips: Int64[np.ndarray, " N"],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    emotions: Int64[np.ndarray, " N"] | None = None,
) -> list[Int64[np.ndarray, " _"]]:
    """Every clip once, shuffled; the last smaller batch is dropped when there is another.

    With `emotions` of the clips given: as many draws as clips, with replacement, emotions equally likely.

    >>> [len(batch) for batch in epoch_batches(np.arange(10), 4, seed=0, epoch=0)]
    [4, 4]
    """
    generator = np.random.default_rng((seed, epoch))
    if emotions is None:
        order = generator.permutation(clips)
    else:
        share = 1 / np.bincount(emotions + 1)[emotions + 1]
        order = generator.choice(clips, len(clips), p=share / share.sum())
    batches = np.split(order, range(batch_size, len(order), batch_size))
    if len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches
