import json
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cimeu.corpora.manifest import Clip
from cimeu.encoders.description import describe
from cimeu.encoders.registry import build_encoder
from cimeu.errors import FeatureError, FingerprintMismatch
from cimeu.features.store import FeatureStore, Row, content_of, key_of, row_key

DESCRIPTION = {"name": "four", "version": "1", "width": 4, "window": None, "optional": [1], "preprocessing": {"x": 1}}


def row(seed: int, steps: int = 5) -> Row:
    features = np.random.default_rng(seed).normal(size=(steps, 4)).astype(np.float32)
    return Row(f"clip {seed}", features, "", 1.5, "backward")


def same(first: Row, second: Row) -> bool:
    return replace(first, features=None) == replace(second, features=None) and (
        np.array_equal(first.features, second.features, equal_nan=True)
        if first.features is not None and second.features is not None
        else first.features is second.features
    )


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store:
        for seed in range(10):
            store.add(f"k{seed}", row(seed, steps=seed + 1))
    return tmp_path


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("rows-*.arrow"))


def test_rows_come_back_as_they_were_added(filled: Path) -> None:
    store = FeatureStore.open(filled)

    assert len(store) == 10
    assert list(store.keys()) == [f"k{seed}" for seed in range(10)]
    assert all(same(store.get(f"k{seed}"), row(seed, steps=seed + 1)) for seed in range(10))


def test_a_closed_store_is_one_shard_and_its_description(filled: Path) -> None:
    assert [path.name for path in sorted(filled.iterdir())] == ["encoder.json", shards(filled)[0].name]


def test_features_are_read_only_views_of_the_file(filled: Path) -> None:
    store = FeatureStore.open(filled)

    features = store.get("k3").features

    assert features is not None
    assert not features.flags.owndata
    assert not features.flags.writeable
    again = store.get("k3").features
    assert again is not None
    assert np.shares_memory(features, again)


def test_a_problem_is_kept_in_place_of_features(tmp_path: Path) -> None:
    with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store:
        store.add("bad", Row("clip", None, "no face", 0.0))
        assert store.problem("bad") == "no face"

    store = FeatureStore.open(tmp_path)
    assert store.get("bad") == Row("clip", None, "no face", 0.0)
    assert store.problem("bad") == "no face"


def test_a_row_just_added_can_be_read(tmp_path: Path) -> None:
    with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store:
        store.add("a", row(0))
        assert same(store.get("a"), row(0))
        store.add("b", row(1))
        assert "b" in store
        assert "c" not in store

    assert len(FeatureStore.open(tmp_path)) == 2


def test_a_reader_sees_the_rows_of_a_writer_at_work(tmp_path: Path) -> None:
    with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store:
        store.add("a", row(0))

        assert same(FeatureStore.open(tmp_path).get("a"), row(0))


def test_a_second_writer_leaves_the_first_ones_journal_alone(tmp_path: Path) -> None:
    with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as first:
        first.add("a", row(0))
        with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as second:
            assert "a" in second
            second.add("b", row(1))
        first.add("c", row(2))

    assert sorted(FeatureStore.open(tmp_path).keys()) == ["a", "b", "c"]
    assert len(shards(tmp_path)) == 2


def test_shards_are_plain_tables_for_others(filled: Path) -> None:
    table = pd.read_feather(shards(filled)[0])

    assert list(table.columns)[:6] == ["key", "clip_id", "direction", "width", "steps", "features"]
    assert table["steps"].tolist() == list(range(1, 11))
    assert np.array_equal(table["features"][2].reshape(-1, 4), row(2, steps=3).features)


def test_a_store_travels_to_another_process(filled: Path) -> None:
    copy = pickle.loads(pickle.dumps(FeatureStore.open(filled)))

    assert same(copy.get("k4"), row(4, steps=5))


def test_large_journals_are_sealed_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cimeu.features.store.SEAL_BYTES", 10_000)
    with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store:
        for seed in range(30):
            store.add(f"k{seed}", row(seed, steps=50))

    assert len(shards(tmp_path)) > 1
    assert len(FeatureStore.open(tmp_path)) == 30


# Crashes


def abandoned(folder: Path, count: int) -> Path:
    """A journal whose writer was killed after `count` rows."""

    def write() -> None:
        store = FeatureStore.open(folder, DESCRIPTION, writable=True)
        for seed in range(count):
            store.add(f"k{seed}", row(seed))
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join()
    (journal,) = folder.glob("journal-*.arrows")
    return journal


pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def test_every_row_outlives_a_kill(tmp_path: Path) -> None:
    abandoned(tmp_path, 7)

    assert len(FeatureStore.open(tmp_path)) == 7
    FeatureStore.open(tmp_path, writable=True).close()
    store = FeatureStore.open(tmp_path)
    assert not list(tmp_path.glob("journal-*"))
    assert all(same(store.get(f"k{seed}"), row(seed)) for seed in range(7))


