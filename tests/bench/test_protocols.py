"""Who teaches and who is tested under each protocol, and that the tested clips give nothing to training."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cimeu.baselines.fit import fit
from cimeu.baselines.registry import METHODS
from cimeu.bench.cells import Parts, foreign_cell
from cimeu.bench.protocols import PROTOCOLS, divide, folds_table, held_out_pair, shots_of, side_of, source_group
from cimeu.bench.transductive import by_group, group_statistics
from cimeu.corpora.folds import Fold, FoldsConfig
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.subsets import shots_from
from cimeu.errors import EmptyClass, RecipeError
from cimeu.training.config import TrainingConfig
from cimeu.training.optim import OptimiserConfig

Divided = Callable[[str], list[Fold]]
CONFIG = FoldsConfig(protocol="leave-one-group-out", validation_share=0.3, n_folds=3)


@pytest.fixture(scope="module")
def divided(world: Any) -> Divided:
    return cache(lambda protocol: divide(world.manifest, CONFIG, protocol, shots=(0, 1, 3)))


def facts(manifest: Manifest, clip_ids: tuple[str, ...]) -> pd.DataFrame:
    return manifest.select(clip_ids).table


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_speaker_is_on_both_sides_of_any_fold(world: Any, divided: Divided, protocol: str) -> None:
    for fold in divided(protocol):
        taught = set(facts(world.manifest, (*fold.train, *fold.validation))["speaker"])
        assert taught.isdisjoint(facts(world.manifest, fold.test)["speaker"]), fold.name


def test_in_a_matrix_one_group_teaches_and_all_are_tested(world: Any, divided: Divided) -> None:
    folds = divided("matrix")
    assert len(folds) == 3 * 3
    for fold in folds:
        assert set(facts(world.manifest, fold.train)["culture"]) == {source_group(fold.name)}
        assert set(facts(world.manifest, fold.test)["culture"]) == {"c0", "c1", "c2"}


def test_the_folds_of_a_teacher_test_each_of_its_own_clips_once(world: Any, divided: Divided) -> None:
    folds = [fold for fold in divided("matrix") if source_group(fold.name) == "c1"]
    own = [clip for fold in folds for clip in fold.test if clip.startswith("c1/")]
    assert sorted(own) == sorted(clip for clip in world.manifest.table["clip_id"] if clip.startswith("c1/"))


def test_within_and_across_test_the_same_clips_after_as_many_training_clips(world: Any, divided: Divided) -> None:
    folds = divided("within")
    for within, across in zip(folds[::2], folds[1::2], strict=True):
        assert (side_of(within.name), side_of(across.name)) == ("within", "across")
        assert within.test == across.test
        assert len(within.train) == len(across.train)
        assert len(within.validation) == len(across.validation)
        group = source_group(within.name)
        assert set(facts(world.manifest, within.train)["culture"]) == {group}
        assert group not in set(facts(world.manifest, across.train)["culture"])


def test_nested_pairs_are_tested_by_those_who_know_neither(world: Any, divided: Divided) -> None:
    folds = divided("nested")
    assert [held_out_pair(fold.name) for fold in folds] == [("c0", "c1"), ("c0", "c2"), ("c1", "c2")]
    for fold in folds:
        pair = set(held_out_pair(fold.name))
        assert set(facts(world.manifest, fold.test)["culture"]) == pair
        assert set(facts(world.manifest, (*fold.train, *fold.validation))["culture"]) == {"c0", "c1", "c2"} - pair


def test_two_groups_make_no_nested_pair_to_learn_apart_from(world: Any) -> None:
    clips = world.manifest.select([name for name in world.manifest.table["clip_id"] if not name.startswith("c2")])
    with pytest.raises(RecipeError, match="`culture` has c0, c1\n\nhint: it needs three groups or more"):
        divide(clips, CONFIG, "nested")


def test_fewer_training_clips_keep_the_shares_of_groups_and_emotions(world: Any, divided: Divided) -> None:
    across = divided("within")[1]
    kept = facts(world.manifest, across.train)
    for column, apart in (("emotion", 1), ("culture", 3)):
        counts = kept[column].value_counts()
        assert counts.max() - counts.min() <= apart, column


def test_shots_come_from_speakers_of_the_tested_group_who_are_not_tested(world: Any, divided: Divided) -> None:
    folds = {fold.name: fold for fold in divided("few-shot")}
    none, three = folds["c2+0"], folds["c2+3"]
    assert none.test == three.test
    extra = facts(world.manifest, tuple(set(three.train) - set(none.train)))
    assert set(extra["culture"]) == {"c2"}
    assert (extra["emotion"].value_counts() == 3).all()
    assert set(folds["c2+1"].train) < set(three.train)
    assert shots_of(three.name) == 3


def test_shots_are_all_there_is_where_a_pool_has_fewer(world: Any) -> None:
    pool = facts(world.manifest, ("c0/s1/0", "c0/s1/1", "c0/s1/3"))
    assert set(shots_from(pool, 8, 0)) == set(pool["clip_id"])


@pytest.mark.parametrize("column", ["culture", "language", "corpus", "gender", "speaker"])
def test_any_column_that_names_groups_can_be_held_out(world: Any, column: str) -> None:
    table = world.manifest.table.assign(
        language=world.manifest.table["culture"].str.replace("c", "language "),
        corpus=world.manifest.table["culture"].str.replace("c", "corpus "),
        gender=np.where(world.manifest.table["speaker"].str[-1].astype(int) % 2, "f", "m"),
    )
    manifest = Manifest(table, world.manifest.root)
    folds = divide(manifest, replace(CONFIG, group=column), "leave-one-out")
    assert {fold.name for fold in folds} == set(table[column])
    for fold in folds:
        assert set(facts(manifest, fold.test)[column]) == {fold.name}
        assert fold.name not in set(facts(manifest, (*fold.train, *fold.validation))[column])


def test_an_unknown_protocol_is_an_error_with_a_guess(world: Any) -> None:
    with pytest.raises(RecipeError, match="unknown protocol `fewshot`\n\nhint: did you mean `few-shot`"):
        divide(world.manifest, CONFIG, "fewshot")


def test_an_emotion_that_a_teacher_lacks_is_an_error(world: Any) -> None:
    table = world.manifest.table
    kept = table[(table["culture"] != "c0") | (table["emotion"] != "anger")].reset_index(drop=True)
    with pytest.raises(EmptyClass, match="no training clip of `anger` in fold c0-1"):
        divide(Manifest(kept, world.manifest.root), CONFIG, "matrix")


def test_the_table_of_folds_counts_every_clip(world: Any, divided: Divided) -> None:
    folds = divided("leave-one-out")
    table = folds_table(folds, world.manifest, "culture")
    for fold in folds:
        assert table.loc[(table["fold"] == fold.name) & (table["part"] == "train"), "clips"].sum() == len(fold.train)


# Leaks


def corrupted(world: Any, spoil: Callable[..., Any], fold: Fold) -> tuple[Manifest, Any]:
    """Everything that training could reach of the tested clips is nonsense: features of both streams and labels."""
    tested = world.manifest.table["clip_id"].isin(fold.test)
    table = world.manifest.table.copy()
    table.loc[tested, "emotion"] = table.loc[tested, "emotion"].map(
        {"anger": "sadness", "sadness": "neutral", "neutral": "anger"}
    )
    table.loc[tested, "gender"] = "m"
    return Manifest(table, world.manifest.root), spoil(fold.name)


def test_everything_of_the_held_out_group_may_be_nonsense_and_the_weights_stay(
    world: Any, spoil: Callable[..., Any]
) -> None:
    (plain, *_) = divide(world.manifest, CONFIG, "leave-one-out")
    manifest, spoiled = corrupted(world, spoil, plain)
    (other, *_) = divide(manifest, CONFIG, "leave-one-out")
    config = TrainingConfig(epochs=1, batch_size=24, optimiser=OptimiserConfig())
    weights = []
    for fold, clips, stores in ((plain, world.manifest, world), (other, manifest, spoiled)):
        parts = stores.parts(fold, clips)
        weights.append(fit(METHODS["dann"], parts.train, parts.validation, config).method.state_dict())
    assert other == plain
    assert not np.array_equal(*(facts(clips, plain.test)["emotion"] for clips in (world.manifest, manifest)))
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


# Transductive


@pytest.fixture
def parts(world: Any) -> Parts:
    (fold, *_) = divide(world.manifest, CONFIG, "transductive")
    return world.parts(fold)


def test_every_group_standardised_by_itself_has_mean_0_and_deviation_1(world: Any, parts: Parts) -> None:
    known = group_statistics(parts.test, "culture") | group_statistics(parts.train, "culture")
    for part in (parts.train, parts.test):
        standardised = by_group(part, "culture", known)
        for culture in set(part.groups("culture")):
            rows = [row for row, name in enumerate(part.groups("culture")) if name == culture]
            steps = np.concatenate([x for row in rows if (x := standardised.first_features[row]) is not None])
            np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-4)
            np.testing.assert_allclose(steps.std(axis=0), 1, atol=1e-4)


def test_standardising_never_looks_at_labels(world: Any, parts: Parts) -> None:
    table = parts.test.manifest.table
    manifest = Manifest(table.assign(emotion=table["emotion"].to_numpy()[::-1]), world.manifest.root)
    swapped = world.parts(Fold("", (), (), tuple(table["clip_id"]), True, ""), manifest).test
    for name, statistics in group_statistics(parts.test, "culture").items():
        other = group_statistics(swapped, "culture")[name][0]
        assert statistics[0] is not None
        assert other is not None
        np.testing.assert_array_equal(statistics[0].mean, other.mean)


def test_what_sets_groups_apart_alone_is_gone_when_each_is_standardised(parts: Parts) -> None:
    known = group_statistics(parts.train, "culture") | group_statistics(parts.test, "culture")
    standardised = Parts(*(by_group(part, "culture", known) for part in (parts.train, parts.validation, parts.test)))
    plain, transductive = (
        foreign_cell("erm", each, TrainingConfig(epochs=3, batch_size=24)).predictions for each in (parts, standardised)
    )
    right = [
        (table.loc[table["part"] == "test", [f"fused.{name}" for name in parts.test.labels]].idxmax(axis=1)
         == "fused." + table.loc[table["part"] == "test", "emotion"]).mean()
        for table in (plain.dropna(), transductive.dropna())
    ]  # fmt: skip
    assert right[1] >= right[0]
