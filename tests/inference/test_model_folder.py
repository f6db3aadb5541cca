"""A model that cannot be trusted is refused, with the file and the value named; one that was only copied opens."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from cimeu.errors import CheckpointError
from cimeu.evaluation.ood import Familiarity
from cimeu.inference.model_folder import open_model_folder
from cimeu.inference.neighbours import NAMES, TrainingClips
from cimeu.sealed import SEAL, seal

from .conftest import EMOTIONS, RunMaker


@pytest.fixture(scope="module")
def made(make_run: RunMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with everything in it, not sealed."""
    folder = shutil.copytree(make_run("hog", None), tmp_path_factory.mktemp("made") / "run")
    rows = np.random.default_rng(0).normal(size=(40, 1536)).astype(np.float32)
    Familiarity.of({"first": rows[:20]}, {"first": rows[20:]}).save(folder)
    names = dict.fromkeys(NAMES, EMOTIONS)
    TrainingClips(names=names, emotion=np.ones((3, 4), np.float32), style=None).save(folder)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy for each test."""
    return shutil.copytree(made, tmp_path / "run")


def ensemble(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "ensemble.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def config(way: str, /, **values: object) -> Callable[[Path], None]:
    """Change `config.json` in both places that hold a value."""

    def change(folder: Path) -> None:
        path = folder / way / "config.json"
        content = json.loads(path.read_text())
        for part in ("model", "specifications"):
            content[part].update({name: value for name, value in values.items() if name in content[part]})
        path.write_text(json.dumps(content))

    return change


def copied(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            shutil.copy(folder / "forward" / name, folder / "backward" / name)

    return change


def content(name: str, written: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(written) and None


def familiarity(name: str, value: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "familiarity.safetensors"
        tensors = load_file(path)
        tensors[f"first.{name}"].fill_(value)
        save_file(tensors, path)

    return change


def clips(**arrays: np.ndarray) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "training_clips.npz"
        with np.load(path) as whole:
            kept = dict(whole)
        np.savez(path, **{**kept, **arrays})

    return change


WRONG = {
    "mu": (ensemble(mu=5), r"ensemble\.json` is damaged: `mu` is 5\.0; a number from 0 to 1 is right"),
    "negative mu": (ensemble(mu=-3), r"`mu` is -3\.0; a number from 0 to 1 is right"),
    "temperature": (ensemble(temperature=-0.4), r"`temperature` is -0\.4; a number from 0\.01 to 100 is right"),
    "no temperature": (ensemble(temperature=0), r"`temperature` is 0\.0; a number from 0\.01"),
    "NaN": (ensemble(temperature=float("nan")), r"is damaged .ValueError: NaN is not a number of JSON"),
    "levels": (ensemble(levels="X"), r"`levels` is 'X' .Input should be 'H' or 'mean'"),
    "flag": (ensemble(mu=True), r"`mu` is True .Input should be a valid number"),
    "no direction": (ensemble(directions=[]), r"`directions` is \[\]; forward, backward"),
    "one direction twice": (ensemble(directions=["forward"] * 2), r"`directions` is \['forward', 'forward'\]"),
    "empty": (content("ensemble.json", b""), r"ensemble\.json` is damaged .JSONDecodeError"),
    "binary": (content("ensemble.json", bytes(range(256))), r"ensemble\.json` is not text in UTF-8"),
    "emotions of one direction": (
        config("backward", emotions=[*reversed(EMOTIONS)]),
        r"forward and backward model of `.*` have different emotions",
    ),
    "direction": (
        config("backward", direction="forward"),
        r"backward` holds a model that reads forward, expected: back",
    ),
    "a copy": (copied("config.json", "model.safetensors"), r"backward` holds a model that reads forward"),
    "copied weights": (copied("model.safetensors"), r"backward` holds the weights of `forward`"),
    "deviation": (
        familiarity("deviation", 0.0),
        r"familiarity\.safetensors` is damaged: deviation of 0 or less of the",
    ),
    "mean": (familiarity("mean", float("nan")), r"is damaged: mean that are not finite float32 numbers of the view"),
    "cut familiarity": (content("familiarity.safetensors", b"abc"), r"familiarity\.safetensors` is damaged"),
    "no clips": (content("training_clips.npz", b""), r"training_clips\.npz` is damaged"),
    "an array alone": (content("training_clips.npz", b"\x93NUMPY\x01\x00"), r"training_clips\.npz` is damaged"),
    "clips": (
        clips(emotion_primitives=np.full((3, 4), np.nan)),
        r"training_clips\.npz` is damaged: primitives that are not finite",
    ),
    "columns": (clips(clip_id=np.array(["a"])), r"training_clips\.npz` is damaged: its columns differ in length"),
    "an emotion": (
        clips(emotion=np.array(["joy"] * 3)),
        r"training_clips\.npz` holds clips of `joy`, expected: \['anger'",
    ),
    "objects": (clips(clip_id=np.array([{}, {}, {}], object)), r"training_clips\.npz` is damaged .ValueError: Object"),
}


@pytest.mark.parametrize("sealed", [False, True], ids=["", "sealed again"])
@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_even_where_the_digests_fit(
    run: Path, change: Callable[[Path], None], message: str, sealed: bool
) -> None:
    change(run)
    if sealed:
        seal(run)
    with pytest.raises(CheckpointError, match=rf"{message}(.|\n)*hint: "):
        open_model_folder(run)


def test_a_sealed_folder_opens_wherever_it_was_copied_to(run: Path, tmp_path: Path) -> None:
    seal(run)
    again = shutil.copytree(run, tmp_path / "again")
    assert open_model_folder(again).ensemble == open_model_folder(run).ensemble


def test_a_folder_of_an_earlier_version_has_no_digests_and_opens(run: Path) -> None:
    assert open_model_folder(run).training_clips is not None


@pytest.mark.parametrize(
    "name", ["ensemble.json", "forward/config.json", "backward/model.safetensors", "training_clips.npz"]
)
def test_a_file_that_changed_since_it_was_sealed_is_named(run: Path, name: str) -> None:
    seal(run)
    path = run / name
    whole = bytearray(path.read_bytes())
    place = whole.index(b"0.6") + 2 if name == "ensemble.json" else len(whole) - 3
    whole[place] ^= 1  # 0.6 becomes 0.7, elsewhere a digit or a bit of a weight changes
    path.write_bytes(whole)
    with pytest.raises(
        CheckpointError, match=r"is not what was written: its digest differs\n\nhint: .*delete `digests"
    ):
        open_model_folder(run)


def test_a_card_that_a_person_corrected_is_no_damage(run: Path) -> None:
    (run / "MODEL_CARD.md").write_text("trained on friends")
    seal(run)
    (run / "MODEL_CARD.md").write_text("trained on friends and family")
    open_model_folder(run)


def test_a_file_that_was_put_there_later_is_named(run: Path) -> None:
    kept = (run / "training_clips.npz").read_bytes()
    (run / "training_clips.npz").unlink()
    seal(run)
    (run / "training_clips.npz").write_bytes(kept)
    with pytest.raises(CheckpointError, match=r"training_clips\.npz` is not listed in `digests\.json`"):
        open_model_folder(run)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "is damaged"),
        (b"{}", "is not a list of digests"),
        (b'{"format": 9, "files": {}}', "has format 9, this version reads 1"),
        (
            b'{"format": 1, "files": {"ensemble.json": {"size": 1e999}}}',
            "is damaged|gives `ensemble.json` the size inf",
        ),
    ],
)
def test_a_damaged_list_of_digests_is_named(run: Path, written: bytes, message: str) -> None:
    (run / SEAL).write_bytes(written)
    with pytest.raises(CheckpointError, match=rf"digests\.json` {message}"):
        open_model_folder(run)
