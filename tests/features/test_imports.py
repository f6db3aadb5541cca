import json
from pathlib import Path

import numpy as np
import pytest

from cimeu.corpora.manifest import Clip
from cimeu.encoders.description import fingerprint_of
from cimeu.errors import FeatureError, FingerprintMismatch
from cimeu.features.imports import import_features
from cimeu.features.store import FeatureStore, key_of

ENCODER = "videomae-v2-giant"


def features(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(seed + 1, 8)).astype(np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three clips with 1, 2 and 3 steps, and their list."""
    root = tmp_path / "npy"
    (root / "fold 1").mkdir(parents=True)
    for seed in range(3):
        np.save(root / "fold 1" / f"0000{seed}.npy", features(seed))
    (root / "list.txt").write_text("fold 1/00000.npy 1 3\nfold 1/00001 2 0\n\nfold 1/00002.npy 3 6\n")
    return root


def run(root: Path, stride: int = 4, direction: str = "forward") -> int:
    settings = {"encoder": ENCODER, "stride": stride, "direction": direction, "folder": root.parent / "features"}
    return import_features(root / "list.txt", root=root, **settings)  # type: ignore[arg-type]


def opened(root: Path) -> FeatureStore:
    return FeatureStore.open(root.parent / "features" / ENCODER)


def test_clips_are_found_by_their_id(root: Path) -> None:
    assert run(root) == 3

    store = opened(root)
    clip = Clip("fold 1/00001", root / "no video", None, 0.0, None, "", "", "", "")
    found = store.get(key_of(clip, store.description, "forward")).features
    assert found is not None
    assert np.array_equal(found, features(1))


def test_the_store_says_that_it_was_imported(root: Path) -> None:
    run(root)

    description = opened(root).description
    assert fingerprint_of(description) == "imported"
    assert (description["width"], description["window"]) == (8, {"length": 16, "stride": 4})
    assert description["version"] == "imported"


def test_both_directions_share_a_store(root: Path) -> None:
    run(root)
    run(root, direction="backward")

    assert len(opened(root)) == 6


def test_importing_again_changes_nothing(root: Path) -> None:
    run(root)

    assert run(root) == 3
    assert len(opened(root)) == 3


def test_double_precision_is_rounded(root: Path) -> None:
    np.save(root / "fold 1" / "00002.npy", features(2).astype(np.float64))

    assert run(root) == 3


def faults(root: Path) -> str:
    with pytest.raises(FeatureError) as refused:
        run(root)
    return str(refused.value)


def test_values_that_are_not_finite_are_named_and_the_others_imported(root: Path) -> None:
    broken = features(1)
    broken[1, 5] = np.nan
    np.save(root / "fold 1" / "00001.npy", broken)

    message = faults(root)

    assert f"1 of 3 clips of `{root}/list.txt` were not imported:\n" in message
    assert "features of clip `fold 1/00001` are not finite: nan in step 1, dimension 5 (1 values)\n\nhint: " in message
    assert len(opened(root)) == 2


def test_missing_files_are_named(root: Path) -> None:
    (root / "fold 1" / "00002.npy").unlink()

    assert f"no file `{root}/fold 1/00002.npy`\n\nhint: the others are in the store" in faults(root)


def test_another_number_of_steps_than_listed_is_named(root: Path) -> None:
    np.save(root / "fold 1" / "00002.npy", features(4))

    assert "00002.npy` has 5 steps, the list says 3" in faults(root)


def test_another_width_is_named(root: Path) -> None:
    np.save(root / "fold 1" / "00002.npy", np.zeros((3, 9), np.float32))

    assert "features of clip `fold 1/00002` are 3 x 9, `videomae-v2-giant` gives steps x 8" in faults(root)


@pytest.mark.parametrize(
    "array", [np.zeros(3, np.float32), np.zeros((3, 8), np.int64), np.zeros((3, 2, 4), np.float32)]
)
def test_another_form_is_named(root: Path, array: np.ndarray) -> None:
    np.save(root / "fold 1" / "00002.npy", array)

    assert f"00002.npy` holds {array.shape}, not steps x width" in faults(root)


def test_a_file_that_is_no_array_is_named(root: Path) -> None:
    (root / "fold 1" / "00002.npy").write_bytes(b"no array")

    assert f"`{root}/fold 1/00002.npy` is no array: " in faults(root)


def test_code_in_a_file_is_never_run(root: Path) -> None:
    np.save(root / "fold 1" / "00002.npy", np.array([{"a": 1}], object), allow_pickle=True)

    assert f"`{root}/fold 1/00002.npy` is no array: " in faults(root)


def test_a_file_changed_since_the_last_import_is_named(root: Path) -> None:
    run(root)
    np.save(root / "fold 1" / "00000.npy", 1 + features(0))

    assert f"`{root}/fold 1/00000.npy` differs from what was imported before" in faults(root)


def test_only_the_first_faults_are_spelled_out(root: Path) -> None:
    with (root / "list.txt").open("a") as listed:
        listed.writelines(f"absent{index} 1 0\n" for index in range(7))

    message = faults(root)

    assert message.count("no file") == 5
    assert "\n  and 2 more\n\nhint: " in message


@pytest.mark.parametrize("line", ["clip", "clip 3", "clip three 0", "clip -1 0"])
def test_a_line_that_cannot_be_read_is_shown(root: Path, line: str) -> None:
    (root / "list.txt").write_text(f"fold 1/00000 1 3\n{line}\n")

    assert f"line 2 of `{root}/list.txt` is `{line}`\n\nhint: write `path n_steps label`" in faults(root)
    assert not (root.parent / "features").exists()


def test_a_list_without_a_clip_is_refused(root: Path) -> None:
    (root / "list.txt").write_text("\n")

    assert f"`{root}/list.txt` lists no clip\n\nhint: " in faults(root)


def test_an_absent_list_is_refused(root: Path) -> None:
    (root / "list.txt").unlink()

    assert f"no list `{root}/list.txt`\n\nhint: " in faults(root)


def test_a_wrong_root_is_told(root: Path) -> None:
    (root / "list.txt").write_text("elsewhere/00000 1 3\n")

    assert (
        f"nothing to import from `{root}/list.txt`: no file `{root}/elsewhere/00000.npy`\n\nhint: check root"
        in faults(root)
    )


def test_another_stride_is_refused(root: Path) -> None:
    run(root)

    with pytest.raises(FingerprintMismatch, match=r"window: .*4.* -> .*8"):
        run(root, stride=8)
    assert json.loads((root.parent / "features" / ENCODER / "encoder.json").read_text())["window"]["stride"] == 4
