"""A style-set model is chosen inside its training groups, measured on others, and ships without single clips."""

import numpy as np
import pandas as pd
import pytest

from cimeu.errors import RecipeError
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments import held_out
from cimeu.experiments.held_out import ALONE, LARGEST_LOSS, NATURAL, HeldOut, within
from cimeu.experiments.starter import load_starter, to_yaml
from cimeu.experiments.starter_card import card, tables
from cimeu.experiments.starter_figures import figures
from cimeu.inference.model_store import STARTER
from cimeu.model.checkpoint import Specifications
from cimeu.training.style_set import Embedded, StyleFit, StyleRule

EMOTIONS = ("anger", "neutral")


@pytest.fixture(scope="module")
def clips() -> Embedded:
    """Three groups of four people with a style of their own and twelve clips each."""
    generator, deltas = np.random.default_rng(0), np.random.default_rng(9).standard_normal((2, 8))
    rows, emotion, group, person = [], [], [], []
    for number in range(12):
        style = 1.5 * generator.standard_normal(8)
        for clip in range(12):
            rows.append(style + deltas[clip % 2] + 0.5 * generator.standard_normal(8))
            emotion.append(clip % 2)
            group.append(f"culture {number // 4}")
            person.append(f"person {number}")
    return Embedded(np.array(rows, np.float32), np.array(emotion), tuple(group), tuple(person), EMOTIONS)


@pytest.fixture(scope="module")
def judged(clips: Embedded) -> HeldOut:
    patch = pytest.MonkeyPatch()
    patch.setattr(held_out, "STRENGTHS", (0.01, 0.1))
    patch.setattr(held_out, "SHRINKS", (1.0,))
    patch.setattr(held_out, "MIX_PRIORS", (1.0,))
    patch.setattr(held_out, "CAUTIONS", (0.0, 30.0))
    yield HeldOut(clips)
    patch.undo()


def test_a_choice_never_hears_the_group_that_is_tested(judged: HeldOut, clips: Embedded) -> None:
    before = judged.choose(clips.groups[:2])
    changed = Embedded(clips.x.copy(), clips.emotion, clips.group, clips.person, clips.emotions)
    changed.x[clips.of(clips.groups[2])] += 7
    assert HeldOut(changed).choose(clips.groups[:2]) == before


def test_a_rule_is_the_best_of_those_that_a_support_of_one_emotion_costs_at_most_a_point(judged: HeldOut) -> None:
    choice = judged.choose(judged.clips.groups)
    safe = {rule: choice.scores[rule] for rule, loss in choice.losses.items() if loss <= LARGEST_LOSS}
    assert 0 < len(safe) < len(choice.scores)
    assert safe[str(choice.rule)] == max(safe.values())


def test_a_threshold_lets_the_share_of_held_out_clips_through(judged: HeldOut, clips: Embedded) -> None:
    fold = judged.outer(clips.groups[0], (0, 1))
    passed = [
        np.mean(scored.probabilities.max(axis=1) >= fold.choice.thresholds[0.5]) for scored in fold.answers[NATURAL]
    ]
    assert 0.2 < np.mean(passed) < 0.8
    assert fold.choice.thresholds[0.8] <= fold.choice.thresholds[0.5]


def test_speakers_of_known_groups_are_tested_by_models_that_never_heard_them(clips: Embedded) -> None:
    answered = within(clips, StyleRule(), n_folds=4)
    assert np.isfinite(answered[ALONE]).all()
    own = within(clips, StyleRule(), n_folds=4, only=clips.groups[1])[ALONE]
    assert (np.isfinite(own).all(axis=1) == clips.of(clips.groups[1])).all()


def test_speakers_are_dealt_out_alike_in_any_order_of_clips(clips: Embedded) -> None:
    order = np.random.default_rng(3).permutation(len(clips.x))
    dealt = dict(zip(clips.person, held_out._parts(clips, 4, seed=1).tolist(), strict=True))
    shuffled = clips.take(order)
    assert dict(zip(shuffled.person, held_out._parts(shuffled, 4, seed=1).tolist(), strict=True)) == dealt


def test_the_card_holds_every_figure_and_no_clip(judged: HeldOut, clips: Embedded) -> None:
    table = pd.DataFrame({"culture": clips.group, "speaker": clips.person, "gender": ["f", "m"] * 72})
    table = table.assign(corpus=table["culture"], language="xx", acted="yes", clip_id="secret-clip")
    folds = [judged.outer(group, (0, 1)) for group in clips.groups]
    shipped = judged.choose(clips.groups)
    inside = {0: within(clips, shipped.rule, n_folds=4)}
    own = {group: within(clips, shipped.rule, n_folds=4, only=group)[ALONE] for group in clips.groups}
    measured = figures(clips, table, folds, shipped, inside, own, None)
    model = StyleFit(clips).model(shipped.rule, Specifications(emotions=EMOTIONS, first_encoder={"name": "moonshine"}))
    text = card("voice", model, EnsembleSettings(abstain_below=0.61, coverage=0.5), table, measured)
    for part in (*clips.groups, "0.61", "50 % of clips", "Not for", "infer human attributes", "transductive"):
        assert part in text
    assert "secret-clip" not in text
    assert f"{measured['held_out']['natural-10']['mean']['value']:.1f} [" in tables(measured)
    assert measured["conditions"]["even-10"]["mean"] > measured["conditions"]["alone"]["mean"]


def test_a_recipe_without_recordings_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"the recipe names no recordings\n\nhint: set data\.root=FOLDER"):
        load_starter("starter/voice")


def test_the_shipped_recipe_names_no_folder_of_a_machine() -> None:
    recipe = load_starter("starter/voice", ["data.root=/somewhere", "output=/elsewhere"])
    assert "somewhere" not in to_yaml(recipe)
    assert "elsewhere" not in to_yaml(recipe)
    assert (STARTER / "recipe.yaml").read_text(encoding="utf-8") == to_yaml(recipe)


def test_what_ships_is_small_and_holds_nothing_of_single_clips() -> None:
    files = {path.relative_to(STARTER).as_posix(): path for path in STARTER.rglob("*") if path.is_file()}
    assert set(files) == {
        "forward/config.json",
        "forward/model.safetensors",
        "ensemble.json",
        "familiarity.safetensors",
        "recipe.yaml",
        "MODEL_CARD.md",
        "digests.json",
    }
    assert sum(path.stat().st_size for path in files.values()) < 2 * 2**20


def test_a_share_outside_one_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"`coverage` is 2\.0\n\nhint: a number above 0, up to 1"):
        load_starter("starter/voice", ["data.root=.", "coverage=2"])
