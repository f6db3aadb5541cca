"""Aff-Wild2 as the ABAW challenges use it: an emotion, or valence and arousal, for every frame of a video.

`<annotations>/EXPR_.../{Train_Set,Validation_Set}/<video>.txt` and `VA_.../...`: a heading, then a line per frame, line
k for frame k (`<video>/00001.jpg` is the first). Videos lie in `batch1`, `batch2`, `new_vids`. A row here is a stretch
of frames with one label, at most `LONGEST` of them: `first_frame` and `last_frame` count from 1. Frames without a crop
are frames all the same, so that every frame can be answered. `_left` and `_right` are two people of one recording.

-1 marks a frame without an emotion; valence or arousal outside [-1, 1] (-5 in the files) marks one without values.
Labels of test videos were never released: a video without annotation becomes rows without a label.

Source: Kollias et al., ABAW, CVPR workshops 2022 to 2025, and the layouts that public readers expect.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from cimeu.corpora.adapters.layout import Published, Row, checked, files_below, logger, manifest_of
from cimeu.corpora.manifest import HIDDEN, UNLABELLED, Manifest
from cimeu.errors import ManifestError, MediaError
from cimeu.media.recordings import VIDEO_SUFFIXES
from cimeu.media.video import probe
from cimeu.reading import MEBI, read_text

EMOTIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "others")
"""By their numbers, which the heading of every file of EXPR repeats."""
FOLDERS = {
    "expr": ("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge", "EXPR_Set"),
    "va": ("VA_Estimation_Challenge", "VA_Set"),
}
SPLITS = {"Train_Set": "train", "Validation_Set": "validation", "Training_Set": "train"}
VIDEOS = {
    "expr": {"train": 248, "validation": 70},
    "va": {"train": 356, "validation": 76},
}
"""Videos of each part, as far as they are remembered: a difference is a warning."""
LONGEST = 16
"""Frames of a stretch: what the video encoders see at a time."""
FEW_FRAMES = 5
"""Annotation and video may differ by this many frames."""

Task = Literal["expr", "va"]
Label: TypeAlias = tuple[float, ...] | None


def from_affwild2(root: Path, *, task: Task | Literal["both"] = "expr", check_counts: bool = True) -> Manifest:
    """Rows of the stretches of every video of one task, or of both.

    Extra columns: `video`, `recording` (without `_left` and `_right`), `first_frame`, `last_frame`, `unlabelled`, and
    for `va` the means `valence` and `arousal` with `valid_frames`. The recording stands for the speaker, since no list
    of people was released. Raises ManifestError.
    """
    tasks = get_args(Task) if task == "both" else (task,)
    files = {path.stem: path for path in files_below(root, VIDEO_SUFFIXES)}
    rows: list[Row] = []
    named: set[str] = set()
    for one_task in tasks:
        annotations = _annotations(root, one_task)
        if check_counts:
            _warn(one_task, annotations)
        for video, path in sorted(annotations.items()):
            labels = _expressions(path) if one_task == "expr" else _values(path)
            # Two people of one recording share its file; a file that is not there keeps its row, with a problem.
            file = files.get(video, files.get(recording_of(video), root / "batch1" / f"{video}.mp4"))
            for row in _stretches(video, file, labels, SPLITS[path.parent.name], one_task):
                # The same frames may be a stretch of both tasks.
                rows.append(row | {"clip_id": f"{row['clip_id']}:va"} if len(tasks) > 1 and one_task == "va" else row)
        named |= {*annotations, *map(recording_of, annotations)}
    # Videos without any annotation are the test set, whose labels were never released.
    for video, file in sorted(files.items()):
        if video not in named:
            rows += _stretches(video, file, [None] * _rate(file)[1], "test", tasks[-1])
    manifest = manifest_of(rows, root, corpus="affwild2", acted="no")
    return checked(manifest, {}) if check_counts else manifest


CORPUS = Published("affwild2", from_affwild2, "by academic form, no redistribution")


def _annotations(root: Path, task: Task) -> dict[str, Path]:
    """Files of annotations by video."""
    annotations = {
        path.stem: path
        for path in files_below(root, {".txt"})
        if path.parent.parent.name in FOLDERS[task] and path.parent.name in SPLITS
    }
    if not annotations:
        raise ManifestError(
            f"no annotation of `{task}` below `{root}`\n\n"
            f"hint: expected `.../{FOLDERS[task][0]}/Train_Set/<video>.txt`, one line per frame"
        )
    return annotations


def recording_of(video: str) -> str:
    """`x_left` and `x_right` are two people of the recording `x`.

    >>> recording_of("46-30-484x360_right"), recording_of("video1")
    ('46-30-484x360', 'video1')
    """
    return re.sub(r"_(left|right)$", "", video)


def _warn(task: Task, annotations: Mapping[str, Path]) -> None:
    videos = Counter(SPLITS[path.parent.name] for path in annotations.values())
    for split, expected in VIDEOS[task].items():
        if videos[split] != expected:
            text = "`affwild2` %s: %d videos of %s expected, %d found (this count was never checked)"
            logger.warning(text, task, expected, split, videos[split])


def _expressions(path: Path) -> list[Label]:
    """The emotion's number of each frame."""
    heading, lines = _lines(path)
    names = tuple(name.strip().lower() for name in heading.split(","))
    expected = (*EMOTIONS[:-1], "other")
    if names != expected:
        raise ManifestError(
            f"`{path}` names the emotions {', '.join(names)}\n\nhint: expected {', '.join(expected)}; editions of "
            "seven classes are not read"
        )
    numbers = [int(line) if re.fullmatch(r"-?\d+", line) else None for line in lines]
    for place, number in enumerate(numbers, start=2):
        # -1: the annotators left this frame out.
        if number is None or not -1 <= number < len(EMOTIONS):
            raise ManifestError(
                f"line {place} of `{path}` is `{lines[place - 2]}`\n\nhint: expected -1 to {len(EMOTIONS) - 1}"
            )
    return [(float(number),) if number is not None and number >= 0 else None for number in numbers]


