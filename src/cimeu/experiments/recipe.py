"""One YAML file says everything about a run: data, streams, folds, model, training, seeds.

Each folder of the package owns its own settings; this file only puts them together. Reading is strict: a key that no
setting has is an error with the nearest guess, and `key.of.setting=value` on the command line changes one of them.
A file that `extends` another, a path beside it or the name of one that ships, says only what it changes.
"""

import json
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ValidationError

from cimeu.batching.dataset import Targets
from cimeu.corpora.continuous import check_scales
from cimeu.corpora.folds import FoldsConfig
from cimeu.errors import CimeuError, RecipeError, guess
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.ranges import Within, adapter_of, check_values
from cimeu.recipes import recipe_path
from cimeu.strict_yaml import parse_yaml, read_yaml
from cimeu.training.config import UAR, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which clips are used and where their features are kept."""

    root: Path | None = None
    """Folder of the recordings; its `manifest.csv` is read unless `manifest` names another file."""
    manifest: Path | None = None
    """Table of the clips."""
    features: Path = Path("features")
    """Folder of the feature store; filled first where clips are missing."""
    labels: str | list[str] = "four"
    """Name of a label space, or the list of emotions."""
    targets: Targets = "classes"
    """`shares`: networks learn the share of each emotion in the columns `votes_<emotion>` (soft labels, blends)."""
    continuous: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Columns with continuous labels that networks learn beside the emotion, each with the ends of its scale, such as
    `{valence: [1, 7], arousal: [1, 7]}`."""
    workers: Annotated[int, Within(0, 1024)] = 0
    """Processes that decode and encode; 0 takes one for each core."""

    def __post_init__(self) -> None:
        check_values(self, "data")
        check_scales(self.continuous)
        if self.root is None and self.manifest is None:
            raise RecipeError("the recipe names no recordings\n\nhint: set data.root=FOLDER or data.manifest=FILE.csv")

    @property
    def table(self) -> Path:
        """File of the manifest."""
        if self.manifest is not None:
            return self.manifest
        assert self.root is not None
        return self.root / "manifest.csv"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """One frozen encoder and its settings."""

    encoder: str
    """Name of the encoder, one of `cimeu.encoders.registry.encoder_names()`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of that encoder that differ from its defaults."""

    @property
    def store(self) -> str:
        """Folder of its features; those of whole frames lie beside those of faces."""
        return f"{self.encoder}-frame" if self.settings.get("source") == "frame" else self.encoder


