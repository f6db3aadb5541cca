"""Who trains, who validates, who is tested.

Speakers never cross a fold, unless a published one shares them and the recipe allows it; the fold then says so. Test
parts keep the clips that cannot be used (they count as wrong); training and validation hold usable clips only. Where
speakers are unknown each clip stands for itself, and the fold says so.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
import pandas as pd

from cimeu.corpora.manifest import Manifest
from cimeu.errors import EmptyClass, FoldLeak, ManifestError
from cimeu.ranges import Within, check_values

Protocol = Literal["leave-one-group-out", "within-group", "speaker-independent", "official"]
Rows: TypeAlias = np.ndarray  # whole numbers: places in the table
SHUFFLES = 8
"""Ways of dealing speakers out that are compared; among very many speakers one is as good as another."""
MANY_PEOPLE = 1000
SPEAKERS_UNKNOWN = "speakers unknown"
SPEAKERS_SHARED = "speakers shared"
DUPLICATES = "duplicates"
"""Column that `cimeu audit --mark` adds: one name for clips that hold the same recording, however encoded."""
SAME_FILE = "same_file"
"""Column of `cimeu.corpora.same_file.with_same_file`: one name for clips of one recording."""
_MARKS = (SAME_FILE, DUPLICATES)  # the wider one comes last


@dataclass(frozen=True)
class Fold:
    """Clip ids of the three parts; published folds are numbered from 1, others are named after what is held out.

    `speakers_known`: no speaker is in two parts. `note`: what a reader of its figures must know, such as `speakers
    shared` with their number, or near-duplicates of test clips among the training clips.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    speakers_known: bool
    note: str

    def __repr__(self) -> str:
        parts = ", ".join(f"{part} {len(getattr(self, part)):,}" for part in ("train", "validation", "test"))
        return f"<Fold {self.name}: {parts} clips{f'; {self.note}' if self.note else ''}>"


@dataclass(frozen=True, kw_only=True)
class FoldsConfig:
    """How a corpus is divided."""

    protocol: Protocol = "speaker-independent"
    """What is held out: a group, speakers within each group, speakers, or what the corpus published."""
    group: str = "culture"
    """Manifest column that names the groups."""
    n_folds: Annotated[int, Within(2)] = 5
    """Parts of the speakers; fewer where there are fewer speakers."""
    validation_share: Annotated[float, Within(0, 0.5)] = 0.2
    """Share of the training speakers kept for validation, where none was published; 0 keeps none, which needs
    `selection` last or oracle."""
    allow_shared_speakers: bool = False
    """Take a published division as it is even if a speaker is in two of its parts (`official`); every table says so."""
    seed: Annotated[int, Within(0, 2**31 - 1)] = 0
    """Order in which speakers are dealt out."""

    def __post_init__(self) -> None:
        check_values(self, "folds", ManifestError)
        if self.allow_shared_speakers and self.protocol != "official":
            raise ManifestError(
                f"`allow_shared_speakers` with the protocol `{self.protocol}`\n\nhint: only published (`official`) "
                "divisions may share speakers; all others are made here, and keep them apart"
            )


def make_folds(manifest: Manifest, config: FoldsConfig) -> list[Fold]:
    """Divide a corpus; every fold has passed `check_fold`.

    Clips without a group take no part where groups are held out. Clips that hold the recording of a test clip (columns
    `same_file` and `duplicates`) are left out of training; published parts stay whole, and the fold counts them.
    Raises ManifestError where groups, speakers or published folds are too few, EmptyClass where an emotion cannot be
    trained, FoldLeak where a speaker crosses.
    """
    table = manifest.table
    if config.group not in table.columns:
        raise ManifestError(
            f"manifest without a column `{config.group}`, found: {', '.join(table.columns)}\n\n"
            "hint: hold out one of them, as in folds.group=corpus"
        )
    people = _people(table)
    folds = []
    for name, pool, test, validation in _parts(table, people, config):
        train = _without(pool, test)
        # Training clips without features would be drawn and skipped; test clips of that kind stay, and count as wrong.
        train = train[(table["problem"].to_numpy()[train] == "")]
        again = _seen_in(table, train, test)
        if config.protocol != "official":
            train = _without(train, again)
        if validation is None:
            share = config.validation_share
            validation = _cut_validation(table, people, train, config, name) if share else np.zeros(0, np.int64)
        fold = _fold(name, table, _without(train, validation), validation, test, len(again), config)
        check_fold(fold, manifest, allow_shared_speakers=config.allow_shared_speakers)
        if config.protocol != "official":
            check_contents(fold, manifest)
        folds.append(fold)
    return folds