def test_a_torn_tail_costs_only_its_row(tmp_path: Path) -> None:
    content = abandoned(tmp_path / "whole", 4).read_bytes()
    description = (tmp_path / "whole" / "encoder.json").read_bytes()
    kept = []
    for share in np.linspace(0, 1, 60):
        folder = tmp_path / f"{share}"
        folder.mkdir()
        (folder / "encoder.json").write_bytes(description)
        (folder / "journal-0-torn.arrows").write_bytes(content[: int(share * len(content))])
        with FeatureStore.open(folder, writable=True) as store:
            kept.append(len(store))
            assert all(same(store.get(f"k{seed}"), row(seed)) for seed in range(len(store)))
        assert not list(folder.glob("journal-*"))

    assert kept == sorted(kept)
    assert set(kept) == {0, 1, 2, 3, 4}


def test_a_row_that_does_not_match_its_checksum_is_dropped_from_a_journal(tmp_path: Path) -> None:
    journal = abandoned(tmp_path, 3)
    content = journal.read_bytes()
    features = row(1).features
    assert features is not None
    at = content.index(features.tobytes())
    journal.write_bytes(content[:at] + b"\x07" + content[at + 1 :])

    with FeatureStore.open(tmp_path, writable=True) as store:
        assert sorted(store.keys()) == ["k0", "k2"]


def test_a_full_disk_is_one_clear_error_and_keeps_what_was_there(tmp_path: Path) -> None:
    script = f"""
import resource, sys
import numpy as np
from pathlib import Path
from cimeu.errors import FeatureError
from cimeu.features.store import FeatureStore, Row
store = FeatureStore.open(Path({str(tmp_path)!r}), {DESCRIPTION!r}, writable=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with store:
        for index in range(100):
            store.add(f"k{{index}}", Row("clip", np.full((500, 4), index, np.float32), "", 1.0))
except FeatureError as error:
    print(error)
print(len(store), all(store.get(key).features[0, 0] == int(key[1:]) for key in store.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    message, _, count = done.stdout.strip().rpartition("\n")

    assert message.startswith(f"cannot write features to `{tmp_path}`: File too large\n\nhint: make room")
    assert done.stderr == ""
    assert count == "22 True"
    with FeatureStore.open(tmp_path, writable=True) as store:
        assert len(store) == 22
        store.add("k22", row(0))
    assert len(FeatureStore.open(tmp_path)) == 23


def test_a_disk_too_full_to_seal_keeps_the_journal(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path, DESCRIPTION, writable=True)
    for seed in range(10):
        store.add(f"k{seed}", row(seed, steps=100))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(FeatureError, match=f"cannot write features to `{tmp_path}`: File too large"):
            store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert same(store.get("k3"), row(3, steps=100))
    assert not list(tmp_path.glob(".*"))
    assert len(FeatureStore.open(tmp_path, writable=True)) == 10
    assert len(shards(tmp_path)) == 1


# Refusals


def test_a_truncated_shard_is_refused_by_name(filled: Path) -> None:
    (shard,) = shards(filled)
    shard.write_bytes(shard.read_bytes()[:-100])

    with pytest.raises(FeatureError, match=rf"`{shard}` is damaged: .*\n\nhint: delete this file and extract again"):
        FeatureStore.open(filled)


def test_a_changed_byte_is_found_when_its_row_is_read(filled: Path) -> None:
    (shard,) = shards(filled)
    content = shard.read_bytes()
    features = row(6, steps=7).features
    assert features is not None
    at = content.index(features.tobytes())
    shard.write_bytes(content[:at] + b"\x07" + content[at + 1 :])
    store = FeatureStore.open(filled)

    assert same(store.get("k5"), row(5, steps=6))
    with pytest.raises(FeatureError, match=rf"`{shard}` is damaged: the row of clip `clip 6` does not match"):
        store.get("k6")


def test_a_foreign_arrow_file_is_refused(filled: Path) -> None:
    (shard,) = shards(filled)
    table = pa.table({"a": [1]})
    with pa.ipc.new_file(str(shard), table.schema) as writer:
        writer.write_table(table)

    with pytest.raises(FeatureError, match="its columns are not those of a feature store"):
        FeatureStore.open(filled)


FLIPS = """
import resource, sys
from pathlib import Path
from cimeu.errors import FeatureError
from cimeu.features.store import FeatureStore

folder, shard = Path(sys.argv[1]), Path(sys.argv[2])
content, features = shard.read_bytes(), FeatureStore.open(folder).get("k1").features.copy()
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, -1))  # a length that lies must not take the memory
for bit in map(int, sys.argv[3].split(",")):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    shard.write_bytes(damaged)
    try:
        store = FeatureStore.open(folder)
        assert "k1" not in store or (store.get("k1").features == features).all(), bit
    except FeatureError as error:
        assert "is damaged" in str(error), error
