"""The rows of a comparison: what each changes, and where it says nothing.

A row is CiMEU with some settings of its recipe changed, a baseline on one vector per clip, or a domain method on the
shared backbone. Nothing else differs: clips, folds, seeds, schedule and selection are those of the row `full`. A row
that cannot differ from its reference in a setting is printed as n/a, never as a number (`why_absent`).

    without-er     E alone, same widths: no S, decoder, style or independence
    without-rfa    no alignment, no fusion layers; hybrid attention, heads and mixing are kept
    without-lrm    no mining, a class error on H only, and H alone decides
    random-style   style labels drawn once per clip, with the cluster sizes of the pseudo labels
    pth-net        E alone and its three levels, pulled together by consistency, class error on H only, H decides
                   (PTH-Net, IEEE TIP 2024); with two streams their heads are mixed late, so inputs stay equal
    plain          E alone, class error on H only, H decides: without ER, RFA and LRM
    all-parts      ER, RFA and LRM on, whatever the recipe leaves out
    linear, rbf    on both streams pooled over time; `-first`, `-second`: on one of them; `-handmade`: on 67 functionals
    erm            the shared backbone of the domain methods, trained on all groups together
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from cimeu.baselines.registry import METHODS, known_methods
from cimeu.corpora.folds import Fold
from cimeu.corpora.manifest import Manifest
from cimeu.errors import RecipeError, guess
from cimeu.model.config import ModelConfig

Kind = Literal["cimeu", "baseline", "method"]
Need = Literal["two streams", "two directions", "styles", "cultures", "speakers", "groups"]

REFERENCE = "full"
HANDMADE = "handmade"
"""Encoder of the rows that read hand-made functionals of the sound instead of the recipe's streams."""
STREAMS: tuple[Literal["first", "second"], ...] = ("first", "second")
MAIN = (
    "linear",
    "linear-first",
    "linear-second",
    "erm",
    "dann",
    "pth-net",
    "full",
    "without-er",
    "without-rfa",
    "without-lrm",
    "random-style",
    "two-forward-seeds",
    "all-parts",
)
"""Rows of the short table."""
MEMBER_SEEDS = 1000
"""Distance between the seeds of the members of one cell."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a comparison."""

    name: str
    """What the table prints."""
    kind: Kind = "cimeu"
    """`cimeu`: run by the experiments; `baseline`, `method`: run by `cimeu.bench.cells`."""
    meaning: str
    """What the line shows, in a few words."""
    overrides: Mapping[str, object] = field(default_factory=dict)
    """Settings of the recipe that differ, by dotted key (`cimeu` only)."""
    needs: tuple[Need, ...] = ()
    """What a setting must offer for the row to differ from its reference."""
    inputs: Literal["streams", "first", "second", "handmade"] = "streams"
    """What a baseline or method reads: both streams of the recipe, one of them, or hand-made functionals."""
    members: int = 1
    """Runs whose probabilities are averaged into one cell, each with its own seed."""
    after: str = ""
    """Row that must be run first because this one reads its journal."""

    def seeds(self, seed: int) -> tuple[int, ...]:
        """Seeds of the members of a cell."""
        return tuple(seed + MEMBER_SEEDS * member for member in range(self.members))

    @property
    def algorithm(self) -> str:
        """Name of the baseline or method behind the row."""
        return self.name if self.inputs == "streams" else self.name.removesuffix(f"-{self.inputs}")

    def settings(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the recipe that make this row of it; of those `chosen`, names with a dot are the recipe's."""
        if self.kind == "cimeu":
            return {**chosen, **self.overrides}
        shared = {name: value for name, value in chosen.items() if "." in name}
        own = {name: value for name, value in chosen.items() if name not in shared}
        return {**shared, "method": self.algorithm, "method_settings": own}


_WITHOUT_ER = {"model.disentangle": "off"}
_WITHOUT_RFA = {"model.alignment": "off", "model.fusion": "off"}
_H_ALONE = {"training.weights.heads_trained": "H", "evaluation.levels": "H"}
_WITHOUT_LRM = {"training.weights.mining": "off", **_H_ALONE}
_ALL_PARTS = {
    "model.disentangle": "both",
    "model.alignment": "steps",
    "model.fusion": "published",
    "training.weights.mining": "orthogonal",
    "training.weights.heads_trained": "all",
    "evaluation.levels": None,
}

_PUBLISHED = {
    "model.disentangle": "first",
    "model.alignment": "published",
    "model.fusion": "published",
    "model.late_fusion": "published",
    "model.layer_scale": 1e-4,
    "model.head_dropout": 0.0,
    "training.style_labels": "off",
    "training.equal_groups": False,
    "training.adversary_steps": 0,
    "training.weights.streams": 0.0,
    "training.weights.mining": "published",
    "training.weights.mining_share": 0.0,
    "training.weights.style": 0.0,
    "training.weights.style_adversary": 0.0,
    "training.weights.emotion_adversary": 0.0,
    "training.weights.covariance": 0.0,
    "training.augmentation.noise": 0.0,
    "training.augmentation.raw_noise": 5e-4,
    "evaluation.mu": 0.6,
    **_H_ALONE,
}
"""Forms of the recipe `published`; size, budget, optimiser and selection stay those of every row."""

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(name=REFERENCE, meaning="CiMEU as the recipe has it"),
        Row(name="without-er", meaning="emotion encoder alone", overrides=_WITHOUT_ER, needs=("styles",)),
        Row(name="without-rfa", meaning="no alignment, no fusion", overrides=_WITHOUT_RFA, needs=("two streams",)),
        Row(name="without-lrm", meaning="no mining, H alone", overrides=_WITHOUT_LRM),
        Row(
            name="without-style",
            meaning="no style labels: nothing sorts the styles",
            overrides={"training.style_labels": "off"},
            needs=("styles",),
        ),
        Row(
            name="random-style",
            meaning="styles drawn at random",
            overrides={"training.style_labels": "random"},
            needs=("styles",),
            after=REFERENCE,
        ),
        Row(
            name="style-culture",
            meaning="styles are the cultures",
            overrides={"training.style_labels": "culture"},
            needs=("styles", "cultures"),
        ),
        Row(
            name="style-speaker",
            meaning="styles are the speakers",
            overrides={"training.style_labels": "speaker"},
            needs=("styles", "speakers"),
        ),
        Row(
            name="forward-only",
            meaning="no backward model",
            overrides={"direction": "forward"},
            needs=("two directions",),
        ),
        Row(
            name="two-forward-seeds",
            meaning="two forward models, no backward one",
            overrides={"direction": "forward"},
            needs=("two directions",),
            members=2,
        ),
        Row(
            name="pth-net",
            meaning="temporal pyramid with consistency",
            overrides={
                **_WITHOUT_ER,
                **_WITHOUT_RFA,
                "training.weights.mining": "consistency",
                **_H_ALONE,
            },
        ),
        Row(
            name="plain",
            meaning="none of the three modules",
            overrides={**_WITHOUT_ER, **_WITHOUT_RFA, **_WITHOUT_LRM},
        ),
        Row(name="all-parts", meaning="all three modules", overrides=_ALL_PARTS),
        Row(name="published", meaning="the published forms of all parts", overrides=_PUBLISHED),
        Row(name="majority", kind="baseline", meaning="the commonest emotion"),
        Row(name="linear", kind="baseline", meaning="logistic regression on one vector per clip"),
        *(
            Row(
                name=f"linear-{stream}",
                kind="baseline",
                meaning=f"logistic regression on the {stream} stream alone",
                inputs=stream,
                needs=("two streams",),
            )
            for stream in STREAMS
        ),
        Row(name="rbf", kind="baseline", meaning="radial support vectors on one vector per clip"),
        Row(
            name="linear-handmade",
            kind="baseline",
            meaning="logistic regression on 67 hand-made functionals",
            inputs="handmade",
        ),
        Row(
            name="rbf-handmade",
            kind="baseline",
            meaning="radial support vectors on 67 hand-made functionals",
            inputs="handmade",
        ),
        *(
            Row(
                name=method.name,
                kind="method",
                meaning=method.meaning,
                needs=("groups",) if method.needs_groups else (),
            )
            for method in METHODS.values()
        ),
    )
}


