"""RAVDESS: 24 North American actors, two sentences, eight emotions at two intensities.

`Actor_01/01-01-03-02-01-01-01.mp4`: modality (01 with sound, 02 silent, 03 sound only), channel (01 speech, 02 song),
emotion, intensity, sentence, repetition, actor (odd: men). The three modalities hold the same takes, so one of them is
used. Folds: six of four consecutive actors, as MAE-DFER and HiCMAE number them.

Source: Livingstone and Russo, The Ryerson audio-visual database of emotional speech and song, PLOS ONE 2018.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cimeu.corpora.adapters.layout import Published, Row, checked, manifest_of, rows_by_name
from cimeu.corpora.manifest import Manifest
from cimeu.errors import ManifestError
from cimeu.media.recordings import SOUND_SUFFIXES, VIDEO_SUFFIXES

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
COUNTS = (
    {"clips": 1440, "speakers": 24}
    | {emotion: 96 if emotion == "neutral" else 192 for emotion in EMOTIONS.values()}
    | {f"fold {fold}": 240 for fold in range(1, 7)}
)

Modality = Literal["01", "02", "03"]


def from_ravdess(root: Path, *, modality: Modality | None = None, check_counts: bool = True) -> Manifest:
    """Rows of the spoken takes below `root`, songs left out.

    `modality` is a code of the file names; None takes the first that is there of 01, 03 and 02. Extra columns:
    `modality`, `take` (the rest of the name: one performance), `intensity`, `sentence`, `repetition`.
    Raises ManifestError.
    """
    rows = rows_by_name(
        root,
        pattern=r"(?P<modality>0[123])-(?P<take>01-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<sentence>0[12])"
        r"-(?P<repetition>0[12])-(?P<actor>\d\d))",
        example="01-01-03-02-01-01-01.mp4",
        row=_row,
        suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES,
    )
    modalities = {row["modality"] for row in rows}
    used = modality or next(code for code in ("01", "03", "02") if code in modalities)
    if used not in modalities:
        raise ManifestError(
            f"no take of modality {used} below `{root}`, found: {', '.join(sorted(modalities))}\n\n"
            "hint: choose one of these"
        )
    rows = [row for row in rows if row["modality"] == used]
    manifest = manifest_of(rows, root, corpus="ravdess", culture="north-american", language="en", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("ravdess", from_ravdess, "CC BY-NC-SA 4.0 (not for products)", {"ravdess": COUNTS})


def _row(name: Mapping[str, str]) -> Row:
    actor = int(name["actor"])
    return {
        "emotion": EMOTIONS[name["emotion"]],
        "speaker": f"ravdess_{name['actor']}",
        "gender": "m" if actor % 2 else "f",
        "fold": str((actor - 1) // 4 + 1),
        "modality": name["modality"],
        "take": name["take"],
        "intensity": {"01": "normal", "02": "strong"}[name["intensity"]],
        "sentence": name["sentence"],
        "repetition": name["repetition"],
    }
