"""What a model makes of each window, as numbers: a table for those who train or cluster something of their own on it.

One row per recording, person and window. Vectors are lists of equal length in a column; a stream that a window lacks is
null. They are taken before any style is read from other windows.

Axes: C width of the primitives, D width of a stream.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32
from pyarrow import parquet

from cimeu.atomic import ROOM, STATE, check_free, locked, whole, write_whole
from cimeu.inference.batch import BatchReport, check_recording, failure_of, failures_table, recordings_by_name
from cimeu.inference.recogniser import Recogniser
from cimeu.inference.windows import WindowInput
from cimeu.progress import Progress, silent
from cimeu.timeline.segments import Header

KIND = "embeddings"
COLUMNS = {
    "recording": "path of the recording below the folder that was given, without suffix where that is clear",
    "person": "lane of the recording",
    "window": "number of the window, counted from 0",
    "start_s": "start of the stretch that the window stands for, in seconds from the start of the recording",
    "end_s": "end of that stretch",
    "modality": "what the window rests on: face, picture (whole frames), voice, both",
    "ood_score": "distance from the training clips, above 1 where the window is unlike them; null if not measured",
    "emotion_primitives": "what the model reads the emotion from",
    "style_primitives": "what it takes for the style; null where the model has no such part",
    "first": "first stream in the first direction, mean over the steps of the window",
    "second": "second stream, mean over the steps of the window",
}
"""Columns and what they hold."""
SCHEMA = pa.schema(
    [
        ("person", pa.string()),
        ("window", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("modality", pa.string()),
        ("ood_score", pa.float64()),
        *((name, pa.list_(pa.float32())) for name in ("emotion_primitives", "style_primitives", "first", "second")),
    ]
)
OF_A_RECORDING = ("media", "content", "duration_s", "origin")
"""Entries of a header that are not about the model."""
Vectors = dict[str, list[float] | None]
"""Of one window, by column."""


def embed_files(
    paths: Sequence[Path | str],
    output: Path | str,
    recogniser: Recogniser,
    progress: Progress = silent,
) -> BatchReport:
    """Write one Parquet table with the columns of `COLUMNS` for all recordings; its metadata hold model and limits.

    What is finished of an interrupted call is kept beside the table until that is written, and is used again. A second
    call for the same table waits for the first.

    Raises:
        OutputError: the table is there and is not ours to replace.
        RecipeError: two recordings would have one name.
        OSError: the disk is full; parts that are finished are kept.
    """
    output = Path(output)
    check_free([output], KIND)
    recordings = recordings_by_name([Path(path) for path in paths])
    # In the folder of our own: one called `OUTPUT.parts` might be somebody's, and is deleted at the end.
    parts = output.parent / ROOM / f"{hashlib.sha256(os.fsencode(output.name)).hexdigest()[:16]}.parts"
    failures: dict[Path, str] = {}
    finished: dict[str, Path] = {}
    with locked(parts.with_suffix(".writing")):
        for number, (name, path) in enumerate(recordings.items()):
            progress("files", number, len(recordings))
            part = parts / f"{_key(recogniser.header(path, 0.0))}.parquet"
            if reason := failure_of(partial(_write_part, recogniser, path, part, progress), path):
                failures[path] = reason
            else:
                finished[name] = part
        progress("files", len(recordings), len(recordings))
        if finished:
            _join(finished, output, recogniser.header(next(iter(recordings.values())), 0.0).values())
        shutil.rmtree(parts, ignore_errors=True)
    return BatchReport(len(recordings), failures_table(failures))


def _key(header: Header) -> str:
    """What vectors depend on: the bytes of the recording, model, encoders and settings, not the recording's name."""
    return hashlib.blake2b(json.dumps(replace(header, media="").values()).encode(), digest_size=16).hexdigest()


def _write_part(recogniser: Recogniser, path: Path, part: Path, progress: Progress) -> None:
    """The table of one recording, without its name: files of one content share it."""
    if part.is_file():
        return
    check_recording(path)
    vectors: dict[tuple[str, int], Vectors] = {}

    def keep(windows: Sequence[WindowInput]) -> None:
        for window, row in zip(windows, _vectors(recogniser, windows), strict=True):
            vectors[window.lane, window.number] = row

    reading = recogniser.read(path, progress=progress, watch=keep)
    rows: list[dict[str, Any]] = []
    for person, lane in reading.lanes.items():
        tracks = {number: track for track, number in vectors if track in reading.tracks[person]}
        for number in sorted(lane.probabilities.keys() & lane.basis.keys() & tracks.keys()):
            of_window = {
                "person": person,
                "window": number,
                "start_s": round(reading.edges[number], 3),
                "end_s": round(reading.edges[number + 1], 3),
                "modality": lane.basis[number][0],
                "ood_score": lane.ood_scores[number] if np.isfinite(lane.ood_scores[number]) else None,
            }
            rows.append(of_window | vectors[tracks[number], number])
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows, SCHEMA), sink, compression="zstd")
    write_whole(part, sink.getvalue().to_pybytes(), STATE)


def _vectors(recogniser: Recogniser, windows: Sequence[WindowInput]) -> list[Vectors]:
    answers, means = recogniser.answer(windows), recogniser.stream_means(windows)
    columns = {"emotion_primitives": answers.representation, "style_primitives": answers.style, **means}
    return [
        {name: _or_null(None if rows is None else rows[n]) for name, rows in columns.items()}
        for n in range(len(windows))
    ]


def _or_null(vector: Float32[np.ndarray, " D"] | None) -> list[float] | None:
    """A vector as a list; None where there was no such stream."""
    return None if vector is None or not np.isfinite(vector).all() else vector.tolist()


def _join(parts: Mapping[str, Path], output: Path, header: Mapping[str, object]) -> None:
    """The parts one after another, each with the name of its recording; one is in memory at a time."""
    of_model = {key: value for key, value in header.items() if key not in OF_A_RECORDING}
    metadata = {
        "use_limits": str(header["use_limits"]),
        "cimeu": json.dumps(of_model, ensure_ascii=False),
        "columns": json.dumps(COLUMNS, ensure_ascii=False),
    }
    schema = SCHEMA.insert(0, pa.field("recording", pa.string())).with_metadata(metadata)
    with whole(output, KIND) as unfinished, parquet.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for name, part in parts.items():
            rows = parquet.read_table(part)
            names = pa.array([name] * len(rows), pa.string())
            writer.write_table(rows.add_column(0, "recording", names).replace_schema_metadata(metadata))
