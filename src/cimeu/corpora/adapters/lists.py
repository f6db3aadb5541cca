"""List files as other projects publish them, taken as they are.

    PTH-Net, CiMEU   path n_steps label
    MAE-DFER         path label
    HiCMAE           video audio label

Labels are numbers whose meaning differs from list to list, so they are named by the caller. A list says nothing about
people unless their number is in the path: `speaker` then finds it, and leaks of the lists show.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from cimeu.corpora.adapters.layout import Row, checked, manifest_of
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.paths import absolute
from cimeu.errors import FoldLeak, ManifestError, UnknownLabel
from cimeu.labels import KNOWN_EMOTIONS, canonical
from cimeu.media.recordings import SOUND_SUFFIXES
from cimeu.reading import MEBI, is_there, read_text

SPLITS = ("train", "validation", "test")


def from_lists(
    root: Path,
    *,
    lists: Mapping[str, Path],
    labels: Mapping[str, str] | None = None,
    corpus: str | None = None,
    speaker: str = "",
    check_counts: bool = True,
) -> Manifest:
    """Rows of one or several lists.

    Args:
        root: folder that the paths start from.
        lists: list by part: train, validation, test, or the number of a fold whose test list it is.
        labels: emotion by label, such as {"0": "happiness"}; a label that is an emotion's name needs none.
        corpus: its name; by default the folder's.
        speaker: regular expression whose first group, found in the path, is the speaker.
        check_counts: whether a missing file is an error.

    Raises:
        ManifestError: a line of another form, or missing files.
        UnknownLabel: a label that `labels` does not name.
        FoldLeak: a clip in two parts.
    """
    rows: dict[str, Row] = {}
    for part, list_file in lists.items():
        if part not in SPLITS and not part.isdecimal():
            raise ManifestError(f"a list is called `{part}`\n\nhint: train, validation, test or the number of a fold")
        for row in _rows(root, list_file, labels or {}, speaker):
            row |= {"split": part} if part in SPLITS else {"fold": part}
            if row["path"] in rows and rows[row["path"]] != row:
                raise FoldLeak(
                    f"clip `{row['path']}` is listed twice, the second time in `{list_file}` with another part or label"
                    "\n\nhint: a clip belongs to one part"
                )
            rows[row["path"]] = row
    if not rows:
        raise ManifestError("no clip in the lists\n\nhint: name at least one list, such as --list test=test.csv")
    manifest = manifest_of(rows.values(), root, corpus=corpus or absolute(root).name)
    return checked(manifest, {}) if check_counts else manifest


def _rows(root: Path, list_file: Path, labels: Mapping[str, str], speaker: str) -> list[Row]:
    hint = "give a text file of `path label` lines"
    if not is_there(list_file, ManifestError, hint):
        raise ManifestError(f"no list at `{list_file}`\n\nhint: {hint}")
    rows = []
    for number, line in enumerate(read_text(list_file, ManifestError, hint, at_most=256 * MEBI).splitlines(), start=1):
        if not line.strip():
            continue
        head, _, label = re.sub(r"[,\t]", " ", line).strip().rpartition(" ")
        if not head:
            raise ManifestError(
                f"line {number} of `{list_file}` is `{line.strip()}`\n\n"
                "hint: `path label`, `path n_steps label` or `video audio label`"
            )
        emotion = labels.get(label, label)
        if label not in labels and canonical(label) not in KNOWN_EMOTIONS:
            raise UnknownLabel(
                f"label `{label}` in line {number} of `{list_file}` has no name\n\nhint: name it, such as "
                f"--label-map {label}=happiness"
            )
        row = _media(root, head.strip()) | {"emotion": emotion}
        match = re.search(speaker, row["path"]) if speaker else None
        rows.append(row | {"speaker": match[1] if match else ""})
    return rows


def _media(root: Path, text: str) -> Row:
    """Path, and sound or number of steps, of what stands before the label. Paths may hold spaces."""
    first, _, last = text.rpartition(" ")
    if not first or (root / text).exists():
        return {"path": _stored(root, text)}
    if last.isdecimal():
        return {"path": _stored(root, first.strip()), "n_steps": last}
    if Path(last).suffix.lower() in SOUND_SUFFIXES:
        return {"path": _stored(root, first.strip()), "audio_path": last}
    return {"path": _stored(root, text)}


def _stored(root: Path, path: str) -> str:
    """Lists of features leave out `.npy`."""
    return f"{path}.npy" if not (root / path).exists() and (root / f"{path}.npy").exists() else path
