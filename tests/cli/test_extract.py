"""`cimeu extract` with a network, from the command line to the rows. Its weights are the parity fixture's: random."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cimeu.cli.extract import weights_of
from cimeu.cli.terminal import ProgressLines
from cimeu.corpora.manifest import read_manifest
from cimeu.encoders import videomae
from cimeu.encoders.description import describe
from cimeu.encoders.encoding import encode
from cimeu.encoders.registry import build_encoder
from cimeu.encoders.videomae import VideoMAESize
from cimeu.errors import RecipeError
from cimeu.features.store import FeatureStore, key_of
from cimeu.pyramid import DIRECTIONS

from ..media.whole_clips import CropSettings, read_clip

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def weights(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fixture's architecture stands for a published size."""
    monkeypatch.setitem(videomae.SIZES, "small", VideoMAESize(48, 3, 4, 209, 14))
    return fixtures / "vmaev2_tiny_p14.pth"


@pytest.fixture
def manifest(trial_data: Path, tmp_path: Path) -> Path:
    clip = sorted((trial_data / "video").glob("01-*.mp4"))[0]
    path = tmp_path / "manifest.csv"
    path.write_text(f"path,emotion,start_s,end_s\n{clip},neutral,1.0,1.68\n")
    return path


@pytest.fixture
def extract(cimeu: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Command:
    """Run `cimeu extract`: status and stderr."""

    def run(*words: object) -> tuple[int, str]:
        status, _, said = cimeu("extract", *words, "-o", tmp_path / "features")
        return status, said

    return run


def test_a_network_sees_both_regions_in_both_directions(
    extract: Command, manifest: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProgressLines, "FIRST_S", 0.0)  # a quick machine is done before the first line is due
    words = (manifest, "--encoder", "videomae-v2-small", "--weights", weights, "--region", "face", "--region", "frame")

    status, said = extract(*words, "--engine", "torch", "--precision", "fp32", "--workers", 1)

    assert (status, "1 clips computed, 0 already there" in said) == (0, True), said
    assert "windows" in said
    (clip,) = read_manifest(manifest).clips()
    for region, folder in (("face", "videomae-v2-small"), ("frame", "videomae-v2-small-frame")):
        encoder = build_encoder("videomae-v2-small", weights=weights, source=region, engine="torch", precision="fp32")
        cut = CropSettings(region=region, side=224, resampling="bilinear")  # type: ignore[arg-type]
        crops = read_clip(clip.path, want={"crops"}, crop=cut, start_s=1.0, end_s=1.68).crops
        assert crops is not None
        store = FeatureStore.open(tmp_path / "features" / folder, describe(encoder))
        assert len(store) == 2
        for direction in DIRECTIONS:
            row = store.get(key_of(clip, store.description, direction))
            assert row.features is not None
            assert row.features.shape == (1, 48)
            assert row.duration_s == 0.68
            assert np.array_equal(row.features, encode(encoder, crops, direction))
    assert "0 clips computed, 1 already there" in extract(*words, "--precision", "fp32")[1]
    assert "preprocessing.precision: fp32 -> bf16" in extract(*words, "--precision", "bf16")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--encoder", "hog", "--region", "nose"), "unknown region `nose`\n\nhint: face or frame"),
        (("--encoder", "hogg", "--fuse"), "unknown encoder `hogg`\n\nhint: did you mean `hog`?"),
        (
            ("--encoder", "hog", "--precision", "fp32"),
            "--precision does not apply to hog\n\nhint: it is for ast, expression, hub-picture",
        ),
        (
            ("--encoder", "hog", "--encoder", "ast", "--engine", "torch"),
            "--engine does not apply to hog, ast\n\nhint: it",
        ),
        (("--encoder", "hub-sound", "--batch", "4"), "--batch does not apply to hub-sound\n\nhint: it is for hub-pict"),
        (("--encoder", "spectral", "--fuse"), "--fuse does not apply to spectral\n\nhint: it is for videomae-v2-small"),
        (
            ("--encoder", "spectral", "--region", "face"),
            "--region does not apply to spectral\n\nhint: it is for expression, hog, hub",
        ),
        (("--precision", "fp32"), "no encoder is named for these settings\n\nhint: add --encoder NAME"),
        (
            ("--encoder", "hog", "--weights", "a.pth"),
            "weights `a.pth` belong to no encoder\n\nhint: write --weights ENC",
        ),
        (("--encoder", "videomae-v2-giant", "--weights", "none.pth"), "no file `none.pth` with weights of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_settings_that_fit_nothing_are_refused(
    extract: Command, manifest: Path, words: tuple[str, ...], message: str
) -> None:
    status, said = extract(manifest, *words)
    assert (status, message in said) == (1, True), said


def test_a_setting_is_for_those_of_several_encoders_that_take_it(
    extract: Command, manifest: Path, tmp_path: Path
) -> None:
    words = ("--encoder", "hog", "--encoder", "spectral", "--region", "frame", "--workers", 1)
    status, said = extract(manifest, *words)
    assert status == 0, said
    assert {path.parent.name for path in (tmp_path / "features").glob("*/encoder.json")} == {"hog-frame", "spectral"}


def test_weights_of_another_size_stop_the_run_before_a_clip_is_blamed(
    extract: Command, manifest: Path, fixtures: Path, tmp_path: Path
) -> None:
    weights = fixtures / "vmaev2_tiny_p14.pth"
    status, said = extract(manifest, "--encoder", "videomae-v2-small", "--weights", weights, "--workers", 1)
    assert (status, said.count("error: ")) == (1, 1)
    assert "tensor `patch_embed.proj.weight` is 48 x 3 x 2 x 14 x 14 in the file, 384 x 3 x 2 x 16 x 16 in" in said
    assert len(FeatureStore.open(tmp_path / "features" / "videomae-v2-small")) == 0


def test_clips_of_which_none_can_be_used_are_an_error(extract: Command, tmp_path: Path) -> None:
    (tmp_path / "absent.csv").write_text("path,emotion\nnone.wav,anger\n")
    status, said = extract(tmp_path / "absent.csv", "--encoder", "spectral")
    assert status == 1
    assert "none of the 1 clips can be used\n\nhint: look at the column `problem`" in said


def test_each_encoder_gets_its_own_weights() -> None:
    names = ["videomae-v2-base", "hub-sound", "hog"]
    found = weights_of(names, ["videomae-v2-base=b.pth", "hub-sound=folder/of=model"])
    assert found == {"videomae-v2-base": Path("b.pth"), "hub-sound": Path("folder/of=model")}
    with pytest.raises(RecipeError, match=r"weights `b\.pth` belong to one of videomae-v2-base, hub-sound"):
        weights_of(names, ["b.pth"])


def test_one_root_serves_both_directions(cimeu: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for direction in DIRECTIONS:
        (tmp_path / "arrays" / direction).mkdir(parents=True)
        np.save(tmp_path / "arrays" / direction / "1.npy", np.full((2, 4), direction == "forward", np.float32))
    (tmp_path / "list.txt").write_text("1 2 anger\n")
    words = ("--root", tmp_path / "arrays", "--encoder", "mine", "--direction", "both", "-o", tmp_path / "features")
    status, _, said = cimeu("features", "import", tmp_path / "list.txt", *words)
    assert status == 0, said
    rows = [row for _, row in FeatureStore.open(tmp_path / "features" / "mine").rows()]
    assert {row.direction: float(row.features.mean()) for row in rows} == {"forward": 1.0, "backward": 0.0}


def test_any_setting_of_an_encoder_can_be_given(extract: Command, manifest: Path, tmp_path: Path) -> None:
    status, said = extract(manifest, "--encoder", "spectral", "--setting", "trim=false", "--workers", 1)
    assert status == 0, said
    FeatureStore.open(tmp_path / "features" / "spectral", describe(build_encoder("spectral", trim=False)))


def test_a_store_of_other_settings_names_the_command_that_makes_the_new_one(
    extract: Command, cimeu: Callable[..., tuple[int, str, str]], manifest: Path, tmp_path: Path
) -> None:
    words = (manifest, "--encoder", "spectral", "--workers", 1)
    assert extract(*words)[0] == 0
    status, said = extract(*words, "--setting", "trim=false", "--setting", "level=true")
    assert status == 1
    command = "cimeu extract MANIFEST --encoder spectral --setting trim=false -o ANOTHER_FOLDER"
    assert f"hint: `{command}` makes a new store" in said
    filled = command.replace("MANIFEST", str(manifest)).replace("ANOTHER_FOLDER", str(tmp_path / "another"))
    assert cimeu(*filled.split()[1:], "--workers", 1)[0] == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("layer=9", "--setting layer does not apply to spectral\n\nhint: it is for hub-"),
        ("colour=9", "--setting colour does not apply to spectral\n\nhint: it is for no encoder"),
        ("layer", "`layer` is not name=value\n\nhint: such as --setting layer=9"),
        ("layer=[9", "`layer=[9` is not YAML (line 1: "),
    ],
)
def test_a_setting_that_no_encoder_takes_is_refused(
    extract: Command, manifest: Path, setting: str, message: str
) -> None:
    status, said = extract(manifest, "--encoder", "spectral", "--setting", setting)
    assert (status, message in said) == (1, True), said


def test_a_device_that_is_not_there_is_refused(extract: Command, manifest: Path, weights: Path) -> None:
    words = (manifest, "--encoder", "videomae-v2-small", "--weights", weights)
    status, said = extract(*words, "--device", "cuda:99")
    assert (status, "device `cuda:99` is not on this machine" in said) == (1, True), said
