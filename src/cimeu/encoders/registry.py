"""Encoders by name. A name costs no import: a network's module, and torch with it, is read when one is built.

To add an encoder, write its class into a file of its own and add a line to `ENCODERS`. The settings it takes are the
parameters of that class, and stand nowhere else. A package that declares

    [project.entry-points."cimeu.encoders"]
    my-encoder = "my_package:MyEncoder"

adds one without a change here.
"""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import ClassVar

from cimeu.encoders.base import Encoder
from cimeu.encoders.description import IMPORTED, check_same, describe
from cimeu.encoders.presets import PRESETS
from cimeu.errors import RecipeError, guess
from cimeu.plugins import load as load_plugin
from cimeu.plugins import offered


@dataclass(frozen=True)
class Entry:
    """Where an encoder is defined."""

    module: str
    """File in this folder."""
    builder: str
    """Class, or function, in that file; called with the settings."""
    fixed: Mapping[str, object] = field(default_factory=dict)
    """Arguments that the name stands for; they are not settings."""

    def load(self) -> Callable[..., Encoder]:
        """Import the class."""
        return getattr(import_module(f"cimeu.encoders.{self.module}"), self.builder)


@dataclass(frozen=True)
class OfferedEntry:
    """An encoder of another package."""

    point: EntryPoint
    fixed: ClassVar[Mapping[str, object]] = {}

    def load(self) -> Callable[..., Encoder]:
        """Import the class.

        Raises:
            RecipeError: its package cannot be imported, or offers nothing that can be called.
        """
        builder = load_plugin(self.point)
        if not callable(builder):
            raise RecipeError(f"encoder `{self.point.name}` of another package is not a class\n\nhint: {_SHAPE}")
        return builder


_MEMBERS = [member for member in vars(Encoder) if not member.startswith("_")] + ["__call__"]
_SHAPE = "a class with what `cimeu.encoders.base.Encoder` lists, whose `name` is the entry point's"
_HUB_CLASSES = {"hub-picture": "HubPicture", "hub-sound": "HubSound", "hub-video": "HubVideo"}
ENCODERS: dict[str, Entry] = {
    "ast": Entry("ast", "AstTokens"),
    "expression": Entry("expression", "Expression"),
    "filterbank": Entry("filterbank", "Filterbank"),
    "functionals": Entry("functionals", "Functionals"),
    "functionals-windowed": Entry("functionals", "WindowedFunctionals"),
    "handmade": Entry("handmade", "Handmade"),
    "hog": Entry("hog", "Hog"),
    "hub-picture": Entry("hub", "HubPicture", {"preset": None}),
    "hub-sound": Entry("hub", "HubSound", {"preset": None}),
    "hub-video": Entry("hub", "HubVideo", {"preset": None}),
    "moonshine": Entry("moonshine", "Moonshine"),
    "prosody": Entry("spectral", "Prosody"),
    "spectral": Entry("spectral", "Spectral"),
    **{
        f"videomae-v2-{size}": Entry("videomae", "VideoMAEEncoder", {"size": size})
        for size in ("small", "base", "large", "huge", "giant")
    },
    "voiceprint": Entry("voiceprint", "Voiceprint"),
    **{name: Entry("hub", _HUB_CLASSES[preset.kind], {"preset": name}) for name, preset in PRESETS.items()},
}


ENTRY_POINTS = "cimeu.encoders"


def encoder_names() -> list[str]:
    """All encoders, ours first; those of other packages are not imported."""
    return list(dict.fromkeys([*ENCODERS, *offered(ENTRY_POINTS)]))


