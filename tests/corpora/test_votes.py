from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.corpora.manifest import Manifest, build_manifest
from cimeu.corpora.votes import shares_of, strongest_named
from cimeu.errors import ManifestError
from cimeu.labels import LabelSpace

LABELS = LabelSpace("three", ("anger", "happiness", "sadness"))


def manifest(root: Path, **columns: list[str]) -> Manifest:
    n_rows = len(next(iter(columns.values())))
    table = pd.DataFrame({"path": [f"{row}.wav" for row in range(n_rows)]} | columns)
    return build_manifest(table, root, labelled=False)


def test_votes_become_shares_of_the_label_space(tmp_path: Path) -> None:
    clips = manifest(
        tmp_path, emotion=["anger", "sad"], votes_anger=["3", ""], votes_happiness=["1", "0"], votes_fear=["6", "2"]
    )
    np.testing.assert_allclose(shares_of(clips.table, LABELS), [[0.75, 0.25, 0], [0, 0, 1]])


def test_a_blend_goes_by_its_strongest_emotion_and_a_hidden_label_stays_hidden(tmp_path: Path) -> None:
    clips = manifest(
        tmp_path,
        emotion=["anger_happiness", "", "fear", "happiness"],
        votes_anger=["30", "30", "0", "60"],
        votes_happiness=["70", "70", "0", "40"],
    )
    assert list(strongest_named(clips, LABELS).table["emotion"]) == ["happiness", "", "fear", "happiness"]


@pytest.mark.parametrize("cell", ["x", "-1", "nan"])
def test_a_vote_that_is_no_count_is_named(tmp_path: Path, cell: str) -> None:
    clips = manifest(tmp_path, emotion=["anger"], votes_anger=[cell])
    with pytest.raises(ManifestError, match=rf"`votes_anger` of clip `0` is `{cell}`\n\nhint: a count"):
        shares_of(clips.table, LABELS)


def test_shares_without_votes_are_refused(tmp_path: Path) -> None:
    clips = manifest(tmp_path, emotion=["anger"])
    with pytest.raises(ManifestError, match=r"no column of votes\n\nhint: .*data.targets=classes"):
        strongest_named(clips, LABELS)
