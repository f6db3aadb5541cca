"""Networks that were trained behind the rule of style answer windows given others of their person (random weights)."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cimeu.errors import CheckpointError
from cimeu.evaluation.behind_rule import BehindRule
from cimeu.evaluation.ensemble import Ensemble
from cimeu.inference import kept_clips
from cimeu.inference.bundle import write_bundle
from cimeu.inference.explain import explained_timeline
from cimeu.inference.live import LiveSession
from cimeu.inference.model_folder import open_model_folder
from cimeu.inference.recogniser import Reading, Recogniser
from cimeu.inference.side_by_side import SideBySide
from cimeu.media.audio import RATE_HZ, read_sound, write_sound
from cimeu.model.checkpoint import Specifications, save_checkpoint
from cimeu.model.support_rule import SupportRule, SupportRuleConfig
from cimeu.pyramid import DIRECTIONS
from cimeu.sealed import seal
from cimeu.timeline.result import Timeline
from cimeu.timeline.settings import TimelineSettings

from .conftest import EMOTIONS, RunMaker, voice

EVERYTHING = TimelineSettings(abstain_below=0.0, window_s=1.0, hop_s=1.0)
STREAMS = ("first", "second")


@pytest.fixture(scope="module")
def plain(make_run: RunMaker) -> Path:
    """A run that was trained without supports."""
    return make_run("spectral", "prosody")


@pytest.fixture(scope="module")
def run(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same networks with rules of their own."""
    folder = shutil.copytree(plain, tmp_path_factory.mktemp("rule") / "run")
    widths = tuple(json.loads((folder / "forward/config.json").read_text())["model"][s]["width"] for s in STREAMS)
    for number, direction in enumerate(DIRECTIONS):
        torch.manual_seed(number)
        rule = SupportRule(
            SupportRuleConfig(emotions=EMOTIONS, widths=widths, direction=direction, caution=2.0),
            Specifications(emotions=EMOTIONS, direction=direction),
        )
        rule.deltas.normal_()
        save_checkpoint(rule, folder / direction / "style")
    return folder


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of a voice that changes. Synthetic."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    samples = voice(4.0) * np.linspace(0.2, 1.0, 4 * RATE_HZ, dtype=np.float32)
    write_sound(path, samples)
    return path


@cache
def recogniser(run: Path, style: str = "recording") -> Recogniser:
    """Opened once; nothing is kept between two recordings."""
    return Recogniser.from_pretrained(run, style=style, settings=EVERYTHING)


@pytest.fixture(scope="module")
def alone(run: Path, talk: Path) -> Timeline:
    return recogniser(run, "none")(talk)


@pytest.fixture(scope="module")
def reading(run: Path, talk: Path) -> Reading:
    """Every window answered alone, with what a style is read from."""
    return recogniser(run).read(talk)


@pytest.fixture(scope="module")
def given(run: Path, reading: Reading) -> Timeline:
    model = recogniser(run)
    return model.timeline(model.adapted(reading))


def test_without_a_style_answers_are_those_of_the_network_alone(plain: Path, talk: Path, alone: Timeline) -> None:
    before = recogniser(plain)(talk)
    assert alone.series == before.series
    assert before.header.style == alone.header.style == "none"


def test_a_style_changes_answers_and_the_export_says_from_how_many_windows(alone: Timeline, given: Timeline) -> None:
    assert (given.header.style, given.header.style_windows) == ("recording", 4)
    assert given.series is not None
    assert alone.series is not None
    for one, other in zip(given.series, alone.series, strict=True):
        assert one.scores != other.scores
        assert replace(one, scores=None) == replace(other, scores=None)


def test_an_answer_is_weighted_between_the_window_alone_and_less_its_style(run: Path, reading: Reading) -> None:
    model = recogniser(run)
    windows, style = reading.windows("voice"), model.adapted(reading).styles["voice"]
    assert isinstance(model.classifier, BehindRule)
    networks, rules = model.classifier.classifier, model.classifier.rules
    assert isinstance(networks, Ensemble)
    clip = windows.clips[1]
    assert clip.second is not None
    without_style = {}
    for direction, own_style in zip(rules, np.split(style.styles[1], 2), strict=True):
        first, second = np.split(own_style, [rules[direction].config.widths[0]])
        steps = {direction: clip.first[direction] - first}
        without_style[direction] = [replace(clip, first=steps, second=clip.second - second)]
    given_style, alone = networks.answer_by_direction(without_style).probabilities[0], windows.probabilities[1]
    expected = given_style ** style.trust[1] * alone ** (1 - style.trust[1])
    np.testing.assert_allclose(style.probabilities[1], expected / expected.sum(), rtol=1e-4)
    assert 0 < style.trust[1] < 1


def test_steps_that_went_to_the_disk_give_the_same_answers(
    run: Path, talk: Path, given: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_clips, "IN_MEMORY_BYTES", 1)
    assert recogniser(run)(talk) == given


def test_what_is_known_of_windows_alone_is_not_asked_again(
    run: Path, reading: Reading, given: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Ensemble, "answer")
    model = recogniser(run)
    assert model.timeline(model.adapted(reading)) == given


