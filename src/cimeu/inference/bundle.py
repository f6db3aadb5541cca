"""One file with everything a machine without a network needs to use a model.

    bundle.json             what is in it: size and SHA-256 of every other member, model id, versions
    forward/ backward/      configuration and weights of each direction, in `style` how it reads a style, if it does
    ensemble.json           how their answers are put together
    MODEL_CARD.md           who it was trained on, how well it does for whom, what it is not for
    familiarity.safetensors what the training clips look like, where the run keeps it
    training_clips.npz      primitives of the training clips, where the run keeps them
    weights/ENCODER/FILE    weights of frozen encoders, where one needs them
    LICENCES.md requirements.txt

Checksums show that a bundle is whole; they do not show who made it. Nothing in it is run: weights are safetensors, or
are read with `weights_only`.
"""

import hashlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path, PurePosixPath
from typing import Any

from cimeu.atomic import check_free, whole
from cimeu.corpora.licences import licences
from cimeu.encoders.weights import find_weights, sha256_of, weights_key, weights_keys
from cimeu.errors import CheckpointError
from cimeu.inference.model_folder import model_files, open_model_folder
from cimeu.inference.model_store import home, model_id
from cimeu.reading import blaming, parse_json, require_regular
from cimeu.sealed import FORMAT, LARGEST_SEAL_BYTES, SEAL, Digest, from_plain, to_plain, write_seal

INDEX = "bundle.json"
LARGEST_BYTES = 16 * 2**30
"""The largest frozen encoder has 2 GB."""
MOST_EXPANSION = 10
MOST_MEMBERS = 1000
DEEPEST, LONGEST_NAME = 8, 200
"""Folders within each other, and bytes of a name; file systems end at 255."""
COPY_AGAIN = "copy the bundle again from where it was made"
WEIGHTS_FOLDER = "weights"


def write_bundle(run: Path | str, output: Path | str) -> Path:
    """Pack a finished run; the same run gives the same bytes on the same installation.

    Args:
        run: folder that `cimeu train` wrote.
        output: name of the `.zip`.

    Raises:
        CheckpointError: the run is not finished, its encoder was made with other weights than those found, or the name
            does not end in `.zip`.
        WeightsMissing: weights of a frozen encoder are not on this machine.
    """
    run, output = Path(run), Path(output)
    if output.suffix != ".zip":
        raise CheckpointError(f"a bundle cannot be named `{output.name}`\n\nhint: end the name in .zip")
    check_free([output], "bundle")
    # Read as a user would read it: what cannot be opened here is not handed on.
    opened = open_model_folder(run)
    specifications = opened.classifier.specifications
    encoders = {
        str(encoder["name"]): encoder
        for encoder in (specifications.first_encoder, specifications.second_encoder)
        if encoder
    }
    names = [*model_files(opened.ensemble), "MODEL_CARD.md", "environment.json"]
    files = {name: run / name for name in names if (run / name).is_file()} | _encoder_files(encoders, run)
    terms = licences_text(specifications.corpora, weights_keys(encoders.values()))
    texts = {"LICENCES.md": terms, "requirements.txt": requirements()}
    digests = {name: Digest.of(path) for name, path in files.items()}
    index = {
        "format": FORMAT,
        "model": model_id(run, opened.ensemble),
        "cimeu": version("cimeu"),
        "files": to_plain(digests | {name: Digest.of(text.encode()) for name, text in texts.items()}),
    }
    # Stored: weights hardly compress.
    with whole(output, "bundle") as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(INDEX), json.dumps(index, indent=1) + "\n")
        for name, text in texts.items():
            archive.writestr(_member(name), text)
        for name, path in files.items():
            with path.open("rb") as source, archive.open(_member(name), "w", force_zip64=True) as sink:
                shutil.copyfileobj(source, sink, 2**20)
    return output


def open_bundle(path: Path) -> Path:
    """Folder with the unpacked content of a bundle, every digest checked; unpacked once below `home()`.

    `cimeu.inference.model_folder` then checks what the files say, as it does for a run folder.

    Raises:
        CheckpointError: no bundle, damaged, or with members that have no business in one.
    """
    size = require_regular(path, CheckpointError, COPY_AGAIN, at_most=LARGEST_BYTES)
    with blaming(path, CheckpointError, COPY_AGAIN):
        archive = zipfile.ZipFile(path)
    with archive:
        digests = _digests(archive, path, size)
        identity = json.dumps(to_plain(digests), sort_keys=True)
        # Named after the content, so that two bundles of one name never share a folder.
        folder = home() / "bundles" / hashlib.sha256(identity.encode()).hexdigest()[:16]
        if not folder.is_dir():
            _unpack(archive, digests, path, folder)
    return folder


def bundled_weights(folder: Path, description: Mapping[str, Any]) -> Path | None:
    """Weights of an encoder inside an unpacked bundle."""
    return next((folder / WEIGHTS_FOLDER / str(description["name"])).glob("*"), None)


def licences_text(corpora: list[str], encoders: list[str]) -> str:
    """Terms of everything that went into a model."""
    return "# Licences\n\n" + "\n".join(licences(corpora, encoders)) + "\n"


@cache
def requirements() -> str:
    """`name==version` of every installed package that `cimeu` needs."""
    from packaging.requirements import Requirement

    pins: dict[str, str] = {}
    waiting = ["cimeu"]
    while waiting:
        name = waiting.pop()
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # a dependency of another platform
            continue
        if installed.name.lower() in pins:
            continue
        pins[installed.name.lower()] = f"{installed.name}=={installed.version}"
        needed = [Requirement(text) for text in installed.requires or ()]
        waiting += [
            requirement.name
            for requirement in needed
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ]
    return "".join(f"{pins[name]}\n" for name in sorted(pins))


