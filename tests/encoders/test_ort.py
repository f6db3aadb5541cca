"""Files of ONNX Runtime are read without it, and damaged ones are refused."""

import struct
from pathlib import Path

import numpy as np
import pytest

from cimeu.encoders.moonshine import moonshine_tensors
from cimeu.encoders.ort import read_graph
from cimeu.errors import CheckpointError


class Builder:
    """The fewest bytes of a FlatBuffer: objects are appended, and references to them filled in afterwards."""

    def __init__(self) -> None:
        self.block = bytearray(struct.pack("<I4s", 0, b"ORTM"))

    def vector(self, content: bytes, count: int | None = None) -> int:
        place = len(self.block)
        self.block += struct.pack("<I", len(content) if count is None else count) + content
        return place

    def references(self, places: list[int]) -> int:
        place = self.vector(bytes(4 * len(places)), len(places))
        for number, target in enumerate(places):
            self._refer(place + 4 + 4 * number, target)
        return place

    def table(self, fields: dict[int, int | tuple[str, int]]) -> int:
        """Fields by number: the place of an object, or ("integer", value)."""
        slots = max(fields) + 1
        vtable = len(self.block)
        self.block += bytes(4 + 2 * slots)
        place = len(self.block)
        self.block += bytes(4 + 4 * len(fields))
        struct.pack_into("<HH", self.block, vtable, 4 + 2 * slots, 4 + 4 * len(fields))
        struct.pack_into("<i", self.block, place, place - vtable)
        for index, (number, value) in enumerate(fields.items()):
            struct.pack_into("<H", self.block, vtable + 4 + 2 * number, 4 + 4 * index)
            if isinstance(value, tuple):
                struct.pack_into("<i", self.block, place + 4 + 4 * index, value[1])
            else:
                self._refer(place + 4 + 4 * index, value)
        return place

    def _refer(self, place: int, target: int) -> None:
        struct.pack_into("<I", self.block, place, (target - place) % 2**32)

    def text(self, text: str) -> int:
        return self.vector(text.encode())


@pytest.fixture
def ort_file(tmp_path: Path) -> Path:
    build = Builder()
    # A FlatBuffer points forward only: what is pointed to comes later, so places are reserved by building twice.
    matrix = np.arange(6, dtype="<f4").reshape(2, 3)
    objects = {
        "name": build.text("w"),
        "shape": build.vector(np.array([2, 3], "<i8").tobytes(), 2),
        "data": build.vector(matrix.tobytes()),
        "operation": build.text("MatMul"),
        "inputs": build.references([build.text("x"), build.text("w")]),
        "outputs": build.references([build.text("y")]),
    }
    tensor = build.table({0: objects["name"], 2: objects["shape"], 3: ("integer", 1), 4: objects["data"]})
    node = build.table({0: objects["name"], 5: objects["operation"], 8: objects["inputs"], 9: objects["outputs"]})
    graph = build.table({0: build.references([tensor]), 2: build.references([node])})
    root = build.table({1: build.table({7: graph})})
    struct.pack_into("<I", build.block, 0, root)
    path = tmp_path / "model.ort"
    path.write_bytes(bytes(build.block))
    return path


def test_tensors_and_operations_are_those_that_were_written(ort_file: Path) -> None:
    graph = read_graph(ort_file)
    np.testing.assert_array_equal(graph.tensors["w"], [[0, 1, 2], [3, 4, 5]])
    (node,) = graph.nodes
    assert (node.operation, node.inputs, node.outputs) == ("MatMul", ("x", "w"), ("y",))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.ort").write_bytes(b"not a model at all")
    with pytest.raises(CheckpointError, match="is not an ONNX Runtime file"):
        read_graph(tmp_path / "model.ort")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_file_that_was_cut_is_damaged(ort_file: Path, share: float) -> None:
    whole = ort_file.read_bytes()
    ort_file.write_bytes(whole[: max(8, int(share * len(whole)))])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_graph(ort_file)


def test_another_network_is_not_taken_for_moonshine(ort_file: Path) -> None:
    with pytest.raises(CheckpointError, match="is not the Moonshine tiny encoder: tensor"):
        moonshine_tensors(ort_file)
