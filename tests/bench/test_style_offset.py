"""A planted speaker offset is found in other clips of the speaker and subtracted, whatever the model behind."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cimeu.batching.dataset import ClipDataset
from cimeu.bench.cells import CellResult, Parts, foreign_cell
from cimeu.bench.style_offset import (
    COUNT,
    DRAWS,
    WEIGHT,
    Clips,
    answers_with_supports,
    draw_supports,
    support_protocols,
)
from cimeu.corpora.folds import Fold
from cimeu.corpora.manifest import COLUMNS, Manifest
from cimeu.errors import RecipeError
from cimeu.evaluation.metrics import uar
from cimeu.labels import LabelSpace
from cimeu.training.config import TrainingConfig
from cimeu.training.episodes import EPISODES, StreamRule, SupportReader

WIDTH, N_EMOTIONS, TAKES, SPEAKERS = 6, 3, 5, 6
MEANS = 2 * np.eye(N_EMOTIONS, WIDTH)
"""What each emotion adds, the same in every culture."""
EMOTIONS = ("anger", "neutral", "sadness")


class Plain(ClipDataset):
    """Clips with features that a test made, instead of those of a store."""

    def __init__(self, table: pd.DataFrame, steps: list[np.ndarray | None]) -> None:
        super().__init__(
            Manifest(table, Path()), LabelSpace("three", EMOTIONS), first=None, second=None, direction="forward"
        )
        self.first_features = steps
        self.present = np.array([[each is not None, False] for each in steps])
        self.usable = np.flatnonzero(self.present.any(1))


def spoken(cultures: tuple[str, ...], *, offset: float, seed: int, noise: float = 0.5) -> Plain:
    """Clips of six speakers in each culture, five of each emotion; a speaker moves every step by the same offset."""
    generator = np.random.default_rng(seed)
    rows, steps = [], []
    for culture in cultures:
        for speaker in range(SPEAKERS):
            own = generator.normal(0, offset, WIDTH)
            for take in range(TAKES * N_EMOTIONS):
                emotion = take % N_EMOTIONS
                facts = {"clip_id": f"{culture}/{speaker}/{take}", "emotion": EMOTIONS[emotion], "corpus": culture}
                facts |= {"speaker": str(speaker), "culture": culture, "start_s": 0.0, "end_s": np.nan}
                rows.append(dict.fromkeys(COLUMNS, "") | facts)
                steps.append((MEANS[emotion] + own + generator.normal(0, noise, (4, WIDTH))).astype(np.float32))
    return Plain(pd.DataFrame(rows), steps)


TRAIN = spoken(("a", "b"), offset=1.0, seed=0)
TEST = spoken(("c",), offset=1.5, seed=1)
RULE = StreamRule.of(TRAIN, "culture")


def nearest(clips: ClipDataset) -> np.ndarray:
    """Posteriors of a classifier that knows the emotions' true means and how much people differ, and no person."""
    x = np.stack([np.full(WIDTH, np.nan) if steps is None else steps.mean(axis=0) for steps in clips.first_features])
    logits = -0.25 * np.square(x[:, None] - MEANS).sum(axis=-1)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def answered(sets: str, clips: ClipDataset = TEST) -> pd.DataFrame:
    """What `nearest` says given supports, all draws below each other."""

    def answer(read: Clips) -> np.ndarray:
        return nearest(read["forward"])

    tables = answers_with_supports({"forward": RULE}, {"forward": clips}, answer, answer, support_protocols(sets))
    return pd.concat(tables, ignore_index=True)


def uar_with(sets: str, clips: ClipDataset = TEST) -> float:
    table = answered(sets, clips)
    said = table[[f"fused.{name}" for name in EMOTIONS]].to_numpy().argmax(axis=1)
    return uar(np.array([EMOTIONS.index(name) for name in table["emotion"]]), said)


def test_a_planted_speaker_offset_is_subtracted() -> None:
    alone = uar(TEST.emotions, nearest(TEST).argmax(axis=1))
    assert uar_with("person-10:even") > alone + 0.2
    assert uar_with("person-10") > alone + 0.2


def test_what_is_subtracted_is_the_speakers_offset() -> None:
    reader = SupportReader(RULE, TEST)
    adapted = reader.less_style(draw_supports(reader, support_protocols("person-12:even")[0]), "person")

    def apart(clips: ClipDataset) -> float:
        """Deviation of the speakers' own offsets."""
        x = np.stack([np.zeros(WIDTH) if steps is None else steps.mean(axis=0) for steps in clips.first_features])
        own = [
            (x - MEANS[TEST.emotions])[np.array(TEST.groups("speaker")) == str(n)].mean(axis=0) for n in range(SPEAKERS)
        ]
        return float(np.std(own, axis=0).mean())

    assert apart(TEST) > 1.0
    assert apart(adapted) < 0.25


