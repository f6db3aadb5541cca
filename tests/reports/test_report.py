"""Reports of run folders made up here: skill is drawn, so that every number has something to differ by."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from cimeu.errors import CheckpointError, CimeuError, RecipeError
from cimeu.evaluation.metrics import uar
from cimeu.reports.report import report
from cimeu.reports.run_summary import summarise
from cimeu.sealed import seal
from cimeu.timeline.style import COLOURS

EMOTIONS = ("anger", "happiness", "neutral", "sadness")
SKILL = {"amber": 1.8, "basalt": 1.1, "cedar": 0.6}


def make_run(folder: Path, fold: str, seed: int, *, n_clips=90, rich=False, groups=None, **changes) -> Path:
    """A finished run: `groups` says which cultures are tested, `changes` overwrite parts of its files."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(abs(hash_of(fold)))
    seeded = np.random.default_rng((seed, hash_of(fold)))
    clips = []
    for culture in groups or [fold]:
        for number in range(n_clips):
            speaker = number % 8
            clips.append(
                {
                    "clip_id": f"{culture}/{number}",
                    "part": "test" if number >= 20 else "validation",
                    "emotion": EMOTIONS[generator.integers(4)],
                    "corpus": culture,
                    "speaker": f"{speaker:02d}",
                    "culture": culture,
                    "gender": "female" if speaker % 2 else "male",
                    "problem": "silent sound" if number == 40 else "",
                }
            )
    table = pd.DataFrame(clips)
    truth = np.array([EMOTIONS.index(emotion) for emotion in table["emotion"]])
    skill = np.array([SKILL.get(culture, 1.0) for culture in table["culture"]])
    logits = {
        kind: np.eye(4)[truth] * (skill * share)[:, None] + seeded.normal(size=(len(table), 4))
        for kind, share in (("forward", 1.1), ("backward", 0.9))
    }
    shares = {kind: np.exp(values) / np.exp(values).sum(axis=1, keepdims=True) for kind, values in logits.items()}
    shares["fused"] = 0.6 * shares["forward"] + 0.4 * shares["backward"]
    for kind in changes.get("kinds", ("forward", "backward", "fused")):
        shares[kind][table["problem"] != ""] = np.nan
        for index, emotion in enumerate(EMOTIONS):
            table[f"{kind}.{emotion}"] = shares[kind][:, index]
    for column, value in changes.get("columns", {}).items():
        table[column] = value
    table.to_csv(folder / "predictions.csv", index=False)
    write_json(folder / "fold.json", {"name": fold, "protocol": "leave-one-group-out", "group": "culture", "note": ""})
    recipe = {"name": changes.get("recipe", "speech"), "seeds": [seed], "training": {"selection": "validation"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    settings = {"mu": 0.6, "levels": "mean", "a": None, "temperature": 1.21, "abstain_below": 0.45}
    write_json(folder / "ensemble.json", {**settings, "selection": changes.get("selection", "validation")})
    environment = {"seed": seed, "cimeu": "0.1.0", "torch": "2.13.0", "synthetic": changes.get("synthetic", False)}
    write_json(folder / "environment.json", environment)
    if rich:
        add_extras(folder, table, seeded)
    return folder


def add_extras(folder: Path, table: pd.DataFrame, generator: np.random.Generator) -> None:
    """Journals, projections, probes and baselines."""
    epochs = np.arange(1, 13)
    for direction, height in (("forward", 0.7), ("backward", 0.62)):
        wobble = generator.normal(0, 0.02, (4, 12))
        journal = pd.DataFrame(
            {
                "epoch": epochs,
                "train.total": 1.5 * np.exp(-epochs / 6) + 0.4 + wobble[0],
                "train.reconstruction": 0.8 * np.exp(-epochs / 9) + wobble[1],
                "validation.uar": height * (1 - np.exp(-epochs / 3)) + wobble[2],
                "style.nmi.emotion": np.where(epochs > 3, 0.05 + abs(wobble[3]), np.nan),
                "style.nmi.culture": np.where(epochs > 3, 0.4 + wobble[3], np.nan),
            }
        )
        (folder / direction).mkdir(exist_ok=True)
        journal.to_csv(folder / direction / "journal.csv", index=False)
    emotion = np.array([EMOTIONS.index(name) for name in table["emotion"]])
    centres = generator.normal(size=(4, 8)) * 2
    primitives = centres[emotion] + generator.normal(size=(len(table), 8))
    styles = (
        generator.normal(size=(len(table), 8)) + 2 * (table["culture"] == table["culture"].iloc[0]).to_numpy()[:, None]
    )
    styles[0] = np.nan
    np.savez(
        folder / "projections.npz",
        clip_id=table["clip_id"].to_numpy(dtype=str),
        emotion_primitives=primitives.astype(np.float32),
        style_primitives=styles.astype(np.float32),
    )
    rows = [
        {
            "version": "unseen speakers",
            "target": target,
            "representation": representation,
            "probe": "logistic",
            "accuracy": accuracy,
            "low": accuracy - 0.05,
            "high": accuracy + 0.05,
            "chance": 0.25,
            "score": score,
        }
        for target, representation, accuracy, score in (
            ("emotion", "E", 0.61, 0.9),
            ("emotion", "S", 0.33, 0.2),
            ("group", "E", 0.4, None),
            ("group", "S", 0.71, 1.0),
        )
    ]
    write_json(folder / "probes.json", rows)
    told = {"UAR, %": ["25.0 [25.0, 25.0]", "41.0 [37.2, 45.1]"], "WAR, %": ["31.0", "43.0"], "seeds": [3, 3]}
    baselines = pd.DataFrame({"row": ["majority", "linear"], **told})
    baselines.to_csv(folder.parent / "baselines.csv", index=False)


def hash_of(name: str) -> int:
    return sum(ord(sign) * 31**place for place, sign in enumerate(name)) % 2**31


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return [
        make_run(root / f"speech-{fold}-{seed}", fold, seed, rich=seed == 0) for fold in SKILL for seed in (0, 1, 2)
    ]


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory) -> Path:
    return report(folders, tmp_path_factory.mktemp("report") / "speech.html")


@pytest.fixture(scope="module")
def summary(page) -> dict:
    return json.loads(page.with_suffix(".json").read_text())


class Reader(HTMLParser):
    """Checks that tags close in order, and remembers what the page would fetch."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def visible(page: Path) -> str:
    """Text of a page without its style."""
    return re.sub(r"<style>.*?</style>", "", page.read_text(), flags=re.DOTALL)


def test_the_page_is_well_formed_and_fetches_nothing(page):
    reader = Reader()
    text = page.read_text()
    reader.feed(text)
    assert reader.open == []
    assert reader.fetched == []
    assert "script" not in reader.tags
    assert "url(" not in text
    assert "@import" not in text


def test_every_format_is_written_beside_the_page(page):
    assert {path.suffix for path in page.parent.glob("speech.*")} == {".html", ".md", ".csv", ".json", ".tex"}


def test_a_groups_uar_is_the_mean_over_seeds_on_its_test_clips(folders, summary):
    each = []
    for folder in folders[:3]:
        table = pd.read_csv(folder / "predictions.csv")
        table = table[table["part"] == "test"]
        truth = np.array([EMOTIONS.index(name) for name in table["emotion"]])
        shares = table[[f"fused.{name}" for name in EMOTIONS]].to_numpy()
        called = np.where(np.isnan(shares).any(axis=1), -1, np.nan_to_num(shares).argmax(axis=1))
        each.append(uar(truth, called))
    row = next(row for row in summary["results"] if (row["group"], row["kind"]) == ("amber", "fused"))
    assert row["uar"]["value"] == pytest.approx(np.mean(each))
    assert row["uar"]["low"] < row["uar"]["value"] < row["uar"]["high"]


def test_the_mean_weighs_groups_equally(summary):
    by_group = {row["group"]: row["uar"]["value"] for row in summary["results"] if row["kind"] == "forward"}
    assert by_group.pop("mean of 3") == pytest.approx(np.mean(list(by_group.values())))


def test_validation_clips_are_not_counted(summary):
    assert summary["results"][-1]["n_clips"] == 3 * 70


def test_clips_that_could_not_be_used_are_counted_and_said(page, summary):
    assert [row["n_unused"] for row in summary["results"] if row["kind"] == "fused"] == [1, 1, 1, 3]
    assert "210 tested; 3 could not be used and count as wrong" in page.read_text()


def test_a_culture_known_from_one_corpus_is_called_a_corpus_group(page, summary):
    assert summary["group_word"] == "corpus group"
    assert "Results by corpus group" in page.read_text()


def test_a_culture_seen_in_two_corpora_is_called_a_culture(tmp_path):
    first = make_run(tmp_path / "a", "amber", 0, groups=["amber", "basalt"], columns={"culture": "coast"})
    page = report([first], tmp_path / "out")
    assert json.loads(page.with_suffix(".json").read_text())["group_word"] == "culture"


def test_the_answer_comes_first_then_the_picture_then_what_is_needed_to_judge_it(page):
    text = visible(page)
    order = ["On 210 clips, the fused model has a UAR of 69.3 [64.6, 73.4] %, above chance (25.0 %)."]
    order += ["The backward model helped: the fused model is above the forward one by 6.8 points"]
    order += [">UAR, percent<", ">fused model<", "3 (0, 1, 2)", "leave one corpus group out", "known, 24", "Results by"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_long_tables_and_curves_are_folded_away(page):
    text = page.read_text()
    for heading in ("Every probe", "Curves of 5 numbers over epochs", "Environment of the first run"):
        assert f"<details><summary>{heading}</summary>" in text


def test_axes_have_titles(page):
    text = page.read_text()
    assert text.count(">epoch</text>") == text.count('class="curve"') == 5
    for title, drawings in (("confidence, %", 3), ("accuracy, %", 3), ("first axis", 4), ("UAR, percent", 1)):
        assert text.count(f">{title}</text>") == drawings, title


def test_an_emotion_has_its_colour_in_the_report_too(page):
    assert f'style="--tone:{COLOURS["anger"]}"' in page.read_text()


def test_synthetic_data_is_said_loudly_in_every_format(tmp_path):
    page = report([make_run(tmp_path / "toy", "amber", 0, synthetic=True)], tmp_path / "toy.html")
    assert "Synthetic data." in page.read_text()
    for suffix in (".md", ".tex"):
        assert "SYNTHETIC" in page.with_suffix(suffix).read_text()
    assert set(pd.read_csv(page.with_suffix(".csv"))["synthetic"]) == {True}


def test_oracle_selection_marks_every_table(tmp_path):
    page = report([make_run(tmp_path / "run", "amber", 0, selection="oracle")], tmp_path / "r.html")
    text = page.read_text()
    assert "Oracle selection." in text
    captions = re.findall(r"<caption>.*?</caption>", text, flags=re.DOTALL)
    assert captions
    assert all("oracle" in caption for caption in captions)
    assert "ORACLE" in page.with_suffix(".tex").read_text()


def test_no_table_is_marked_oracle_without_it(page):
    assert 'class="oracle"' not in page.read_text()


def test_unknown_speakers_are_said(tmp_path):
    page = report([make_run(tmp_path / "run", "amber", 0, columns={"speaker": ""})], tmp_path / "r.html")
    assert "speakers unknown" in page.read_text()


def test_speakers_are_called_apart_only_where_the_protocol_keeps_them_apart(page, tmp_path):
    assert "kept apart from training by the protocol" in page.read_text()
    run = make_run(tmp_path / "run", "1", 0)
    write_json(run / "fold.json", {"name": "1", "protocol": "official"})
    text = report([run], tmp_path / "r.html").read_text()
    assert "kept apart" not in text
    assert "unseen speakers" not in text


def test_whether_data_is_synthetic_is_read_from_the_checkpoint_or_not_known(tmp_path):
    run = make_run(tmp_path / "run", "amber", 0)
    write_json(run / "environment.json", {"seed": 0})
    assert "was not noted by the runs" in report([run], tmp_path / "r.html").read_text()
    (run / "forward").mkdir()
    write_json(run / "forward" / "config.json", {"specifications": {"synthetic": True}})
    assert "Synthetic data." in report([run], tmp_path / "r.html").read_text()


def test_what_is_missing_is_said_to_be_absent(tmp_path):
    text = report([make_run(tmp_path / "run", "amber", 0)], tmp_path / "r.html").read_text()
    for file in ("baselines.csv", "probes.json", "projections.npz", "journal.csv"):
        assert re.search(rf"(Absent|absent)[^<]*<code>{file}", text), file


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("../baselines.csv", b"", r"baselines\.csv` is empty"),
        ("forward/journal.csv", b"", r"journal\.csv` is empty"),
        ("projections.npz", b"PK\x03\x04", r"projections\.npz` is damaged"),
    ],
)
def test_a_damaged_file_beside_the_predictions_is_named(tmp_path, name, content, message):
    run = make_run(tmp_path / "runs" / "run", "amber", 0)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(content)
    with pytest.raises(CimeuError, match=message):
        report([run], tmp_path / "r.html")


def test_baselines_stand_as_they_were_written(tmp_path):
    run = make_run(tmp_path / "runs" / "run", "amber", 0)
    (tmp_path / "runs" / "baselines.csv").write_text('row,"UAR, %",note\nNA,n/a,\n')
    summary = json.loads(report([run], tmp_path / "r.html").with_suffix(".json").read_text())
    assert summary["baselines"] == [{"row": "NA", "UAR, %": "n/a", "note": ""}]


def test_predictions_alone_are_enough(tmp_path):
    run = make_run(tmp_path / "run", "amber", 0)
    for path in run.iterdir():
        if path.name != "predictions.csv":
            path.unlink()
    assert "not noted" in report([run], tmp_path / "r.html").read_text()


def test_one_direction_alone_is_reported_without_comparisons(tmp_path):
    run = make_run(tmp_path / "run", "amber", 0, kinds=("forward", "fused"))
    summary = json.loads(report([run], tmp_path / "r.html").with_suffix(".json").read_text())
    assert {row["kind"] for row in summary["results"]} == {"forward", "fused"}
    assert summary["comparisons"] == []


def test_journals_projections_probes_and_baselines_are_drawn(page, summary):
    text = page.read_text()
    assert text.count('class="curve"') == 5
    assert text.count('class="scatter"') == 4
    assert {journal["name"] for journal in summary["journals"]} >= {"validation.uar", "style.nmi.culture"}
    assert summary["probes"]["rows"][2]["score"] is None
    assert [row["row"] for row in summary["baselines"]] == ["majority", "linear"]


def test_probes_are_told_in_percent(page, summary):
    assert [row["accuracy"] for row in summary["probes"]["rows"]] == pytest.approx([61, 33, 40, 71])
    assert "Probes, percent" in page.read_text()


def test_gender_gaps_carry_the_clips_of_both_sides(summary):
    assert len(summary["gender"]) == 3
    for row in summary["gender"]:
        assert row["female"]["n_clips"] + row["male"]["n_clips"] == 70
        assert row["gap"]["value"] == pytest.approx(row["female"]["value"] - row["male"]["value"])


def test_calibration_and_abstention_are_reported(summary):
    assert set(summary["calibration"]["kinds"]) == {"forward", "backward", "fused"}
    assert 0 < summary["calibration"]["abstention"]["coverage"] < 1


def test_confusion_sums_clips_over_seeds(summary):
    assert np.sum(summary["confusion"]) == 3 * 210
    assert np.sum(summary["confusion"], axis=0)[-1] == 9


def test_a_seed_that_not_every_fold_has_is_left_out_and_named(folders, tmp_path):
    page = report(folders[:-1], tmp_path / "r.html")
    summary = json.loads(page.with_suffix(".json").read_text())
    assert summary["left_out"] == ["speech · amber · seed 2", "speech · basalt · seed 2"]
    assert "speech · amber · seed 2" in page.with_suffix(".md").read_text()


def test_published_numbers_stand_beside_a_run_on_their_corpus(tmp_path):
    columns = {"corpus": "dfew", "culture": ""}
    run = make_run(tmp_path / "run", "1", 0, columns=columns)
    assert "MAE-DFER" not in report([run], tmp_path / "r.html").read_text(), "four emotions are not seven"
    table = pd.read_csv(run / "predictions.csv")
    for kind in ("forward", "backward", "fused"):
        for emotion in ("surprise", "fear", "disgust"):
            table[f"{kind}.{emotion}"] = np.where(table["problem"].isna(), 0.0, np.nan)
    table.to_csv(run / "predictions.csv", index=False)
    assert "MAE-DFER" in report([run], tmp_path / "r.html").read_text()


def test_parts_without_effect_stand_in_the_report(tmp_path):
    run = make_run(tmp_path / "run", "a&b_<i>", 0, columns={"culture": "a&b_<i>"})
    page = report([run], tmp_path / "r.html")
    assert "Not measured: no run has a <code>journal.csv</code> with" in page.read_text()
    for direction, scale in (("forward", 0.001), ("backward", 0.1)):
        (run / direction).mkdir()
        (run / direction / "journal.csv").write_text(f"epoch,health.layer_scale\n1,0.1\n2,{scale}\n")
    text = report([run], page).read_text()
    assert "Not measured" not in text
    name = "speech · a&amp;b_&lt;i&gt; · seed 0"
    line = "temporal blocks: attention and MLP hardly contribute, mean scale 0.001"
    assert f"<li>{name}, forward: <ul><li>{line}</li></ul></li>" in text
    assert f"<li>{name}, backward: no part.</li>" in text
    markdown = page.with_suffix(".md").read_text()
    assert f"- **Little or no effect in speech · a&b_<i> · seed 0, forward**: {line}\n" in markdown
    assert "seed 0, backward**: no part\n" in markdown


def test_published_figures_of_a_benchmark_stand_in_its_report(tmp_path):
    run = make_run(tmp_path / "run", "1", 0, columns={"corpus": "mer2023", "culture": ""})
    page = report([run], tmp_path / "r.html")
    for suffix in (".html", ".md"):
        assert "weighted F1 77.57, MSE of valence .82" in page.with_suffix(suffix).read_text()


def test_runs_on_blemore_stand_in_its_metrics_above_the_published_figures(tmp_path):
    runs = [make_run(tmp_path / fold, fold, 0, columns={"corpus": "blemore"}) for fold in ("0", "1")]
    clips = pd.concat([pd.read_csv(run / "predictions.csv") for run in runs])[["clip_id", "emotion"]]
    clips["path"] = clips["clip_id"] + ".mov"
    votes = {f"votes_{name}": 100 * (clips["emotion"] == name) for name in EMOTIONS}
    clips.assign(**votes).to_csv(tmp_path / "manifest.csv", index=False)
    data = {"manifest": str(tmp_path / "manifest.csv"), "labels": list(EMOTIONS), "targets": "shares"}
    for run in runs:
        (run / "recipe.yaml").write_text(yaml.safe_dump({"extends": "default", "name": "blemore", "data": data}))
    rows = summarise(runs)["elsewhere"]
    assert [row["What differs"] for row in rows[:2]] == [
        "thresholds chosen on the other folds",
        "thresholds chosen on the scored fold",
    ]
    assert {row["Method"] for row in rows[:2]} == {"these runs"}
    # No clip is a blend: salience cannot be scored, and presence is at most the share of right answers.
    presence = float(re.fullmatch(r"ACC_presence (\.\d+), ACC_salience –", rows[0]["Figures as published"])[1])
    assert 0.25 < presence < accuracy_of(runs) + 5e-4  # a figure of three decimals
    (tmp_path / "manifest.csv").unlink()
    assert summarise(runs)["elsewhere"][0]["Method"] == "most frequent emotion"


def accuracy_of(runs: list[Path]) -> float:
    table = pd.concat([pd.read_csv(run / "predictions.csv").query("part == 'test'") for run in runs])
    scores = table[[f"fused.{emotion}" for emotion in EMOTIONS]].fillna(-1).to_numpy()
    right = (np.array(EMOTIONS)[scores.argmax(axis=1)] == table["emotion"]) & (scores.max(axis=1) >= 0)
    return float(right.groupby(table["corpus"].to_numpy()).mean().mean())


def test_a_report_says_whether_encoders_may_have_met_the_corpora(tmp_path):
    run = make_run(tmp_path / "run", "1", 0)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["streams"] = {"first": {"encoder": "moonshine"}, "second": {"encoder": "hub-sound", "settings": {}}}
    recipe["streams"]["second"]["settings"]["preset"] = "wavlm-large"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    text = report([run], tmp_path / "r.html").read_text()
    assert "moonshine, unknown (its authors do not name all of its data)" in text
    assert "wavlm-large, unseen" in text


def test_names_from_manifests_are_escaped(tmp_path):
    run = make_run(tmp_path / "run", "a&b_<i>", 0, columns={"culture": "a&b_<i>"})
    page = report([run], tmp_path / "r.html")
    assert "<i>" not in page.read_text()
    assert r"a\&b\_" in page.with_suffix(".tex").read_text()


def test_markdown_and_csv_hold_the_same_figures(page, summary):
    row = summary["results"][-1]
    assert f"{100 * row['uar']['value']:.1f} [" in page.with_suffix(".md").read_text()
    table = pd.read_csv(page.with_suffix(".csv"))
    found = table[(table["group"] == row["group"]) & (table["model"] == "fused") & (table["metric"] == "uar")]
    assert found["value"].item() == pytest.approx(row["uar"]["value"])


def test_the_output_may_be_a_folder(folders, tmp_path):
    assert report(folders[:1], tmp_path / "new") == tmp_path / "new" / "report.html"


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match="there is no run to report\n\nhint:"):
        report([], tmp_path)


def test_a_folder_without_predictions_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match=r"predictions.csv` does not exist\n\nhint:"):
        report([tmp_path], tmp_path)


def test_half_a_table_of_predictions_is_not_taken_for_all(tmp_path):
    run = make_run(tmp_path / "run", "amber", 0)
    seal(run)
    table = run / "predictions.csv"
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"predictions.csv` is not what was written: its digest differs\n\nhint:"):
        report([run], tmp_path)


@pytest.mark.parametrize("column", ["emotion", "part"])
def test_predictions_without_a_column_are_an_error(tmp_path, column):
    run = make_run(tmp_path / "run", "amber", 0)
    pd.read_csv(run / "predictions.csv").drop(columns=column).to_csv(run / "predictions.csv", index=False)
    with pytest.raises(RecipeError, match=f"has no column `{column}`\n\nhint:"):
        report([run], tmp_path)


def test_an_emotion_the_model_does_not_know_is_an_error(tmp_path):
    run = make_run(tmp_path / "run", "amber", 0, columns={"emotion": "awe"})
    with pytest.raises(RecipeError, match="test clips of `awe`, which the model does not know\n\nhint: it knows anger"):
        report([run], tmp_path)


def test_runs_of_two_recipes_are_an_error(tmp_path):
    runs = [make_run(tmp_path / name, fold, 0, recipe=name) for name, fold in (("one", "amber"), ("two", "basalt"))]
    with pytest.raises(RecipeError, match="two recipes in one report: `one` and `two`\n\nhint:"):
        report(runs, tmp_path)


def test_the_same_run_twice_is_an_error(folders, tmp_path):
    with pytest.raises(RecipeError, match="two runs are `speech · amber · seed 0`\n\nhint:"):
        report([folders[0], folders[0]], tmp_path)


def test_a_clip_tested_in_two_folds_is_an_error(tmp_path):
    runs = [make_run(tmp_path / fold, fold, 0, groups=["amber"]) for fold in ("1", "2")]
    with pytest.raises(RecipeError, match="clip `amber/20` is tested in two folds\n\nhint:"):
        report(runs, tmp_path)


def test_folds_without_a_common_seed_are_an_error(tmp_path):
    runs = [make_run(tmp_path / fold, fold, seed) for fold, seed in (("amber", 0), ("basalt", 1))]
    with pytest.raises(RecipeError, match=r"no seed was run on all folds: amber \[0\], basalt \[1\]\n\nhint:"):
        report(runs, tmp_path)


def test_seeds_tested_on_different_clips_are_an_error(tmp_path):
    runs = [make_run(tmp_path / f"{seed}", "amber", seed, n_clips=90 - seed) for seed in (0, 1)]
    with pytest.raises(RecipeError, match="seeds 0 and 1 were tested on different clips\n\nhint:"):
        report(runs, tmp_path)


def test_a_run_without_test_clips_is_an_error(tmp_path):
    run = make_run(tmp_path / "run", "amber", 0, columns={"part": "validation"})
    with pytest.raises(RecipeError, match="holds no test clip\n\nhint:"):
        report([run], tmp_path)


def test_a_broken_file_is_an_error(tmp_path):
    run = make_run(tmp_path / "run", "amber", 0)
    (run / "fold.json").write_text('{"name": ')
    with pytest.raises(RecipeError, match=r"fold.json` is damaged .*\n\nhint:"):
        report([run], tmp_path)
    (run / "fold.json").write_text("[1]")
    with pytest.raises(RecipeError, match=r"fold.json` holds no named values\n\nhint:"):
        report([run], tmp_path)


# Fold by fold


@pytest.fixture
def dfew_runs(tmp_path) -> list[Path]:
    """Three folds of a corpus with published figures, seven emotions of which four have clips, two seeds."""
    runs = []
    for fold in ("1", "2", "3"):
        for seed in (0, 1):
            run = make_run(
                tmp_path / f"dfew-{fold}-s{seed}", fold, seed, columns={"corpus": "dfew", "culture": "", "speaker": ""}
            )
            table = pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)
            for kind in ("forward", "backward", "fused"):
                for emotion in ("surprise", "fear", "disgust"):
                    table[f"{kind}.{emotion}"] = np.where(table["problem"] == "", "0", "")
            table.to_csv(run / "predictions.csv", index=False)
            facts = {"name": fold, "protocol": "official", "group": "corpus", "note": "speakers unknown"}
            write_json(run / "fold.json", facts)
            runs.append(run)
    return runs


def scored(runs: list[Path], fold: str, kind: str) -> float:
    """UAR of a fold, mean over seeds, computed from the files."""
    found = []
    for run in runs:
        table = pd.read_csv(run / "predictions.csv").query("part == 'test'")
        if json.loads((run / "fold.json").read_text())["name"] == fold:
            answers = table.filter(regex=rf"^{kind}\.").fillna(-1).to_numpy()
            called = [EMOTIONS[place] if place < 4 else "" for place in answers.argmax(axis=1)]
            right = (table["emotion"] == called) & table["problem"].isna()
            found.append(right.groupby(table["emotion"]).mean().mean())
    return float(np.mean(found))


def test_every_fold_has_its_figures_with_mean_and_deviation(dfew_runs, tmp_path):
    folds = json.loads(report(dfew_runs, tmp_path / "r.html").with_suffix(".json").read_text())["folds"]
    assert [line["name"] for line in folds["lines"]] == ["1", "2", "3"]
    for kind in ("forward", "backward", "fused"):
        expected = [scored(dfew_runs, fold, kind) for fold in ("1", "2", "3")]
        assert [line["figures"][kind]["uar"] for line in folds["lines"]] == pytest.approx(expected)
        assert folds["mean"][kind]["uar"] == pytest.approx(np.mean(expected))
        assert folds["deviation"][kind]["uar"] == pytest.approx(np.std(expected, ddof=1))
    assert folds["pooled"]["n_clips"] == sum(line["n_clips"] for line in folds["lines"]) == 210


def test_published_figures_stand_beside_the_folds_with_their_selection(dfew_runs, tmp_path):
    page = report(dfew_runs, tmp_path / "r.html")
    folds = json.loads(page.with_suffix(".json").read_text())["folds"]
    theirs = folds["published"][0]
    assert (theirs["name"], theirs["selection"]) == ("PTH-Net", "oracle")
    assert theirs["figures"]["fused"] == pytest.approx({"uar": 0.6228, "war": 0.7085})
    for text in (page.read_text(), page.with_suffix(".md").read_text(), page.with_suffix(".tex").read_text()):
        assert "validation clips" in text
        assert "test clips (ORACLE)" in text
        assert "PTH-Net" in text
    assert "±" in page.read_text()


def test_one_fold_has_no_deviation(dfew_runs, tmp_path):
    folds = json.loads(report(dfew_runs[:2], tmp_path / "r.html").with_suffix(".json").read_text())["folds"]
    assert folds["deviation"] is None
    assert len(folds["lines"]) == 1


def test_the_margin_of_a_fold_is_that_of_its_clips(dfew_runs, tmp_path):
    folds = json.loads(report(dfew_runs, tmp_path / "r.html").with_suffix(".json").read_text())["folds"]
    share = folds["pooled"]["figures"]["fused"]["war"]
    assert folds["war_margin"]["all"] == pytest.approx(1.96 * (share * (1 - share) / 210) ** 0.5)
    assert folds["war_margin"]["fold"] > folds["war_margin"]["all"]


def test_shared_speakers_are_said_before_every_table(dfew_runs, tmp_path):
    for run in dfew_runs:
        facts = json.loads((run / "fold.json").read_text())
        write_json(run / "fold.json", facts | {"note": "speakers shared: 6 of 9 test speakers are trained on"})
    page = report(dfew_runs, tmp_path / "r.html")
    for text in (page.read_text(), page.with_suffix(".md").read_text(), page.with_suffix(".tex").read_text()):
        assert "speakers shared between training and test in 3 of 3 published divisions" in text


def test_a_report_takes_names_as_text(dfew_runs, tmp_path):
    assert report([str(run) for run in dfew_runs], str(tmp_path / "r.html")) == tmp_path / "r.html"


def test_latex_escapes_what_latex_would_read(tmp_path):
    run = make_run(tmp_path / "run", "a~b^c", 0, columns={"culture": "a~b^c"})
    text = report([run], tmp_path / "r.html").with_suffix(".tex").read_text()
    assert r"a\~{}b\^{}c" in text
    assert text.count(r"\begin{table}") == text.count(r"\caption{") == text.count(r"\end{table}") >= 2


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            None,
            "the tested corpora are, to wavlm-large, unseen (never trained, or all of its data is named without these "
            "corpora): cremad and iemocap, unknown (its data and these corpora were gathered from the same kind of "
            "place): "
            "msppodcast. "
            "Mean UAR over corpora: unseen alone {} %, all {} %",
        ),
        (
            "models/hubert-large-superb-er",
            "the tested corpora are, to wavlm-large, unseen (never trained, or all of its data is named without these "
            "corpora): cremad and iemocap, unknown (its data and these corpora were gathered from the same kind of "
            "place): "
            "msppodcast; to "
            "hubert-large-superb-er, unknown (its authors do not name all of its data): cremad and msppodcast, SEEN "
            "(it was fine-tuned on them): iemocap",
        ),
    ],
)
def test_corpora_that_an_encoder_may_know_are_marked_and_left_out_of_a_second_mean(
    tmp_path: Path, second: str | None, said: str
) -> None:
    uars = {}
    for fold, corpus in (("amber", "iemocap"), ("basalt", "cremad"), ("cedar", "msppodcast")):
        run = make_run(tmp_path / fold, fold, 0, columns={"corpus": corpus})
        recipe = yaml.safe_load((run / "recipe.yaml").read_text())
        streams = {"first": {"encoder": "hub-sound", "settings": {"preset": "wavlm-large"}}}
        if second:
            streams["second"] = {"encoder": "hub-sound", "settings": {"weights": second}}
        (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"streams": streams}))
        table = pd.read_csv(run / "predictions.csv").query("part == 'test'")
        right = table[[f"fused.{emotion}" for emotion in EMOTIONS]].fillna(0).to_numpy().argmax(1)
        is_right = (np.array(EMOTIONS)[right] == table["emotion"]) & table["problem"].isna()
        uars[corpus] = is_right.groupby(table["emotion"]).mean().mean()
    summary = summarise([tmp_path / fold for fold in ("amber", "basalt", "cedar")])
    text = {fact["label"]: fact["value"] for fact in summary["facts"]}["Pretraining"]
    alone = np.mean([uars["iemocap"], uars["cremad"]])
    assert text == said.format(f"{100 * alone:.1f}", f"{100 * np.mean(list(uars.values())):.1f}")