@dataclass(frozen=True, kw_only=True)
class StreamsConfig:
    """The two streams of a clip: the first is disentangled, the second is aligned to it."""

    first: EncoderConfig
    second: EncoderConfig | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a trained ensemble is measured."""

    mu: Annotated[float, Within(0, 1)] | None = 0.5
    """Weight of the forward model; `null`: chosen on validation clips, where it scatters from 0 to 0.95 on speech."""
    levels: Literal["H", "mean"] | None = None
    """Levels that answer; chosen on validation clips unless given."""
    coverage: Annotated[float, Within(0, 1, above=True)] = 0.8
    """Share of the validation clips that the model may answer; below its confidence it abstains."""
    probes: bool = True
    """Whether the emotion and style primitives are probed for emotion, culture and speaker."""

    def __post_init__(self) -> None:
        check_values(self, "evaluation")


LARGEST_SEED = 2**31 - 1
LONGEST_NAME = 100
"""Characters: fold and seed still follow in the name of a run folder."""
DEEPEST_CHAIN = 20
"""Recipes that extend one another."""
WAY_OUT = "indent with spaces, write `key: value`, or start from `cimeu recipes copy default`"
NETWORK = "cimeu"
"""The method that is not a rival: the network of this project."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a run."""

    name: str
    """Start of the names of the run folders."""
    data: DataConfig
    streams: StreamsConfig
    folds: FoldsConfig
    training: TrainingConfig
    method: str = NETWORK
    """What is trained: `cimeu`, or a rival named like its row of a bench: `linear`, `rbf`, `erm`, `dann`..."""
    method_settings: dict[str, float] = field(default_factory=dict)
    """Settings of a rival that differ from its defaults, or that are not chosen on validation clips."""
    model: dict[str, Any] = field(default_factory=dict)
    """Switches of the network (`cimeu.model.config.ModelConfig`) that differ from its defaults."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    fold: str | int = "all"
    """`all`, or the name of one fold, or of a group that has several (`german`: german-1, german-2)."""
    seeds: tuple[Annotated[int, Within(0, LARGEST_SEED)], ...] = (0,)
    direction: Literal["both", "forward", "backward"] = "both"
    output: Path = Path("runs")
    """Folder of the run folders."""

    def __post_init__(self) -> None:
        check_values(self)
        check_name(self.name)
        if not self.seeds:
            raise RecipeError("`seeds` is empty\n\nhint: one seed for each run, as in seeds=[0]")
        if self.method_settings and self.is_network:
            raise RecipeError(
                f"`method_settings` belong to a rival, and `method` is `{NETWORK}`\n\n"
                "hint: `model` and `training` are what the network has; or set method=erm"
            )
        # `model` stays a mapping, because a network can be built only once the widths of its inputs are known; its keys
        # and values are checked here all the same, before hours of extraction.
        _unknown_keys(self.model, ModelConfig, "model", without=DERIVED)
        if self.training.selection == "validation" and not self.folds.validation_share:
            raise RecipeError(
                "`folds.validation_share` is 0, and `training.selection` is `validation`\n\n"
                "hint: keep a share of the training clips for validation, or choose last or oracle"
            )
        if self.training.criterion != UAR and not (self.is_network and self.data.continuous):
            raise RecipeError(
                f"training.criterion={self.training.criterion} without continuous labels\n\n"
                "hint: networks learn those of data.continuous; set training.criterion=uar where there are none"
            )
        try:
            self.network(("a", "b"), StreamConfig(width=1), StreamConfig(width=1) if self.streams.second else None)
        except CimeuError:
            raise
        except (TypeError, ValueError) as error:
            raise RecipeError(f"`model` cannot be built: {error}\n\nhint: see `cimeu.ModelConfig`") from error

    @property
    def is_network(self) -> bool:
        """Whether the network of this project is trained, and not a rival."""
        return self.method == NETWORK

    def run_name(self, fold: str, seed: int) -> str:
        """Name of a run's folder; a fold may be a culture called `UK/US`, which must not lead to another folder."""
        return f"{self.name}-{fold}-s{seed}".replace("%", "%25").replace("/", "%2F")

    def network(
        self,
        emotions: tuple[str, ...],
        first: StreamConfig,
        second: StreamConfig | None,
        direction: Literal["forward", "backward"] = "forward",
    ) -> ModelConfig:
        """Configuration of one network of this recipe.

        Raises:
            RecipeError: a switch of `model` has a value the network does not know.
        """
        derived = {"emotions": emotions, "first": first, "second": second, "direction": direction}
        derived["continuous"] = tuple(self.data.continuous)
        return _validated(ModelConfig, {**derived, **self.model}, "model")


DERIVED = ("emotions", "first", "second", "direction", "continuous")
"""Fields of `ModelConfig` that follow from the data and are not set by hand."""


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, a file or the name of one that ships, and apply `key.of.setting=value` overrides.

    Raises:
        RecipeError: the file, or one that it extends, is missing or no YAML mapping; an unknown key; an unusable value.
    """
    return recipe_from(recipe_tree(path, overrides))


def recipe_tree(path: Path | str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Nested mappings of a recipe of any method, with what it extends and the overrides.

    Raises:
        RecipeError: the file, or one that it extends, is missing or no YAML mapping.
    """
    return override(_tree_of(recipe_path(path)), overrides)


