"""Labels that are more than one class: the votes of annotators, or the saliences of a blend, as shares.

A manifest has them in columns `votes_<emotion>`: counts, percent or shares, since only their proportions matter. A row
without votes has the one emotion that it names.

Axes: N clips, K emotions of a label space.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float32

from cimeu.corpora.manifest import Manifest
from cimeu.csv_files import decimal_points
from cimeu.errors import ManifestError
from cimeu.labels import LabelSpace, canonical

VOTES = "votes_"
"""Start of the names of the columns."""


def shares_of(table: pd.DataFrame, labels: LabelSpace) -> Float32[np.ndarray, "N K"]:
    """Share of each emotion of the label space in the votes of each row; votes for others are left out.

    Rows add up to 1; all zeros where neither votes nor the emotion are in the label space.
    Raises ManifestError for a cell that is no count.
    """
    shares = np.zeros((len(table), len(labels)), np.float32)
    for name in vote_columns(table):
        emotion = canonical(name.removeprefix(VOTES))
        if emotion not in labels:
            continue
        cells = pd.to_numeric(decimal_points(table[name]).replace("", "0"), errors="coerce").to_numpy(np.float32)
        wrong = ~np.isfinite(cells) | (cells < 0)
        if wrong.any():
            row = int(wrong.argmax())
            raise ManifestError(
                f"`{name}` of clip `{table['clip_id'].iloc[row]}` is `{table[name].iloc[row]}`\n\n"
                "hint: a count, a percentage or a share, 0 or more"
            )
        shares[:, labels.index(emotion)] = cells
    for place in np.flatnonzero(shares.sum(axis=1) == 0):
        emotion = str(table["emotion"].iloc[place])
        if emotion in labels:
            shares[place, labels.index(emotion)] = 1
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def vote_columns(table: pd.DataFrame) -> list[str]:
    """Columns of votes that a manifest has."""
    return [column for column in table.columns if column.startswith(VOTES)]


def strongest_named(manifest: Manifest, labels: LabelSpace) -> Manifest:
    """The manifest in which a labelled row outside the label space, such as a blend, goes by its strongest emotion.

    Folds, class weights and the customary figures need one emotion per clip. Rows without a label stay without one.
    Raises ManifestError where there are no votes.
    """
    table = manifest.table
    if not vote_columns(table):
        raise ManifestError(
            "the recipe learns shares, and the manifest has no column of votes\n\n"
            f"hint: add columns such as `{VOTES}anger`, or set data.targets=classes"
        )
    shares = shares_of(table, labels)
    outside = (table["emotion"] != "").to_numpy() & ~table["emotion"].isin(labels.emotions).to_numpy()
    renamed = outside & (shares.sum(axis=1) > 0)
    strongest = np.array(labels.emotions, dtype=object)[shares.argmax(axis=1)]
    return Manifest(table.assign(emotion=np.where(renamed, strongest, table["emotion"])), manifest.root)
