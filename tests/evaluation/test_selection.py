import re
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest

from cimeu.corpora.folds import Fold
from cimeu.corpora.manifest import COLUMNS, Manifest
from cimeu.errors import RecipeError
from cimeu.evaluation.predict import Scores, fused_probabilities
from cimeu.evaluation.selection import RULES, abstention_threshold, choose, rule_named
from cimeu.training.config import TrainingConfig

TRUTH = np.random.default_rng(0).integers(0, 4, 300)


def scores(strength, *, seed=0, second_strength=None, good_level=None):
    """Logits that favour the truth by `strength`, at all levels or at one only."""
    generator = np.random.default_rng(seed)

    def logits(strength):
        noise = generator.normal(size=(3, len(TRUTH), 4))
        signal = np.eye(4)[TRUTH] * strength
        shares = np.ones(3) if good_level is None else np.eye(3)[good_level]
        return (noise + shares[:, None, None] * signal).astype(np.float32)

    first = logits(strength)
    second = None if second_strength is None else logits(second_strength)
    present = np.ones((len(TRUTH), 2), dtype=bool) & [True, second is not None]
    gate = np.full((3, len(TRUTH)), 0.0 if second is None else 0.2, dtype=np.float32)
    return Scores(tuple(str(clip) for clip in range(len(TRUTH))), first, second, gate, present)


def test_the_better_direction_gets_the_weight():
    assert choose(scores(4), scores(0, seed=1), TRUTH, levels="H").mu > 0.5
    assert choose(scores(0), scores(4, seed=1), TRUTH, levels="H").mu < 0.5


def test_a_tie_goes_to_the_published_settings():
    settings = choose(scores(50), scores(50), TRUTH, choose_a=True)
    assert (settings.mu, settings.levels, settings.a) == (0.6, "H", 0.2)


def test_the_mean_of_levels_is_taken_where_h_says_nothing():
    assert choose(scores(3, good_level=2), None, TRUTH).levels == "mean"


def test_the_second_stream_gets_weight_only_where_it_is_to_be_chosen():
    pair = scores(0, second_strength=4)
    assert choose(pair, None, TRUTH, choose_a=True).a > 0.5
    assert choose(pair, None, TRUTH).a is None


def test_one_direction_alone_is_the_ensemble():
    only = choose(None, scores(2), TRUTH)
    assert (only.mu, only.directions) == (0.0, ("backward",))
    fused = fused_probabilities(None, scores(2), only)
    np.testing.assert_array_equal(fused["fused"].argmax(1), fused["backward"].argmax(1))


def test_what_is_given_is_kept():
    settings = choose(scores(0), scores(4), TRUTH, mu=0.9, levels="mean")
    assert (settings.mu, settings.levels) == (0.9, "mean")


def test_last_chooses_nothing():
    settings = choose(scores(0), scores(4), TRUTH, selection="last")
    assert (settings.mu, settings.levels, settings.temperature, settings.selection) == (0.6, "H", 1.0, "last")


def test_settings_say_where_they_come_from():
    assert "validation clips" in str(choose(scores(2), None, TRUTH))
    assert "ORACLE" in str(choose(scores(2), None, TRUTH, selection="oracle"))
    assert "defaults" in str(choose(scores(2), None, TRUTH, selection="last"))


def test_the_threshold_lets_the_asked_share_through():
    settings = choose(scores(1), scores(1, seed=1), TRUTH, coverage=0.8)
    fused = fused_probabilities(scores(1), scores(1, seed=1), settings)["fused"]
    assert (fused.max(axis=1) >= settings.abstain_below).mean() == pytest.approx(0.8)


def test_full_coverage_never_abstains():
    assert abstention_threshold(np.array([[0.5, 0.5], [0.9, 0.1]]), 1.0) == 0.0


def test_without_a_usable_validation_clip_nothing_can_be_chosen():
    empty = scores(1)
    empty.first[:] = np.nan
    with pytest.raises(RecipeError, match="no validation clip can be used\n\nhint:"):
        choose(empty, None, TRUTH)


@pytest.mark.parametrize("coverage", [0.0, 1.5])
def test_an_impossible_coverage_is_refused(coverage):
    with pytest.raises(RecipeError, match=re.escape(f"coverage is {coverage}\n\nhint:")):
        choose(scores(1), None, TRUTH, coverage=coverage)


# Rules


CLIPS = pd.DataFrame(
    [
        dict.fromkeys(COLUMNS, "")
        | {"clip_id": f"{culture}{speaker}{emotion}", "emotion": emotion, "corpus": "little", "culture": culture}
        | {"speaker": f"{culture}{speaker}", "problem": "no sound" if (culture, speaker) == ("c", 0) else ""}
        for culture in "abc"
        for speaker in range(3)
        for emotion in ("anger", "neutral")
    ]
)
MANIFEST = Manifest(CLIPS, Path())
IDS = {name: tuple(CLIPS["clip_id"][CLIPS["culture"] == name]) for name in "abc"}
FOLD = Fold("c", IDS["a"][2:] + IDS["b"][2:], IDS["a"][:2] + IDS["b"][:2], IDS["c"], True, "")


@pytest.mark.parametrize("name", ["validation", "average", "last"])
def test_speakers_of_the_training_groups_validate(name):
    assert rule_named(name).fold(FOLD, MANIFEST, "culture", 0) == FOLD


def test_a_whole_training_group_validates_and_every_seed_takes_the_next():
    rule = rule_named("leave-one-group-out validation")
    for seed, (taught, validates) in enumerate((("b", "a"), ("a", "b"), ("b", "a"))):
        fold = rule.fold(FOLD, MANIFEST, "culture", seed)
        assert set(fold.train) == set(IDS[taught])
        assert set(fold.validation) == set(IDS[validates])
        assert fold.test == FOLD.test


def test_one_training_group_cannot_both_teach_and_validate():
    alone = replace(FOLD, train=IDS["a"][2:], validation=IDS["a"][:2])
    with pytest.raises(RecipeError, match=r"fold c has 1 training group\(s\) in column `culture`"):
        rule_named("leave-one-group-out validation").fold(alone, MANIFEST, "culture", 0)


def test_an_oracle_validates_on_the_test_clips_that_can_be_used():
    assert rule_named("oracle").fold(FOLD, MANIFEST, "culture", 0).validation == IDS["c"][2:]


def test_an_unknown_rule_is_an_error_with_a_guess():
    with pytest.raises(RecipeError, match="unknown selection `orcale`\n\nhint: did you mean `oracle`"):
        rule_named("orcale")


def test_every_rule_has_the_name_it_is_found_by():
    assert {name: rule.name for name, rule in RULES.items()} == {name: name for name in RULES}


def test_every_selection_of_a_recipe_is_a_rule_of_a_bench():
    allowed = get_args(get_type_hints(TrainingConfig)["selection"])
    assert set(allowed) == {rule.training for rule in RULES.values()}


def test_a_run_is_told_by_each_rule_what_chooses():
    assert {name: rule.training for name, rule in RULES.items()} == {
        "validation": "validation",
        "leave-one-group-out validation": "validation",
        "average": "average",
        "last": "last",
        "oracle": "oracle",
    }