def _member(name: str) -> zipfile.ZipInfo:
    """A member without the clock and with plain permissions."""
    # The earliest time that the format can hold.
    member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    return member


def _encoder_files(encoders: Mapping[str, Mapping[str, Any]], run: Path) -> dict[str, Path]:
    """Weights of frozen encoders by their names in the bundle."""
    files = {}
    for name, encoder in encoders.items():
        if "content_sha256" in encoder["preprocessing"]:
            raise CheckpointError(
                f"`{run}` reads `{name}`, a model of the hub that no bundle can hold\n\n"
                "hint: hand over the run folder and that model folder"
            )
        expected = encoder["preprocessing"].get("weights_sha256")
        if expected is None:
            continue
        path = find_weights(weights_key(name, encoder["preprocessing"]))
        if sha256_of(path) != expected:
            raise CheckpointError(
                f"`{path}` is not what `{run}` was trained with: sha256 {sha256_of(path)}, then {expected}\n\n"
                "hint: put the file that was used into the weights folder"
            )
        files[f"{WEIGHTS_FOLDER}/{name}/{path.name}"] = path
    return files


def _digests(archive: zipfile.ZipFile, path: Path, size: int) -> dict[str, Digest]:
    """Digests that the index of an archive lists, after every member was compared with it; nothing is unpacked."""
    members = {member.filename: member for member in archive.infolist()}
    if INDEX not in members or members[INDEX].file_size > LARGEST_SEAL_BYTES:
        raise CheckpointError(
            f"`{path}` is not a bundle: it has no `{INDEX}`\n\nhint: `cimeu bundle RUN` writes bundles"
        )
    with blaming(path, CheckpointError, COPY_AGAIN):
        content = archive.read(INDEX)
    digests = from_plain(parse_json(content, path, CheckpointError, COPY_AGAIN), path)
    for problem in _problems(members, digests, len(archive.infolist()), size):
        raise CheckpointError(f"`{path}` is not opened: {problem}\n\nhint: {COPY_AGAIN}")
    return digests


def _problems(
    members: Mapping[str, zipfile.ZipInfo], digests: Mapping[str, Digest], n_members: int, archive_bytes: int
) -> Iterator[str]:
    """What is wrong with the members of a bundle, in words."""
    if n_members != len(members):
        yield "a member is there twice"
    if n_members > MOST_MEMBERS:
        yield f"it has {n_members:,} members, at most {MOST_MEMBERS} are taken"
    folders = {str(parent) for name in members for parent in PurePosixPath(name).parents}
    for name, member in members.items():
        parts = PurePosixPath(name).parts
        if "\\" in name or ":" in name or "\0" in name or name.startswith("/") or ".." in parts or not parts:
            yield f"member `{name}` leads out of the folder"
        elif len(parts) > DEEPEST or max(len(part.encode("utf-8", "replace")) for part in parts) > LONGEST_NAME:
            yield f"member `{name[:80]}` has a name that is too long or too deep"
        # 0: archives made on systems without modes. Links and devices are what an unpacker must not create.
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG) or member.is_dir():
            yield f"member `{name}` is not a regular file"
        elif name in folders:
            yield f"member `{name}` is a file and a folder"
        elif name == SEAL or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            yield f"member `{name}` is not of the kind that `cimeu bundle` writes"
        elif name != INDEX and name not in digests:
            yield f"member `{name}` is not listed in `{INDEX}`"
        elif name != INDEX and member.file_size != digests[name].size:
            yield f"member `{name}` has {member.file_size} bytes, listed are {digests[name].size}"
    for name in digests:
        if name not in members:
            yield f"member `{name}` is missing"
    # Weights hardly compress. What expands more was made to fill the disk.
    total, most = sum(digest.size for digest in digests.values()), MOST_EXPANSION * archive_bytes
    if total > most:
        yield f"its members have {total:,} bytes, at most {most:,} are taken from a file of {archive_bytes:,}"


def _unpack(archive: zipfile.ZipFile, digests: Mapping[str, Digest], path: Path, folder: Path) -> None:
    """Into a folder of another name, which is renamed when every digest was right."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        for name, listed in digests.items():
            target = unfinished / name
            target.parent.mkdir(parents=True, exist_ok=True)
            digest, left = hashlib.sha256(), listed.size
            with target.open("wb") as sink:
                for block in _blocks(archive, name, path):
                    digest.update(block)
                    left -= len(block)
                    # More bytes than the directory of the archive promised.
                    if left < 0:
                        break
                    sink.write(block)
            if left != 0 or digest.hexdigest() != listed.sha256:
                raise CheckpointError(f"`{path}` is damaged: checksum of `{name}` differs\n\nhint: {COPY_AGAIN}")
        write_seal(unfinished, digests)
        if not folder.is_dir():
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _blocks(archive: zipfile.ZipFile, name: str, path: Path) -> Iterator[bytes]:
    """The bytes of a member. Whatever decompression raises is a fault of the bundle; what writing raises is not."""
    with blaming(path, CheckpointError, COPY_AGAIN):
        source = archive.open(name)
    with source:
        while True:
            with blaming(path, CheckpointError, COPY_AGAIN):
                block = source.read(2**20)
            if not block:
                return
            yield block
