"""What goes wrong between files and figures is one clear error, or one row with its reason; the rest survives."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from cimeu.cli import main as command_line
from cimeu.corpora.manifest import read_manifest
from cimeu.errors import CheckpointError, EmptyClass, FeatureError, FoldLeak, RecipeError
from cimeu.experiments.prepare import extract_streams, prepare
from cimeu.experiments.recipe import Recipe, load_recipe
from cimeu.experiments.run import evaluate_run, run_recipe
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import write_sound
from cimeu.media.video import write_video
from cimeu.reports.run_summary import summarise
from cimeu.sealed import unseal

PROGRAM = Path(sys.executable).with_name("cimeu")
QUICK = ("direction=forward", "training.epochs=1", "evaluation.probes=false")
Corpus = Callable[..., Recipe]


@pytest.fixture
def corpus(toy, tmp_path: Path) -> Corpus:
    """The toy recipe over the toy clips and some more rows (dicts of columns), features in a folder of its own."""

    def make(*rows: dict[str, str], settings: tuple[str, ...] = (), change: dict[str, object] | None = None) -> Recipe:
        table = read_manifest(toy.manifest).table.assign(**(change or {}))
        table["path"] = [str(toy.manifest.parent / path) for path in table["path"]]
        more = pd.DataFrame([{"corpus": "toy", "synthetic": "yes", **row} for row in rows])
        pd.concat([table, more]).to_csv(tmp_path / "manifest.csv", index=False)
        if not (tmp_path / "features").exists():
            shutil.copytree(toy.features, tmp_path / "features")
        own = (f"output={tmp_path / 'runs'}", f"data.manifest={tmp_path / 'manifest.csv'}")
        return load_recipe(toy.recipe, [*own, f"data.features={tmp_path / 'features'}", *QUICK, *settings])

    return make


def test_bad_files_of_every_kind_cost_their_own_rows_only(corpus: Corpus, tmp_path: Path) -> None:
    room = (np.full((64, 64, 3), 90, np.uint8) for _ in range(30))
    write_video(tmp_path / "nobody.mp4", room, rate_hz=25, samples=np.zeros(19_200, np.float32))
    write_sound(tmp_path / "voice.wav", 0.1 * np.sin(np.arange(32_000) / 10).astype(np.float32))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    names = ("nobody.mp4", "voice.wav", "empty.mp4", "text.mp4", "gone.mp4")
    rows = [{"path": name, "emotion": "anger", "speaker": "east01", "culture": "east"} for name in names]
    recipe = corpus(*rows)
    manifest = read_manifest(recipe.data.table)
    streams = [(recipe.streams.first, False), (recipe.streams.second, False)]
    found = extract_streams(manifest, streams, recipe.data.features, workers=1)
    reasons = found.failures.groupby("clip_id")["reason"].agg(" | ".join)
    assert set(reasons.index) == {"nobody", "voice", "empty", "text", "gone"}
    for clip, reason in (
        *(("nobody", "no face"), ("nobody", "silent"), ("voice", "no picture"), ("empty", "empty")),
        *(("text", "not a video or sound file"), ("gone", "missing file")),
    ):
        assert reason in reasons[clip], (clip, reasons[clip])

    (run,) = run_recipe(recipe)
    told = pd.read_csv(run / "predictions.csv").set_index("clip_id")
    answered = told.filter(regex=r"^fused\.").notna().all(axis=1)
    assert set(told.index[~answered]) == {"nobody", "empty", "text", "gone"}
    assert answered["voice"], "half a clip is enough"
    assert told["problem"]["gone"] == "missing file"
    summary = summarise([run])
    fused = next(row for row in summary["results"] if row["group"] == "east")
    assert fused["n_clips"] == 12 + len(names)


def test_a_label_that_no_clip_has_is_an_empty_class(corpus: Corpus) -> None:
    with pytest.raises(EmptyClass, match="no usable clip of `fear` among 9 clips"):
        prepare(corpus(settings=("data.labels=[anger, fear]",)))


def test_a_misspelt_label_is_told_and_the_others_train(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    odd = {"path": "odd.mp4", "emotion": "hapiness", "speaker": "east01", "culture": "east"}
    assert len(prepare(corpus(odd)).manifest) == 36
    assert "1 of 37 clips take no part, label space `four` lacks their emotion: hapiness 1" in caplog.text


def test_a_speaker_on_both_sides_of_a_published_split_stops_before_training(corpus: Corpus, tmp_path: Path) -> None:
    split = np.array(["train", "validation", "test"])[np.arange(36) % 3]
    with pytest.raises(FoldLeak, match="speaker `north01` is in both"):
        run_recipe(corpus(settings=("folds.protocol=official", "fold=all"), change={"split": split}))
    assert not (tmp_path / "runs").exists()


def test_weights_of_another_network_are_refused_by_tensor(toy, tmp_path: Path) -> None:
    run = shutil.copytree(toy.run, tmp_path / "run")
    unseal(run)
    weights = run / "forward" / "model.safetensors"
    save_file({name: x for name, x in load_file(weights).items() if not name.startswith("style.")}, weights)
    for read in (evaluate_run, Recogniser.from_pretrained):
        with pytest.raises(CheckpointError, match=r"tensor `style\."):
            read(run)


def test_a_checkpoint_cut_short_is_refused(toy, tmp_path: Path) -> None:
    run = shutil.copytree(toy.run, tmp_path / "run")
    unseal(run)
    weights = run / "forward" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        evaluate_run(run)


def test_a_damaged_store_is_named_before_a_figure_is_made(corpus: Corpus, tmp_path: Path) -> None:
    recipe = corpus()
    shard = next((tmp_path / "features" / "hog").glob("*.arrow"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FeatureError, match=shard.name):
        run_recipe(recipe)


def test_imported_features_that_are_not_finite_are_named_and_the_others_train(
    corpus: Corpus, toy, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    manifest = read_manifest(toy.manifest)
    lines = []
    for clip_id in manifest.table["clip_id"]:
        array = generator.normal(size=(6, 8)).astype(np.float32)
        if clip_id == "east/east01/anger_01":
            array[2, 3] = np.nan
        path = tmp_path / "arrays" / f"{clip_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
        lines.append(f"{clip_id}.npy 6 0")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    words = ("features", "import", "list.txt", "--root", "arrays", "--encoder", "mine")
    recipe = corpus(settings=("streams.first.encoder=mine", "streams.second=null"))
    done = subprocess.run([PROGRAM, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "east/east01/anger_01" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = run_recipe(recipe)
    told = pd.read_csv(run / "predictions.csv").set_index("clip_id")
    assert list(told.index[told["fused.anger"].isna()]) == ["east/east01/anger_01"]


@pytest.mark.long
def test_a_disk_that_fills_up_while_training_is_one_error_and_the_run_goes_on_later(
    toy, corpus: Corpus, tmp_path: Path
) -> None:
    corpus()
    limit = 100_000  # bytes of one file: the recipe fits, weights of the smallest network do not

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    settings = [f"output={tmp_path / 'runs'}", *QUICK, "streams.second=null"]
    done = subprocess.run(
        [PROGRAM, "train", toy.recipe, *settings],
        preexec_fn=small_disk,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert "error: [Errno 27] File too large" in done.stderr
    assert "hint: free some space; what is finished is kept, run the command again" in done.stderr
    (run,) = run_recipe(load_recipe(toy.recipe, settings))
    assert (run / "predictions.csv").is_file()


@pytest.mark.parametrize(
    ("code", "hint"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "choose a folder that you may write to")]
)
def test_what_the_machine_refuses_is_one_message(
    code: int, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise OSError(code, os.strerror(code), "runs/predictions.csv")

    monkeypatch.setattr(command_line, "app", refused)
    with pytest.raises(SystemExit, match="1"):
        command_line.main()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: [Errno {code}] {os.strerror(code)}: 'runs/predictions.csv'\n\nhint: {hint}; ")


def test_an_error_of_the_system_that_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> None:
        raise OSError(errno.EBADF, "a bug of ours")

    monkeypatch.setattr(command_line, "app", bug)
    with pytest.raises(OSError, match="a bug of ours"):
        command_line.main()


def test_a_run_of_other_clips_is_not_overwritten(toy) -> None:
    with pytest.raises(RecipeError, match="was made with other settings of `data`"):
        run_recipe(load_recipe(toy.recipe, ["data.labels=[anger, sadness]"]))
    assert (toy.run / "predictions.csv").is_file()
