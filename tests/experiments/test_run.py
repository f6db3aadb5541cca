"""A run folder is an ensemble with everything one needs to read it again."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.atomic import ROOM
from cimeu.corpora.adapters.chsims import from_chsims
from cimeu.corpora.folds import Fold
from cimeu.corpora.manifest import read_manifest, write_manifest
from cimeu.errors import CheckpointError, EmptyClass, FingerprintMismatch, RecipeError, WeightsMissing
from cimeu.evaluation.continuous import concordance
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments.prepare import clips_of, cores, default_streams, folds_named, prepare
from cimeu.experiments.recipe import Recipe, load_recipe
from cimeu.experiments.run import evaluate_run, run_recipe
from cimeu.experiments.run_folder import read_run
from cimeu.features.store import FeatureStore, Row, key_of
from cimeu.inference.model_folder import open_model_folder
from cimeu.model.network import CiMEU
from cimeu.reports.run_summary import summarise
from cimeu.timeline.segments import CONTINUOUS_CAUTION

EMOTIONS = ("anger", "happiness", "neutral", "sadness")
QUICK = ("direction=forward", "training.epochs=1", "evaluation.probes=false")
ONE_STREAM = (*QUICK, "streams.second=null")
Change = Callable[..., Recipe]


@pytest.fixture
def changed(toy, tmp_path: Path) -> Change:
    """The toy recipe with other settings and its own output; the stored features are shared."""

    def change(*settings: str, table: pd.DataFrame | None = None) -> Recipe:
        if table is not None:
            path = tmp_path / "changed.csv"
            table.to_csv(path, index=False)
            settings = (*settings, f"data.manifest={path}", f"data.root={toy.manifest.parent}")
        return load_recipe(toy.recipe, [f"output={tmp_path / 'runs'}", *settings])

    return change


@pytest.fixture(scope="module")
def quick(toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the forward direction and the first stream alone, one epoch; tests that change it take a copy."""
    (run,) = run_recipe(load_recipe(toy.recipe, [f"output={tmp_path_factory.mktemp('quick')}", *ONE_STREAM]))
    return run


@pytest.fixture
def table(toy) -> pd.DataFrame:
    return read_manifest(toy.manifest).table.copy()


def predictions(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "predictions.csv", keep_default_na=False, na_values={f"fused.{e}": "" for e in EMOTIONS})


def test_a_run_leaves_everything_one_needs_to_read_it_again(toy) -> None:
    assert {path.name for path in toy.run.iterdir() if path.name != ROOM} == {
        *("recipe.yaml", "environment.json", "fold.json", "forward", "backward", "ensemble.json"),
        *("predictions.csv", "projections.npz", "probes.json", "MODEL_CARD.md"),
        *("familiarity.safetensors", "training_clips.npz", "trained_on.csv", "digests.json"),
    }


def test_every_validation_and_test_clip_has_one_row(toy, table: pd.DataFrame) -> None:
    rows = predictions(toy.run)
    fold = json.loads((toy.run / "fold.json").read_text())
    assert list(rows["clip_id"][rows["part"] == "validation"]) == fold["validation"]
    assert list(rows["clip_id"][rows["part"] == "test"]) == fold["test"]
    assert set(fold["test"]) == set(table["clip_id"][table["culture"] == "east"])
    assert {len(fold["train"]) + len(rows)} == {len(table)}


@pytest.mark.parametrize("model", ["forward", "backward", "fused"])
def test_scores_are_probabilities(toy, model: str) -> None:
    scores = predictions(toy.run)[[f"{model}.{emotion}" for emotion in EMOTIONS]].to_numpy()
    np.testing.assert_allclose(scores.sum(1), 1, atol=3e-6)


def test_two_directions_do_not_say_the_same(toy) -> None:
    rows = predictions(toy.run)
    assert not np.allclose(rows["forward.anger"], rows["backward.anger"], atol=1e-3)


def test_primitives_are_kept_for_every_validation_and_test_clip(toy) -> None:
    with np.load(toy.run / "projections.npz") as kept:
        rows = predictions(toy.run)
        assert list(kept["clip_id"]) == list(rows["clip_id"])
        assert kept["emotion_primitives"].shape == kept["style_primitives"].shape == (len(rows), 64)


def test_the_digests_of_a_run_name_every_file(toy) -> None:
    files = {path.relative_to(toy.run).as_posix() for path in toy.run.rglob("*") if path.is_file()}
    listed = set(json.loads((toy.run / "digests.json").read_text())["files"])
    assert listed == {name for name in files if not name.startswith(".") and "/." not in name} - {"digests.json"}


