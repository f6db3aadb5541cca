import json
from dataclasses import replace

import numpy as np
import pytest

from cimeu.evaluation.probes import ProbeClips, Probed, halves, probe, probe_table, score


def clips(seed: int, *, groups: tuple[int, ...], n_speakers: int = 10, n_each: int = 12) -> ProbeClips:
    """`E` holds only emotion, `S` only the group, `raw` both, `untrained E` a blur of both."""
    generator = np.random.default_rng(seed)
    n = len(groups) * n_speakers * n_each
    group = np.repeat(groups, n_speakers * n_each)
    emotion = np.arange(n) % 3
    speaker = [f"{name}-{seed}-{number // n_each}" for number, name in enumerate(group)]
    emotion_primitives = np.eye(3)[emotion] * 2.5 + generator.normal(0, 1, (n, 3))
    style_primitives = np.eye(4)[group] * 2.5 + generator.normal(0, 1, (n, 4))
    both = np.concatenate([emotion_primitives, style_primitives], axis=1)
    representations = {
        "E": emotion_primitives,
        "S": style_primitives,
        "raw": both,
        "untrained E": both + generator.normal(0, 3, both.shape),
    }
    return ProbeClips({name: x.astype(np.float32) for name, x in representations.items()}, emotion, group, speaker)


@pytest.fixture(scope="module")
def table() -> list[dict[str, object]]:
    return probe_table(
        clips(0, groups=(0, 1, 2)), clips(1, groups=(0, 1, 2), n_speakers=4), clips(2, groups=(3,)), resamples=200
    )


def find(table: list[dict[str, object]], **wanted: str) -> dict[str, object]:
    (row,) = [row for row in table if all(row[key] == value for key, value in wanted.items())]
    return row


@pytest.mark.parametrize("kind", ["logistic", "hidden"])
def test_probes_tell_a_space_of_emotion_from_a_space_of_groups(table: list[dict[str, object]], kind: str) -> None:
    scores = {
        (name, target): find(table, version="unseen speakers", target=target, representation=name, probe=kind)["score"]
        for name in ("E", "S")
        for target in ("emotion", "group")
    }
    assert scores["E", "emotion"] > 0.8
    assert scores["S", "group"] > 0.8
    assert abs(scores["S", "emotion"]) < 0.2
    assert abs(scores["E", "group"]) < 0.2


def test_the_second_version_adds_the_held_out_group(table: list[dict[str, object]]) -> None:
    first = find(table, version="unseen speakers", target="group", representation="raw", probe="logistic")
    second = find(table, version="with the held-out group", target="group", representation="raw", probe="logistic")
    assert (first["classes"], second["classes"]) == (3, 4)
    assert second["n_train"] == first["n_train"] + 60
    assert second["n_test"] == first["n_test"] + 60


def test_a_table_of_probes_is_ready_for_json(table: list[dict[str, object]]) -> None:
    assert json.loads(json.dumps(table)) == table
    assert len(table) == 2 * 2 * 2 * 4


def test_half_the_speakers_never_meet_the_other_half() -> None:
    first, second = halves(clips(0, groups=(0, 1)), seed=3)
    assert not set(first.speaker) & set(second.speaker)
    assert len(set(first.speaker)) == len(set(second.speaker)) == 10
    assert len(first.emotion) + len(second.emotion) == 240


def test_no_score_where_the_raw_features_do_not_beat_chance() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(90, 4)), np.arange(90) % 3
    noise = probe(x, y, generator.normal(size=(60, 4)), np.arange(60) % 3, speakers=[str(i // 6) for i in range(60)])
    assert noise is not None
    assert noise.low < noise.chance < noise.high
    assert score(noise, noise) is None


def test_the_score_is_the_share_of_what_raw_features_tell() -> None:
    raw = Probed(0.75, 0.7, 0.8, 0.25, 4, 10, 10)
    assert score(replace(raw, accuracy=0.5), raw) == pytest.approx(0.5)
    assert score(raw, raw) == pytest.approx(1)


def test_rare_classes_weigh_as_much_as_common_ones() -> None:
    """Nine clips in ten belong to one class: a probe that ignored balance would always say so and score 50 %."""
    generator = np.random.default_rng(0)
    y = (np.arange(400) % 10 == 0).astype(np.int64)
    x = y[:, None] * 1.0 + generator.normal(0, 1, (400, 1))
    result = probe(x[:200], y[:200], x[200:], y[200:], speakers=[str(i) for i in range(200)])
    assert result is not None
    assert result.accuracy > 0.6


def test_a_single_class_cannot_be_probed() -> None:
    x, y = np.zeros((4, 2)), np.zeros(4, dtype=np.int64)
    assert probe(x, y, x, y, speakers=["a"] * 4) is None


def test_clips_without_a_label_are_left_out() -> None:
    everyone = clips(0, groups=(0, 1))
    y = everyone.emotion.copy()
    y[:60] = -1
    x = everyone.representations["raw"]
    result = probe(x, y, x, y, speakers=everyone.speaker, resamples=50)
    assert result is not None
    assert result.n_train == result.n_test == 180
