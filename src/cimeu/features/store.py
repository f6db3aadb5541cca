"""Features on disk: one folder per encoder, one row per clip and direction.

    encoder.json          what made the features (`cimeu.encoders.description.describe`)
    rows-*.arrow          sealed shards: Arrow IPC files, memory-mapped, never changed again
    journal-*.arrows      rows of a writer at work: an Arrow IPC stream, one record batch per row, flushed after each

A row is safe once its batch is in the journal. A journal becomes a shard (temporary name, then rename) when its writer
closes it, or when the next writer finds it abandoned: a torn tail is dropped, and every row is compared with its
checksum. Readers see both kinds of file and change neither. Any Arrow reader can read the shards (pandas, datasets,
DuckDB): plain columns, `features` a list of float32 in rows of `width`.

Axes: T steps of a clip, D width of the vectors.
"""

import json
import os
import secrets
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from cimeu.atomic import ROOM, STATE, locked, whole, write_whole
from cimeu.corpora.content_hash import content_of
from cimeu.encoders.description import IMPORTED, check_same, fingerprint_of
from cimeu.encoders.registry import extract_command
from cimeu.errors import FeatureError
from cimeu.pyramid import Direction

if TYPE_CHECKING:
    from cimeu.corpora.manifest import Clip

SEAL_BYTES = 64 * 2**20
"""A journal of this size is sealed and a new one begun, so that sealing needs little room and memory."""

_BATCH_BYTES = 16 * 2**20
# `features` is one flat list per row, and `width` says how to reshape it.
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("clip_id", pa.string()),
        ("direction", pa.string()),
        ("width", pa.int32()),
        ("steps", pa.int32()),
        ("features", pa.list_(pa.field("item", pa.float32(), nullable=False))),
        ("problem", pa.string()),
        ("duration_s", pa.float64()),
        ("checksum", pa.uint32()),
    ]
)


@dataclass(frozen=True)
class Row:
    """The features of one clip in one direction, or the reason why there are none."""

    clip_id: str
    features: Float32[np.ndarray, "T D"] | None
    problem: str
    duration_s: float
    direction: Direction = "forward"


def row_key(content: str, fingerprint: str, direction: str) -> str:
    """Key of a row: the same content, encoder and preprocessing, and direction give the same row."""
    return f"{content}-{fingerprint}-{direction}"


def key_of(clip: "Clip", description: Mapping[str, object], direction: Direction) -> str:
    """Key under which a store with this encoder description holds a clip; imported features go by the clip_id."""
    fingerprint = fingerprint_of(description)
    return row_key(clip.clip_id if fingerprint == IMPORTED else content_of(clip), fingerprint, direction)


