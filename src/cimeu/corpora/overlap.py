"""Clips that hold the same recording, whatever they are called: by the bytes of their files.

A model that was trained on a clip knows it under any name. Folds keep such clips on one side (`cimeu.corpora.folds`);
a run keeps the content of the clips it was trained on in `trained_on.csv`, so that a later test can be refused.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import pandas as pd

from cimeu.atomic import write_whole
from cimeu.corpora.content_hash import content_of
from cimeu.corpora.folds import SAME_FILE
from cimeu.corpora.manifest import Clip, Manifest
from cimeu.csv_files import frame_text, read_csv
from cimeu.errors import FoldLeak, RecipeError

TRAINED_ON = "trained_on.csv"
"""In a run folder: the clips of training and validation, with what is known of them and their content."""
_RECORDED = ("clip_id", "emotion", "corpus", "speaker", "culture", "gender", "language", "acted")
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


def record_training(manifest: Manifest, train: Sequence[str], validation: Sequence[str], folder: Path) -> pd.DataFrame:
    """Add clips to the record of a run and return it, a row per clip with its `part`.

    Rows that are there stay, such as those of the run that an adapted one comes from; so does the content of a clip
    whose file is no longer there.
    """
    earlier = training_record(folder) if (folder / TRAINED_ON).is_file() else None
    known = {} if earlier is None else dict(zip(earlier["clip_id"], earlier["content"], strict=True))
    tables = []
    for part, clip_ids in (("train", train), ("validation", validation)):
        clips = manifest.select(clip_ids)
        table = clips.table[list(_RECORDED)].assign(part=part)
        table["content"] = [
            content_of(clip) if clip.path.exists() else known.get(clip.clip_id, content_of(clip))
            for clip in clips.clips()
        ]
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
    return table.frame.reset_index(drop=True)


def check_unseen(clips: Manifest, record: pd.DataFrame, run: str) -> None:
    """Refuse clips that a model was trained on or chosen by.

    Raises:
        FoldLeak: there are some, by their content.
    """
    seen = dict(zip(record["content"], record["clip_id"], strict=True))
    usable = [clip for clip in clips.clips() if not clip.problem]
    shared = [(clip.clip_id, seen[content]) for clip in usable if (content := content_of(clip)) in seen]
    if shared:
        pairs = ", ".join(f"`{mine}`" + f" (there `{theirs}`)" * (mine != theirs) for mine, theirs in shared[:3])
        raise FoldLeak(
            f"{len(shared):,} of {len(usable):,} clips hold recordings that `{run}` was trained on: {pairs}"
            + ", ..." * (len(shared) > 3)
            + "\n\nhint: leave them out, or train without them; figures on them say nothing about other people"
        )


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
