"""AFEW: clips of films, seven emotions.

`Train_AFEW/Angry/<film>_<time>.avi` and `Val_AFEW/...`. Labels of the third part were never published, so results are
reported on Val: it is `test` here, and validation is cut from the training part.

Source: Dhall et al., Collecting large, richly annotated facial-expression databases from movies, IEEE MultiMedia 2012.
"""

import re
from pathlib import Path

from cimeu.corpora.adapters.layout import PARTIAL, Published, Row, manifest_of, needed
from cimeu.corpora.manifest import Manifest
from cimeu.errors import ManifestError
from cimeu.labels import SPACES
from cimeu.media.recordings import VIDEO_SUFFIXES

PARTS = {"Train_AFEW": "train", "Val_AFEW": "test"}


def from_afew(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of both parts. Extra column: `film`, where the file names it. Sizes differ between the yearly releases, so
    only the parts and the seven emotions of each are checked. Raises ManifestError."""
    rows: list[Row] = []
    for folder, split in PARTS.items():
        needed(root / folder, "`Train_AFEW/<Emotion>/*.avi` and `Val_AFEW/<Emotion>/*.avi`")
        for path in sorted((root / folder).absolute().glob("*/*")):
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith("."):
                film = re.sub(r"_?\d+$", "", path.stem)
                rows.append({"path": str(path), "emotion": path.parent.name, "split": split, "film": film})
    if not rows:
        raise ManifestError(f"no clip of AFEW below `{root}`\n\nhint: expected `Train_AFEW/Angry/*.avi`")
    manifest = manifest_of(rows, root, corpus="afew", language="en", acted="yes")
    if check_counts:
        for split in PARTS.values():
            emotions = set(manifest.table["emotion"][manifest.table["split"] == split])
            if emotions != set(SPACES["afew"]):
                raise ManifestError(
                    f"`afew` {split}: emotions {', '.join(sorted(SPACES['afew']))} expected, "
                    f"{', '.join(sorted(emotions)) or 'none'} found\n\nhint: {PARTIAL}"
                )
    return manifest


CORPUS = Published("afew", from_afew, "by request, research only")