def check_fold(fold: Fold, manifest: Manifest, *, allow_shared_speakers: bool = False) -> None:
    """No clip or speaker in two parts, every emotion in training, something to train and to test.

    Raises FoldLeak, EmptyClass.
    """
    parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    for part, clip_ids in parts.items():
        if not clip_ids and part != "validation":
            raise EmptyClass(f"fold {fold.name} has no clip for {part}\n\nhint: fewer folds, or more speakers")
    columns = manifest.table[["clip_id", "corpus", "speaker", "emotion", "problem"]]
    members = Manifest(columns, manifest.root).select([*fold.train, *fold.validation, *fold.test]).table
    part_of = np.repeat(list(parts), [len(clip_ids) for clip_ids in parts.values()])
    if crossing := _crossing(members["clip_id"], part_of):
        place, both_parts = crossing
        raise FoldLeak(
            f"clip `{members['clip_id'][place]}` is in both {both_parts} of fold {fold.name} of "
            f"`{members['corpus'][place]}`\n\nhint: a clip belongs to one part"
        )
    with_speaker = members[members["speaker"] != ""]
    if not allow_shared_speakers and (crossing := _crossing(_speakers(with_speaker), part_of[with_speaker.index])):
        place, both_parts = crossing
        raise FoldLeak(
            f"speaker `{with_speaker['speaker'].iloc[place]}` is in both {both_parts} of fold {fold.name} of "
            f"`{with_speaker['corpus'].iloc[place]}`\n\nhint: folds.protocol=speaker-independent keeps speakers apart; "
            "for a published division as it is, folds.allow_shared_speakers=true, and tables then say `speakers shared`"
        )
    trained = set(members["emotion"][part_of == "train"].unique())
    for emotion in sorted({*members["emotion"][members["problem"] == ""].unique()} - {""}):
        if emotion not in trained:
            raise EmptyClass(
                f"no training clip of `{emotion}` in fold {fold.name}\n\n"
                "hint: fewer folds, or a label space that every group and enough speakers share"
            )


def _crossing(names: pd.Series, part_of: np.ndarray) -> tuple[int, str] | None:
    """Place of the first name that an earlier part has too, and the two parts; rows come part by part."""
    firsts = np.flatnonzero(~names.duplicated())
    first_part = part_of[firsts[pd.factorize(names)[0]]]  # numbers go by first appearance
    crossing = first_part != part_of
    place = int(crossing.argmax()) if len(crossing) else 0
    return (place, f"{first_part[place]} and {part_of[place]}") if crossing.any() else None


def check_contents(fold: Fold, manifest: Manifest) -> None:
    """No test clip holds the recording of one that is trained on or chosen by (`corpora.same_file.with_same_file`).

    Published divisions are taken as they are; their note counts such clips.

    Raises:
        FoldLeak: there is one.
    """
    if SAME_FILE not in manifest.table.columns:
        return
    marks = dict(zip(manifest.table["clip_id"], manifest.table[SAME_FILE], strict=True))
    trained = {marks[clip_id]: clip_id for clip_id in (*fold.train, *fold.validation) if marks[clip_id]}
    shared = [clip_id for clip_id in fold.test if marks[clip_id] in trained]
    if shared:
        raise FoldLeak(
            f"{len(shared)} of {len(fold.test)} test clips of fold {fold.name} hold recordings of training clips: "
            f"`{shared[0]}` is `{trained[marks[shared[0]]]}`\n\nhint: leave one of the two out of the manifest"
        )


