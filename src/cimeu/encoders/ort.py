"""The tensors and nodes of an ONNX Runtime file (`.ort`), read without that runtime.

The file is a FlatBuffer: offsets into one block of bytes. A table starts with the distance back to its vtable, which
lists where each field lies, 0 for an absent one; a vector or string starts with its length. Field numbers are those of
`onnxruntime/core/flatbuffers/schema/ort.fbs` (MIT).
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cimeu.errors import CheckpointError

IDENTIFIER = b"ORTM"
KINDS = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
"""numpy kinds by `TensorDataType`."""


@dataclass(frozen=True)
class Node:
    """One operation of the graph."""

    operation: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """What a file holds: constant tensors by name, and the operations that read them."""

    tensors: dict[str, np.ndarray]
    nodes: tuple[Node, ...]


class _Table:
    """One table of the block; every read is checked against its end by `struct`."""

    def __init__(self, block: bytes, place: int) -> None:
        self._block, self._place = block, place
        self._vtable = place - struct.unpack_from("<i", block, place)[0]
        self._length = struct.unpack_from("<H", block, self._vtable)[0]

    def _field(self, number: int) -> int:
        # A vtable starts with its own size and the table's, two bytes each; then one offset per field, 0 where
        # absent.
        slot = 4 + 2 * number
        offset = struct.unpack_from("<H", self._block, self._vtable + slot)[0] if slot < self._length else 0
        return self._place + offset if offset else 0

    def integer(self, number: int) -> int:
        place = self._field(number)
        return struct.unpack_from("<i", self._block, place)[0] if place else 0

    def _vector(self, number: int) -> tuple[int, int]:
        """Place of the first element, and how many there are."""
        place = self._field(number)
        return _vector_at(self._block, _follow(self._block, place)) if place else (0, 0)

    def bytes(self, number: int, width: int = 1) -> bytes:
        start, count = self._vector(number)
        content = self._block[start : start + count * width]
        if len(content) < count * width:
            raise struct.error("a vector is longer than the file")
        return content

    def text(self, number: int) -> str:
        return self.bytes(number).decode()

    def table(self, number: int) -> "_Table":
        return _Table(self._block, _follow(self._block, self._field(number)))

    def tables(self, number: int) -> list["_Table"]:
        start, count = self._vector(number)
        return [_Table(self._block, _follow(self._block, start + 4 * i)) for i in range(count)]

    def texts(self, number: int) -> tuple[str, ...]:
        start, count = self._vector(number)
        vectors = [_vector_at(self._block, _follow(self._block, start + 4 * i)) for i in range(count)]
        return tuple(self._block[place : place + length].decode() for place, length in vectors)


def _follow(block: bytes, place: int) -> int:
    # Offsets are unsigned and point forward; wrapping keeps a damaged one inside the range that `struct` checks.
    return (place + struct.unpack_from("<I", block, place)[0]) % 2**32


def _vector_at(block: bytes, place: int) -> tuple[int, int]:
    return place + 4, struct.unpack_from("<I", block, place)[0]


def read_graph(path: Path) -> Graph:
    """Read the tensors and nodes of a file.

    Raises:
        CheckpointError: it is not an ONNX Runtime file, or is cut short.
    """
    block = path.read_bytes()
    if block[4:8] != IDENTIFIER:
        raise CheckpointError(f"`{path}` is not an ONNX Runtime file\n\nhint: fetch it again")
    try:
        session = _Table(block, _follow(block, 0))
        graph = session.table(1).table(7)  # InferenceSession.model, Model.graph
        tensors = dict(_tensor(table) for table in graph.tables(0))
        nodes = tuple(Node(table.text(5), table.text(0), table.texts(8), table.texts(9)) for table in graph.tables(2))
    except (struct.error, ValueError, KeyError) as error:
        raise CheckpointError(
            f"`{path}` is damaged ({type(error).__name__}: {error})\n\nhint: it may have been cut while copying; fetch "
            "it again"
        ) from error
    return Graph(tensors, nodes)


def _tensor(table: _Table) -> tuple[str, np.ndarray]:
    # Field numbers are those of onnxruntime's ort.fbs: 0 name, 2 dims, 3 data_type, 4 raw_data.
    shape = np.frombuffer(table.bytes(2, width=8), "<i8")
    return table.text(0), np.frombuffer(table.bytes(4), KINDS[table.integer(3)]).reshape(shape)
