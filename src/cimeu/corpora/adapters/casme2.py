"""CASME II: micro-expressions of 26 people in China, filmed at 200 frames per second; five classes, no sound.

`CASME2-coding-updated.xlsx` and frames in `Cropped/sub01/EP02_01f/`. Clip names come back with other subjects: a clip
goes by its folder. Fear and sadness (nine clips) are left out, as everyone does. Folds: one person left out at a time;
pool the predictions before UAR, because most people do not show every class.

Source: Yan et al., CASME II: an improved spontaneous micro-expression database, PLOS ONE 2014.
"""

import re
from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, columns_needed, manifest_of, read_xlsx
from cimeu.corpora.manifest import Manifest
from cimeu.errors import UnknownLabel, guess
from cimeu.labels import SPACES, canonical

COUNTS = {
    "clips": 246,
    "speakers": 26,
    "happiness": 32,
    "surprise": 25,
    "repression": 27,
    "others": 99,
    "disgust": 63,
}
TOO_FEW = frozenset({"fear", "sadness"})


def from_casme2(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the coded clips, each a folder of frames.

    Extra columns: `onset_frame`, `apex_frame`, `offset_frame`, `action_units`. Raises ManifestError, UnknownLabel.
    """
    path = root / "CASME2-coding-updated.xlsx"
    table = read_xlsx(path)
    coded = ("OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units")
    columns_needed(table, ("Subject", "Filename", "Estimated Emotion", *coded), path)
    rows: list[Row] = []
    for cells in table.to_dict("records"):
        emotion = canonical(cells["Estimated Emotion"])
        if emotion in TOO_FEW:
            continue
        if emotion not in SPACES["casme2"]:
            raise UnknownLabel(
                f"clip `{cells['Filename']}` of `{path}` has the emotion `{emotion}`\n\n"
                f"hint: {guess(emotion, SPACES['casme2'].emotions)}"
            )
        number = int(re.sub(r"\D", "", cells["Subject"].removesuffix(".0")))
        rows.append(
            {
                "path": f"Cropped/sub{number:02d}/{cells['Filename']}",
                "emotion": emotion,
                "speaker": f"casme2_{number:02d}",
                "fold": str(number),
                **dict(
                    zip(
                        ("onset_frame", "apex_frame", "offset_frame", "action_units"),
                        map(cells.get, coded),
                        strict=True,
                    )
                ),
            }
        )
    manifest = manifest_of(rows, root, corpus="casme2", culture="chinese", acted="no")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("casme2", from_casme2, "by request, research only", {"casme2": COUNTS})
