"""Which trained models are on this machine, and which one is used when none is named.

Looked for, in this order: run folders and bundles (`.zip`) in `runs`, `.demo/runs` and `.` of the working directory,
then in `models` of CiMEU's home: `$CIMEU_HOME`, else the platform's folder for data of this user.

Without a name, the voice model that ships with the package is used; `voice` names it too.
"""

import hashlib
import json
import os
import re
import zipfile
from dataclasses import asdict, dataclass
from filecmp import cmp
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_path

from cimeu.errors import CheckpointError, RecipeError
from cimeu.inference.hub import fetched_model
from cimeu.reading import LARGEST_JSON_BYTES, blaming, parse_json, read_json

if TYPE_CHECKING:
    from cimeu.evaluation.predict import EnsembleSettings

RUNS = (Path("runs"), Path(".demo") / "runs", Path())
DIRECTIONS = ("forward", "backward")
WEIGHTS = "model.safetensors"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", re.ASCII)
"""`USER/NAME`, or with `@REVISION`."""
STARTER = Path(__file__).parents[1] / "starter" / "voice"
"""The model that ships with the package."""


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A run folder or bundle, and what it says about itself."""

    path: Path
    emotions: tuple[str, ...]
    encoders: tuple[str, ...]
    corpora: tuple[str, ...]
    synthetic: bool
    """Trained on clips that a program drew: for demonstrations only."""

    def __str__(self) -> str:
        """One line of a list."""
        mark = "DEMONSTRATION (synthetic clips), " if self.synthetic else ""
        trained = ", ".join(self.corpora) or "corpora not recorded"
        return (
            f"{self.path}: {mark}{', '.join(self.emotions)}; from {' and '.join(self.encoders)}; trained on {trained}"
        )


def home() -> Path:
    """Where CiMEU keeps models: `$CIMEU_HOME`, else the platform's folder for data of this user."""
    named = os.environ.get("CIMEU_HOME")
    return Path(named).expanduser() if named else user_data_path("cimeu")


def places() -> list[Path]:
    """Folders that are searched for models, in order."""
    return [*RUNS, home() / "models"]


def found_models() -> list[FoundModel]:
    """Models in `places`; what cannot be read is no model."""
    return [model for place in places() for path in _entries(place) if (model := _described(path)) is not None]


def model_named(name: Path | str | None) -> Path:
    """The run folder or bundle of this path, or of this name in one of `places`; without one, the model that ships.

    What was not named is not opened: other files in those places may be of any size and kind. `USER/NAME` is a model
    of the hub unless there is such a path, or a folder `USER` in which it is missing.

    Raises:
        RecipeError: there is no such model.
        WeightsMissing: it is not on this machine and cannot be fetched.
    """
    if name is None:
        return STARTER
    path = Path(name)
    if not path.exists() and HUB_NAME.fullmatch(str(name)) and not path.parent.exists():
        return fetched_model(str(name))
    # A folder of results may have the name of a model; a damaged run of that name is still the one that was named.
    if path.name != str(name) or (path.exists() and not _holds_no_run(path)):
        return path
    # By name before content: only what was named is opened.
    entries = [entry for place in places() for entry in _entries(place) if str(name) in (entry.name, entry.stem)]
    for entry in entries:
        if _described(entry) is not None:
            return entry
    if name == STARTER.name:
        return STARTER
    if path.exists():
        return path
    raise RecipeError(f"no model `{name}` is known here{_listed(found_models())}\n\nhint: {_WAYS}")


def model_id(folder: Path, ensemble: "EnsembleSettings") -> str:
    """`cimeu-` and twelve hexadecimal digits that change with any weight or setting of the ensemble.

    The model that ships is named before them, `cimeu-voice-`, also where its bundle answers.
    """
    from cimeu.evaluation.behind_rule import rule_files
    from cimeu.evaluation.ood import FILE as FAMILIARITY

    digest = hashlib.sha256()
    files = [Path(direction) / name for direction in ensemble.directions for name in ("config.json", WEIGHTS)]
    for file in files:
        digest.update((folder / file).read_bytes())
    digest.update(json.dumps(asdict(ensemble), sort_keys=True).encode())
    for name in (FAMILIARITY, *rule_files(ensemble.directions)):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    ships = all((STARTER / file).is_file() and cmp(folder / file, STARTER / file, shallow=False) for file in files)
    return f"cimeu-{f'{STARTER.name}-' if ships else ''}{digest.hexdigest()[:12]}"


_WAYS = (
    "name one with --model; train one with `cimeu train recordings data.manifest=manifest.csv`, "
    "or put a bundle that you were given into `models` of $CIMEU_HOME"
)


def _holds_no_run(path: Path) -> bool:
    parts = ("ensemble.json", "recipe.yaml", *DIRECTIONS)
    return path.is_dir() and not any((path / part).exists() for part in parts)


def _listed(models: list[FoundModel]) -> str:
    return "".join(f"\n  {model}" for model in models)


def _entries(place: Path) -> list[Path]:
    """What lies in a place and may be a model by its kind: folders, and regular files that end in `.zip`."""
    if not place.is_dir():
        return []
    entries = sorted(place.iterdir())
    return [path for path in entries if path.is_dir() or (path.suffix == ".zip" and path.is_file())]


def _described(path: Path) -> FoundModel | None:
    """What a folder or bundle says about itself; None for anything else."""
    try:
        values = _configuration(path)
        if values is None:
            return None
        specifications = values["specifications"]
        encoders = (specifications["first_encoder"], specifications["second_encoder"])
        return FoundModel(
            path=path,
            emotions=tuple(map(str, specifications["emotions"])),
            encoders=tuple(str(encoder["name"]) for encoder in encoders if encoder),
            corpora=tuple(map(str, specifications["corpora"])),
            synthetic=bool(specifications["synthetic"]),
        )
    except (CheckpointError, KeyError, TypeError, AttributeError):
        return None


def _configuration(path: Path) -> dict[str, Any] | None:
    """`config.json` of one direction of a run folder or bundle."""
    names = [f"{direction}/config.json" for direction in DIRECTIONS]
    if path.is_dir():
        if not (path / "ensemble.json").is_file():
            return None
        files = [path / name for name in names if (path / name).is_file()]
        return read_json(files[0], CheckpointError, _WAYS) if files else None
    with blaming(path, CheckpointError, _WAYS), zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        for name in names:
            if name in members and members[name].file_size <= LARGEST_JSON_BYTES:
                return parse_json(archive.read(name), path, CheckpointError, _WAYS)
    return None
