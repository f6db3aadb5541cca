"""nEMO: nine Polish actors, six emotions; sound only, described by `data.tsv`.

`samples/<speaker>_<emotion>_<sentence>.wav`, named `file_id` in the table.

Source: Christop, nEMO: dataset of emotional speech in Polish, LREC-COLING 2024.
"""

from pathlib import Path

from cimeu.corpora.adapters.layout import Published, checked, manifest_of, needed, read_table
from cimeu.corpora.manifest import Manifest

COUNTS = {"clips": 4481, "speakers": 9, "emotions": 6}


def from_nemo(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of `data.tsv`. Extra columns: `age`, `text`. Raises ManifestError."""
    path = needed(root / "data.tsv", "`data.tsv` and the folder `samples`")
    columns = ["file_id", "emotion", "raw_text", "speaker_id", "gender", "age"]
    table = read_table(path, columns, quotes=False)
    rows = [
        {
            "path": f"samples/{file_id.removesuffix('.wav')}.wav",
            "emotion": emotion,
            "speaker": f"nemo_{speaker}",
            "gender": gender[:1].lower(),
            "age": age,
            "text": text,
        }
        for file_id, emotion, text, speaker, gender, age in table[columns].itertuples(index=False)
    ]
    manifest = manifest_of(rows, root, corpus="nemo", culture="polish", language="pl", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("nemo", from_nemo, "CC BY-NC-SA 4.0 (not for products)", {"nemo": COUNTS})
