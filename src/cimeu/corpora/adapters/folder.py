"""A corpus that comes as folders: one per emotion, or one per group and in it one per emotion.

    corpus/anger/*.mp4              group/emotion:   corpus/finland/anger/*.mp4

In the second form the first level is the group that may be held out; it becomes `culture`. Files deeper down belong to
the nearest of these folders. Nothing is assumed about speakers: add a column `speaker` to the written manifest.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cimeu.corpora.manifest import Manifest, build_manifest, read_manifest
from cimeu.corpora.paths import NOT_UTF8, absolute, clip_id_of, inside, readable
from cimeu.errors import ManifestError, listed
from cimeu.labels import KNOWN_EMOTIONS, canonical
from cimeu.media.recordings import MEDIA_SUFFIXES, SOUND_SUFFIXES, is_hidden, other_files_below, recordings_below

logger = logging.getLogger(__name__)

_UNCOMPRESSED = (".wav", ".flac", ".aiff", ".aif")
"""Preferred where a video has its sound in several files."""
_NAMED = 5


def from_folder(root: Path, *, corpus: str | None = None, label_map: Mapping[str, str] | None = None) -> Manifest:
    """List the media files below `root`, labelled by folder; `corpus` defaults to the folder's name.

    A first-level folder that names an emotion, itself or by `label_map`, holds its clips; any other one is a group if
    folders are in it, else an emotion of the corpus's own. A sound file beside a video of the same name is that video's
    `audio_path`. Files of one name and other suffixes are clips of their own. A file whose name is not UTF-8 keeps its
    row with that problem. What is left out is counted and named in the log.
    Raises ManifestError where there is no folder, or no media file in any.
    """
    if not root.is_dir():
        raise ManifestError(f"no folder at `{root}`\n\nhint: give the folder that holds a folder per emotion")
    root = absolute(root)
    emotions = KNOWN_EMOTIONS | {canonical(label) for label in label_map or ()}
    rows: list[dict[str, str]] = []
    for first in _folders(root):
        inner = [] if canonical(first.name) in emotions else _folders(first)
        for emotion_folder, culture in [(folder, first.name) for folder in inner] or [(first, "")]:
            rows += [_row(clip, sound, emotion_folder.name, culture) for clip, sound in _clips(emotion_folder)]
        if inner:
            _report([path for path in sorted(first.iterdir()) if _is_media(path)], "beside the folders of emotions")
    _report(other_files_below(root), "no recordings by their suffix")
    beside = [path for path in sorted(root.iterdir()) if _is_media(path)]
    if not rows:
        way_out = (
            f"`cimeu extract {root}`, `audit` and `predict` need no labels; to train, put them into a folder per "
            "emotion, or list them: --csv FILE with columns path and emotion"
            if beside
            else "expected `<emotion>/<clip>.mp4` or `<group>/<emotion>/<clip>.mp4`"
        )
        raise ManifestError(f"no video or sound file in the folders of `{root}`\n\nhint: {way_out}")
    _report(beside, "in no folder of an emotion")
    names = _distinct([inside(row["path"], root) for row in rows])
    return build_manifest(pd.DataFrame(rows).assign(corpus=corpus or root.name, clip_id=names), root)


def from_flat_folder(root: Path) -> Manifest:
    """Every recording below a folder, without a label. Raises ManifestError where there is none."""
    root = absolute(root)
    rows = [_row(clip, sound, "", "") for clip, sound in _clips(root)]
    if not rows:
        raise ManifestError(f"no video or sound file in `{root}`\n\nhint: give a folder of recordings, or a manifest")
    _report(other_files_below(root), "no recordings by their suffix")
    names = _distinct([inside(row["path"], root) for row in rows])
    return build_manifest(pd.DataFrame(rows).assign(corpus=root.name, clip_id=names), root, labelled=False)


def read_recordings(path: Path) -> Manifest:
    """A manifest, or every recording of a folder: for what needs no labels. Raises ManifestError."""
    return from_flat_folder(path) if path.is_dir() else read_manifest(path, labelled=False)


def _row(clip: Path, sound: Path | None, emotion: str, culture: str) -> dict[str, str]:
    path = readable(clip)
    return {
        "path": path,
        "audio_path": readable(sound or ""),
        "emotion": readable(emotion),
        "culture": readable(culture),
        "problem": "" if path == str(clip) and readable(sound or "") == str(sound or "") else NOT_UTF8,
    }


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))


def _is_media(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in MEDIA_SUFFIXES and not is_hidden(path.name)


def _clips(folder: Path) -> list[tuple[Path, Path | None]]:
    """Videos with the sound file beside them, if any, and sound files that stand alone."""
    videos: dict[Path, list[Path]] = defaultdict(list)
    sounds: dict[Path, list[Path]] = defaultdict(list)
    for path in recordings_below(folder):
        kind = sounds if path.suffix.lower() in SOUND_SUFFIXES else videos
        kind[path.with_suffix("")].append(path.absolute())
    clips: list[tuple[Path, Path | None]] = []
    for stem, beside in sounds.items():
        if stem not in videos:
            clips += [(sound, None) for sound in beside]
            continue
        beside.sort(key=lambda path: (path.suffix.lower() not in _UNCOMPRESSED, path))
        _report(beside[1:], f"`{readable(beside[0])}` is the sound of that video already")
    for stem, of_stem in videos.items():
        clips += [(video, sounds[stem][0] if stem in sounds else None) for video in of_stem]
    return sorted(clips)


def _distinct(paths: Sequence[str]) -> list[str]:
    """Names of clips: the path without suffix; with it where two would be one."""
    stems = [clip_id_of(path) for path in paths]
    counts = Counter(stems)
    used: set[str] = set()
    names = []
    for path, stem in zip(paths, stems, strict=True):
        name = f"{stem}{Path(path).suffix}" if counts[stem] > 1 else stem
        number = 1
        while name in used:  # one name in NFC and in NFD
            number += 1
            name = f"{stem}{Path(path).suffix}~{number}"
        used.add(name)
        names.append(name)
    return names


def _report(paths: Sequence[Path], why: str) -> None:
    """Say what is left out: how many files, of which suffixes, and the first of them."""
    if not paths:
        return
    suffixes = ", ".join(f"{name or 'no suffix'} {count}" for name, count in Counter(p.suffix for p in paths).items())
    names = listed([f"`{readable(path)}`" for path in paths], _NAMED)
    logger.warning("left out: %d files (%s), %s: %s", len(paths), suffixes, why, names)
