"""One file with everything a machine without a network needs to use a model.

    bundle.json             what is in it: size and SHA-256 of every other member, model id, versions
    forward/ backward/      configuration and weights of each direction
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
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path, PurePosixPath
from typing import Any

from cimeu.atomic import check_free, whole
from cimeu.encoders.weights import find_weights, sha256_of, weights_key
from cimeu.errors import CheckpointError
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.inference.model_store import home, model_id

INDEX = "bundle.json"
FORMAT = 1
LARGEST_BYTES = 16 * 2**30
"""Of all members together; the largest frozen encoder has 2 GB."""
LARGEST_INDEX_BYTES = 2**20
OPTIONAL = ("MODEL_CARD.md", "familiarity.safetensors", "training_clips.npz", "environment.json")
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
    ensemble = EnsembleSettings.load(run)
    files = {"ensemble.json": run / "ensemble.json"}
    encoders: dict[str, Mapping[str, Any]] = {}
    for direction in ensemble.directions:
        for name in ("config.json", "model.safetensors"):
            files[f"{direction}/{name}"] = run / direction / name
        if not files[f"{direction}/model.safetensors"].is_file() or not files[f"{direction}/config.json"].is_file():
            raise CheckpointError(f"`{run / direction}` holds no model\n\nhint: name the folder of a finished run")
        said = json.loads(files[f"{direction}/config.json"].read_text(encoding="utf-8"))["specifications"]
        encoders |= {each["name"]: each for each in (said["first_encoder"], said["second_encoder"]) if each}
    files |= {name: run / name for name in OPTIONAL if (run / name).is_file()}
    for name, encoder in encoders.items():
        if "content_sha256" in encoder["preprocessing"]:
            raise CheckpointError(
                f"`{run}` reads `{name}`, a model of the hub that no bundle can hold\n\n"
                "hint: hand over the run folder and that model folder"
            )
        wanted = encoder["preprocessing"].get("weights_sha256")
        if wanted is not None:
            found = find_weights(weights_key(name, encoder["preprocessing"]))
            if sha256_of(found) != wanted:
                raise CheckpointError(
                    f"`{found}` is not what `{run}` was trained with: sha256 {sha256_of(found)}, then {wanted}\n\n"
                    "hint: put the file that was used into the weights folder"
                )
            files[f"{WEIGHTS_FOLDER}/{name}/{found.name}"] = found
    texts = {
        "LICENCES.md": licences_text(
            said["corpora"], [weights_key(n, e["preprocessing"]) for n, e in encoders.items()]
        ),
        "requirements.txt": requirements(),
    }
    index = {
        "format": FORMAT,
        "model": model_id(run, ensemble),
        "cimeu": version("cimeu"),
        "files": {
            **{name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for name, path in files.items()},
            **{
                name: {"size": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
                for name, text in texts.items()
            },
        },
    }
    with whole(output, "bundle") as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(INDEX), json.dumps(index, indent=1) + "\n")
        for name, text in texts.items():
            archive.writestr(_member(name), text)
        for name, path in files.items():
            with path.open("rb") as source, archive.open(_member(name), "w", force_zip64=True) as sink:
                shutil.copyfileobj(source, sink, 2**20)
    return output


def open_bundle(path: Path) -> Path:
    """Folder with the checked content of a bundle, unpacked once below `home()`.

    Raises:
        CheckpointError: no bundle, damaged, or with members that have no business in one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            index = _index(archive, path)
            folder = home() / "bundles" / hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()[:16]
            if not folder.is_dir():
                _unpack(archive, index, path, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"`{path}` is no whole zip file ({error})\n\nhint: copy the bundle again") from error
    return folder


def bundled_weights(folder: Path, description: Mapping[str, Any]) -> Path | None:
    """Weights of an encoder inside an unpacked bundle."""
    return next((folder / WEIGHTS_FOLDER / str(description["name"])).glob("*"), None)


def licences_text(corpora: list[str], encoders: list[str]) -> str:
    """Terms of everything that went into a model."""
    from cimeu.corpora.licences import licences

    return "# Licences\n\n" + "\n".join(licences(corpora, encoders)) + "\n"


def requirements() -> str:
    """`name==version` of every installed package that `cimeu` needs."""
    from packaging.requirements import Requirement

    pins: dict[str, str] = {}
    waiting = ["cimeu"]
    while waiting:
        name = waiting.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:  # a dependency of another platform
            continue
        if found.name.lower() in pins:
            continue
        pins[found.name.lower()] = f"{found.name}=={found.version}"
        needed = [Requirement(text) for text in found.requires or ()]
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return "".join(f"{pins[name]}\n" for name in sorted(pins))


def _member(name: str) -> zipfile.ZipInfo:
    """A member without the clock and with plain permissions."""
    member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    return member


def _index(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """The index of an archive, after every member was compared with it."""
    members = {member.filename: member for member in archive.infolist()}
    if INDEX not in members or members[INDEX].file_size > LARGEST_INDEX_BYTES:
        raise CheckpointError(f"`{path}` is no bundle: it has no `{INDEX}`\n\nhint: `cimeu bundle RUN` writes bundles")
    try:
        index = json.loads(archive.read(INDEX))
        files = {str(name): (int(each["size"]), str(each["sha256"])) for name, each in index["files"].items()}
        known = index["format"] == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"`{path}` is no bundle: `{INDEX}` cannot be read\n\nhint: copy it again") from error
    if not known:
        raise CheckpointError(
            f"`{path}` has format {index['format']}, this version reads {FORMAT}\n\nhint: install a newer cimeu"
        )
    for problem in _problems(members, files, len(archive.infolist())):
        raise CheckpointError(f"`{path}` is not opened: {problem}\n\nhint: take the bundle from where it was made")
    assert isinstance(index, dict)
    return index


def _problems(
    members: Mapping[str, zipfile.ZipInfo], files: Mapping[str, tuple[int, str]], n_members: int
) -> Iterator[str]:
    if n_members != len(members):
        yield "a member is there twice"
    for name, member in members.items():
        parts = PurePosixPath(name).parts
        if "\\" in name or ":" in name or "\0" in name or name.startswith("/") or ".." in parts or not parts:
            yield f"member `{name}` leads out of the folder"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG) or member.is_dir():
            yield f"member `{name}` is no plain file"
        elif name != INDEX and name not in files:
            yield f"member `{name}` is not listed in `{INDEX}`"
        elif name != INDEX and member.file_size != files[name][0]:
            yield f"member `{name}` has {member.file_size} bytes, listed are {files[name][0]}"
    for name in files:
        if name not in members:
            yield f"member `{name}` is missing"
    total = sum(size for size, _ in files.values())
    if total > LARGEST_BYTES:
        yield f"its members have {total / 2**30:.1f} GiB, at most {LARGEST_BYTES / 2**30:.0f} are taken"


def _unpack(archive: zipfile.ZipFile, index: Mapping[str, Any], path: Path, folder: Path) -> None:
    """Into a folder of another name, which is renamed when every checksum was right."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        for name, said in index["files"].items():
            target = unfinished / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as sink:
                digest, left = hashlib.sha256(), int(said["size"])
                while block := source.read(min(2**20, left + 1)):
                    digest.update(block)
                    sink.write(block)
                    left -= len(block)
                    if left < 0:
                        break
            if left != 0 or digest.hexdigest() != said["sha256"]:
                raise CheckpointError(f"`{path}` is damaged: checksum of `{name}` differs\n\nhint: copy it again")
        if not folder.is_dir():
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