def _values(path: Path) -> list[Label]:
    """Valence and arousal of each frame."""
    _, lines = _lines(path)
    labels: list[Label] = []
    for place, line in enumerate(lines, start=2):
        try:
            valence, arousal = map(float, line.split(","))
        except ValueError:
            raise ManifestError(f"line {place} of `{path}` is `{line}`\n\nhint: expected `0.034,0.12`") from None
        # -5 marks a frame that is not annotated; anything outside of the scale is taken for such a mark.
        labels.append((valence, arousal) if max(abs(valence), abs(arousal)) <= 1 else None)
    return labels


def _lines(path: Path) -> tuple[str, list[str]]:
    lines = [line.strip() for line in read_text(path, ManifestError, "fetch it again", at_most=256 * MEBI).splitlines()]
    if len(lines) < 2:
        raise ManifestError(f"`{path}` has no line of a frame\n\nhint: fetch the annotations again")
    return lines[0], [line for line in lines[1:] if line]


def _stretches(video: str, file: Path, labels: Sequence[Label], split: str, task: Task) -> Iterator[Row]:
    """Frames in a row with one emotion, or LONGEST frames with their mean values."""
    rate_hz, n_frames = _rate(file)
    if n_frames and abs(n_frames - len(labels)) > FEW_FRAMES:
        logger.warning("`%s` has %d frames and %d lines of annotation", file, n_frames, len(labels))
    first = 0
    while first < len(labels):
        last = first
        while (
            last + 1 < len(labels)
            and last + 1 - first < LONGEST
            and (labels[last + 1] == labels[first] if task == "expr" else True)
        ):
            last += 1
        annotated = [label for label in labels[first : last + 1] if label is not None]
        row = {
            "clip_id": f"{video}@{first + 1}-{last + 1}",
            "path": str(file),
            "start_s": f"{first / rate_hz:.6f}",
            "end_s": f"{(last + 1) / rate_hz:.6f}",
            "emotion": EMOTIONS[int(annotated[0][0])] if annotated and task == "expr" else "",
            UNLABELLED: HIDDEN if split == "test" else "" if annotated else "not annotated",
            "speaker": f"affwild2_{recording_of(video)}",
            "split": split,
            "video": video,
            "recording": recording_of(video),
            "first_frame": str(first + 1),
            "last_frame": str(last + 1),
        }
        if task == "va":
            means = (
                [f"{sum(values) / len(annotated):.4f}" for values in zip(*annotated, strict=True)]
                if annotated
                else ["", ""]
            )
            row |= {"valence": means[0], "arousal": means[1], "valid_frames": str(len(annotated))}
            row[UNLABELLED] = row[UNLABELLED] or "valence and arousal only"
        yield row
        first = last + 1


def _rate(file: Path) -> tuple[float, int]:
    """Frames a second and frames of a video; 30 and 0 where it cannot be opened: its rows then have a problem."""
    try:
        info = probe(file)
    except MediaError:
        return 30.0, 0
    rate_hz = info.rate_hz or 30.0
    return rate_hz, round((info.video_s or info.duration_s) * rate_hz)