def _people(table: pd.DataFrame) -> Rows:
    """A number per speaker of a corpus; where none is known, per set of near-duplicates, else per clip."""
    # NUL separates the parts of a name: no corpus or speaker can hold one.
    alone = "\0\0" + table["clip_id"]
    for column in _MARKS:
        if column in table.columns:
            alone = (f"\0{column}\0" + table[column]).where(table[column] != "", alone)
    names = _speakers(table).where(table["speaker"] != "", alone)
    return pd.factorize(names)[0].astype(np.int64)


def _speakers(table: pd.DataFrame) -> pd.Series:
    return table["corpus"] + "\0" + table["speaker"]


def _without(rows: Rows, others: Rows) -> Rows:
    """The rows that are none of the others, in their order."""
    return rows[~np.isin(rows, others)]


def _n_different(numbers: Rows) -> int:
    return int(np.count_nonzero(np.bincount(numbers)))


def _parts(table: pd.DataFrame, people: Rows, config: FoldsConfig) -> Iterator[tuple[str, Rows, Rows, Rows | None]]:
    """Name, all rows, test rows and fixed validation rows (None: to be cut) of each fold."""
    groups = table[config.group].to_numpy()
    everyone = np.arange(len(table))
    match config.protocol:
        case "leave-one-group-out":
            for group in _groups(table, config.group, at_least=2):
                yield group, np.flatnonzero(groups != ""), np.flatnonzero(groups == group), None
        case "within-group":
            for group in _groups(table, config.group, at_least=1):
                pool = np.flatnonzero(groups == group)
                for number, test in enumerate(_deal(table, people, pool, config, group), start=1):
                    yield f"{group}-{number}", pool, test, None
        case "speaker-independent":
            for number, test in enumerate(_deal(table, people, everyone, config, "the corpus"), start=1):
                yield str(number), everyone, test, None
        case "official":
            yield from _official(table)


def _official(table: pd.DataFrame) -> Iterator[tuple[str, Rows, Rows, Rows | None]]:
    folds, splits = table["fold"].to_numpy(), table["split"].to_numpy()
    if (folds != "").any():
        pool = np.flatnonzero(folds != "")
        # By length first, so that fold 10 comes after fold 9.
        for fold in sorted(set(folds[pool]), key=lambda name: (len(name), name)):
            yield fold, pool, np.flatnonzero(folds == fold), None
        return
    unknown = sorted(set(splits) - {"", "train", "validation", "test"})
    if unknown:
        raise ManifestError(f"`split` holds `{unknown[0]}`\n\nhint: train, validation or test")
    if not {"train", "test"} <= set(splits):
        raise ManifestError(
            "no published folds in the manifest: columns `fold` and `split` lack train and test\n\n"
            "hint: folds.protocol=speaker-independent needs none"
        )
    validation = np.flatnonzero(splits == "validation")
    usable = validation[table["problem"].to_numpy()[validation] == ""]
    yield "official", np.flatnonzero(splits != ""), np.flatnonzero(splits == "test"), usable if len(usable) else None


def _groups(table: pd.DataFrame, column: str, *, at_least: int) -> list[str]:
    groups = sorted(set(table[column]) - {""})
    if len(groups) < at_least:
        raise ManifestError(
            f"column `{column}` names {len(groups)} group(s), at least {at_least} are needed\n\n"
            f"hint: fill `{column}`, hold out another column (folds.group=COLUMN), or speakers "
            "(folds.protocol=speaker-independent)"
        )
    return groups


def _deal(table: pd.DataFrame, people: Rows, pool: Rows, config: FoldsConfig, where: str) -> list[Rows]:
    """Test rows of each of n folds, from the shuffle that leaves every emotion of `pool` two training speakers.

    Two, so that validation can still be cut. Among such shuffles, the one whose test parts hold the most emotions.
    """
    n_people = _n_different(people[pool])
    if n_people < 3:
        raise ManifestError(
            f"{where} has {n_people} speaker(s); training, validation and test need 3\n\n"
            "hint: hold out groups instead, or leave `speaker` empty where it is unknown"
        )
    emotions = pd.factorize(table["emotion"])[0].astype(np.int64)
    usable = pool[table["problem"].to_numpy()[pool] == ""]
    named = usable[table["emotion"].to_numpy()[usable] != ""]  # others have continuous labels alone
    if not len(named):
        raise ManifestError(
            f"{where} has no usable clip with an emotion\n\n"
            "hint: label some, leave the group out, or hold out whole groups (folds.protocol=leave-one-group-out)"
        )

    def worth(tests: list[Rows]) -> tuple[int, int]:
        in_pool = np.unique(emotions[named])
        trains = [_without(usable, test) for test in tests]
        fewest = min(_n_different(people[train[emotions[train] == emotion]]) for train in trains for emotion in in_pool)
        return min(2, fewest), sum(_n_different(emotions[test]) for test in tests)

    strata = _strata(table, config.group)
    candidates = [
        _spread(strata, people, pool, min(config.n_folds, n_people), config.seed + 1000 * shuffle)
        for shuffle in range(SHUFFLES if n_people <= MANY_PEOPLE else 1)
    ]
    return max(candidates, key=worth)


