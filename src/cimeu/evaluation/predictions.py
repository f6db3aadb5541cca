"""The table of a run's predictions: a row per clip, what is known of it, and its probabilities.

Axes: N clips, K emotions.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from cimeu.batching.dataset import ClipDataset
from cimeu.evaluation.metrics import called, uar

DESCRIBED = ("clip_id", "emotion", "corpus", "speaker", "culture", "gender", "problem")
STREAMS = ("has_first", "has_second")
"""Columns that say which streams a clip has."""
PROBABILITY = "fused."
"""Start of the names of the columns that hold probabilities, as in a run folder's predictions.csv."""


def part_table(clips: ClipDataset, part: str, probabilities: Float[np.ndarray, "N K"], *, group: str) -> pd.DataFrame:
    """Rows of one part: what is known of each clip, which streams it has, and its probabilities."""
    columns = list(dict.fromkeys([*DESCRIBED, group, *(["acted"] if "acted" in clips.manifest.table else [])]))
    table = clips.manifest.table[columns].reset_index(drop=True)
    table.insert(1, "part", part)
    table[list(STREAMS)] = clips.present
    for emotion, column in zip(clips.labels.emotions, probabilities.T, strict=True):
        table[PROBABILITY + emotion] = column
    return table


def with_condition(table: pd.DataFrame) -> pd.DataFrame:
    """Untouched clips have the empty condition; a table without any condition has no such column."""
    return table.fillna({"condition": ""}) if "condition" in table else table


def uar_of(predictions: pd.DataFrame, part: str) -> float:
    """UAR of the clips of a part; one that could not be used is wrong."""
    clips = predictions[predictions["part"] == part]
    columns = [column for column in clips.columns if column.startswith(PROBABILITY)]
    emotions = [column.removeprefix(PROBABILITY) for column in columns]
    truth = np.array([emotions.index(emotion) for emotion in clips["emotion"]], np.int64)
    return uar(truth, called(clips[columns].to_numpy(float)))
