"""Copies are found by their features alone: cut, louder, under another name; other clips are not."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from cimeu.corpora.manifest import Manifest, read_manifest
from cimeu.errors import FeatureError
from cimeu.features import shared_clips as module
from cimeu.features.shared_clips import Compared, correlation, shared_clips
from cimeu.features.store import FeatureStore, Row, row_key

WIDTH = 48
DESCRIPTION = {
    "name": "made",
    "version": "1",
    "width": WIDTH,
    "window": {"length": 16, "stride": 4},
    "source": "sound",
    "kind": "steps",
    "optional": [],
    "preprocessing": {"trim": False},
}
Clips = Mapping[str, np.ndarray]


def curve(seed: int, steps: int = 60) -> np.ndarray:
    """Steps that each share three quarters with the next one, as windows of 16 frames every 4 do."""
    made = np.random.default_rng(seed).normal(size=(steps + 3, WIDTH))
    return sum(made[start : start + steps] for start in range(4)).astype(np.float32)


def store_of(folder: Path, clips: Clips, **changes: object) -> Path:
    with FeatureStore.open(folder / "made", DESCRIPTION | changes, writable=True) as store:
        for name, features in clips.items():
            store.add(row_key(f"content of {folder} {name}", "made", "forward"), Row(name, features, "", 1.0))
    return folder


def manifest_of(folder: Path, names: list[str]) -> Manifest:
    """Clips whose recordings are not there."""
    path = folder / f"{'-'.join(names)[:40]}.csv"
    path.write_text("path,clip_id\n" + "".join(f"gone/{name}.wav,{name}\n" for name in names))
    return read_manifest(path, labelled=False)


def compare(tmp_path: Path, one: Clips, other: Clips, **changes: object) -> Compared:
    folders = [store_of(tmp_path / side, clips, **changes) for side, clips in (("one", one), ("other", other))]
    return shared_clips(*(manifest_of(tmp_path, list(clips)) for clips in (one, other)), folders)


def test_copies_are_found_and_nothing_else(tmp_path: Path) -> None:
    one = {f"a{seed}": curve(seed) for seed in range(12)}
    noise = np.random.default_rng(99).normal(size=(60, WIDTH)).astype(np.float32)
    other = {
        "cut": one["a3"][7:50],
        "recoded": one["a5"] + noise,
        "louder": one["a8"] * 0.8 + 30,
        **{f"own{seed}": curve(seed) for seed in range(20, 26)},
    }
    found = compare(tmp_path, one, other).overlap
    assert {(copy.one, copy.other): copy.offset_s for copy in found.copies} == {
        ("a3", "cut"): pytest.approx(7 * 0.04),
        ("a5", "recoded"): 0.0,
        ("a8", "louder"): 0.0,
    }
    assert {copy.by for copy in found.copies} == {"sound"}
    assert found.unread == (0, 0)


def test_where_outer_silences_were_left_out_no_offset_is_given(tmp_path: Path) -> None:
    one = {f"a{seed}": curve(seed) for seed in range(4)}
    found = compare(tmp_path, one, {"copy": one["a1"][4:]}, preprocessing={"trim": True}).overlap
    assert [(copy.one, copy.other, copy.offset_s) for copy in found.copies] == [("a1", "copy", None)]


def test_short_clips_are_one_where_their_features_are_identical(tmp_path: Path) -> None:
    one = {"long": curve(0), "short": curve(1, 3)}
    found = compare(tmp_path, one, {"same": one["short"], "changed": one["short"] * 1.01}).overlap
    assert [(copy.one, copy.other) for copy in found.copies] == [("short", "same")]


def test_clips_that_stand_still_are_not_called_one(tmp_path: Path) -> None:
    still = {name: np.full((30, WIDTH), value, np.float32) for name, value in (("x", 1.0), ("y", 2.0))}
    assert compare(tmp_path, {"x": still["x"], "moving": curve(0)}, {"y": still["y"]}).overlap.copies == []


def test_silence_is_no_copy_of_silence(tmp_path: Path) -> None:
    silent = np.zeros((30, WIDTH), np.float32)
    silent[:, 0] = np.nan  # no pitch
    found = compare(tmp_path, {"x": silent, "moving": curve(0)}, {"y": silent}, optional=[0])
    assert found.overlap.copies == []


def test_what_many_clips_of_a_manifest_hold_is_not_called_one(tmp_path: Path) -> None:
    tone = curve(1, 3)
    many = {f"tone{number}": tone for number in range(module.PROPOSALS + 1)}
    assert compare(tmp_path, {"tone": tone, "long": curve(0)}, many).overlap.copies == []


def test_a_name_in_both_manifests_is_not_guessed_from_one_store(tmp_path: Path) -> None:
    folder = store_of(tmp_path, {"0001": curve(0), "a": curve(1), "b": curve(1)[2:]})
    one, other = manifest_of(tmp_path, ["0001", "a"]), manifest_of(tmp_path, ["0001", "b"])
    for folders in ([folder], [folder, folder], [folder, folder / "made"]):
        found = shared_clips(one, other, folders).overlap
        assert ([(copy.one, copy.other) for copy in found.copies], found.unread) == ([("a", "b")], (1, 1))


def test_clips_without_features_are_counted(tmp_path: Path) -> None:
    folder = store_of(tmp_path, {"a": curve(0)})
    found = shared_clips(manifest_of(tmp_path, ["a", "b", "c"]), manifest_of(tmp_path, ["d"]), [folder]).overlap
    assert found.unread == (2, 1)


def test_features_that_were_made_differently_are_refused(tmp_path: Path) -> None:
    store_of(tmp_path / "one", {"a": curve(0)})
    store_of(tmp_path / "other", {"b": curve(0)}, preprocessing={"trim": True})
    manifests = manifest_of(tmp_path, ["a"]), manifest_of(tmp_path, ["b"])
    with pytest.raises(FeatureError, match=r"no encoder in common that was set alike: made and made\n\nhint: extract"):
        shared_clips(*manifests, [tmp_path / "one", tmp_path / "other"])
    with pytest.raises(FeatureError, match=r"no features in `.*empty`\n\nhint: name the folder"):
        shared_clips(*manifests, [tmp_path / "empty"])


def test_the_correlation_is_that_of_every_offset_tried_one_by_one() -> None:
    one, other = (curve(seed, steps).astype(np.float16) for seed, steps in ((0, 20), (1, 31)))
    tried = []
    for offset in range(-31, 20):
        first, last = max(offset, 0), min(20, 31 + offset)
        if last - first >= 10:
            low, high = (each.astype(float) for each in (one[first:last], other[first - offset : last - offset]))
            tried.append(((low * high).sum() / np.sqrt((low**2).sum() * (high**2).sum()), offset))
    best = max(tried)
    assert correlation(one, other) == (pytest.approx(best[0], abs=1e-4), best[1])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    queries, others = (generator.normal(size=(size, 20)).astype(np.float32) for size in (50, 30))
    wanted = {(row, near) for row in range(50) for near in np.argsort(-(queries @ others.T)[row])[: module.PROPOSALS]}
    monkeypatch.setattr(module, "BLOCK", 7)
    assert set(module._nearest(queries, others)) == wanted
