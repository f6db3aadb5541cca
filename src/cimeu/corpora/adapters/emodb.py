"""EMO-DB: ten German actors, ten sentences, seven emotions; sound only.

`03a01Fa.wav`: speaker, sentence, emotion (initial of its German name), version.

Source: Burkhardt et al., A database of German emotional speech, Interspeech 2005.
"""

from collections.abc import Mapping
from pathlib import Path

from cimeu.corpora.adapters.layout import Row, checked, manifest_of, rows_by_name
from cimeu.corpora.manifest import Manifest

EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
PEOPLE = {
    "03": ("m", "31"),
    "08": ("f", "34"),
    "09": ("f", "21"),
    "10": ("m", "32"),
    "11": ("m", "26"),
    "12": ("m", "30"),
    "13": ("f", "32"),
    "14": ("f", "35"),
    "15": ("m", "25"),
    "16": ("f", "31"),
}
"""Gender and age of each speaker, as the corpus's page lists them."""
COUNTS = {
    "clips": 535,
    "speakers": 10,
    "anger": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happiness": 71,
    "sadness": 62,
    "neutral": 79,
}


def from_emodb(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the recordings below `root`. Extra columns: `age`, `sentence`, `version`. Raises ManifestError."""
    rows = rows_by_name(
        root,
        pattern=r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])",
        example="03a01Fa.wav",
        row=_row,
    )
    manifest = manifest_of(rows, root, corpus="emodb", culture="german", language="de", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


def _row(name: Mapping[str, str]) -> Row:
    gender, age = PEOPLE.get(name["speaker"], ("", ""))
    return {
        "emotion": EMOTIONS.get(name["emotion"], name["emotion"]),
        "speaker": f"emodb_{name['speaker']}",
        "gender": gender,
        "age": age,
        "sentence": name["sentence"],
        "version": name["version"],
    }
