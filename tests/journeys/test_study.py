"""A study of twelve real recordings with a planted difference, from the files to the table of conditions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cimeu.cli.main import app
from cimeu.csv_files import read_csv
from cimeu.media.audio import RATE_HZ, read_sound, write_sound

SPEAKERS = 6
CLIPS = 2
"""Clips of one emotion that make up one condition."""


def run(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output


def joined(clips: list[Path]) -> np.ndarray:
    pause = np.zeros(RATE_HZ // 2, np.float32)
    return np.concatenate([part for clip in clips for part in (read_sound(clip), pause)])


@pytest.fixture(scope="module")
def study(trial_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of each of six speakers of German, two angry clips and two sad ones in each.

    The condition `angry` or `sad` is what was planted; `odd` and `even` recordings of a speaker differ in nothing but
    the clips, and hold the same emotions.
    """
    folder = tmp_path_factory.mktemp("study")
    speech = trial_data / "speech"
    table = read_csv(speech / "manifest.csv").frame
    table = table[table["corpus"] == "emodb"]
    counts = table.groupby(["speaker", "emotion"]).size().unstack(fill_value=0)
    able = counts[(counts["anger"] >= 2 * CLIPS) & (counts["sadness"] >= 2 * CLIPS)].index[:SPEAKERS]
    assert len(able) == SPEAKERS, "speakers with four clips of both emotions"
    (folder / "in").mkdir()
    events, participants = [], []
    for speaker in able:
        of_speaker = table[table["speaker"] == speaker]
        for number, half in enumerate(("odd", "even")):
            name = f"{speaker}-{half}.wav"
            chosen = slice(number * CLIPS, (number + 1) * CLIPS)
            parts = [
                joined([speech / path for path in of_speaker.loc[of_speaker["emotion"] == emotion, "path"][chosen]])
                for emotion in ("anger", "sadness")
            ]
            write_sound(folder / "in" / name, np.concatenate(parts))
            border_s, end_s = len(parts[0]) / RATE_HZ, sum(map(len, parts)) / RATE_HZ
            participants.append((name, speaker))
            events += [(name, 0, border_s, "angry"), (name, border_s, end_s, "sad"), (name, 0, end_s, half)]
    pd.DataFrame(participants, columns=["file", "participant"]).to_csv(folder / "participants.csv", index=False)
    pd.DataFrame(events, columns=["file", "start", "end", "condition"]).to_csv(folder / "events.csv", index=False)
    run("predict", folder / "in", "-o", folder / "out", "--format", "series.parquet,csv", "--style", "none")
    return folder


def conditions(study: Path, baseline: str) -> pd.DataFrame:
    tables = ("--participants", study / "participants.csv", "--events", study / "events.csv")
    run("collect", study / "out", "-o", study / baseline, "--baseline", baseline, *tables)
    return pd.read_csv(study / baseline / "conditions.csv").set_index(["condition", "emotion"])


def test_the_planted_difference_is_found_and_is_what_the_windows_say(study: Path) -> None:
    row = conditions(study, "sad").loc[("angry", "anger")]
    assert row["difference_low"] > 0
    # By hand: windows of each stretch, their mean by speaker, the mean over speakers.
    events = pd.read_csv(study / "events.csv")
    differences: dict[str, list[float]] = {}
    for name, speaker in pd.read_csv(study / "participants.csv").itertuples(index=False):
        windows = pd.read_parquet(study / "out" / name.replace(".wav", ".series.parquet"))
        border_s = events[(events["file"] == name) & (events["condition"] == "angry")]["end"].item()
        centre_s, score = (windows["start_s"] + windows["end_s"]) / 2, windows["score.anger"]
        differences.setdefault(speaker, []).append(
            float(score[centre_s < border_s].mean() - score[centre_s >= border_s].mean())
        )
    by_hand = np.mean([np.mean(values) for values in differences.values()])
    assert row["difference"] == pytest.approx(by_hand, abs=0.05)


def test_nothing_is_found_between_halves_of_the_same_emotions(study: Path) -> None:
    table = conditions(study, "even").loc["odd"]
    assert (table["difference_p_holm"] > 0.05).all()
    assert (table["difference_low"] < 0).all()
    assert (table["difference_high"] > 0).all()