def test_a_support_of_the_clips_own_emotion_alone_gains_less_than_an_even_one() -> None:
    """The offset of a speaker and an emotion that all support clips share cannot be told apart from within."""
    assert uar_with("person-4:own") < uar_with("person-4:even") - 0.1


def test_people_without_an_offset_lose_nothing_by_supports() -> None:
    clips = spoken(("c",), offset=0.0, seed=2)
    assert uar_with("person-10", clips) >= uar(clips.emotions, nearest(clips).argmax(axis=1)) - 0.03


def test_without_support_clips_stay_as_they_are() -> None:
    adapted = SupportReader(RULE, TEST).less_style([np.zeros(0, int)] * len(TEST), "person")
    for before, after in zip(TEST.first_features, adapted.first_features, strict=True):
        np.testing.assert_array_equal(before, after)


def test_supports_hold_other_clips_of_the_same_person_or_clips_of_other_people_of_the_culture() -> None:
    both = spoken(("c", "d"), offset=1.0, seed=3)
    reader = SupportReader(RULE, both)
    person, culture = (draw_supports(reader, each) for each in support_protocols("person-10,culture-10"))
    speakers, cultures = np.array(both.groups("speaker")), np.array(both.groups("culture"))
    for row in range(len(both)):
        own, others = person[row], culture[row]
        assert own is not None
        assert others is not None
        assert len(set(own.tolist())) == len(set(others.tolist())) == 10
        assert row not in own
        assert set(cultures[own]) == set(cultures[others]) == {cultures[row]}
        assert set(speakers[own]) == {speakers[row]}
        assert speakers[row] not in speakers[others]


def test_supports_are_the_same_in_whatever_order_and_company_clips_are_read() -> None:
    protocol = support_protocols("person-5:skewed")[0]
    alone, both = TEST, spoken(("b", "c"), offset=1.0, seed=3)

    def by_name(clips: ClipDataset) -> dict[str, list[str]]:
        drawn = zip(clips.clip_ids, draw_supports(SupportReader(RULE, clips), protocol), strict=True)
        return {name: [clips.clip_ids[row] for row in rows] for name, rows in drawn if rows is not None}

    few = by_name(alone)
    assert few
    assert few.items() <= by_name(both).items()


def test_labels_of_test_clips_reach_no_answer_under_natural_supports() -> None:
    table = TEST.manifest.table
    swapped = Plain(table.assign(emotion=table["emotion"].to_numpy()[::-1]), TEST.first_features)
    columns = [f"fused.{name}" for name in EMOTIONS]
    one, other = (answered("person-10,culture-10", clips)[columns].to_numpy() for clips in (TEST, swapped))
    np.testing.assert_array_equal(one, other)


def test_clips_whose_person_is_unknown_or_cannot_fill_the_mix_are_left_out() -> None:
    table = TEST.manifest.table.copy()
    table.loc[table["speaker"] == "0", "speaker"] = ""
    table.loc[(table["speaker"] == "1"), "emotion"] = "anger"
    clips = Plain(table, TEST.first_features)

    assert set(answered("person-10", clips)["speaker"]) == {"1", "2", "3", "4", "5"}
    assert set(answered("person-10:even", clips)["speaker"]) == {"2", "3", "4", "5"}
    assert set(answered("culture-10", clips)["speaker"]) == {"", "1", "2", "3", "4", "5"}


def test_emotions_of_each_support_are_counted() -> None:
    even, own = answered("person-6:even"), answered("person-3:own")
    assert (even[[COUNT + name for name in EMOTIONS]] == 2).all(axis=None)
    for name in EMOTIONS:
        assert (own.loc[own["emotion"] == name, COUNT + name] == 3).all()
        assert (own.loc[own["emotion"] != name, COUNT + name] == 0).all()


def test_a_clip_without_the_stream_is_in_no_support_and_stays_absent() -> None:
    steps = [None if row % 7 == 0 else each for row, each in enumerate(TEST.first_features)]
    clips = Plain(TEST.manifest.table, steps)
    reader = SupportReader(RULE, clips)
    adapted = reader.less_style(draw_supports(reader, support_protocols("person-10")[0]), "person")
    assert [each is None for each in adapted.first_features] == [each is None for each in steps]
    assert all(np.isfinite(each).all() for each in adapted.first_features if each is not None)


