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
        train = np.setdiff1d(pool, test)
        # Training clips without features would be drawn and skipped; test clips of that kind stay, and count as wrong.
        train = train[(table["problem"].to_numpy()[train] == "")]
        again = _seen_in(table, train, test)
        if config.protocol != "official":
            train = np.setdiff1d(train, again)
        if validation is None:
            share = config.validation_share
            validation = _cut_validation(table, people, train, config, name) if share else np.zeros(0, np.int64)
        fold = _fold(name, table, np.setdiff1d(train, validation), validation, test, len(again), config)
        check_fold(fold, manifest, allow_shared_speakers=config.allow_shared_speakers)
        if config.protocol != "official":
            check_contents(fold, manifest)
        folds.append(fold)
    return folds


def check_fold(fold: Fold, manifest: Manifest, *, allow_shared_speakers: bool = False) -> None:
    """No clip or speaker in two parts, every emotion in training, something to train and to test.

    Raises FoldLeak, EmptyClass.
    """
    table = manifest.table.set_index("clip_id")
    parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    part_of_clip: dict[str, str] = {}
    part_of_speaker: dict[tuple[str, str], str] = {}
    for part, clip_ids in parts.items():
        if not clip_ids and part != "validation":
            raise EmptyClass(f"fold {fold.name} has no clip for {part}\n\nhint: fewer folds, or more speakers")
        rows = table.loc[list(clip_ids)]
        for clip_id, corpus, speaker in zip(clip_ids, rows["corpus"], rows["speaker"], strict=True):
            if part_of_clip.setdefault(clip_id, part) != part:
                raise FoldLeak(
                    f"clip `{clip_id}` is in both {part_of_clip[clip_id]} and {part} of fold {fold.name} of "
                    f"`{corpus}`\n\nhint: a clip belongs to one part"
                )
            if allow_shared_speakers:
                continue
            if speaker and part_of_speaker.setdefault((corpus, speaker), part) != part:
                raise FoldLeak(
                    f"speaker `{speaker}` is in both {part_of_speaker[corpus, speaker]} and {part} of fold "
                    f"{fold.name} of `{corpus}`\n\nhint: folds.protocol=speaker-independent keeps speakers apart; for "
                    "a published division as it is, folds.allow_shared_speakers=true, and every table says `speakers "
                    "shared`"
                )
    members = table.loc[[*fold.train, *fold.validation, *fold.test]]
    trained = set(table.loc[list(fold.train), "emotion"])
    for emotion in sorted(set(members["emotion"][members["problem"] == ""])):
        if emotion not in trained:
            raise EmptyClass(
                f"no training clip of `{emotion}` in fold {fold.name}\n\n"
                "hint: fewer folds, or a label space that every group and enough speakers share"
            )


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
    names = (table["corpus"] + "\0" + table["speaker"]).where(table["speaker"] != "", alone)
    return pd.factorize(names)[0].astype(np.int64)


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
    n_people = len(set(people[pool]))
    if n_people < 3:
        raise ManifestError(
            f"{where} has {n_people} speaker(s); training, validation and test need 3\n\n"
            "hint: hold out groups instead, or leave `speaker` empty where it is unknown"
        )
    emotions = table["emotion"].to_numpy()
    usable = table["problem"].to_numpy() == ""

    def worth(tests: list[Rows]) -> tuple[int, int]:
        in_pool = set(emotions[pool[usable[pool]]])
        trains = [np.setdiff1d(pool, test) for test in tests]
        trains = [train[usable[train]] for train in trains]
        fewest = min(len(set(people[train[emotions[train] == emotion]])) for train in trains for emotion in in_pool)
        return min(2, fewest), sum(len(set(emotions[test])) for test in tests)

    strata = _strata(table, config.group)
    candidates = [
        _spread(strata, people, pool, min(config.n_folds, n_people), config.seed + 1000 * shuffle)
        for shuffle in range(SHUFFLES if n_people <= MANY_PEOPLE else 1)
    ]
    return max(candidates, key=worth)


def _cut_validation(table: pd.DataFrame, people: Rows, train: Rows, config: FoldsConfig, name: str) -> Rows:
    """Rows of some training speakers: every emotion stays in training, group and emotion as alike as they allow."""
    n_people = len(set(people[train]))
    if n_people < 2:
        raise ManifestError(
            f"fold {name} has {n_people} training speaker(s); training and validation need 2\n\n"
            "hint: fewer folds, or more speakers"
        )
    strata = _strata(table, config.group)
    emotions = table["emotion"].to_numpy()
    # A fifth for validation is one part of five.
    n_parts = min(round(1 / config.validation_share), n_people)

    def cost(validation: Rows) -> tuple[int, int, float]:
        rest = np.setdiff1d(train, validation)
        lost = len(set(emotions[train]) - set(emotions[rest]))
        unchecked = len(set(emotions[train]) - set(emotions[validation]))
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
    if len(set(people[rows])) < len(rows):
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
    dealt = np.zeros((n_parts, len(class_sizes)))
    part_of = np.empty(len(names), np.int64)
    chosen = np.eye(n_parts)[:, :, None]
    for group in np.argsort(-np.std(counts, axis=1), kind="stable"):
        proposals = (dealt + chosen * counts[group]) / class_sizes  # [part that gets the group, part, stratum]
        unevenness = proposals.std(axis=1).mean(axis=1)
        best = int(unevenness.argmin())
        near = np.flatnonzero(unevenness <= unevenness[best] * (1 + 1e-5) + 1e-8)
        if len(near) > 1:  # equally even: the smaller part, as scikit-learn compares them
            best = _first_smaller(unevenness, dealt.sum(axis=1))
        dealt[best] += counts[group]
        part_of[group] = best
    places = np.empty_like(part_of)
    places[order] = part_of
    return [np.flatnonzero(places[owners] == part) for part in range(n_parts)]


def _first_smaller(unevenness: np.ndarray, sizes: np.ndarray) -> int:
    """Part that a scan keeps: a better one, or one about as good with fewer clips."""
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
    parts = [tuple(str(clip_id) for clip_id in clip_ids[np.sort(part)]) for part in (train, validation, test)]
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
    names = (table["corpus"] + "\0" + table["speaker"]).where(table["speaker"] != "", "").to_numpy()
    trained, tested = set(names[train]) - {""}, set(names[test]) - {""}
    return len(trained & tested), len(tested)