def _entry(name: str) -> Entry | OfferedEntry:
    """Where an encoder is defined; a package cannot replace one of ours.

    Raises:
        RecipeError: an unknown name, with a guess.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    others = offered(ENTRY_POINTS)
    if name in others:
        return OfferedEntry(others[name])
    raise RecipeError(f"unknown encoder `{name}`\n\nhint: {guess(name, encoder_names())}")


def build_encoder(name: str, **settings: object) -> Encoder:
    """Build an encoder by name.

    Raises:
        RecipeError: an unknown name or setting, with a guess; an encoder of another package without the shape of one.
        WeightsMissing: the encoder needs weights that are not there.
    """
    accepted = settings_of(name)
    for setting in settings:
        if setting not in accepted:
            raise RecipeError(f"encoder `{name}` has no setting `{setting}`\n\nhint: {guess(setting, tuple(accepted))}")
    entry = _entry(name)
    encoder = entry.load()(**entry.fixed, **settings)
    if isinstance(entry, OfferedEntry):
        _check_shape(name, encoder)
    return encoder


def _check_shape(name: str, encoder: object) -> None:
    """Refuse an encoder of another package that would fail in the middle of an extraction.

    Raises:
        RecipeError: it lacks something, or its name would not be found again.
    """
    lacking = [member for member in _MEMBERS if not hasattr(encoder, member)]
    if lacking:
        raise RecipeError(f"encoder `{name}` of another package lacks {', '.join(lacking)}\n\nhint: {_SHAPE}")
    assert isinstance(encoder, Encoder)
    if encoder.name != name:
        raise RecipeError(f"encoder `{name}` of another package calls itself `{encoder.name}`\n\nhint: {_SHAPE}")


def settings_of(name: str) -> Collection[str]:
    """Names of the settings that an encoder takes.

    Raises:
        RecipeError: an unknown name, with a guess.
    """
    entry = _entry(name)
    return [setting for setting in inspect.signature(entry.load()).parameters if setting not in entry.fixed]


def extract_command(description: Mapping[str, object]) -> str:
    """Command that computes features with the described encoder into a folder of their own."""
    name = str(description["name"])
    words = [f"cimeu extract MANIFEST --encoder {name}"]
    if name in encoder_names():
        parameters = inspect.signature(_entry(name).load()).parameters
        usual = {setting: parameter.default for setting, parameter in parameters.items()}
        if name in PRESETS:
            usual |= PRESETS[name].settings
        for setting, value in _settings_in(description).items():
            if value != usual[setting]:
                written = value if isinstance(value, str) else json.dumps(value)
                words.append(f"--setting {setting}={written}")
    return " ".join([*words, "-o ANOTHER_FOLDER"])


def encoder_from(description: Mapping[str, object], *, device: str = "auto", **overrides: object) -> Encoder:
    """Rebuild the encoder that `describe` described, in the precision that it was described with.

    Weights are looked for on this machine and compared by their content, whatever the file is called; `weights=` among
    the overrides says where else they lie. Encoders that are not networks take no notice of `device`.

    Raises:
        FingerprintMismatch: the encoder built here would not give the described numbers.
        RecipeError: an encoder this version does not know.
        WeightsMissing: its weights are not there.
    """
    name = str(description["name"])
    where = f"the described encoder `{name}`"
    if description.get("version") == IMPORTED:
        raise RecipeError(
            f"{where} is not part of cimeu: its vectors were imported\n\nhint: import the vectors of the new clips too"
        )
    settings = _settings_in(description)
    if "device" in settings_of(name):
        # Encoders that write no precision were described in fp32, whatever `auto` means on this machine.
        settings = {"precision": "fp32", "device": device} | settings
    encoder = build_encoder(name, **(settings | overrides))
    check_same(
        description, describe(encoder), where, lambda: "install the version of cimeu and the weights it was made with"
    )
    return encoder


def _settings_in(description: Mapping[str, object]) -> dict[str, object]:
    """The settings that a description holds; those that do not shape the numbers (device, engine) are not in it."""
    accepted = settings_of(str(description["name"]))
    preprocessing = description["preprocessing"]
    assert isinstance(preprocessing, Mapping), "describe() always writes preprocessing"
    described = {"source": description["source"], **preprocessing}
    return {setting: value for setting, value in described.items() if setting in accepted}
