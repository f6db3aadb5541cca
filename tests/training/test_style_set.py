"""On people with a style of their own, a few unlabelled clips of each tell more than one clip alone."""

import numpy as np
import pytest

from cimeu.errors import EmptyClass
from cimeu.evaluation.metrics import uar
from cimeu.evaluation.supports import Condition
from cimeu.training.style_set import Embedded, StyleFit, StyleRule, calibrated, candidates, score

EMOTIONS = ("anger", "neutral", "sadness")


def people(groups: int = 3, persons: int = 4, clips: int = 12, style: float = 2.0, seed: int = 0) -> Embedded:
    """Clips x = group + person + emotion + noise, emotions in the same directions everywhere."""
    generator = np.random.default_rng(seed)
    width = 12
    deltas = np.random.default_rng(9).standard_normal((3, width))
    rows, emotion, group, person = [], [], [], []
    for g in range(groups):
        of_group = generator.standard_normal(width)
        for p in range(persons):
            of_person = of_group + style * generator.standard_normal(width)
            for c in range(clips):
                rows.append(of_person + deltas[c % 3] + 0.5 * generator.standard_normal(width))
                emotion.append(c % 3)
                group.append(f"group {g}")
                person.append(f"person {g} {p}")
    return Embedded(np.array(rows, np.float32), np.array(emotion), tuple(group), tuple(person), EMOTIONS)


def test_ten_clips_of_the_person_help_and_none_is_as_good_as_alone() -> None:
    train, test = people(), people(groups=1, seed=1)
    model = StyleFit(train).model(StyleRule())
    alone, ten = (score(model, test, Condition(size)) for size in (0, 10))
    found = [uar(test.emotion[each.rows], each.probabilities.argmax(axis=1)) for each in (alone, ten)]
    assert found[1] > found[0] + 0.15
    assert (ten.sizes == 10).all()


def test_posteriors_of_training_clips_come_from_other_groups() -> None:
    clips = people(groups=2)
    swapped = clips.emotion.copy()
    first = clips.of("group 0")
    swapped[first] = (swapped[first] + 1) % 3  # the groups contradict each other
    fit = StyleFit(Embedded(clips.x, swapped, clips.group, clips.person, EMOTIONS))
    posteriors = fit.posteriors(fit.z, clips.group, 0.1)
    assert np.mean(posteriors[first].argmax(axis=1) == swapped[first]) < 0.4


def test_a_fit_is_the_same_each_time() -> None:
    one, other = (StyleFit(people(), seed=3).model(StyleRule()) for _ in range(2))
    assert all(tensor.equal(other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_temperatures_change_confidence_and_no_answer() -> None:
    test = people(groups=1, seed=1)
    before = score(StyleFit(people()).model(StyleRule()), test, Condition(0)).probabilities
    after = score(calibrated(StyleFit(people()).model(StyleRule()), 2.0, 1.0), test, Condition(0)).probabilities
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert after.max(axis=1).mean() < before.max(axis=1).mean()


def test_a_group_that_lacks_an_emotion_is_refused() -> None:
    clips = people()
    kept = ~(clips.of("group 1") & (clips.emotion == 2))
    with pytest.raises(EmptyClass, match=r"group `group 1` has no clip of `sadness`\n\nhint: leave the group out"):
        StyleFit(clips.take(kept)).model(StyleRule())


def test_candidates_are_every_combination() -> None:
    rules = candidates((0.01, 0.1), (1.0,), (1.0, float("inf")), (2.0,))
    assert [str(rule) for rule in rules] == [
        "C 0.01, shrinkage 1, mix prior 1, 3 passes, caution 2",
        "C 0.01, shrinkage 1, mix as the posteriors say, caution 2",
        "C 0.1, shrinkage 1, mix prior 1, 3 passes, caution 2",
        "C 0.1, shrinkage 1, mix as the posteriors say, caution 2",
    ]


def test_caution_changes_answers_given_a_support_of_one_emotion_most() -> None:
    fit, test = StyleFit(people()), people(groups=1, seed=1)
    trusting, cautious = (fit.model(StyleRule(caution=caution)) for caution in (0.0, 4.0))
    assert trusting.adapted.weight.equal(cautious.adapted.weight)

    def changed(condition: Condition) -> float:
        one, other = (score(model, test, condition).probabilities for model in (trusting, cautious))
        return float(np.abs(one - other).mean())

    assert changed(Condition(0)) == 0
    assert changed(Condition(3, "own")) > 2 * changed(Condition(3, "even"))