def test_supports_are_drawn_several_times_and_every_draw_answers_the_same_clips() -> None:
    table = answered("person-10")
    clips = [frozenset(drawn["clip_id"]) for _, drawn in table.groupby("draw")]
    assert clips == [frozenset(TEST.clip_ids)] * DRAWS
    columns = [f"fused.{name}" for name in EMOTIONS]
    first, second = (table.loc[table["draw"] == number, columns].to_numpy() for number in (0, 1))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("sets", ["person-10", "person-0,person-10:even,person-10:skewed", "culture-20:even"])
def test_support_sets_are_named_as_they_are_written(sets: str) -> None:
    assert ",".join(map(str, support_protocols(sets))) == sets


def test_single_stands_for_the_own_and_another_emotion() -> None:
    assert list(map(str, support_protocols("person-10:single"))) == ["person-10:own", "person-10:other"]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("speaker-10", "`speaker-10` names no support set\n\nhint: write person-10, person-10:even or culture-10"),
        ("person-x", "`person-x` names no support set"),
        ("person-10:evn", "unknown mix `evn` of a support set\n\nhint: did you mean `even`?"),
    ],
)
def test_a_support_set_that_does_not_exist_is_an_error(sets: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        support_protocols(sets)
    assert str(caught.value).startswith(message)


def test_a_method_of_another_package_is_helped_by_the_same_rule(world: Any) -> None:
    fold: Fold = world.folds[0]
    parts: Parts = world.parts(fold)
    config = TrainingConfig(epochs=1, batch_size=24)
    sets = support_protocols("person-5,culture-5")
    found: CellResult = foreign_cell("erm", parts, config, supports=sets)
    test = found.predictions[found.predictions["part"] == "test"]
    assert set(test["condition"]) == {"", "person-5", "culture-5"}
    columns = [f"fused.{name}" for name in EMOTIONS]
    alone, given = (test[test["condition"] == name].set_index("clip_id")[columns] for name in ("", "person-5"))
    assert not np.allclose(alone.loc[given.index].dropna(), given.dropna())


def test_training_clips_are_less_another_style_in_each_epoch_and_come_round() -> None:
    clips = RULE.in_episodes(TRAIN)
    epochs = [np.stack(clips.episode(number).first_features) for number in (0, 1, EPISODES)]
    assert not np.allclose(epochs[0], epochs[1])
    np.testing.assert_array_equal(epochs[0], epochs[2])
    np.testing.assert_array_equal(np.stack(clips.first_features), np.stack(TRAIN.first_features))
    assert TRAIN.episode(1) is TRAIN


def test_some_training_clips_are_read_without_a_support() -> None:
    moved = np.stack(RULE.in_episodes(TRAIN).episode(0).first_features)
    stays = (moved == np.stack(TRAIN.first_features)).all(axis=(1, 2))
    assert 0.1 < stays.mean() < 0.35


def test_people_in_training_are_nearer_to_each_other_behind_the_rule() -> None:
    def spread(clips: ClipDataset) -> float:
        x = np.stack([steps.mean(axis=0) for steps in clips.first_features if steps is not None])
        return float((x - MEANS[TRAIN.emotions]).std(axis=0).mean())

    assert spread(RULE.in_episodes(TRAIN).episode(0)) < 0.8 * spread(TRAIN)


def test_without_support_the_model_trained_without_supports_answers_and_an_even_one_outweighs_it() -> None:
    angry, sad = (np.tile(row, (len(TEST), 1)) for row in ([0.8, 0.1, 0.1], [0.1, 0.1, 0.8]))
    tables = answers_with_supports(
        {"forward": RULE},
        {"forward": TEST},
        lambda _: angry,
        lambda _: sad,
        support_protocols("person-0,person-12:even"),
    )
    none, even = (table[[f"fused.{name}" for name in EMOTIONS]] for table in tables[:2])
    np.testing.assert_allclose(none, angry)
    assert even["fused.sadness"].min() > 0.5


def test_a_support_of_one_emotion_counts_less_than_an_even_one_and_none_not_at_all() -> None:
    none, own, even = (answered(sets)[WEIGHT] for sets in ("person-0", "person-3:own", "person-3:even"))
    assert (none == 0).all()
    assert own.mean() < even.mean() - 0.1
    assert even.between(0, 1).all()


def test_the_weight_beside_an_answer_is_the_one_that_it_was_given_with() -> None:
    angry, sad = (np.tile(row, (len(TEST), 1)) for row in ([0.8, 0.1, 0.1], [0.1, 0.1, 0.8]))
    tables = answers_with_supports(
        {"forward": RULE}, {"forward": TEST}, lambda _: angry, lambda _: sad, support_protocols("person-5")
    )
    for table in tables:
        logits = np.log(table["fused.sadness"] / table["fused.anger"]) / np.log(8)
        np.testing.assert_allclose((logits + 1) / 2, table[WEIGHT], atol=1e-6)
