import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from cimeu.corpora.licences import licences
from cimeu.encoders import weights
from cimeu.errors import CheckpointError
from cimeu.inference import bundle as module
from cimeu.inference.bundle import bundled_weights, open_bundle, requirements, write_bundle
from cimeu.inference.model_folder import open_model_folder
from cimeu.inference.neighbours import TrainingClips
from cimeu.inference.recogniser import Recogniser

from .conftest import RunMaker

Change = Callable[[dict[str, bytes], dict], None]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def written(make_run: RunMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(make_run("hog", None), tmp_path_factory.mktemp("bundle") / "model.zip")


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    """A copy for each test."""
    return Path(shutil.copy(written, tmp_path / "model.zip"))


def changed(bundle: Path, change: Change) -> Path:
    """The bundle with members and index changed."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    index = json.loads(members["bundle.json"])
    change(members, index)
    members["bundle.json"] = json.dumps(index).encode()
    path = bundle.with_name("changed.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_bundle_gives_the_same_timeline_as_its_run(
    make_run: RunMaker, bundle: Path, recordings: Path, tmp_path: Path
) -> None:
    run = Recogniser.from_pretrained(make_run("hog", None))
    opened = Recogniser.from_pretrained(bundle)
    assert opened.model_id == run.model_id
    assert opened(recordings / "mute.mp4") == run(recordings / "mute.mp4")


def test_a_bundle_holds_what_an_offline_machine_needs(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        index = json.loads(archive.read("bundle.json"))
        licence = archive.read("LICENCES.md").decode()
    expected = {f"{way}/{file}" for way in ("forward", "backward") for file in ("config.json", "model.safetensors")}
    assert names == {"bundle.json", "ensemble.json", "LICENCES.md", "requirements.txt", *expected}
    assert set(index["files"]) == names - {"bundle.json"}
    assert index["model"].startswith("cimeu-")
    assert "- Encoder `hog`: part of CiMEU, no weights" in licence


def test_the_card_and_primitives_of_training_clips_travel_with_it(make_run: RunMaker, tmp_path: Path) -> None:
    run = shutil.copytree(make_run("hog", None), tmp_path / "run")
    for name in ("MODEL_CARD.md", "predictions.csv"):
        (run / name).write_text("x")
    names = dict.fromkeys(("clip_id", "corpus", "culture"), ("a",)) | {"emotion": ("anger",)}
    TrainingClips(names=names, emotion=np.ones((1, 4), np.float32), style=None).save(run)
    names = zipfile.ZipFile(write_bundle(run, tmp_path / "model.zip")).namelist()
    assert {"MODEL_CARD.md", "training_clips.npz"} <= set(names)
    assert "predictions.csv" not in names


def test_the_same_run_gives_the_same_bytes(make_run: RunMaker, bundle: Path, tmp_path: Path) -> None:
    again = write_bundle(make_run("hog", None), tmp_path / "again.zip")
    assert again.read_bytes() == bundle.read_bytes()


def test_a_bundle_is_unpacked_once(bundle: Path) -> None:
    folder = open_bundle(bundle)
    (folder / "MARK").write_text("x")
    assert open_bundle(bundle) == folder
    assert (folder / "MARK").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("name", "settings", "key", "terms"),
    [
        ("ast", {}, "ast", "BSD-3-Clause"),
        ("expression", {"network": "fer"}, "expression-fer", "trained on FER2013"),
    ],
)
def test_weights_of_an_encoder_are_packed_and_found_again(
    make_run: RunMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    settings: dict,
    key: str,
    terms: str,
) -> None:
    run = shutil.copytree(make_run("hog", None), tmp_path / "run")
    file = tmp_path / "weights" / weights.WEIGHTS[key].file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path / "weights"))
    description = {"name": name, "preprocessing": {**settings, "weights_sha256": weights.sha256_of(file)}}
    for direction in ("forward", "backward"):
        content = json.loads((run / direction / "config.json").read_text())
        content["specifications"]["first_encoder"] = description
        (run / direction / "config.json").write_text(json.dumps(content))
    folder = open_bundle(write_bundle(run, tmp_path / "model.zip"))
    found = bundled_weights(folder, description)
    assert found is not None
    assert found.read_bytes() == b"weights"
    assert terms in (folder / "LICENCES.md").read_text()
    file.write_bytes(b"others")
    with pytest.raises(CheckpointError, match=r"is not what `.*` was trained with: sha256"):
        write_bundle(run, tmp_path / "model.zip")


def test_an_encoder_without_weights_has_none_in_the_bundle(bundle: Path) -> None:
    assert bundled_weights(open_bundle(bundle), {"name": "hog", "preprocessing": {}}) is None


def test_versions_of_what_is_needed_are_pinned() -> None:
    lines = requirements().splitlines()
    names = [line.split("==")[0].lower() for line in lines]
    assert {"cimeu", "torch", "numpy", "transformers"} <= set(names)
    assert "pytest" not in names
    assert names == sorted(names)


def test_terms_of_every_corpus_and_encoder_are_told() -> None:
    lines = licences(["ravdess", "my own"], ["videomae-v2-giant", "hog"])
    assert "- Corpus `ravdess`: CC BY-NC-SA 4.0 (not for products)" in lines
    assert any(line.startswith("- Corpus `my own`: unknown to CiMEU") for line in lines)
    assert any("`videomae-v2-giant`: weights CC BY-NC 4.0 (not for products), from https" in line for line in lines)


def test_a_run_that_is_not_finished_is_refused(make_run: RunMaker, tmp_path: Path) -> None:
    run = shutil.copytree(make_run("hog", None), tmp_path / "run")
    (run / "backward" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no `model\.safetensors` in `.*backward`\n\nhint: point to a folder"):
        write_bundle(run, tmp_path / "model.zip")
    assert not (tmp_path / "model.zip").exists()


def test_a_bundle_is_named_zip(make_run: RunMaker, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be named `model\.tar`\n\nhint: end the name in \.zip"):
        write_bundle(make_run("hog", None), tmp_path / "model.tar")


def _listed(name: str, content: bytes) -> Change:
    """A member that the index knows of."""

    def change(members: dict[str, bytes], index: dict) -> None:
        members[name] = content
        index["files"][name] = {"size": len(content), "sha256": "0" * 64}

    return change


def _sized(size: object) -> Change:
    """A member with another size in the index."""

    def change(members: dict[str, bytes], index: dict) -> None:
        index["files"]["ensemble.json"]["size"] = size

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_listed("../evil", b"x"), r"member `\.\./evil` leads out of the folder"),
        (_listed("/etc/evil", b"x"), r"member `/etc/evil` leads out of the folder"),
        (_listed("forward/../../evil", b"x"), r"leads out of the folder"),
        (_listed("C:evil", b"x"), r"member `C:evil` leads out of the folder"),
        (_listed("folder/", b""), r"member `folder/` is not a regular file"),
        (_listed("honest", b"x"), r"is damaged: checksum of `honest` differs"),
        (lambda members, index: members.update(extra=b"x"), r"member `extra` is not listed in `bundle\.json`"),
        (lambda members, index: members.pop("ensemble.json"), r"member `ensemble\.json` is missing"),
        (
            lambda members, index: members.update({"ensemble.json": b"x"}),
            r"member `ensemble\.json` has 1 bytes, listed are \d+",
        ),
        (lambda members, index: index.update(format=9), r"has format 9, this version reads 1"),
        (lambda members, index: index.update(files=[1]), r"is not a list of digests"),
        (lambda members, index: index.update(files={"ensemble.json": {}}), r"gives `ensemble\.json` the size None"),
        (_sized(float("inf")), r"is damaged .ValueError: Infinity is not a number of JSON"),
        (_sized(-1), r"gives `ensemble\.json` the size -1"),
        (_sized(10**30), r"member `ensemble\.json` has \d+ bytes, listed are 1000"),
        (_listed("forward", b"x"), r"member `forward` is a file and a folder"),
        (_listed("a" * 300, b"x"), r"has a name that is too long or too deep"),
        (_listed("a/" * 20 + "b", b"x"), r"has a name that is too long or too deep"),
        (_listed("digests.json", b"x"), r"member `digests\.json` is not of the kind that"),
        (lambda members, index: index.clear(), r"is not a list of digests"),
    ],
)
def test_a_bundle_that_was_changed_is_not_opened(bundle: Path, change: Change, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_bundle(changed(bundle, change))
    assert not list((tmp_path / "home").rglob("*.*"))
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_flipped_byte_is_a_damaged_bundle(bundle: Path, kind: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as whole, zipfile.ZipFile(tmp_path / "again.zip", "w", kind) as again:
        for name in whole.namelist():
            again.writestr(name, whole.read(name))
    content = bytearray((tmp_path / "again.zip").read_bytes())
    generator = np.random.default_rng(0)
    for number, place in enumerate([*generator.integers(0, len(content), 8), *(len(content) - np.arange(1, 400, 40))]):
        content[place] ^= 1 << number % 8
        (tmp_path / "flipped.zip").write_bytes(content)
        content[place] ^= 1 << number % 8
        with suppress(CheckpointError):  # a byte that nothing depends on may be any
            open_model_folder(open_bundle(tmp_path / "flipped.zip"))


def test_a_bundle_that_was_packed_again_opens(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as whole, zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as again:
        for name in whole.namelist():
            again.writestr(name, whole.read(name))
    assert open_bundle(tmp_path / "a.zip") == open_bundle(bundle)


def test_a_file_of_an_unpacked_bundle_that_was_changed_is_found(bundle: Path) -> None:
    folder = open_bundle(bundle)
    settings = folder / "ensemble.json"
    settings.write_text(settings.read_text().replace("0.6", "0.7"))
    with pytest.raises(
        CheckpointError, match=r"ensemble\.json` is not what was written: its digest differs\n\nhint: copy"
    ):
        open_model_folder(folder)


def test_a_link_in_a_bundle_is_refused(bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(CheckpointError, match="member `link` is not a regular file"):
        open_bundle(bundle)


def test_a_member_that_is_there_twice_is_refused(bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("ensemble.json", "{}")
    with pytest.raises(CheckpointError, match="a member is there twice"):
        open_bundle(bundle)


def test_a_bundle_of_more_than_fits_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_BYTES", 1000)
    with pytest.raises(CheckpointError, match=r"has \d\.\d MiB, at most 1,000 bytes are read"):
        open_bundle(bundle)


def test_a_small_bundle_that_becomes_large_is_not_unpacked(bundle: Path, tmp_path: Path) -> None:
    zeros = bytes(100_000_000)
    index = {"format": 1, "files": {"zeros": {"size": len(zeros), "sha256": hashlib.sha256(zeros).hexdigest()}}}
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", json.dumps(index))
        archive.writestr("zeros", zeros)
    with pytest.raises(
        CheckpointError, match=r"its members have 100,000,000 bytes, at most [\d,]+ are taken from a file"
    ):
        open_bundle(tmp_path / "bomb.zip")
    assert not list((tmp_path / "home").rglob("zeros"))


def test_any_other_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip at all")
    with pytest.raises(CheckpointError, match=r"a\.zip` is damaged .*\n\nhint: copy the bundle again"):
        open_bundle(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(CheckpointError, match=r"is not a bundle: it has no `bundle\.json`"):
        open_bundle(tmp_path / "b.zip")