def test_weights_that_were_changed_get_no_new_digest(toy, tmp_path: Path) -> None:
    run = shutil.copytree(toy.run, tmp_path / "run")
    weights = run / "forward" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors` is not what was written: its digest differs"):
        evaluate_run(run)


def test_a_run_that_is_evaluated_again_says_the_same(toy, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(toy.run, again)
    for name in ("probes.json", "predictions.csv", "familiarity.safetensors"):
        (again / name).unlink()
    evaluate_run(again)
    for name in ("probes.json", "predictions.csv", "familiarity.safetensors"):
        assert (again / name).read_bytes() == (toy.run / name).read_bytes(), name


def test_the_environment_says_where_numbers_come_from(toy) -> None:
    environment = json.loads((toy.run / "environment.json").read_text())
    assert environment["synthetic"] is True
    assert (environment["seed"], environment["clips"], environment["labels"]) == (0, 36, list(EMOTIONS))
    assert {"cimeu", "torch"} <= set(environment["versions"])


def test_a_finished_run_is_left_as_it_is(toy) -> None:
    before = {path: path.stat().st_mtime_ns for path in toy.run.rglob("*")}
    assert run_recipe(load_recipe(toy.recipe)) == [toy.run]
    assert {path: path.stat().st_mtime_ns for path in toy.run.rglob("*")} == before


def test_a_folder_made_with_other_settings_is_refused(toy) -> None:
    with pytest.raises(RecipeError, match="was made with other settings of `training`") as caught:
        run_recipe(load_recipe(toy.recipe, ["training.epochs=3"]))
    assert "hint: set another `output` or `name`, or remove the folder" in str(caught.value)


def test_which_runs_are_made_together_changes_none_of_them(toy) -> None:
    assert run_recipe(load_recipe(toy.recipe, ["fold=east", "seeds=[0]", f"output={toy.run.parent}/."])) == [toy.run]


def test_an_unknown_fold_is_answered_with_those_there_are(toy, changed: Change) -> None:
    with pytest.raises(RecipeError, match="no fold `west`\n\nhint: all, or one of east, north, south"):
        run_recipe(changed("fold=west"))


def test_all_folds_are_run_unless_one_or_its_group_is_named() -> None:
    folds = [Fold(name, (), (), (), speakers_known=True, note="") for name in ("de", "de-1", "de-2", "dutch-1", "en+8")]
    for name, wanted in {
        "all": [fold.name for fold in folds],
        "de": ["de"],
        "dutch": ["dutch-1"],
        "en": ["en+8"],
    }.items():
        assert [fold.name for fold in folds_named(name, folds)] == wanted
    assert [fold.name for fold in folds_named("de", folds[1:])] == ["de-1", "de-2"]


def test_every_seed_has_its_own_run_and_its_own_weights(quick: Path, changed: Change) -> None:
    (other,) = run_recipe(changed(*ONE_STREAM, "seeds=[1]"))
    assert (quick.name, other.name) == ("toy-east-s0", "toy-east-s1")
    first, second = predictions(quick), predictions(other)
    assert list(first["clip_id"]) == list(second["clip_id"])
    assert not np.allclose(first["fused.anger"], second["fused.anger"], atol=1e-4)


def test_one_direction_alone_is_an_ensemble(quick: Path) -> None:
    assert not (quick / "backward").exists()
    assert not (quick / "probes.json").exists()
    assert not any(column.startswith("backward.") for column in predictions(quick))
    assert EnsembleSettings.load(quick).directions == ("forward",)


def test_forward_yesterday_and_backward_today_make_an_ensemble(quick: Path, changed: Change, tmp_path: Path) -> None:
    shutil.copytree(quick, tmp_path / "runs" / quick.name)
    weights = (quick / "forward" / "model.safetensors").read_bytes()
    (run,) = run_recipe(changed(*ONE_STREAM, "direction=backward"))
    assert EnsembleSettings.load(run).directions == ("forward", "backward")
    assert (run / "forward" / "model.safetensors").read_bytes() == weights
    assert {"forward.anger", "backward.anger", "fused.anger"} <= set(predictions(run))
    assert load_recipe(run / "recipe.yaml").direction == "both"
    before = (run / "predictions.csv").stat().st_mtime_ns
    assert run_recipe(changed(*ONE_STREAM)) == [run]
    assert (run / "predictions.csv").stat().st_mtime_ns == before


def test_what_test_clips_are_called_changes_no_score(quick: Path, changed: Change, table: pd.DataFrame) -> None:
    held_out = table["culture"] == "east"
    table.loc[held_out, "emotion"] = table.loc[held_out, "emotion"].map(
        dict(zip(EMOTIONS, EMOTIONS[::-1], strict=True))
    )
    (lied_to,) = run_recipe(changed(*ONE_STREAM, table=table))
    fused = [f"fused.{emotion}" for emotion in EMOTIONS]
    before, after = predictions(quick), predictions(lied_to)
    assert list(before["emotion"]) != list(after["emotion"])
    pd.testing.assert_frame_equal(before[fused], after[fused])


def weightless(toy, folder: Path, clip_ids: list[str]) -> list[str]:
    """Settings of a first stream that was extracted elsewhere, from these clips, and whose weights are not here."""
    described = json.loads((toy.features / "hog" / "encoder.json").read_text()) | {"name": "videomae-v2-giant"}
    shutil.copytree(toy.features / "filterbank", folder / "filterbank")
    with FeatureStore.open(folder / "videomae-v2-giant", described, writable=True) as store:
        for clip in read_manifest(toy.manifest).select(clip_ids).clips():
            for direction in ("forward", "backward"):
                features = np.zeros((3, described["width"]), np.float32)
                store.add(key_of(clip, described, direction), Row(clip.clip_id, features, "", 1.0, direction))
    return [f"data.features={folder}", "streams.first.encoder=videomae-v2-giant", "streams.first.settings.source=face"]


def test_features_of_weights_that_are_elsewhere_are_taken_as_they_are(
    toy, changed: Change, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    settings = weightless(toy, tmp_path / "features", list(table["clip_id"]))
    assert len(prepare(changed(*settings)).first) == 72
    with pytest.raises(FingerprintMismatch, match=r"was made with rate_hz `25\.0`, the recipe says `30`"):
        prepare(changed(*settings, "streams.first.settings.rate_hz=30"))


def test_without_weights_every_clip_needs_its_features(
    toy, changed: Change, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    settings = weightless(toy, tmp_path / "features", list(table["clip_id"][1:]))
    first = table["clip_id"][0]
    with pytest.raises(WeightsMissing, match=f"1 of 36 clips have no features .* the first is `{first}`, and its"):
        prepare(changed(*settings))
    with pytest.raises(WeightsMissing, match="weights of `videomae-v2-giant` are not at"):
        prepare(changed(*settings, f"data.features={tmp_path / 'empty'}"))


def test_clips_outside_the_label_space_take_no_part_and_are_told(
    toy, changed: Change, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = prepare(changed("data.labels=[anger, sadness]"))
    assert set(prepared.manifest.table["emotion"]) == {"anger", "sadness"}
    assert "18 of 36 clips take no part" in caplog.text
    assert "happiness 9, neutral 9" in caplog.text


def test_a_clip_that_cannot_be_encoded_counts_as_wrong(toy, changed: Change, table: pd.DataFrame) -> None:
    broken = toy.folder / "clips" / "east" / "broken.mp4"
    broken.write_text("no video")
    extra = table.iloc[[0]].assign(path="east/broken.mp4", clip_id="east/broken", culture="east", speaker="east01")
    (run,) = run_recipe(changed(*ONE_STREAM, table=pd.concat([table, extra])))
    row = predictions(run).set_index("clip_id").loc["east/broken"]
    assert (row["part"], row["problem"]) == ("test", "no stream could be encoded")
    assert np.isnan(row["fused.anger"])


@pytest.mark.parametrize(("column", "styles"), [("culture", 2), ("speaker", 4)])
def test_styles_of_a_column_are_as_many_as_its_training_clips_have(
    toy, changed: Change, column: str, styles: int
) -> None:
    (run,) = run_recipe(changed(*ONE_STREAM, f"training.style_labels={column}"))
    assert json.loads((run / "forward" / "config.json").read_text())["model"]["styles"] == styles


def test_oracle_selection_is_written_into_the_ensemble(toy, changed: Change) -> None:
    (run,) = run_recipe(changed(*ONE_STREAM, "training.selection=oracle"))
    assert EnsembleSettings.load(run).selection == "oracle"
    assert "ORACLE: chosen on test clips" in (run / "MODEL_CARD.md").read_text()


def test_the_held_out_column_is_among_the_predictions(toy, changed: Change) -> None:
    (run,) = run_recipe(changed(*ONE_STREAM, "folds.group=gesture", "folds.protocol=speaker-independent", "fold=1"))
    assert set(predictions(run)["gesture"]) <= {"nod", "tilt", "flash", "closing"}


def test_only_a_run_folder_can_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a run folder\n\nhint: name a folder that `cimeu train` printed"):
        evaluate_run(tmp_path)


def test_a_run_without_its_weights_says_so(quick: Path, tmp_path: Path) -> None:
    run = shutil.copytree(quick, tmp_path / "run")
    (run / "forward" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        evaluate_run(run)


def test_embedded_encoders_follow_the_media(toy, table: pd.DataFrame) -> None:
    manifest = read_manifest(toy.manifest)
    assert [(each.encoder, backward) for each, backward in default_streams(manifest)] == [
        ("hog", True),
        ("filterbank", False),
    ]


def test_without_a_usable_clip_there_is_nothing_to_encode(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,emotion\nnone.mp4,anger\n")
    with pytest.raises(RecipeError, match="none of the 1 clips can be used\n\nhint: look at the column `problem`"):
        default_streams(read_manifest(tmp_path / "manifest.csv"))


def test_there_is_a_core() -> None:
    assert cores() >= 1


def test_a_network_learns_shares_and_a_blend_goes_by_its_strongest_emotion(
    changed: Change, table: pd.DataFrame
) -> None:
    """Two thirds of the votes of every clip are for its emotion: no network gets below the entropy of that."""
    others = {emotion: EMOTIONS[(place + 1) % 4] for place, emotion in enumerate(EMOTIONS)}
    votes = {
        f"votes_{emotion}": [
            "2" if emotion == label else "1" if emotion == others[label] else "0" for label in table["emotion"]
        ]
        for emotion in EMOTIONS
    }
    blended = table.assign(**votes)
    blended.loc[blended["emotion"] == "sadness", "emotion"] = "anger_sadness"
    (run,) = run_recipe(changed(*ONE_STREAM, "data.targets=shares", table=blended))
    journal = [json.loads(line) for line in (run / "forward" / "journal.jsonl").read_text().splitlines()]
    assert min(entry["validation.loss"] for entry in journal if "validation.loss" in entry) > 0.6365
    rows = predictions(run)
    expected = table.set_index("clip_id")["emotion"]
    assert list(rows["emotion"]) == list(expected[rows["clip_id"]])


def test_continuous_labels_are_predicted_and_reported_beside_the_emotion(changed: Change, table: pd.DataFrame) -> None:
    # One training clip without a value: it keeps its emotion and is ignored in the other head.
    first = table.index[table["culture"] == "north"][0]
    table = table.assign(valence=table["valence"].where(table.index != first, ""))
    scales = "data.continuous={valence: [-1, 1], arousal: [-1, 1]}"
    (run,) = run_recipe(changed(*ONE_STREAM, scales, table=table))
    rows = read_run(run).predictions
    scored = rows[rows["part"] == "test"]
    by_clip = table.set_index("clip_id").loc[scored["clip_id"]]
    assert scored["valence"].tolist() == [float(cell) for cell in by_clip["valence"]]
    assert scored["predicted.valence"].between(-1, 1).all()
    reported = {row["name"]: row["ccc"] for row in summarise([run])["continuous"]}
    expected = concordance(scored["arousal"].to_numpy(), scored["predicted.arousal"].to_numpy())
    assert reported["arousal"]["value"] == pytest.approx(expected)
    assert (reported["arousal"]["n_clips"], reported["arousal"]["n_speakers"]) == (12, 3)
    specifications = CiMEU.from_pretrained(run / "forward").specifications
    assert specifications.continuous == {"valence": (-1.0, 1.0), "arousal": (-1.0, 1.0)}


def test_clips_without_an_emotion_and_with_valence_are_scored_by_ccc_alone(
    changed: Change, table: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    # One clip in each culture loses its emotion; one loses both and takes no part.
    unnamed = [table.index[table["culture"] == culture][3] for culture in ("north", "south", "east")]
    nothing = table.index[table["culture"] == "south"][5]
    without = table.index.isin([*unnamed, nothing])
    table = table.assign(
        emotion=table["emotion"].where(~without, ""),
        unlabelled=np.where(without, "nobody named an emotion", ""),
        valence=table["valence"].where(table.index != nothing, " "),
    )
    settings = ("direction=forward", "streams.second=null", "data.continuous={valence: [-1, 1]}", "training.epochs=1")
    (run,) = run_recipe(
        changed(*settings, "training.criterion=uar_ccc", "training.weights.continuous=1.0", table=table)
    )
    assert "1 of 36 clips take no part, label space `four` lacks their emotion: no label 1" in caplog.text
    # Rows of a bench are about emotions: there, and for new groups of a run, such clips take no part.
    assert "" not in set(clips_of(load_recipe(run / "recipe.yaml"), emotions_only=True)[0].table["emotion"])
    summary, rows = summarise([run]), predictions(run).query("part == 'test'")
    assert (len(rows), (rows["emotion"] == "").sum()) == (12, 1)
    fused = [row for row in summary["results"] if row["kind"] == "fused"][-1]
    assert fused["uar"]["n_clips"] == 11
    assert summary["continuous"][0]["ccc"]["n_clips"] == 12
    assert np.sum(summary["confusion"]) == 11
    selection = next(fact["value"] for fact in summary["facts"] if fact["label"] == "Selection")
    assert "checkpoint: validation by mean of UAR and mean CCC" in selection
    card = (run / "MODEL_CARD.md").read_text()
    assert f"- Continuous labels: valence (-1 to 1); {CONTINUOUS_CAUTION}" in card
    assert open_model_folder(run).training_clips is not None


def test_a_continuous_label_named_like_an_emotion_is_refused(changed: Change, table: pd.DataFrame) -> None:
    recipe = changed("data.continuous={anger: [0, 1]}", table=table.assign(anger="0.5"))
    with pytest.raises(
        RecipeError, match=r"data\.continuous names `anger`, an emotion of .*\n\nhint: rename the column"
    ):
        run_recipe(recipe)


@pytest.mark.parametrize("scales", ["{valence: [-1, 1]}", "{}"])
def test_a_manifest_without_an_emotion_is_refused_before_any_work(
    changed: Change, table: pd.DataFrame, scales: str, tmp_path: Path
) -> None:
    table = table.assign(emotion="", unlabelled="rated alone")
    recipe = changed(f"data.continuous={scales}", f"data.features={tmp_path / 'features'}", table=table)
    with pytest.raises(EmptyClass, match=r"none of the 36 clips of `.*` has an emotion, .*\n\nhint: .*--task both`"):
        run_recipe(recipe)
    assert not (tmp_path / "features").exists()


