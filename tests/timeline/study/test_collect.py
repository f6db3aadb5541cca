"""A study of twelve made-up recordings whose truth is known."""

import html
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat
import pytest

from cimeu.errors import ManifestError, OutputError, RecipeError
from cimeu.timeline.segments import CONTINUOUS_CAUTION
from cimeu.timeline.study.collect import StudySettings, collect, with_kept_tables
from cimeu.timeline.study.statistics_files import write_statistics
from cimeu.timeline.study.tables import Study

from .conftest import EMOTIONS, ResultMaker, write_result


@pytest.fixture(scope="module")
def settings(study: Path) -> StudySettings:
    return StudySettings(
        participants=study / "participants.csv", events=study / "events.csv", baseline="rest", before_s=4.0, after_s=4.0
    )


@pytest.fixture(scope="module")
def collected(study: Path, settings: StudySettings) -> Study:
    return collect([study / "results"], study / "out", settings)


def conditions(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "out" / "conditions.csv").set_index(["condition", "emotion"])


def test_the_planted_difference_is_found_with_its_interval_as_computed_by_hand(collected: Study, study: Path) -> None:
    row = conditions(study).loc["task", "happiness"]
    by_hand = []
    for number in range(12):
        series = pd.read_parquet(study / "results" / f"s{number:02}.series.parquet")["score.happiness"]
        by_hand.append(series[120:].mean() - series[:120].mean())
    assert row["difference"] == pytest.approx(np.mean(by_hand), abs=1e-6)
    # Davison & Hinkley: the bootstrap's standard error of a mean is that of the sample with n in place of n - 1.
    half = 1.96 * np.std(by_hand) / np.sqrt(12)
    assert row["difference_high"] - row["difference_low"] == pytest.approx(2 * half, rel=0.15)
    assert row["difference_low"] < 0.2 < row["difference_high"]
    assert row["difference_p_holm"] < 0.01


def test_nothing_is_found_where_nothing_was_planted(collected: Study, study: Path) -> None:
    row = conditions(study).loc["task", "anger"]
    assert row["difference_low"] < 0 < row["difference_high"]
    assert row["difference_p_holm"] > 0.05


def test_the_page_says_the_answer_first(collected: Study, study: Path) -> None:
    page = (study / "out" / "summary.html").read_text()
    assert "In `task`, scores of happiness lie 0.20 [0." in page
    assert page.index("scores of happiness lie") < page.index("<table")


def test_own_mean_is_the_baseline_where_none_is_named(study: Path, tmp_path: Path) -> None:
    collect([study / "results"], tmp_path / "out", StudySettings(events=study / "events.csv"))
    table = conditions(tmp_path)["difference"]
    # Half of the time lies on either side of the mean.
    assert table["task", "happiness"] == pytest.approx(0.1, abs=0.01)
    assert table["rest", "happiness"] == pytest.approx(-0.1, abs=0.01)


def test_the_curve_around_an_event_rises_at_the_event(collected: Study, study: Path) -> None:
    curves = pd.read_csv(study / "out" / "curves.csv")
    happiness = curves[(curves["condition"] == "task") & (curves["emotion"] == "happiness")].set_index("offset_s")
    assert list(happiness.index) == pytest.approx(np.arange(-4, 4.5, 0.5))
    rise = happiness.loc[0.5:, "score"].mean() - happiness.loc[:-0.5, "score"].mean()
    assert rise == pytest.approx(0.2, abs=0.02)
    assert (happiness["score_low"] < happiness["score"]).all()
    # `rest` begins with the recording: nothing is filled in before it.
    before = curves[(curves["condition"] == "rest") & (curves["offset_s"] < 0)]
    assert before["score"].isna().all()
    assert (before["n_participants"] == 0).all()


def test_shares_of_time_sum_to_one_and_columns_of_participants_come_along(collected: Study, study: Path) -> None:
    table = pd.read_csv(study / "out" / "participants.csv")
    shares = [*(f"share.{emotion}" for emotion in EMOTIONS), "share.abstained", "share.unscored", "share.absent"]
    assert table[shares].sum(axis=1).tolist() == pytest.approx([1.0] * 36, abs=1e-5)
    assert table.loc[table["participant"] == "p03", "age"].tolist() == [23, 23, 23]
    assert table.loc[table["condition"] == "task", "n_windows"].tolist() == [120] * 12


def test_series_and_segments_are_joined_under_the_names_of_participants(collected: Study, study: Path) -> None:
    series = pd.read_parquet(study / "out" / "series.parquet")
    assert len(series) == 12 * 240
    assert series.loc[series["recording"] == "s07", "participant"].unique().tolist() == ["p07"]
    segments = pd.read_csv(study / "out" / "segments.csv", dtype={"age": str})
    assert segments.loc[segments["recording"] == "s07", "age"].unique().tolist() == ["27"]


