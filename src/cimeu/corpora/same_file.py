"""Clips of one recording, whatever their files are called; `cimeu.corpora.folds` keeps them on one side.

A file copied into another container or with other metadata is the same recording. Copies that were recoded, cut or made
louder are found by `cimeu.corpora.audit.shared_recordings` (`cimeu overlap`).
"""

from collections import Counter
from dataclasses import replace

from cimeu.corpora.folds import SAME_FILE
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.track_digest import Tracks, tracks_of


def with_same_file(manifest: Manifest) -> Manifest:
    """The manifest with the column `same_file`: one name for clips of the same seconds of one recording, empty where a
    clip is alone; without it where every clip is.
    """
    clips = Manifest(manifest.table[manifest.table["problem"] == ""], manifest.root).clips()
    names: dict[Tracks, str] = {}
    name_of: dict[str, str] = {}
    # Clips with both tracks first: one that lost its video or its sound gets the name of the whole one.
    whole_first = sorted(
        zip(clips, tracks_of(clips), strict=True), key=lambda pair: not (pair[1].video and pair[1].sound)
    )
    for clip, tracks in whole_first:
        name = names.setdefault(tracks, clip.clip_id)
        name_of[clip.clip_id] = name
        if tracks.video and tracks.sound:
            names.setdefault(replace(tracks, sound=""), name)
            names.setdefault(replace(tracks, video=""), name)
    clips_of = Counter(name_of.values())
    table = manifest.table.drop(columns=SAME_FILE, errors="ignore")
    if len(clips_of) == len(name_of):
        return Manifest(table, manifest.root)
    marks = [name_of.get(clip_id, "") for clip_id in manifest.table["clip_id"]]
    return Manifest(table.assign(**{SAME_FILE: [mark if clips_of[mark] > 1 else "" for mark in marks]}), manifest.root)
