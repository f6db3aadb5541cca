"""URDU: talk shows of Pakistani television, four emotions; sound only.

`Angry/SM1_F1_A01.wav`: gender and number of the speaker, recording, emotion. Nearly every speaker shows one emotion
only, so that whoever knows the voice knows the label: speaker-independent folds shift the labels strongly.

Source: Latif et al., Cross lingual speech emotion recognition: Urdu vs. Western languages, FIT 2018.
"""

from collections.abc import Mapping
from pathlib import Path

from cimeu.corpora.adapters.layout import Row, checked, manifest_of, rows_by_name
from cimeu.corpora.manifest import Manifest

EMOTIONS = {"A": "anger", "H": "happiness", "N": "neutral", "S": "sadness"}
COUNTS = {"clips": 400, "anger": 100, "happiness": 100, "neutral": 100, "sadness": 100}


def from_urdu(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the recordings below `root`. Extra column: `recording`. Raises ManifestError."""
    rows = rows_by_name(
        root,
        pattern=r"S(?P<gender>[MF])(?P<number>\d+)_F(?P<recording>\d+)_(?P<emotion>[AHNS])\d+",
        example="SM1_F1_A01.wav",
        row=_row,
    )
    manifest = manifest_of(rows, root, corpus="urdu", culture="pakistani", language="ur", acted="no")
    return checked(manifest, COUNTS) if check_counts else manifest


def _row(name: Mapping[str, str]) -> Row:
    return {
        "emotion": EMOTIONS[name["emotion"]],
        "speaker": f"urdu_{name['gender']}{name['number']}",
        "gender": name["gender"].lower(),
        "recording": name["recording"],
    }