"""


def test_no_flipped_bit_crashes_the_reader_or_changes_what_is_read(tmp_path: Path) -> None:
    with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store:
        store.add("k0", row(0))
        store.add("k1", row(1))
    (shard,) = shards(tmp_path)
    content = shard.read_bytes()
    batch = content.index(b"\xff\xff\xff\xff", 100)  # the message after the schema
    lengths = range(8 * (batch + 144), 8 * (batch + 168))  # unchecked, these make Arrow read outside of the file
    bits = sorted({*range(5, 8 * len(content), 53), *lengths})
    words = [sys.executable, "-c", FLIPS, str(tmp_path), str(shard), ",".join(map(str, bits))]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_absent_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=rf"no features in `{tmp_path}`\n\nhint: run `cimeu extract` first"):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"width": "4"}'])
def test_a_broken_description_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "encoder.json").write_text(content)

    with pytest.raises(FeatureError, match=rf"`{tmp_path}/encoder.json` does not describe an encoder: .*\n\nhint: "):
        FeatureStore.open(tmp_path)


def test_an_absent_row_is_refused(filled: Path) -> None:
    with pytest.raises(FeatureError, match=rf"no features for `k99` among 10 rows of `{filled}`\n\nhint: "):
        FeatureStore.open(filled).get("k99")


def test_other_preprocessing_is_refused_with_what_differs(tmp_path: Path) -> None:
    FeatureStore.open(tmp_path, describe(build_encoder("spectral")), writable=True).close()
    other = describe(build_encoder("spectral", trim=False))

    with pytest.raises(FingerprintMismatch) as refused:
        FeatureStore.open(tmp_path, other)

    command = "cimeu extract MANIFEST --encoder spectral --setting trim=false -o ANOTHER_FOLDER"
    assert f"\n  preprocessing.trim: True -> False\n\nhint: `{command}` makes a new store" in str(refused.value)
    assert json.loads((tmp_path / "encoder.json").read_text()) == describe(build_encoder("spectral"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    features = np.zeros((3, 4), np.float32)
    features[2, 3] = value
    with (
        FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store,
        pytest.raises(
            FeatureError, match=r"features of clip `c` are not finite: \S+ in step 2, dimension 3 \(1 values\)"
        ),
    ):
        store.add("k", Row("c", features, "", 1.0))
    assert len(FeatureStore.open(tmp_path)) == 0


def test_nan_is_allowed_where_the_encoder_says_so_but_infinity_is_not(tmp_path: Path) -> None:
    features = np.zeros((3, 4), np.float32)
    features[:, 1] = np.nan
    with FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store:
        store.add("k", Row("c", features, "", 1.0))
        assert same(store.get("k"), Row("c", features, "", 1.0))
        with pytest.raises(FeatureError, match="inf in step 0, dimension 1"):
            store.check(Row("c", np.full((1, 4), [0, np.inf, 0, 0], np.float32), "", 1.0))


@pytest.mark.parametrize("shape", [(3, 5), (0, 4)])
def test_features_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    with (
        FeatureStore.open(tmp_path, DESCRIPTION, writable=True) as store,
        pytest.raises(FeatureError, match=rf"are {shape[0]} x {shape[1]}, `four` gives steps x 4"),
    ):
        store.add("k", Row("c", np.zeros(shape, np.float32), "", 1.0))


# Keys


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    return Clip("a", path, None, 0.0, None, "anger", "", "", "")


def test_content_is_bytes_and_limits_not_names(clip: Clip, tmp_path: Path) -> None:
    copy = tmp_path / "b.wav"
    copy.write_bytes(b"sound")

    assert content_of(replace(clip, clip_id="b", path=copy)) == content_of(clip)
    assert content_of(replace(clip, start_s=1.0)) != content_of(clip)
    assert content_of(replace(clip, end_s=1.0)) != content_of(clip)
    assert content_of(replace(clip, audio_path=copy)) != content_of(clip)


def test_a_changed_file_has_other_content(clip: Clip) -> None:
    before = content_of(clip)
    clip.path.write_bytes(b"other sound")

    assert content_of(clip) != before


def test_a_missing_file_is_looked_at_again_when_it_is_there(clip: Clip) -> None:
    missing = replace(clip, path=clip.path.with_name("c.wav"))
    before = content_of(missing)
    missing.path.write_bytes(b"sound")

    assert before != content_of(missing) == content_of(clip)


def test_a_clip_of_images_is_keyed_by_each_of_them(clip: Clip, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in (9, 10):
        (folder / f"img{index}.jpg").write_bytes(b"x")
    images = replace(clip, path=folder)
    before = content_of(images)
    (folder / "img10.jpg").write_bytes(b"other")
    assert content_of(images) != before


def test_keys_hold_content_fingerprint_and_direction_or_the_clip_id(clip: Clip) -> None:
    description = {"version": "imported"}

    assert key_of(clip, description, "forward") == row_key("a", "imported", "forward")
    assert key_of(clip, DESCRIPTION, "backward").startswith(content_of(clip))
    assert key_of(clip, DESCRIPTION, "backward") != key_of(clip, DESCRIPTION, "forward")
