"""Draw some of the clips of a table by seed."""

import numpy as np
import pandas as pd


def stratified(clips: pd.DataFrame, group: str, n_clips: int, seed: int) -> tuple[str, ...]:
    """Ids of some of the clips, drawn so that emotions keep their shares, and groups in each; in the table's order."""
    drawn = clips.iloc[np.random.default_rng(seed).permutation(len(clips))]
    for strata in ([group, "emotion"], ["emotion"]):  # any beginning of such an order holds every share
        counted = drawn.groupby(strata, sort=False)["clip_id"]
        place = (counted.cumcount() + 0.5) / counted.transform("size")
        drawn = drawn.loc[place.sort_values(kind="stable").index]
    chosen = set(drawn["clip_id"].iloc[:n_clips])
    return tuple(clip_id for clip_id in clips["clip_id"] if clip_id in chosen)


def shots_from(pool: pd.DataFrame, shots: int, seed: int) -> tuple[str, ...]:
    """Ids of `shots` clips of each emotion (all of them where there are fewer); fewer shots are among more."""
    order = np.random.default_rng(seed).permutation(len(pool))
    shuffled = pool.iloc[order]
    first = set(shuffled["clip_id"][shuffled.groupby("emotion").cumcount() < shots])
    return tuple(clip_id for clip_id in pool["clip_id"] if clip_id in first)
