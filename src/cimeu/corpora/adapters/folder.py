"""A corpus that comes as folders: one per emotion, or one per group and in it one per emotion.

    corpus/anger/*.mp4              group/emotion:   corpus/finland/anger/*.mp4

In the second form the first level is the group that may be held out; it becomes `culture`. Files deeper down belong to
the nearest of these folders. Nothing is assumed about speakers: add a column `speaker` to the written manifest.
"""

from pathlib import Path

import pandas as pd

from cimeu.corpora.manifest import Manifest, absolute, build_manifest
from cimeu.errors import ManifestError
from cimeu.labels import KNOWN_EMOTIONS, canonical
from cimeu.media.recordings import SOUND_SUFFIXES, VIDEO_SUFFIXES, recordings_below


def from_folder(root: Path, *, corpus: str | None = None) -> Manifest:
    """List the media files below `root`, labelled by folder; `corpus` defaults to the folder's name.

    A first-level folder that names an emotion holds its clips; any other one is a group if folders are in it, else an
    emotion of the corpus's own. A sound file beside a video of the same name is that video's `audio_path`.
    Raises ManifestError where there is no folder, or no media file in any.
    """
    if not root.is_dir():
        raise ManifestError(f"no folder at `{root}`\n\nhint: give the folder that holds a folder per emotion")
    rows = []
    for first in _folders(root):
        inner = [] if canonical(first.name) in KNOWN_EMOTIONS else _folders(first)
        for emotion_folder, culture in [(folder, first.name) for folder in inner] or [(first, "")]:
            rows += [
                {"path": str(path), "audio_path": str(sound or ""), "emotion": emotion_folder.name, "culture": culture}
                for path, sound in _media(emotion_folder)
            ]
    if not rows:
        raise ManifestError(
            f"no video or sound file in the folders of `{root}`\n\n"
            "hint: expected `<emotion>/<clip>.mp4` or `<group>/<emotion>/<clip>.mp4`"
        )
    return build_manifest(pd.DataFrame(rows).assign(corpus=corpus or absolute(root).name), root)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _media(folder: Path) -> list[tuple[Path, Path | None]]:
    """Videos with the sound file beside them, if any, and sound files that stand alone."""
    files = [path.absolute() for path in recordings_below(folder)]
    videos = {path.with_suffix(""): path for path in files if path.suffix.lower() in VIDEO_SUFFIXES}
    sounds = {path.with_suffix(""): path for path in files if path.suffix.lower() in SOUND_SUFFIXES}
    alone = [(sound, None) for stem, sound in sounds.items() if stem not in videos]
    return sorted([*((video, sounds.get(stem)) for stem, video in videos.items()), *alone])