def _cut_validation(table: pd.DataFrame, people: Rows, train: Rows, config: FoldsConfig, name: str) -> Rows:
    """Rows of some training speakers: every emotion stays in training, group and emotion as alike as they allow."""
    n_people = _n_different(people[train])
    if n_people < 2:
        raise ManifestError(
            f"fold {name} has {n_people} training speaker(s); training and validation need 2\n\n"
            "hint: fewer folds, or more speakers"
        )
    strata = _strata(table, config.group)
    emotions = pd.factorize(table["emotion"])[0]
    n_emotions = int(emotions.max()) + 1
    # A fifth for validation is one part of five.
    n_parts = min(round(1 / config.validation_share), n_people)

    def cost(validation: Rows) -> tuple[int, int, float]:
        total, checked = (np.bincount(emotions[rows], minlength=n_emotions) for rows in (train, validation))
        lost = int(((total > 0) & (total == checked)).sum())
        unchecked = int(((total > 0) & (checked == 0)).sum())
        target = np.bincount(strata[train], minlength=strata.max() + 1) * config.validation_share
        dealt = np.bincount(strata[validation], minlength=strata.max() + 1)
        # In this order: no emotion lost to training, every emotion validated, then as alike as speakers allow.
        return lost, unchecked, float(np.abs(dealt - target).sum())

    candidates = [
        part
        for shuffle in range(SHUFFLES if n_people <= MANY_PEOPLE else 1)
        for part in _spread(strata, people, train, n_parts, config.seed + 1000 * shuffle)
    ]
    return min(candidates, key=cost)


def _strata(table: pd.DataFrame, group: str) -> Rows:
    return pd.factorize(table[group] + "\0" + table["emotion"])[0].astype(np.int64)


