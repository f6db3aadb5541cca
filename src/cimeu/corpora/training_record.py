"""Which clips a run was trained on, by the content of their files, so that a later test on one of them can be refused.

A model that was trained on a clip knows it under any name and in any container: the record in a run folder
(`trained_on.csv`) holds digests of files and of their tracks, not paths.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import pandas as pd

from cimeu.atomic import write_whole
from cimeu.corpora.content_hash import content_of
from cimeu.corpora.inclusions import inclusions_among
from cimeu.corpora.manifest import Clip, Manifest
from cimeu.corpora.track_digest import Tracks, tracks_of
from cimeu.csv_files import frame_text, read_csv
from cimeu.errors import FoldLeak, RecipeError, listed

logger = logging.getLogger(__name__)

TRAINED_ON = "trained_on.csv"
"""In a run folder: the clips of training and validation, with what is known of them and their content."""
_RECORDED = ("clip_id", "emotion", "corpus", "speaker", "culture", "gender", "language", "acted")
_CONTENT = ("content", "video", "sound", "start_s", "end_s")
"""Digests of the bytes and of the packets of both tracks, and the seconds of the clip; the last two as text."""


def record_training(manifest: Manifest, train: Sequence[str], validation: Sequence[str], folder: Path) -> pd.DataFrame:
    """Add clips to the record of a run and return it, a row per clip with its `part`.

    Rows that are there stay, such as those of the run that an adapted one comes from; so does the content of a clip
    whose file is no longer there.
    """
    earlier = training_record(folder) if (folder / TRAINED_ON).is_file() else None
    tables = []
    for part, clip_ids in (("train", train), ("validation", validation)):
        clips = manifest.select(clip_ids)
        table = with_contents(clips)[[*_RECORDED, *_CONTENT]].assign(part=part)
        if earlier is not None:
            recorded = earlier.drop_duplicates("clip_id").set_index("clip_id")[list(_CONTENT)]
            gone = [not clip.path.exists() and clip.clip_id in recorded.index for clip in clips.clips()]
            table.loc[gone, list(_CONTENT)] = recorded.loc[table["clip_id"][gone]].to_numpy()
        tables.append(table)
    record = pd.concat(tables, ignore_index=True)
    if earlier is not None:
        record = pd.concat([earlier[~earlier["content"].isin(record["content"])], record], ignore_index=True)
    write_whole(folder / TRAINED_ON, frame_text(record), "run")
    return record


def training_record(run: Path) -> pd.DataFrame:
    """The record of a run folder.

    Raises:
        RecipeError: it has none, as runs of earlier versions.
        ManifestError: the file is damaged.
    """
    path = run / TRAINED_ON
    if not path.is_file():
        raise RecipeError(
            f"`{run}` does not say which clips it was trained on\n\nhint: `cimeu evaluate {run}` notes them"
        )
    table = read_csv(path)
    table.need(*_RECORDED, "part", "content")
    record = table.frame.reset_index(drop=True)
    return record.assign(**{column: "" for column in _CONTENT if column not in record})  # of earlier versions


def with_contents(manifest: Manifest) -> pd.DataFrame:
    """The table of a manifest with what its clips hold, as a training record has it."""
    clips = manifest.clips()
    tracks = tracks_of(clips)
    return manifest.table.assign(
        content=[content_of(clip) for clip in clips],
        video=[of_clip.video for of_clip in tracks],
        sound=[of_clip.sound for of_clip in tracks],
        start_s=[str(of_clip.start_s) for of_clip in tracks],
        end_s=["" if of_clip.end_s == inf else str(of_clip.end_s) for of_clip in tracks],
    )


def check_unseen(clips: Manifest, record: pd.DataFrame, run: str) -> None:
    """Refuse clips that a model was trained on or chosen by; corpora that are known to hold each other are a warning.

    Raises:
        FoldLeak: there are some, by their content.
    """
    seen = _Seen.of(record)
    usable = [clip for clip in clips.clips() if not clip.problem]
    matches = [seen.as_which(clip, tracks) for clip, tracks in zip(usable, tracks_of(usable), strict=True)]
    shared = [(clip.clip_id, name) for clip, name in zip(usable, matches, strict=True) if name is not None]
    if shared:
        pairs = listed([f"`{mine}`" + f" (there `{theirs}`)" * (mine != theirs) for mine, theirs in shared])
        raise FoldLeak(
            f"{len(shared):,} of {len(usable):,} clips hold recordings that `{run}` was trained on: {pairs}"
            "\n\nhint: leave them out, or train without them; figures on them say nothing about other people"
        )
    # A recoded copy has other bytes.
    learned, tested = set(record["corpus"]), set(clips.table["corpus"])
    for inclusion in inclusions_among(learned | tested):
        if {inclusion.outer, inclusion.inner} & learned and {inclusion.outer, inclusion.inner} & tested - learned:
            logger.warning("%s: `%s` may have learned some of these clips; `cimeu overlap` names them", inclusion, run)


@dataclass(frozen=True)
class _Seen:
    """Clips of a training record by what they hold."""

    by_content: dict[str, str]
    by_track: dict[tuple[str, bool], list[tuple[Tracks, str]]] = field(default_factory=lambda: defaultdict(list))
    """By the digest of a track; sound of clips without video has keys of its own, so that films with one silence do not
    have to be compared each with each."""

    @classmethod
    def of(cls, record: pd.DataFrame) -> "_Seen":
        seen = cls(dict(zip(record["content"], record["clip_id"], strict=True)))
        columns = record[["clip_id", "video", "sound", "start_s", "end_s"]]
        for clip_id, video, sound, start_s, end_s in columns.itertuples(index=False):
            tracks = Tracks(video, sound, float(start_s or 0), float(end_s or inf))
            for key in ((video, True), (sound, bool(video))):
                if key[0]:
                    seen.by_track[key].append((tracks, clip_id))
        return seen

    def as_which(self, clip: Clip, tracks: Tracks) -> str | None:
        """Name of a recorded clip that holds seconds of this one."""
        if tracks.video:
            candidates = [*self.by_track.get((tracks.video, True), ()), *self.by_track.get((tracks.sound, False), ())]
        else:
            candidates = [pair for of_film in (True, False) for pair in self.by_track.get((tracks.sound, of_film), ())]
        name = next((name for recorded, name in candidates if tracks.shares_with(recorded)), None)
        return name or self.by_content.get(content_of(clip))