def test_supports_keep_no_steps(run: Path, talk: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(kept_clips.KeptSteps, "keep")
    (support,) = recogniser(run).supports(talk)
    np.testing.assert_array_equal(support.x, reading.windows("voice").support().x)


def test_windows_of_other_recordings_are_supports_too(run: Path, reading: Reading, given: Timeline) -> None:
    model = recogniser(run, "person")
    together = model.timeline(model.adapted(reading, [reading.windows("voice").support()]))
    assert (together.header.style, together.header.style_windows) == ("person", 8)
    assert together.series != given.series


def test_models_side_by_side_say_what_each_says_alone(run: Path, talk: Path, alone: Timeline, given: Timeline) -> None:
    models = [recogniser(run, "none"), recogniser(run)]
    together = SideBySide(models)
    assert together.passes == 1
    assert [together(model, talk) for model in models] == [alone, given]


def test_an_explanation_takes_parts_away_from_what_was_answered_given_the_style(
    run: Path, talk: Path, reading: Reading, given: Timeline
) -> None:
    model = recogniser(run)
    timeline = explained_timeline(model, talk)
    assert replace(timeline, explanations=None) == given
    assert timeline.explanations
    segment, style, windows = given.segments[0], model.adapted(reading).styles["voice"], reading.windows("voice")
    emotion, lost = EMOTIONS.index(segment.guess), []
    for row, number in enumerate(windows.numbers):
        if segment.start_s <= sum(reading.edges[number : number + 2]) / 2 <= segment.end_s:
            deaf, rows = replace(windows.clips[row], second=None), slice(row, row + 1)
            assert isinstance(model.classifier, BehindRule)
            said = model.classifier.probabilities([deaf], style.styles[rows], style.trust[rows])
            lost.append(style.probabilities[row, emotion] - said[0, emotion])
    assert timeline.explanations[0].streams[1].lost == pytest.approx(np.mean(lost), abs=2e-4)


def test_a_live_session_reads_a_style_from_the_windows_before_and_keeps_no_steps(
    run: Path, talk: Path, alone: Timeline
) -> None:
    session, moments = LiveSession(recogniser(run)), []
    for piece in np.split(read_sound(talk), 8):
        session.hear(piece)
        moments += session.answers()
    assert all(not lane.kept for lane in session._reader.lanes.values())
    assert alone.series is not None
    first, *_, last = (moment.scored.scores for moment in moments)
    assert first == pytest.approx(alone.series[0].scores, abs=1e-4)
    assert last != pytest.approx(alone.series[len(moments) - 1].scores, abs=1e-4)


def test_a_bundle_carries_the_rule(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_HOME", str(tmp_path / "home"))
    bundled, here = recogniser(write_bundle(run, tmp_path / "model.zip")), recogniser(run)
    assert bundled.model_id == here.model_id
    assert isinstance(bundled.classifier, BehindRule)
    assert isinstance(here.classifier, BehindRule)
    for way, rule in here.classifier.rules.items():
        torch.testing.assert_close(dict(bundled.classifier.rules[way].state_dict()), dict(rule.state_dict()))


def test_a_rule_is_part_of_the_name_of_a_model(plain: Path, run: Path) -> None:
    assert recogniser(run).model_id != recogniser(plain).model_id


def configured(**values: object) -> Callable[[Path], None]:
    def change(rule: Path) -> None:
        content = json.loads((rule / "config.json").read_text())
        content["model"] |= values
        (rule / "config.json").write_text(json.dumps(content))

    return change


def tensors(**factors: float) -> Callable[[Path], None]:
    def change(rule: Path) -> None:
        path = rule / "model.safetensors"
        save_file({name: tensor * factors.get(name, 1) for name, tensor in load_file(path).items()}, path)

    return change


def gone(name: str) -> Callable[[Path], None]:
    return lambda rule: (rule / name).unlink()


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no sizes": (gone("config.json"), r"no `config\.json` in `.*style`"),
    "no tensors": (gone("model.safetensors"), r"no `model\.safetensors` in `.*style`"),
    "other widths": (configured(widths=[3, 4]), r"style/model\.safetensors` does not fit: tensor `mean` is"),
    "no widths": (configured(widths=[0, 0]), r"`widths` is \[0, 0\]"),
    "too wide": (configured(widths=[2**40, 4]), r"`widths\.0` is 1099511627776"),
    "shrinkage": (configured(shrink=-1.0), r"`shrink` is -1\.0"),
    "direction": (configured(direction="backward"), r"the direction is `backward` and `forward`"),
    "deviation": (tensors(deviation=0.0), r"style/model\.safetensors` does not fit: tensor `deviation` holds"),
    "deltas": (tensors(deltas=float("nan")), r"tensor `deltas` holds values that are not finite"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_rule_is_named(run: Path, tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    rule = shutil.copytree(run / "forward" / "style", tmp_path / "style")
    change(rule)
    with pytest.raises(CheckpointError, match=rf"{message}(.|\n)*hint: "):
        SupportRule.from_pretrained(rule)


def test_a_rule_of_one_direction_alone_is_refused(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(folder / "backward" / "style")
    with pytest.raises(
        CheckpointError, match=r"rule of style in `forward/style` and none in `backward/style`\n\nhint: "
    ):
        open_model_folder(folder)


def test_a_rule_that_changed_since_the_folder_was_sealed_is_named(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    seal(folder)
    open_model_folder(folder)
    configured(shrink=2.0)(folder / "forward" / "style")
    with pytest.raises(CheckpointError, match=r"forward/style/config\.json` is not what was written"):
        open_model_folder(folder)


def test_a_rule_of_a_model_with_other_streams_is_refused(run: Path, make_run: RunMaker, tmp_path: Path) -> None:
    folder = shutil.copytree(make_run("spectral", None), tmp_path / "run")
    for direction in DIRECTIONS:
        shutil.copytree(run / direction / "style", folder / direction / "style")
    with pytest.raises(CheckpointError, match=r"is not the rule of this model: its widths are \((.|\n)*hint: "):
        open_model_folder(folder)