class FeatureStore:
    """The rows of one encoder. Open it with `FeatureStore.open`; close a writable one, or use it as a context."""

    def __init__(self, folder: Path, description: dict[str, object], *, writable: bool) -> None:
        self.folder = folder
        self.description = description
        self._writable = writable
        self._optional = np.zeros(_width_of(description), bool)
        # Dimensions that may be NaN, such as pitch where nobody has a voice.
        self._optional[list(description.get("optional", ()))] = True  # type: ignore[call-overload]
        self._batches: list[_Batch] = []
        self._rows: dict[str, tuple[int, int]] = {}
        self._fresh: dict[str, str] = {}
        self._journal: _Journal | None = None
        # A journal that lies here was left by a process that died, or belongs to one that still writes and holds its
        # lock.
        if writable:
            for path in sorted(folder.glob("journal-*.arrows")):
                _recover(path)
        self._map_all()

    @classmethod
    def open(
        cls, folder: Path, encoder_description: Mapping[str, object] | None = None, *, writable: bool = False
    ) -> "FeatureStore":
        """Open a store, or begin one.

        Args:
            folder: folder of one encoder.
            encoder_description: what `describe(encoder)` says; needed to begin a store, compared when there is one.
            writable: seal what an interrupted writer left, and allow `add`.

        Raises:
            FeatureError: no store there, or a damaged shard.
            FingerprintMismatch: the store was made by another encoder or with other preprocessing.
        """
        path = folder / "encoder.json"
        if not path.is_file():
            if not writable or encoder_description is None:
                raise FeatureError(f"no features in `{folder}`\n\nhint: run `cimeu extract` first")
            folder.mkdir(parents=True, exist_ok=True)
            _write_whole(path, json.dumps(encoder_description, indent=2).encode())
        try:
            description = json.loads(path.read_bytes())
            if not isinstance(description, dict):
                raise TypeError(f"it is {description!r}")
            _width_of(description)
        except (ValueError, KeyError, TypeError) as error:
            raise FeatureError(
                f"`{path}` does not describe an encoder: {error}\n\nhint: restore it, or extract into an empty folder"
            ) from error
        if encoder_description is not None:
            # Through JSON, so that tuples and lists compare equal to what was read.
            expected = json.loads(json.dumps(encoder_description))
            check_same(
                description,
                expected,
                f"the store `{folder}`",
                lambda: f"`{extract_command(expected)}` makes a new store; or set the values that this one has",
            )
        return cls(folder, description, writable=writable)

    def __repr__(self) -> str:
        return f"<FeatureStore {self.folder}: {len(self):,} rows of {self.description['name']}>"

    def __len__(self) -> int:
        return len(self._rows) + len(self._fresh)

    def __contains__(self, key: str) -> bool:
        return key in self._rows or key in self._fresh

    def keys(self) -> Iterator[str]:
        """Keys of all rows, the oldest first."""
        yield from self._rows
        yield from self._fresh

    def get(self, key: str) -> Row:
        """The row of a key; its features are a read-only view of the file, verified at first sight.

        Raises:
            FeatureError: no such row, or its bytes are damaged.
        """
        if key in self._fresh:
            self.seal()
        if key not in self._rows:
            raise FeatureError(
                f"no features for `{key}` among {len(self)} rows of `{self.folder}`"
                "\n\nhint: run `cimeu extract` again; a changed file or setting makes a new key"
            )
        batch, row = self._rows[key]
        return self._batches[batch].row(row)

    def problem(self, key: str) -> str:
        """Why a row has no features, empty where it has; nothing but this is read."""
        if key in self._fresh:
            return self._fresh[key]
        batch, row = self._rows[key]
        return self._batches[batch].problems[row]

    def keys_of_clips(self, direction: Direction) -> dict[str, list[str]]:
        """Keys of the sealed rows of one direction by clip_id: several where clips of one name hold something else."""
        keys: dict[str, list[str]] = {}
        for key, (batch, row) in self._rows.items():
            clip_id, played = self._batches[batch].named(row)
            if played == direction:
                keys.setdefault(clip_id, []).append(key)
        return keys

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Every key with its row."""
        for key in list(self.keys()):
            yield key, self.get(key)

    def add(self, key: str, row: Row) -> None:
        """Append a row; once this returns, the row outlives the process.

        Raises:
            FeatureError: features of another width, without a step or not finite; a disk that takes no more (every
                earlier row is kept).
        """
        assert self._writable, "opened for reading"
        assert key not in self, f"row {key} is there"
        assert (row.features is None) == bool(row.problem), "either features or a problem"
        self.check(row)
        try:
            if self._journal is None:
                self._journal = _Journal(self.folder)
            self._journal.append(_record(key, row))
        except (OSError, pa.ArrowException) as error:
            if self._journal is not None:
                journal, self._journal = self._journal, None
                self._keep_journal(journal)
            raise _cannot_write(self.folder, error) from error
        self._fresh[key] = row.problem
        if self._journal.size > SEAL_BYTES:
            self.seal()

    def seal(self) -> None:
        """Turn the rows added so far into a shard.

        Raises:
            FeatureError: the disk takes no more; the rows stay in their journal.
        """
        if self._journal is None:
            return
        journal, self._journal = self._journal, None
        try:
            shard = journal.finish()
        except (OSError, pa.ArrowException) as error:
            self._keep_journal(journal)
            raise _cannot_write(self.folder, error) from error
        self._fresh.clear()
        if shard is not None:
            self._map(shard)

    def close(self) -> None:
        """Seal what was added."""
        self.seal()

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        assert not self._writable, "a writer stays in its process"
        return FeatureStore.open, (self.folder,)

    def check(self, row: Row) -> None:
        """Refuse features this store cannot hold.

        Raises:
            FeatureError: another width, no step, or values that are not finite outside the optional dimensions.
        """
        if row.features is None:
            return
        steps, width = row.features.shape
        if width != len(self._optional) or not steps:
            raise FeatureError(
                f"features of clip `{row.clip_id}` are {steps} x {width}, `{self.description['name']}` "
                f"gives steps x {len(self._optional)}\n\nhint: check the encoder, or the imported file"
            )
        wrong = ~np.isfinite(row.features)
        # Infinity is wrong everywhere: it would make means of a batch infinite.
        wrong &= ~(self._optional & np.isnan(row.features))
        if wrong.any():
            step, dimension = np.argwhere(wrong)[0]
            raise FeatureError(
                f"features of clip `{row.clip_id}` are not finite: {row.features[step, dimension]} in step {step}, "
                f"dimension {dimension} ({wrong.sum()} values)\n\nhint: look at the clip; it is probably broken"
            )

    def _keep_journal(self, journal: "_Journal") -> None:
        """Leave the rows written so far in their journal, to be sealed by the next writer."""
        journal.abandon()
        self._fresh.clear()
        self._map(journal.path)

    def _map_all(self) -> None:
        # Names begin with the time: shards and journals of several writers come in the order in which they were begun.
        listing = (*self.folder.glob("rows-*.arrow"), *self.folder.glob("journal-*.arrows"))
        for path in sorted(listing, key=lambda path: _stem(path)):
            try:
                self._map(path)
            except FileNotFoundError:
                self._map(_shard_of(path))  # sealed by its writer since the folder was listed

    def _map(self, path: Path) -> None:
        for batch in _read_journal(path) if path.suffix == ".arrows" else _read_shard(path):
            mapped = _Batch(batch, path)
            for row, key in enumerate(mapped.keys):
                # Two machines may have computed one row; the first stays, so that a reader never sees it change.
                self._rows.setdefault(key, (len(self._batches), row))
            self._batches.append(mapped)


class _Batch:
    """A mapped record batch with what random access needs at hand."""

    def __init__(self, batch: pa.RecordBatch, path: Path) -> None:
        self.keys: list[str] = batch.column("key").to_pylist()
        self._path = path
        self.problems: list[str] = batch.column("problem").to_pylist()
        self._clip_ids, self._directions = batch.column("clip_id").to_pylist(), batch.column("direction").to_pylist()
        self._durations = batch.column("duration_s").to_numpy()
        self._widths, self._checksums = batch.column("width").to_numpy(), batch.column("checksum").to_numpy()
        features = batch.column("features")
        self._offsets, self._values = features.offsets.to_numpy(), features.values.to_numpy()
        self._verified = np.zeros(len(self.keys), bool)

    def named(self, index: int) -> tuple[str, str]:
        """Clip and direction of a row."""
        return self._clip_ids[index], self._directions[index]

    def row(self, index: int) -> Row:
        clip_id, problem = self._clip_ids[index], self.problems[index]
        start, end = self._offsets[index : index + 2]
        try:
            features = None if problem else self._values[start:end].reshape(-1, self._widths[index])
        except ValueError:
            width = self._widths[index]
            raise _damaged(self._path, f"the features of clip `{clip_id}` have no width of {width}") from None
        row = Row(clip_id, features, problem, float(self._durations[index]), self._directions[index])
        if not self._verified[index]:
            # Once per row and process: summing every read again would cost more than the read.
            if _checksum(self.keys[index], row) != self._checksums[index]:
                raise _damaged(self._path, f"the row of clip `{clip_id}` does not match its checksum")
            self._verified[index] = True
        return row

    def intact(self) -> bool:
        try:
            for index in range(len(self.keys)):
                self.row(index)
        except FeatureError:
            return False
        return True


class _Journal:
    """An append-only stream of rows, locked while its writer lives."""

    def __init__(self, folder: Path) -> None:
        # Padded to 20 digits, so that names sort by time; random, because clocks of two machines may agree.
        self.path = folder / f"journal-{time.time_ns():020d}-{secrets.token_hex(4)}.arrows"
        self._lock = ExitStack()  # held before the journal is there, so that no other writer takes it for abandoned
        self._lock.enter_context(locked(_lock_of(self.path), once=True))
        self._file: IO[bytes] = self.path.open("xb")
        self._stream = pa.ipc.new_stream(pa.PythonFile(self._file, "w"), _SCHEMA)

    @property
    def size(self) -> int:
        return self._file.tell()

    def append(self, batch: pa.RecordBatch) -> None:
        self._stream.write_batch(batch)
        self._file.flush()

    def finish(self) -> Path | None:
        """Seal the rows; the lock is held until the shard has its name."""
        self._stream.close()
        self._file.flush()
        shard = _seal(self.path)
        self._file.close()
        self._lock.close()
        return shard

    def abandon(self) -> None:
        """Let go of the file without writing what is still buffered."""
        # Closing a file writes its buffer, which fails again on a full disk and may tear the last row: the buffer goes
        # to the null device instead.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._file.fileno())
        os.close(nowhere)
        self._file.close()
        self._lock.close()


def _recover(path: Path) -> None:
    """Seal a journal that has no living writer."""
    try:
        with locked(_lock_of(path), wait=False, once=True) as abandoned:
            if abandoned:
                _seal(path)
    except FileNotFoundError:
        return  # its writer sealed it just now
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def _seal(journal: Path) -> Path | None:
    """Write the whole rows of a journal as a shard and delete the journal; None where it holds no row."""
    shard = _shard_of(journal)
    batches = _in_larger_batches(_read_journal(journal))
    first = next(batches, None)
    if first is not None:
        with whole(shard, STATE) as partial, partial.open("wb") as file:
            with pa.ipc.new_file(pa.PythonFile(file, "w"), _SCHEMA) as writer:
                for batch in chain([first], batches):
                    writer.write_batch(batch)
            file.flush()
            # On the disk before the rename, or a power cut could leave an empty shard and no journal.
            os.fsync(file.fileno())
    journal.unlink()
    return None if first is None else shard


def _read_journal(path: Path) -> Iterator[pa.RecordBatch]:
    """Whole rows of a journal that match their checksums, up to a torn tail."""
    if not path.stat().st_size:
        return
    with pa.memory_map(str(path)) as source:
        try:
            stream = pa.ipc.open_stream(source)
            while True:
                batch = stream.read_next_batch()
                require_sound(batch)
                if _Batch(batch, path).intact():
                    yield batch
        # A torn tail is what a killed writer leaves; every row before it is whole.
        except (StopIteration, pa.ArrowException, OSError, ValueError):
            return


def _read_shard(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            for index in range(file.num_record_batches):
                batch = file.get_batch(index)
                require_sound(batch)
                yield batch
    except FileNotFoundError:
        raise
    # Arrow's own errors on damaged metadata are not all ArrowExceptions.
    except (pa.ArrowException, OSError, ValueError, TypeError, SystemError) as error:
        raise _damaged(path, (str(error).splitlines() or ["it breaks off"])[0]) from error


def require_sound(batch: pa.RecordBatch) -> None:
    """Check what Arrow takes on trust: one flipped bit in its metadata makes it read outside of the file.

    Only offsets and short texts are looked at, so that mapped features stay on disk; rows have checksums of their own.

    Raises:
        ValueError: (also as `pyarrow.ArrowInvalid`) lengths, offsets or texts that cannot be.
    """
    if not batch.schema.equals(_SCHEMA):
        raise ValueError("its columns are not those of a feature store")
    # Reads offsets and checks UTF-8 of the text columns; float values are not touched.
    batch.validate(full=True)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            raise ValueError(f"column `{name}` has gaps")


def _in_larger_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    waiting_bytes = 0
    for batch in batches:
        waiting.append(batch)
        waiting_bytes += batch.nbytes
        if waiting_bytes > _BATCH_BYTES:
            yield pa.concat_batches(waiting)
            waiting, waiting_bytes = [], 0
    if waiting:
        yield pa.concat_batches(waiting)


def _record(key: str, row: Row) -> pa.RecordBatch:
    steps, width = (0, 0) if row.features is None else row.features.shape
    values = np.zeros(0, np.float32) if row.features is None else np.ascontiguousarray(row.features).reshape(-1)
    features = pa.ListArray.from_arrays(
        pa.array([0, len(values)], pa.int32()), pa.array(values), type=_SCHEMA.field("features").type
    )
    plain = {
        "key": key,
        "clip_id": row.clip_id,
        "direction": row.direction,
        "width": width,
        "steps": steps,
        "problem": row.problem,
        "duration_s": row.duration_s,
        "checksum": _checksum(key, row),
    }
    columns = [features if field.name == "features" else pa.array([plain[field.name]], field.type) for field in _SCHEMA]
    return pa.record_batch(columns, schema=_SCHEMA)


def _checksum(key: str, row: Row) -> int:
    words = "\0".join((key, row.clip_id, row.direction, row.problem, repr(float(row.duration_s))))
    # The identity of a row is part of the sum: whole rows that were swapped would pass otherwise.
    start = zlib.crc32(words.encode())
    return start if row.features is None else zlib.crc32(np.ascontiguousarray(row.features).data, start)


def _write_whole(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content, STATE)
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def _width_of(description: Mapping[str, object]) -> int:
    width = description["width"]
    if not isinstance(width, int):
        raise TypeError(f"width is {width!r}")
    return width


def _stem(path: Path) -> str:
    return path.stem.split("-", 1)[1]


def _lock_of(journal: Path) -> Path:
    return journal.parent / ROOM / f"{journal.name}.writing"


def _shard_of(journal: Path) -> Path:
    return journal.with_name(f"rows-{_stem(journal)}.arrow")


def _damaged(path: Path, reason: str) -> FeatureError:
    return FeatureError(
        f"`{path}` is damaged: {reason}\n\nhint: delete this file and extract again; the rows of other files are kept"
    )


def _cannot_write(folder: Path, error: Exception) -> FeatureError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return FeatureError(
        f"cannot write features to `{folder}`: {reason}"
        "\n\nhint: make room and run it again; the rows written so far are kept"
    )
