"""Which clips a run was trained on, by the content of their files, so that a later test on one of them can be refused.

A model that was trained on a clip knows it under any name: the record in a run folder (`trained_on.csv`) holds content
hashes, not paths.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cimeu.atomic import write_whole
from cimeu.corpora.content_hash import content_of
from cimeu.corpora.manifest import Manifest
from cimeu.csv_files import frame_text, read_csv
from cimeu.errors import FoldLeak, RecipeError

TRAINED_ON = "trained_on.csv"
"""In a run folder: the clips of training and validation, with what is known of them and their content."""
_RECORDED = ("clip_id", "emotion", "corpus", "speaker", "culture", "gender", "language", "acted")


def record_training(manifest: Manifest, train: Sequence[str], validation: Sequence[str], folder: Path) -> pd.DataFrame:
    """Add clips to the record of a run and return it, a row per clip with its `part`.

    Rows that are there stay, such as those of the run that an adapted one comes from; so does the content of a clip
    whose file is no longer there.
    """
    earlier = training_record(folder) if (folder / TRAINED_ON).is_file() else None
    recorded = {} if earlier is None else dict(zip(earlier["clip_id"], earlier["content"], strict=True))
    tables = []
    for part, clip_ids in (("train", train), ("validation", validation)):
        clips = manifest.select(clip_ids)
        table = clips.table[list(_RECORDED)].assign(part=part)
        table["content"] = [
            content_of(clip) if clip.path.exists() else recorded.get(clip.clip_id, content_of(clip))
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
