"""Features that were made elsewhere: a list of `path n_steps label` lines beside `.npy` files `[T', D]`.

That is the form in which PTH-Net (IEEE TIP 2024) and the public CiMEU code keep theirs. Labels are left to the
manifest. A row goes by its clip_id, the path in the list without suffix; its fingerprint is `imported`.

Axes: T steps of a clip, D width of the vectors.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32

from cimeu.encoders.description import IMPORTED
from cimeu.errors import FeatureError, first_line
from cimeu.features.store import FeatureStore, Row, row_key
from cimeu.pyramid import Direction
from cimeu.reading import MEBI, is_there, read_text

WINDOW_FRAMES = 16
SHOWN = 5
"""Faulty files named in one message."""


@dataclass(frozen=True)
class _Entry:
    """A line of the list."""

    clip_id: str
    path: Path
    n_steps: int


def import_features(
    list_file: Path, *, root: Path, encoder: str, stride: int, direction: Direction, folder: Path
) -> int:
    """Bring `.npy` features into the store `folder/<encoder>`.

    Args:
        list_file: lines `path n_steps label`; the suffix `.npy` may be left out.
        root: folder that the paths start from.
        encoder: name of what made them, such as `videomae-v2-giant`.
        stride: frames between two steps.
        direction: `backward` if they were made from reversed clips.
        folder: folder of the stores.

    Returns:
        Clips of the list that are in the store now.

    Raises:
        FeatureError: a line that cannot be read (nothing is imported); files that are missing, not finite, or not
            shaped as the list and the first file say (everything else is imported).
        FingerprintMismatch: the store holds features of another width or stride.
    """
    entries = _read_list(list_file, root)
    first = next((features for entry in entries if isinstance(features := _load(entry), np.ndarray)), None)
    if first is None:
        raise FeatureError(f"nothing to import from `{list_file}`: {_load(entries[0])}\n\nhint: check root `{root}`")
    description = {
        "name": encoder,
        "version": IMPORTED,
        "width": first.shape[1],
        "window": {"length": WINDOW_FRAMES, "stride": stride},
        "source": "frame",
        "kind": "steps",
        "optional": [],
        "preprocessing": {},
    }
    faults: list[str] = []
    with FeatureStore.open(folder / encoder, description, writable=True) as store:
        for entry in entries:
            fault = _import_one(store, entry, direction)
            faults += [fault] if fault else []
    if faults:
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise FeatureError(
            f"{len(faults)} of {len(entries)} clips of `{list_file}` were not imported:\n  "
            + "\n  ".join(faults[:SHOWN])
            + f"{more}\n\nhint: the others are in the store; correct these and import the list again"
        )
    return len(entries)


def _import_one(store: FeatureStore, entry: _Entry, direction: Direction) -> str:
    """Add a clip; what is wrong with it, or nothing."""
    features = _load(entry)
    if isinstance(features, str):
        return features
    key = row_key(entry.clip_id, IMPORTED, direction)
    if key in store:
        stored = store.get(key).features
        return (
            ""
            if stored is not None and np.array_equal(stored, features)
            else f"`{entry.path}` differs from what was imported before"
        )
    try:
        store.add(key, Row(entry.clip_id, features, "", 0.0, direction))
    except FeatureError as error:
        if error.__cause__ is not None:  # the disk, not the clip
            raise
        return first_line(error)
    return ""


def _read_list(list_file: Path, root: Path) -> list[_Entry]:
    hint = "give a text file of `path n_steps label` lines"
    if not is_there(list_file, FeatureError, hint):
        raise FeatureError(f"no list `{list_file}`\n\nhint: {hint}")
    entries = []
    for number, line in enumerate(read_text(list_file, FeatureError, hint, at_most=256 * MEBI).splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.rsplit(maxsplit=2)
        if len(parts) != 3 or not parts[1].isdecimal():
            raise FeatureError(
                f"line {number} of `{list_file}` is `{line.strip()}`"
                "\n\nhint: write `path n_steps label`, such as `a/01 23 4`"
            )
        path = root / parts[0]
        path = path if path.suffix == ".npy" else path.with_name(path.name + ".npy")
        inside = path.relative_to(root) if path.is_relative_to(root) else path
        clip_id = PurePosixPath(inside.as_posix().lstrip("/")).with_suffix("").as_posix()
        entries.append(_Entry(clip_id, path, int(parts[1])))
    if not entries:
        raise FeatureError(f"`{list_file}` lists no clip\n\nhint: write a `path n_steps label` line per clip")
    return entries


def _load(entry: _Entry) -> Float32[np.ndarray, "T D"] | str:
    """The features of a file, or what is wrong with it."""
    if not entry.path.is_file():
        return f"no file `{entry.path}`"
    try:
        features = np.load(entry.path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        return f"`{entry.path}` is no array: {first_line(error)}"
    if not isinstance(features, np.ndarray) or features.ndim != 2 or features.dtype.kind != "f":
        shape = getattr(features, "shape", "several arrays")
        return f"`{entry.path}` holds {shape}, not steps x width of floating-point numbers"
    if len(features) != entry.n_steps:
        return f"`{entry.path}` has {len(features)} steps, the list says {entry.n_steps}"
    return features.astype(np.float32)