def test_the_dictionary_describes_every_column_of_every_file(collected: Study, study: Path) -> None:
    dictionary = pd.read_csv(study / "out" / "dictionary.csv", keep_default_na=False)
    assert (dictionary["description"] != "").all()
    for file, columns in dictionary.groupby("file")["column"]:
        path = study / "out" / str(file)
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        assert set(columns) == set(table.columns), file


@pytest.mark.parametrize("suffix", [".sav", ".dta"])
def test_spss_and_stata_read_the_table_with_its_labels(collected: Study, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"participants{suffix}"
    write_statistics(collected.tables, path, suffix)
    read = pyreadstat.read_sav if suffix == ".sav" else pyreadstat.read_dta
    table, metadata = read(str(path))
    plain = collected.tables.participants
    assert table["participant"].tolist() == plain["participant"].tolist()
    assert table["mean_happiness"].tolist() == pytest.approx(plain["mean.happiness"].tolist())
    assert table["difference_anger"].isna().sum() == plain["difference.anger"].isna().sum() == 24
    assert "minus that of" in metadata.column_names_to_labels["difference_anger"]


def test_missing_abstained_and_unscored_time_is_shown_and_never_filled(
    make_result: ResultMaker, tmp_path: Path
) -> None:
    rows = [(0.1, 0.8, 0.1)] * 4 + [(0.4, 0.3, 0.3)] * 2 + [None] * 2
    results = make_result("a", {"person 1": rows})
    (tmp_path / "events.csv").write_text("file;start;end;condition\na.mp4;0;8;task\n")
    collect([results], tmp_path / "out", StudySettings(events=tmp_path / "events.csv"))
    row = pd.read_csv(tmp_path / "out" / "participants.csv").set_index("condition").loc["task"]
    # Of 8 s: 2 labelled, 1 abstained, 1 without a face, 4 after the end of the recording.
    assert row[["share.happiness", "share.abstained", "share.unscored", "share.absent"]].tolist() == [
        0.25,
        0.125,
        0.125,
        0.5,
    ]
    assert row["mean.happiness"] == pytest.approx((4 * 0.8 + 2 * 0.3) / 6, abs=1e-6)
    assert row["sd.happiness"] == pytest.approx(np.std([0.8] * 4 + [0.3] * 2, ddof=1), abs=1e-6)


def test_one_participant_has_no_interval(make_result: ResultMaker, tmp_path: Path) -> None:
    results = make_result("a", {"voice": [(0.1, 0.8, 0.1)] * 4})
    collect([results], tmp_path / "out")
    table = conditions(tmp_path)
    assert table.loc[("(whole)", "happiness"), "score"] == 0.8
    assert table[["score_low", "score_high"]].isna().all(axis=None)


def test_every_person_of_a_recording_is_a_participant_where_no_table_names_them(
    make_result: ResultMaker, tmp_path: Path
) -> None:
    rows = [(0.1, 0.8, 0.1)] * 4
    results = make_result("deep/a", {"person 1": rows, "person 2": rows, "off screen": rows})
    study = collect([results], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "participants.csv")
    assert table["participant"].tolist() == ["deep/a/person 1", "deep/a/person 2"]
    assert study.left_out == ("4 windows with scores of lanes that are no participant's",)


def test_files_of_the_tables_without_results_are_missing_and_not_zero(study: Path, tmp_path: Path) -> None:
    people = (study / "participants.csv").read_text() + "s99.mp4,p99,40\n"
    (tmp_path / "participants.csv").write_text(people)
    settings = StudySettings(participants=tmp_path / "participants.csv")
    collected = collect([study / "results"], tmp_path / "out", settings)
    assert collected.missing_files == 1
    assert collected.left_out == ("1 file (s99.mp4) of the tables without results: they are missing, not zero",)
    row = pd.read_csv(tmp_path / "out" / "participants.csv").set_index("participant").loc["p99"]
    assert (row["n_recordings"], row["n_windows"]) == (0, 0)
    assert np.isnan(row["mean.happiness"])


def test_recordings_of_other_models_or_settings_are_not_compared(make_result: ResultMaker, tmp_path: Path) -> None:
    make_result("a", {"voice": [None]})
    results = make_result("b", {"voice": [None]}, model="cimeu-xyz")
    with pytest.raises(ManifestError, match=r"`a` has model `cimeu-abc`, `b` `cimeu-xyz`: .*\n\nhint: predict all"):
        collect([results], tmp_path / "out")
    results = make_result("b", {"voice": [None]}, hop_s=0.25)
    with pytest.raises(ManifestError, match=r"`a` has hop_s `0\.5`, `b` `0\.25`"):
        collect([results], tmp_path / "out")


def test_a_damaged_series_is_named(make_result: ResultMaker, tmp_path: Path) -> None:
    results = make_result("a", {"voice": [None]})
    (results / "a.series.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ManifestError, match=r"a\.series\.parquet` is damaged .*\n\nhint: run `cimeu predict`"):
        collect([results], tmp_path / "out")


def test_a_table_of_another_program_is_no_series(make_result: ResultMaker, tmp_path: Path) -> None:
    results = make_result("a", {"voice": [None]})
    pd.DataFrame({"x": [1]}).to_parquet(results / "b.series.parquet")
    with pytest.raises(ManifestError, match=r"b\.series\.parquet` is (damaged|of schema 0)"):
        collect([results], tmp_path / "out")


def test_a_folder_without_series_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"holds no series .*\n\nhint: give the folder that `cimeu predict` wrote"):
        collect([tmp_path], tmp_path / "out")


def test_an_unknown_baseline_names_the_conditions(study: Path, tmp_path: Path) -> None:
    settings = StudySettings(events=study / "events.csv", baseline="reset")
    with pytest.raises(RecipeError, match=r"no condition `reset` .*\n\nhint: did you mean `rest`"):
        collect([study / "results"], tmp_path / "out", settings)


def test_events_after_the_end_of_a_recording_are_named_and_milliseconds_refused(
    make_result: ResultMaker, tmp_path: Path
) -> None:
    results = make_result("a", {"person 1": [(0.1, 0.8, 0.1)] * 4})
    path = tmp_path / "events.csv"
    path.write_text("file,start,end,condition\na,0,2.5,rest\na,60,90,task\na,1,9,rest\n")
    study = collect([results], tmp_path / "out", StudySettings(events=path))
    assert study.left_out == (
        "1 event (`task` at 60 s of `a`, which ends at 2 s) outside of the recording",
        "1 event (`rest` until 9 s of `a`, which ends at 2 s) whose end lies outside of the recording: it counts as "
        "absent",
    )
    path.write_text("file,start,end,condition\na,500,1000,rest\n")
    with pytest.raises(
        ManifestError, match=r"no event of .* lies in its recording: `rest` at 500 s of `a`[^\0]*seconds"
    ):
        collect([results], tmp_path / "out", StudySettings(events=path))


def test_tables_beside_the_results_are_taken_where_none_are_named(study: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(study / "results", results)
    for name in ("participants.csv", "events.csv"):
        shutil.copy(study / name, results)
    found = collect([results], tmp_path / "out", StudySettings(baseline="rest"))
    assert found.conditions == ("rest", "task")
    assert "age" in found.tables.participants.columns


def test_a_timeline_called_participants_is_no_table_of_a_study(make_result: ResultMaker) -> None:
    results = make_result("participants", {"person 1": [(0.1, 0.8, 0.1)] * 4})
    assert (results / "participants.csv").is_file()
    assert with_kept_tables(StudySettings(), [results]) == StudySettings()


def test_a_table_beside_the_results_that_cannot_be_read_is_never_passed_over(make_result: ResultMaker) -> None:
    results = make_result("a", {"person 1": [(0.1, 0.8, 0.1)] * 4})
    (results / "participants.csv").write_text('file,participant\na.mp4,"Anna\nb.mp4,Ben\n')
    with pytest.raises(ManifestError, match=r"a quote in line 2 of .*participants\.csv` is not closed"):
        with_kept_tables(StudySettings(), [results])


def test_a_baseline_needs_events(make_result: ResultMaker, tmp_path: Path) -> None:
    results = make_result("a", {"person 1": [(0.1, 0.8, 0.1)] * 4})
    with pytest.raises(RecipeError, match=r"a baseline `rest` without events\n\nhint: name the table with --events"):
        collect([results], tmp_path / "out", StudySettings(baseline="rest"))


def test_a_file_of_somebody_else_is_not_replaced(study: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "participants.csv").write_text("mine\n")
    with pytest.raises(OutputError, match=r"participants\.csv` is not a file that cimeu wrote"):
        collect([study / "results"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.*") if path.is_file()] == ["participants.csv"]


def test_a_second_call_replaces_the_first_with_the_same_bytes(make_result: ResultMaker, tmp_path: Path) -> None:
    results = make_result("a", {"voice": [(0.1, 0.8, 0.1)] * 4})
    settings = StudySettings(formats=[".sav"])

    def contents() -> dict[str, bytes]:
        collect([results], tmp_path / "out", settings)
        # SPSS notes the time of writing in its file.
        return {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.[cph]*") if path.is_file()}

    assert contents() == contents()
    assert (tmp_path / "out" / "participants.sav").is_file()


@pytest.fixture(scope="module")
def with_valence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people whose emotions stay and whose valence rises by 0.3 in the task; every tenth window has none."""
    folder = tmp_path_factory.mktemp("valence")
    generator, events = np.random.default_rng(3), ["file,start,end,condition"]
    for number in range(6):
        valence = generator.uniform(-0.3, 0.1) + np.repeat([0.0, 0.3], 40) + generator.normal(0, 0.05, 80)
        cells = [None if n % 10 == 3 else round(float(value), 4) for n, value in enumerate(valence)]
        write_result(folder / "results", f"v{number}", {"person 1": [(0.2, 0.6, 0.2)] * 80}, valence=cells)
        events += [f"v{number}.mp4,0,0:20,rest", f"v{number}.mp4,0:20,0:40,task"]
    (folder / "events.csv").write_text("\n".join(events) + "\n")
    settings = StudySettings(events=folder / "events.csv", baseline="rest", before_s=4.0, after_s=4.0)
    collect([folder / "results"], folder / "out", settings)
    return folder


def test_a_planted_difference_of_valence_is_found_as_computed_by_hand(with_valence: Path) -> None:
    row = conditions(with_valence).loc["task", "valence"]
    series = [pd.read_parquet(with_valence / "results" / f"v{n}.series.parquet")["value.valence"] for n in range(6)]
    by_hand = [values[40:].mean() - values[:40].mean() for values in series]
    assert row["difference"] == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert row["difference_low"] < 0.3 < row["difference_high"]
    assert row["difference_p_holm"] < 0.05
    assert np.isnan(row["share"]), "a continuous label has no share of time"
    people = pd.read_csv(with_valence / "out" / "participants.csv").set_index(["participant", "condition"])
    assert people.loc[("v0", "task"), "mean.valence"] == pytest.approx(series[0][40:].mean(), abs=1e-6)
    assert people.loc[("v0", "task"), "sd.valence"] == pytest.approx(series[0][40:].std(), abs=1e-6)


def test_the_curve_of_valence_rises_at_the_event_and_missing_windows_are_not_zero(with_valence: Path) -> None:
    curves = pd.read_csv(with_valence / "out" / "curves.csv").query("condition == 'task' and emotion == 'valence'")
    before, after = (curves.query(f"offset_s {side} 0")["score"].mean() for side in ("<", ">"))
    assert after - before == pytest.approx(0.3, abs=0.06)
    missing = curves[curves["n_participants"] == 0]
    assert len(missing) == 2, "every tenth window"
    assert missing["score"].isna().all()


def test_the_page_of_a_study_shows_valence_on_its_own_scale_and_says_what_is_known_of_it(with_valence: Path) -> None:
    page = (with_valence / "out" / "summary.html").read_text()
    assert "In `task`, valence lies 0.29 [" in page
    assert "<h2>Valence <small>(-1 to 1)</small></h2>" in page
    assert f"valence: {CONTINUOUS_CAUTION}." in page
    assert html.unescape(page).count("<h3>Difference to the participants' own rest</h3>") == 1


def test_every_column_with_valence_is_in_the_dictionary_with_its_scale(with_valence: Path) -> None:
    out = with_valence / "out"
    dictionary = pd.read_csv(out / "dictionary.csv", keep_default_na=False).set_index(["file", "column"])
    columns = {
        "series.parquet": list(pd.read_parquet(out / "series.parquet")),
        **{name: list(pd.read_csv(out / name)) for name in ("participants.csv", "conditions.csv", "curves.csv")},
    }
    for file, names in columns.items():
        assert set(dictionary.loc[file].index) == set(names)
    assert dictionary.loc[("series.parquet", "value.valence"), "unit"] == "from -1 to 1"
    assert CONTINUOUS_CAUTION in dictionary.loc[("participants.csv", "mean.valence"), "description"]


def test_recordings_with_and_without_valence_are_not_one_study(make_result: ResultMaker, tmp_path: Path) -> None:
    make_result("a", {"voice": [(0.2, 0.6, 0.2)]}, valence=[0.1])
    make_result("b", {"voice": [(0.2, 0.6, 0.2)]})
    with pytest.raises(ManifestError, match=r"`a` has continuous .*, `b` `None`: their scores cannot be compared"):
        collect([tmp_path / "results"], tmp_path / "out")
