"""Protocols of generalisation: which clips are trained on, which are tested.

    leave-one-out   every group but one is trained on, that one is tested
    matrix          one group is trained on, its own unseen speakers and every other group are tested
    within          a group's unseen speakers, trained on their own group and, with as many clips, on the others
    few-shot        leave-one-out, and 0, 8, 32 clips of each emotion from other speakers of the tested group
    robustness      leave-one-out, and at test time noise, gaps or silence in a stream
    transductive    leave-one-out, and every group standardised by its own unlabelled clips, the tested one too
    nested          every pair of groups is left out and tested: leave-one-out inside the training groups of each fold
                    of leave-one-out, for a model that knows neither of a pair serves the folds of both

In all but `transductive` the tested clips give nothing to training, and in all of them their labels do not. Folds carry
their meaning in their names: `german-1` (matrix: trained on german), `german-1-within`, `german-1-across`, `german+8`,
`german+urdu` (nested).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pandas as pd

from cimeu.corpora.folds import Fold, FoldsConfig, check_fold, make_folds
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.subsets import shots_from, stratified
from cimeu.errors import RecipeError, guess

LEAVE_ONE_OUT, MATRIX, WITHIN, FEW_SHOT = "leave-one-out", "matrix", "within", "few-shot"
ROBUSTNESS, TRANSDUCTIVE, NESTED = "robustness", "transductive", "nested"
PROTOCOLS = (LEAVE_ONE_OUT, MATRIX, WITHIN, FEW_SHOT, ROBUSTNESS, TRANSDUCTIVE, NESTED)
SHOTS = (0, 8, 32)
"""Labels of each emotion in the protocol few-shot."""
SIDES = ("within", "across")


def protocol_named(name: str) -> str:
    """The protocol itself; empty (the folds of a recipe) is allowed. Raises RecipeError with a guess."""
    if name and name not in PROTOCOLS:
        raise RecipeError(f"unknown protocol `{name}`\n\nhint: {guess(name, PROTOCOLS)}")
    return name


def divide(manifest: Manifest, config: FoldsConfig, protocol: str, *, shots: Sequence[int] = SHOTS) -> list[Fold]:
    """Folds of a protocol; groups, parts and seed are those of `config`. Every fold has passed `check_fold`.

    Raises:
        RecipeError: an unknown protocol.
        ManifestError, EmptyClass, FoldLeak: the clips cannot be divided like this (`make_folds`).
    """
    match protocol_named(protocol):
        case "matrix":
            folds = _matrix(manifest, config)
        case "within":
            folds = _within(manifest, config)
        case "few-shot":
            folds = _few_shot(manifest, config, shots)
        case "nested":
            folds = _nested(manifest, config)
        case "":
            return make_folds(manifest, config)
        case _:
            return make_folds(manifest, replace(config, protocol="leave-one-group-out"))
    for fold in folds:
        check_fold(fold, manifest)
    return folds


def folds_table(folds: Sequence[Fold], manifest: Manifest, group: str) -> pd.DataFrame:
    """Clips and speakers of every part of every fold, by group, emotion and whether they were acted."""
    facts = [group, "emotion", "acted"]
    tables = []
    for fold in folds:
        for part in ("train", "validation", "test"):
            clips = manifest.select(getattr(fold, part)).table
            counted = clips.groupby(facts, sort=True).agg(clips=("clip_id", "size"), speakers=("speaker", "nunique"))
            tables.append(counted.reset_index().rename(columns={group: "group"}).assign(fold=fold.name, part=part))
    whole = pd.concat(tables, ignore_index=True)
    return whole[["fold", "part", "group", "emotion", "acted", "clips", "speakers"]]


def source_group(fold: str) -> str:
    """The group that a fold of `matrix` trains on, or is tested in one of `within`.

    >>> source_group("north-american-2"), source_group("german-1-across")
    ('north-american', 'german')
    """
    name = fold.removesuffix(f"-{SIDES[0]}").removesuffix(f"-{SIDES[1]}")
    return name.rpartition("-")[0]


def side_of(fold: str) -> str:
    """`within` or `across`.

    >>> side_of("german-1-across")
    'across'
    """
    return fold.rpartition("-")[2]


def shots_of(fold: str) -> int:
    """Labels of each emotion in a fold of `few-shot`.

    >>> shots_of("german+8")
    8
    """
    return int(fold.rpartition("+")[2])


def held_out_pair(fold: str) -> tuple[str, str]:
    """Both groups that a fold of `nested` leaves out.

    >>> held_out_pair("german+urdu")
    ('german', 'urdu')
    """
    one, _, other = fold.partition("+")
    return one, other


def _nested(manifest: Manifest, config: FoldsConfig) -> list[Fold]:
    groups = manifest.table[config.group]
    names = sorted(set(groups) - {""})
    if len(names) < 3 or any("+" in name for name in names):
        raise RecipeError(
            f"the protocol nested leaves out pairs of groups, and `{config.group}` has {', '.join(names) or 'none'}\n\n"
            "hint: it needs three groups or more, without + in their names (`folds.group`)"
        )
    folds = []
    for one, other in combinations(names, 2):
        # The pair is one group here, so that training and validation are divided as ever.
        pair = f"{one}+{other}"
        merged = Manifest(
            manifest.table.assign(**{config.group: groups.where(~groups.isin((one, other)), pair)}), manifest.root
        )
        division = make_folds(merged, replace(config, protocol="leave-one-group-out"))
        folds += [fold for fold in division if fold.name == pair]
    return folds


def _matrix(manifest: Manifest, config: FoldsConfig) -> list[Fold]:
    groups = manifest.table[config.group].to_numpy()
    clip_ids = manifest.table["clip_id"].to_numpy()
    folds = []
    for fold in make_folds(manifest, replace(config, protocol="within-group")):
        # One training serves the whole line of the matrix: clips of every other group are tested by the same model.
        others = clip_ids[(groups != source_group(fold.name)) & (groups != "")]
        folds.append(replace(fold, test=(*fold.test, *map(str, others))))
    return folds


def _within(manifest: Manifest, config: FoldsConfig) -> list[Fold]:
    across = {fold.name: fold for fold in make_folds(manifest, replace(config, protocol="leave-one-group-out"))}
    folds = []
    for own in make_folds(manifest, replace(config, protocol="within-group")):
        others = across[source_group(own.name)]
        # Both sides learn from equally many clips, or the gap would partly be one of size.
        n_train, n_validation = (
            min(len(getattr(own, part)), len(getattr(others, part))) for part in ("train", "validation")
        )
        for side, fold in zip(SIDES, (own, others), strict=True):
            train, validation = (
                stratified(manifest.select(clip_ids).table, config.group, n_clips, config.seed)
                for clip_ids, n_clips in ((fold.train, n_train), (fold.validation, n_validation))
            )
            note = "; ".join(filter(None, [f"{n_train} training clips on both sides", own.note]))
            name = f"{own.name}-{side}"
            folds.append(replace(own, name=name, train=train, validation=validation, note=note))
    return folds


def _few_shot(manifest: Manifest, config: FoldsConfig, shots: Sequence[int]) -> list[Fold]:
    # Shots come from one half of the speakers, tests from the other: a person is never both.
    halves = make_folds(manifest, replace(config, protocol="within-group", n_folds=2))
    first_half = {source_group(fold.name): fold for fold in reversed(halves)}
    folds = []
    for fold in make_folds(manifest, replace(config, protocol="leave-one-group-out")):
        half = first_half[fold.name]
        pool = manifest.select([*half.train, *half.validation]).table
        for count in shots:
            extra = shots_from(pool, count, config.seed)
            note = "; ".join(filter(None, [f"{len(extra)} clips of the tested group are trained on", fold.note]))
            folds.append(
                replace(fold, name=f"{fold.name}+{count}", train=(*fold.train, *extra), test=half.test, note=note)
            )
    return folds
