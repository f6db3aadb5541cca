"""Clips whose files have the same bytes, whatever they are called; `cimeu.corpora.folds` keeps them on one side.

Copies that were recoded, cut or made louder are found by `cimeu.corpora.audit.shared_recordings` (`cimeu overlap`).
"""

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from cimeu.corpora.content_hash import content_of
from cimeu.corpora.folds import SAME_FILE
from cimeu.corpora.manifest import Clip, Manifest

_HEAD_BYTES = 2**16


def with_same_file(manifest: Manifest) -> Manifest:
    """The manifest with the column `same_file`: one name for clips of one content, empty where a clip is alone;
    without it where every clip is.

    Only files that agree in size and in their first bytes are read whole.
    """
    clips = [clip for clip in manifest.clips() if not clip.problem]
    groups: list[list[Clip]] = [clips]
    keys: tuple[Callable[[Clip], Hashable], ...] = (_size, _head, content_of)
    for key in keys:
        groups = [alike for group in groups for alike in _grouped(group, key)]
    names = {clip.clip_id: group[0].clip_id for group in groups for clip in group}
    table = manifest.table.drop(columns=SAME_FILE, errors="ignore")
    if not names:
        return Manifest(table, manifest.root)
    same_file = [names.get(clip_id, "") for clip_id in manifest.table["clip_id"]]
    return Manifest(table.assign(**{SAME_FILE: same_file}), manifest.root)


def _grouped(clips: Sequence[Clip], key: Callable[[Clip], Hashable]) -> list[list[Clip]]:
    """Sets of at least two clips with one key."""
    groups: dict[Hashable, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[key(clip)].append(clip)
    return [group for group in groups.values() if len(group) > 1]


def _size(clip: Clip) -> Hashable:
    """Sizes of the files of a clip; of a folder of images, their number and their sum."""
    return (clip.start_s, clip.end_s, *(_size_of(path) for path in (clip.path, clip.audio_path)))


def _size_of(path: Path | None) -> tuple[int, int]:
    if path is None:
        return 0, 0
    try:
        if path.is_dir():
            sizes = [entry.stat().st_size for entry in os.scandir(path)]
            return len(sizes), sum(sizes)
        return 1, path.stat().st_size
    except OSError:
        return 0, -1


def _head(clip: Clip) -> Hashable:
    try:
        with clip.path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:  # a folder of images
        return b""
