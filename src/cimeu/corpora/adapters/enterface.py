"""eNTERFACE'05: 43 people of 14 nations act out stories in English, six emotions.

`subject 1/anger/sentence 1/s1_an_1.avi`. Subject and emotion are taken from the folders: the files of subject 11 carry
the names of subject 12, and other names are misspelt. Subject 6 was never cut into sentences and is left out. Every
emotion has five sentences of its own, so that a recogniser of words would do: column `sentence` says which.

Source: Martin et al., The eNTERFACE'05 audio-visual emotion database, ICDE Workshops 2006.
"""

import re
from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, logger, manifest_of
from cimeu.corpora.manifest import Manifest
from cimeu.errors import ManifestError
from cimeu.media.recordings import VIDEO_SUFFIXES

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
COUNTS = {"clips": 1287, "speakers": 43} | {emotion: 212 if emotion == "happiness" else 215 for emotion in EMOTIONS}


def from_enterface(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the sentences. Extra column: `sentence`, such as `anger-1`. Raises ManifestError."""
    rows: list[Row] = []
    uncut = 0
    for path in sorted(root.absolute().glob("subject*/*/**/*")):
        if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
            continue
        subject, emotion, *deeper = path.relative_to(root.absolute()).parts
        sentence = re.fullmatch(r"sentence[ _-]?(\d)", deeper[0].lower())
        person = re.fullmatch(r"subject[ _-]?(\d+)", subject.lower())
        if sentence is None or person is None:
            uncut += 1
            continue
        rows.append(
            {
                "path": str(path),
                "emotion": emotion,
                "speaker": f"enterface_{int(person[1]):02d}",
                "sentence": f"{emotion}-{sentence[1]}",
            }
        )
    if not rows:
        raise ManifestError(
            f"no clip of eNTERFACE'05 below `{root}`\n\nhint: expected `subject 1/anger/sentence 1/s1_an_1.avi`"
        )
    if uncut:
        logger.warning("%d files below `%s` are left out: they are not cut into sentences", uncut, root)
    manifest = manifest_of(rows, root, corpus="enterface", language="en", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("enterface", from_enterface, "research only", {"enterface": COUNTS})
