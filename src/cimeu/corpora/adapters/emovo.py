"""EMOVO: six Italian actors, fourteen sentences, seven emotions; sound only.

`dis-f1-b1.wav`: emotion (beginning of its Italian name), speaker, sentence.

Source: Costantini et al., EMOVO corpus: an Italian emotional speech database, LREC 2014.
"""

from collections.abc import Mapping
from pathlib import Path

from cimeu.corpora.adapters.layout import Row, checked, manifest_of, rows_by_name
from cimeu.corpora.manifest import Manifest

EMOTIONS = {
    "dis": "disgust",
    "gio": "happiness",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
    "neu": "neutral",
}
COUNTS = {"clips": 588, "speakers": 6} | dict.fromkeys(EMOTIONS.values(), 84)


def from_emovo(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the recordings below `root`. Extra column: `sentence`. Raises ManifestError."""
    rows = rows_by_name(
        root,
        pattern=rf"(?P<emotion>{'|'.join(EMOTIONS)})-(?P<speaker>[fm]\d)-(?P<sentence>\w+)",
        example="dis-f1-b1.wav",
        row=_row,
    )
    manifest = manifest_of(rows, root, corpus="emovo", culture="italian", language="it", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


def _row(name: Mapping[str, str]) -> Row:
    return {
        "emotion": EMOTIONS[name["emotion"]],
        "speaker": f"emovo_{name['speaker']}",
        "gender": name["speaker"][0],
        "sentence": name["sentence"],
    }