def row_named(name: str) -> Row:
    """A row of the table, or a domain method of another package. Raises RecipeError with a guess."""
    if name in ROWS:
        return ROWS[name]
    others = [method for method in known_methods() if method not in ROWS]
    if name in others:
        return Row(name=name, kind="method", meaning="method of another package")
    raise RecipeError(f"unknown row `{name}`\n\nhint: {guess(name, [*ROWS, *others])}")


def rows_named(names: str) -> tuple[str, ...]:
    """Rows of a list such as `full,erm`; `main` is the short table and `all` every row.

    >>> rows_named("full, without-er")
    ('full', 'without-er')

    Raises:
        RecipeError: an unknown row, with a guess.
    """
    groups = {"main": MAIN, "all": tuple(ROWS)}
    chosen = [row for name in names.split(",") for row in groups.get(name.strip(), (name.strip(),))]
    return tuple(row_named(name).name for name in dict.fromkeys(chosen))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides whether a row can say anything."""

    recipe: Mapping[str, object]
    """Every setting of the recipe by dotted key, defaults written out."""
    two_streams: bool
    """Whether clips have a second stream at all."""
    cultures: int
    """Fewest cultures among the training clips of any fold."""
    speakers: int
    """Fewest known speakers among the training clips of any fold."""
    groups: int
    """Fewest groups (domains) among the training clips of any fold."""


def setting_of(
    recipe: Mapping[str, object], manifest: Manifest, folds: Sequence[Fold], *, two_streams: bool, group: str
) -> Setting:
    """Look at the nested mappings of a recipe and at the training clips of its folds."""
    table = manifest.table.set_index("clip_id")

    # The fewest of any fold: a row must be possible in each, or its mean would be over other folds than that of its
    # reference.
    def fewest(column: str) -> int:
        return min(len(set(table.loc[list(fold.train), column]) - {""}) for fold in folds)

    # A recipe names the switches of the network that it changes, and no others.
    defaults = {f"model.{switch.name}": switch.default for switch in fields(ModelConfig)}
    switches = {name: default for name, default in defaults.items() if default is not MISSING}
    return Setting(
        recipe={**switches, **dotted(recipe)},
        two_streams=two_streams,
        cultures=fewest("culture"),
        speakers=fewest("speaker"),
        groups=fewest(group),
    )


def why_absent(row: Row, setting: Setting) -> str:
    """Why the row cannot differ from its reference in this setting; empty where it can."""
    offered: dict[Need, tuple[bool, str]] = {
        "two streams": (setting.two_streams, "one stream: nothing to align or fuse"),
        "two directions": (
            setting.recipe.get("direction") == "both",
            "one direction: no backward model beside a forward one",
        ),
        "styles": (setting.recipe.get("model.disentangle", "both") != "off", "no style primitives in the recipe"),
        "cultures": (setting.cultures > 1, "one culture among the training clips"),
        "speakers": (setting.speakers > 1, "one known speaker among the training clips"),
        "groups": (setting.groups > 1, "one group among the training clips"),
    }
    for need in row.needs:
        available, reason = offered[need]
        if not available:
            return reason
    # `object()` equals nothing: a setting that is not known counts as changed.
    changed = any(setting.recipe.get(key, object()) != value for key, value in row.overrides.items())
    if row.overrides and not changed:
        return "the recipe already says so"
    return ""


def dotted(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Leaves of nested mappings by dotted key.

    >>> dotted({"model": {"size": "tiny"}, "seeds": [0, 1]})
    {'model.size': 'tiny', 'seeds': [0, 1]}
    """
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves.update(dotted(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
