"""ASED: Amharic speech of 65 volunteers, five emotions; sound only.

`h3-01-02-01-33.wav`: emotion (initial, then its number), sentence, repetition, gender (01 women, 02 men), speaker.
The length of the files nearly gives the emotion away: trim silence, and let no model see the length. The gender is the
file's own; for one speaker (09) a few names disagree.

Source: Retta et al., A new Amharic speech emotion dataset and classification benchmark, TALLIP 2023.
"""

from collections.abc import Mapping
from pathlib import Path

from cimeu.corpora.adapters.layout import Row, checked, manifest_of, rows_by_name
from cimeu.corpora.manifest import Manifest

EMOTIONS = {"n": "neutral", "f": "fear", "h": "happiness", "s": "sadness", "a": "anger"}
COUNTS = {"clips": 2474}


def from_ased(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the recordings below `root`. Extra columns: `sentence`, `repetition`. Raises ManifestError."""
    rows = rows_by_name(
        root,
        pattern=r"(?P<emotion>[nfhsa])\d-(?P<sentence>\d\d)-(?P<repetition>\d\d)-(?P<gender>0[12])-(?P<speaker>\d\d)",
        example="h3-01-02-01-33.wav",
        row=_row,
    )
    manifest = manifest_of(rows, root, corpus="ased", culture="ethiopian", language="am", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


def _row(name: Mapping[str, str]) -> Row:
    return {
        "emotion": EMOTIONS[name["emotion"]],
        "speaker": f"ased_{name['speaker']}",
        "gender": {"01": "f", "02": "m"}[name["gender"]],
        "sentence": name["sentence"],
        "repetition": name["repetition"],
    }