@pytest.mark.long
def test_the_recipe_of_ch_sims_goes_from_its_folder_to_the_metrics_of_its_benchmark(toy, tmp_path: Path) -> None:
    """On SYNTHETIC clips in the layout of the corpus."""
    modes, signs = ("train", "train", "valid", "test"), {"happiness": "Positive", "neutral": "Neutral"}
    clips = read_manifest(toy.manifest)
    lines = ["video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"]
    for number, clip in enumerate(clips.clips()):
        video, label = f"video_{number // 4:04}", clips.table["valence"].iloc[number]
        path = tmp_path / "ch-simsv2s" / "Raw" / video / f"{number % 4:04}{clip.path.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip.path, path)
        annotation = signs.get(clip.emotion, "Negative")
        lines.append(f"{video},{number % 4},嗯,{label},0,0,0,{annotation},{modes[number // 4 % 4]}")
    (tmp_path / "ch-simsv2s" / "meta.csv").write_text("\n".join(lines), encoding="utf-8")
    write_manifest(from_chsims(tmp_path, check_counts=False), tmp_path / "chsims.csv")
    tree = load_recipe(toy.recipe)
    streams = [f"streams.{name}.encoder={getattr(tree.streams, name).encoder}" for name in ("first", "second")]
    places = [
        f"data.manifest={tmp_path / 'chsims.csv'}",
        f"data.features={toy.features}",
        f"output={tmp_path / 'runs'}",
    ]
    settings = [*QUICK, *places, *streams, "streams.first.settings={}", "model.size=tiny", "data.workers=1"]
    runs = run_recipe(load_recipe("chsims/default", settings))
    ours, theirs = summarise(runs)["elsewhere"][:2]
    assert (ours["Tested on"], ours["Method"], theirs["Method"]) == ("test", "these runs", "TFN")
    assert re.fullmatch(
        r"Acc2 [\d.]+, F1 [\d.]+, weak Acc2 [\d.–]+, Acc3 [\d.]+, Acc5 [\d.]+, correlation -?[\d.]+, MAE 1?\.\d{3}",
        ours["Figures as published"],
    )


def test_epochs_cannot_be_compared_by_labels_that_are_not_learned(changed: Change) -> None:
    with pytest.raises(RecipeError, match=r"training\.criterion=ccc without continuous labels\n\nhint: networks learn"):
        changed("training.criterion=ccc")