def validated(kind: type, tree: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `kind`. Raises RecipeError where a key is unknown or a value cannot be used."""
    _unknown_keys(tree, kind, "")
    return _validated(kind, tree, "")


def check_name(name: str) -> None:
    """Refuse a name that cannot begin the name of a folder inside the folder for runs.

    Raises:
        RecipeError: it would lead elsewhere, is hidden or read as an option, too long, or cannot be printed.
    """
    legal = name.isprintable() and 0 < len(name) <= LONGEST_NAME and not set(name) & set("/\\")
    if not legal or name != name.strip() or name.startswith((".", "-")):
        raise RecipeError(
            f"`name` is {reprlib.repr(name)}\n\nhint: the name of a folder, up to {LONGEST_NAME} characters, without / "
            "and not beginning with . or -; `output` says where it lies"
        )


def _tree_of(path: Path) -> dict[str, Any]:
    """Mapping of a file, laid over the files that it extends."""
    changes: list[dict[str, Any]] = []
    files_read: list[Path] = []
    while True:
        tree = read_yaml(path, RecipeError, WAY_OUT)
        if not isinstance(tree, dict):
            raise RecipeError(f"recipe `{path}` holds no settings\n\nhint: start from `cimeu recipes copy default`")
        changes.append(tree)
        files_read.append(path.resolve())
        if "extends" not in tree:
            break
        name = tree.pop("extends")
        if not isinstance(name, str):
            raise RecipeError(f"recipe `{path}` extends {reprlib.repr(name)}\n\nhint: a file, or the name of a recipe")
        base = recipe_path(name, path.parent).resolve()
        # By resolved path: a recipe may extend a link to itself.
        if base in files_read:
            raise RecipeError(
                f"recipe `{path}` extends itself\n\nhint: `extends` names the file whose settings it changes"
            )
        if len(files_read) == DEEPEST_CHAIN:
            raise RecipeError(
                f"`{files_read[0]}` extends more than {DEEPEST_CHAIN - 1} recipes in a row\n\nhint: join some"
            )
        path = base
    # From the innermost base outwards: what extends wins over what it extends.
    joined = changes.pop()
    while changes:
        joined = _laid_over(joined, changes.pop())
    return joined


def _laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with each setting of `changes` in its place; mappings are joined, anything else is replaced."""
    joined = dict(base)
    for key, value in changes.items():
        are_mappings = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        joined[key] = _laid_over(base[key], value) if are_mappings else value
    return joined


def recipe_from(tree: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested mappings.

    Raises:
        RecipeError: a key is unknown or a value cannot be used.
    """
    recipe: Recipe = validated(Recipe, tree)
    return recipe


def override(tree: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Copy of `tree` with each `key.of.setting=value` set; the value is read as YAML.

    >>> override({"training": {"epochs": 3}}, ["training.epochs=5", "seeds=[0, 1]"])
    {'training': {'epochs': 5}, 'seeds': [0, 1]}

    Raises:
        RecipeError: an assignment has no `=`, or its value is no YAML.
    """
    changed = _copied(tree)
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise RecipeError(f"`{assignment}` sets nothing\n\nhint: write key=value, as in training.epochs=5")
        node = changed
        *parents, leaf = key.split(".")
        for parent in parents:
            # `streams.second.encoder=x` also sets a stream that the recipe has as null.
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        node[leaf] = parse_yaml(value, f"`{assignment}`", RecipeError, "close every bracket and quote")
    return changed


def to_tree(recipe: Recipe) -> dict[str, Any]:
    """Nested plain mappings of a recipe; `recipe_from` reads them back."""
    tree = adapter_of(Recipe).dump_python(recipe, mode="json")
    assert isinstance(tree, dict)
    return tree


def to_yaml(recipe: Recipe) -> str:
    """YAML of a recipe, every default written out."""
    return yaml.safe_dump(to_tree(recipe), sort_keys=False, allow_unicode=True)


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _validated(kind: type, tree: Mapping[str, Any], prefix: str) -> Any:
    """An instance of the dataclass `kind`. Nothing is converted: `true` is no number, and `1:30` is text."""
    # Through JSON, whose strict mode still admits lists for tuples and text for paths; in Python's strict mode it would
    # not.
    plain = json.dumps(dict(tree), default=_plain)
    try:
        return adapter_of(kind).validate_json(plain, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([*([prefix] if prefix else []), *(str(part) for part in first["loc"])])
        raise RecipeError(
            f"`{key}`: {first['msg']}, got {reprlib.repr(first['input'])}\n\nhint: see `cimeu.{kind.__name__}`"
        ) from error


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _unknown_keys(tree: object, kind: type, prefix: str, without: Sequence[str] = ()) -> None:
    """Refuse a key that the dataclass `kind` has no field for, at any depth."""
    if not isinstance(tree, Mapping):
        return
    # pydantic would name one unknown key as it meets it, without a guess; a misspelt key deserves one.
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.name not in without]
    for key, value in tree.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if key not in names:
            raise RecipeError(f"unknown setting `{name}`\n\nhint: {guess(key, names, 'known here: ')}")
        for inner in _dataclasses_in(hints[key]):
            _unknown_keys(value, inner, name)


def _dataclasses_in(hint: Any) -> list[type]:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return [part for part in parts if isinstance(part, type) and is_dataclass(part)]