def _spread(strata: Rows, people: Rows, rows: Rows, n_parts: int, seed: int) -> list[Rows]:
    """Deal the people of `rows` into parts of alike strata."""
    from sklearn.model_selection import StratifiedKFold

    strata_of_rows = strata[rows]
    if np.bincount(strata_of_rows).max() < n_parts:  # scikit-learn refuses; a person is then all there is to balance
        strata_of_rows = np.zeros_like(strata_of_rows)
    # Where every clip is a person of its own, nothing has to stay together and the plain splitter is faster.
    if _n_different(people[rows]) < len(rows):
        return [rows[part] for part in dealt_groups(strata_of_rows, people[rows], n_parts, seed)]
    splitter = StratifiedKFold(n_parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return [rows[part] for _, part in splitter.split(rows, strata_of_rows)]


def dealt_groups(strata: Rows, groups: Rows, n_parts: int, seed: int) -> list[Rows]:
    """Places of each part: the parts that scikit-learn's `StratifiedGroupKFold` deals, ten times as fast.

    Groups come in order of how uneven their strata are, each to the part that leaves the strata most even.
    """
    _, classes, class_sizes = np.unique(strata, return_inverse=True, return_counts=True)
    names, owners = np.unique(groups, return_inverse=True)
    order = np.arange(len(names))
    # The generator of scikit-learn, which the parts must be equal to.
    np.random.RandomState(seed).shuffle(order)
    counts = np.zeros((len(names), len(class_sizes)))
    np.add.at(counts, (owners, classes), 1)
    counts = counts[order]
    spans = np.count_nonzero(counts, axis=1)
    dealt = np.zeros((n_parts, len(class_sizes)))
    sizes = np.zeros(n_parts)
    part_of = np.empty(len(names), np.int64)
    chosen = np.eye(n_parts)
    layout: Literal["F", "C"] = "F" if len(class_sizes) == 1 else "C"  # in which sums round as scikit-learn's do
    uneven = np.zeros((n_parts, len(class_sizes)))  # [part that gets the group, stratum]
    for group in np.argsort(-np.std(counts, axis=1), kind="stable"):
        # Most groups are single clips of nobody known, and change one stratum: the others stay as uneven as they are.
        changed = slice(None) if spans[group] > 1 else slice(at := int(counts[group].argmax()), at + 1)
        proposals = dealt[:, None, changed] + chosen[:, :, None] * counts[group, changed]
        shares = np.asarray(proposals / class_sizes[changed], order=layout)  # [part, part that gets the group, stratum]
        uneven[:, changed] = _spread_of(shares)
        best = _first_smaller(np.add.reduce(uneven, axis=1) / len(class_sizes), sizes)
        uneven[:] = uneven[best]
        dealt[best] += counts[group]
        sizes[best] += counts[group].sum()
        part_of[group] = best
    places = np.empty_like(part_of)
    places[order] = part_of
    return [np.flatnonzero(places[owners] == part) for part in range(n_parts)]


def _spread_of(shares: np.ndarray) -> np.ndarray:
    """Standard deviation over the first axis: what `std` computes, to the last bit, in half the time."""
    from_mean = shares - np.add.reduce(shares, axis=0) / len(shares)
    return np.sqrt(np.add.reduce(from_mean * from_mean, axis=0) / len(shares))


def _first_smaller(unevenness: np.ndarray, sizes: np.ndarray) -> int:
    """Part that scikit-learn's scan keeps: a better one, or one about as good with fewer clips."""
    best, least, size = 0, np.inf, np.inf
    for part, (value, n_clips) in enumerate(zip(unevenness.tolist(), sizes.tolist(), strict=True)):
        if value < least or (abs(value - least) <= 1e-8 + 1e-5 * abs(least) and n_clips < size):
            best, least, size = part, value, n_clips
    return best


def _seen_in(table: pd.DataFrame, train: Rows, test: Rows) -> Rows:
    """Training rows that hold the recording of a test row, as far as the columns say so."""
    repeated = np.zeros(len(train), bool)
    for column in _MARKS:
        if column in table.columns:
            marks = table[column].to_numpy()
            repeated |= np.isin(marks[train], [mark for mark in set(marks[test]) if mark])
    return train[repeated]


def _fold(
    name: str, table: pd.DataFrame, train: Rows, validation: Rows, test: Rows, n_again: int, config: FoldsConfig
) -> Fold:
    clip_ids = table["clip_id"].to_numpy()
    parts = [tuple(clip_ids[np.sort(part)].tolist()) for part in (train, validation, test)]
    members = np.concatenate([train, validation, test])
    unknown = int((table["speaker"].to_numpy()[members] == "").sum())
    shared, tested = _shared_speakers(table, np.concatenate([train, validation]), test)
    notes = []
    if unknown:
        whole = unknown == len(members)
        notes.append(SPEAKERS_UNKNOWN if whole else f"{SPEAKERS_UNKNOWN} for {unknown} of {len(members)} clips")
    if shared:
        notes.append(f"{SPEAKERS_SHARED}: {shared} of {tested} test speakers are trained on")
    if n_again:
        kept = "stay, as published" if config.protocol == "official" else "left out"
        notes.append(f"{n_again} training clips that are near-duplicates of test clips {kept}")
    return Fold(name, parts[0], parts[1], parts[2], speakers_known=not unknown and not shared, note="; ".join(notes))


def _shared_speakers(table: pd.DataFrame, train: Rows, test: Rows) -> tuple[int, int]:
    """Test speakers that are trained on, and test speakers."""
    names = _speakers(table).where(table["speaker"] != "", "").to_numpy()
    trained, tested = set(names[train]) - {""}, set(names[test]) - {""}
    return len(trained & tested), len(tested)
