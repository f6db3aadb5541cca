"""Training: it learns, it stops and goes on, it says what it did."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cimeu.batching.augment import AugmentationConfig
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import CheckpointError, EmptyClass, RecipeError
from cimeu.model.config import ModelConfig
from cimeu.model.network import CiMEU
from cimeu.training.config import TrainingConfig
from cimeu.training.journal import read_journal
from cimeu.training.loop import train
from cimeu.training.objective import LossWeights
from cimeu.training.optim import OptimiserConfig

from .conftest import network_of, open_corpus, write_corpus

Corpus = Callable[..., ClipDataset]
Network = Callable[..., ModelConfig]
QUICK = TrainingConfig(epochs=1, batch_size=12, accelerator="cpu")
FIVE = replace(QUICK, epochs=5, patience=0)
"""Pseudo styles begin with the fourth epoch."""


def trained(folder: Path, config: TrainingConfig, **corpus: float) -> Path:
    write_corpus(folder / "corpus", **corpus)
    clips = open_corpus(folder / "corpus")
    return train(network_of(), clips, clips, config, folder / "run")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, which tests read or copy."""
    return trained(tmp_path_factory.mktemp("quick"), QUICK)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five epochs that nothing interrupted."""
    return trained(tmp_path_factory.mktemp("undisturbed"), FIVE)


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that soon makes no error any more, and stops when it gets no better."""
    return trained(tmp_path_factory.mktemp("easy"), replace(QUICK, epochs=12, patience=2), signal=5.0)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_eight_clips_are_learnt_by_heart(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    eight = corpus(n_clips=8, signal=0.0)
    config = TrainingConfig(
        epochs=6,
        batch_size=8,
        patience=0,
        accelerator="cpu",
        augmentation=AugmentationConfig(noise=0.0),
        optimiser=OptimiserConfig(learning_rate=3e-3),
    )
    entries = read_journal(train(network(), eight, eight, config, tmp_path / "run"))
    assert entries[0]["validation.uar"] < 1.0
    assert entries[-1]["validation.uar"] == 1.0


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_clips_with_padding_and_missing_streams_train(
    corpus: Corpus, network: Network, tmp_path: Path, direction: str
) -> None:
    clips = corpus(holes=True, direction=direction)
    assert not clips.present.all()
    folder = train(network(direction=direction), clips, clips, QUICK, tmp_path / "run")
    for tensor in weights(folder).values():
        assert torch.isfinite(tensor).all()
    for entry in read_journal(folder):
        assert entry["train.alignment"] is not None
        assert np.isfinite([value for value in entry.values() if value is not None]).all()


def test_one_stream_trains_without_alignment(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus(second=False)
    folder = train(network(second=False), clips, clips, QUICK, tmp_path / "run")
    assert "train.alignment" not in read_journal(folder)[0]


def test_a_model_without_disentanglement_has_no_style_terms(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus()
    folder = train(network(disentangle="off"), clips, clips, QUICK, tmp_path / "run")
    named = {name for name in read_journal(folder)[0] if name.startswith("train.")}
    assert named == {"train.total", "train.class", "train.class.H", "train.class.M", "train.class.L"} | {
        "train.alignment", "train.mining", "train.streams",
    }  # fmt: skip


def test_the_checkpoint_carries_what_a_reader_needs(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus(direction="backward")
    folder = train(network(direction="backward"), clips, clips, QUICK, tmp_path / "run", synthetic=True)
    specifications = CiMEU.from_pretrained(folder).specifications
    assert specifications.emotions == ("anger", "happiness")
    assert specifications.direction == "backward"
    assert specifications.shares_windows
    assert specifications.synthetic
    assert specifications.selection == "validation"
    assert specifications.first_encoder["name"] == "alpha"
    first, second = clips.statistics()
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(specifications.first_statistics["mean"], first.mean, rtol=1e-6)
    np.testing.assert_allclose(specifications.second_statistics["deviation"], second.deviation, rtol=1e-6)


def test_the_best_epoch_is_kept_and_an_earlier_one_at_a_tie(
    easy: Path, corpus: Corpus, network: Network, tmp_path: Path
) -> None:
    scores = [entry["validation.uar"] for entry in read_journal(easy)]
    best = json.loads((easy / "finished.json").read_text())["best_epoch"]
    assert best == 1 + int(np.argmax(scores))  # numpy names the first of equal ones
    clips = corpus(signal=5.0)
    last = train(network(), clips, clips, replace(QUICK, epochs=2, selection="last"), tmp_path / "last")
    assert json.loads((last / "finished.json").read_text())["best_epoch"] == 2


def test_training_stops_when_patience_runs_out(easy: Path) -> None:
    entries = read_journal(easy)
    assert len(entries) == entries[-1]["best_epoch"] + 2 < 12


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    quick: Path, corpus: Corpus, network: Network, tmp_path: Path
) -> None:
    clips = corpus()
    one = weights(quick)
    torch.rand(7)
    assert same(one, weights(train(network(), clips, clips, QUICK, tmp_path / "two")))
    assert not same(one, weights(train(network(), clips, clips, replace(QUICK, seed=1), tmp_path / "three")))


CHILD = """
import importlib.util, os, signal, sys, torch
from pathlib import Path
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("corpus", sys.argv[1])
corpus = importlib.util.module_from_spec(spec); spec.loader.exec_module(corpus)
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.training.config import TrainingConfig
from cimeu.training.loop import train
clips = corpus.open_corpus(Path(sys.argv[2]))
streams = {"first": StreamConfig(width=12), "second": StreamConfig(width=5)}
model = ModelConfig(emotions=corpus.EMOTIONS, size="tiny", styles=2, **streams)
config = TrainingConfig(epochs=5, batch_size=12, patience=0, accelerator="cpu")
def die(step, completed, total):
    if completed == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
train(model, clips, clips, config, Path(sys.argv[3]), progress=die)
"""


class Stopped(Exception):
    pass


def test_a_stopped_run_goes_on_to_the_same_bits(
    undisturbed: Path, corpus: Corpus, network: Network, tmp_path: Path
) -> None:
    clips = corpus()

    def stop(step: str, completed: int, total: int) -> None:
        if completed == 9:
            raise Stopped

    with pytest.raises(Stopped):
        train(network(), clips, clips, FIVE, tmp_path / "stopped", progress=stop)
    assert len(read_journal(tmp_path / "stopped")) == 4
    train(network(), clips, clips, FIVE, tmp_path / "stopped")
    assert same(weights(tmp_path / "stopped"), weights(undisturbed))


@pytest.mark.long
def test_a_killed_run_goes_on_to_the_same_bits(
    undisturbed: Path, corpus: Corpus, network: Network, tmp_path: Path
) -> None:
    clips = corpus()
    helper = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", CHILD, str(helper), str(tmp_path / "corpus"), str(tmp_path / "killed"), "9"]
    child = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert len(read_journal(tmp_path / "killed")) == 4
    assert not (tmp_path / "killed" / "model.safetensors").exists()

    seen: list[int] = []
    train(network(), clips, clips, FIVE, tmp_path / "killed", progress=lambda step, done, total: seen.append(done))
    assert seen[0] == 9
    assert same(weights(tmp_path / "killed"), weights(undisturbed))
    one, other = (read_journal(folder) for folder in (tmp_path / "killed", undisturbed))
    for entry in (*one, *other):
        del entry["seconds"]
    assert one == other


def test_a_finished_run_is_not_repeated(quick: Path, corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus()
    folder = shutil.copytree(quick, tmp_path / "run")
    assert not (folder / "resume.pt").exists()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    steps: list[int] = []
    train(network(), clips, clips, QUICK, folder, progress=lambda *told: steps.append(1))
    assert not steps
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"null"], ids=repr)
@pytest.mark.parametrize("name", ["resume.pt", "finished.json"])
def test_a_damaged_state_is_named_with_the_way_out(
    quick: Path, corpus: Corpus, network: Network, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = shutil.copytree(quick, tmp_path / "run")
    (folder / "finished.json").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}` is damaged (.|\n)*hint: delete it, and the training begins"):
        train(network(), corpus(), corpus(), QUICK, folder)


def test_a_folder_of_another_run_is_refused(quick: Path, corpus: Corpus, network: Network) -> None:
    clips = corpus()
    with pytest.raises(RecipeError, match=r"run with other settings: training.seed\n\nhint"):
        train(network(), clips, clips, replace(QUICK, seed=3), quick)


def test_a_loss_that_is_not_finite_stops_training(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus()
    hot = replace(
        QUICK, epochs=20, optimiser=OptimiserConfig(learning_rate=100.0, weight_decay=0.0, clip_norm=0.0, warm_up=0.0)
    )
    with pytest.raises(RecipeError, match=r"the loss is (nan|inf) in epoch \d+, step \d+, learning rate \d+"):
        train(network(), clips, clips, hot, tmp_path / "run")


def test_an_emotion_without_a_training_clip_is_refused(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus()
    angry = ClipDataset(
        clips.manifest.select(clips.clip_ids[::2]),
        clips.labels,
        first=clips.first,
        second=clips.second,
        direction="forward",
    )
    with pytest.raises(EmptyClass, match="no usable training clip of `happiness`"):
        train(network(), angry, clips, QUICK, tmp_path / "run")


def test_selection_on_validation_needs_validation_clips(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus()
    none = ClipDataset(
        clips.manifest.select([]), clips.labels, first=clips.first, second=clips.second, direction="forward"
    )
    with pytest.raises(RecipeError, match="no validation clip can be used"):
        train(network(), clips, none, QUICK, tmp_path / "run")
    folder = train(network(), clips, none, replace(QUICK, selection="last"), tmp_path / "last")
    assert read_journal(folder)[-1]["validation.uar"] is None


def test_pseudo_styles_start_with_the_fourth_epoch(undisturbed: Path) -> None:
    entries = read_journal(undisturbed)
    assert [entry["train.style"] is None for entry in entries] == [True, True, True, False, False]
    assert "style.size.0" not in entries[2]
    assert entries[3]["style.size.0"] + entries[3]["style.size.1"] == 24
    assert {name.removeprefix("style.nmi.") for name in entries[4] if "nmi" in name} == {
        "emotion", "culture", "speaker", "length",
    }  # fmt: skip
    assert "style.ari.last" in entries[4]


def test_styles_of_a_column_are_told_from_the_first_epoch(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus(style_column="culture")
    config = replace(QUICK, style_labels="culture")
    assert read_journal(train(network(), clips, clips, config, tmp_path / "run"))[0]["train.style"] is not None
    with pytest.raises(RecipeError, match=r"column `culture` has 2 styles, the model 3\n\nhint: model.styles=2"):
        train(network(styles=3), clips, clips, config, tmp_path / "other")
    with pytest.raises(RecipeError, match="style labels come from `culture`, the clips bring `None`"):
        train(network(), corpus(), clips, config, tmp_path / "other")


def test_random_styles_keep_the_sizes_they_are_given(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus(second=False)
    config = replace(QUICK, epochs=5, patience=0, style_labels="random", style_sizes=(6, 18))
    entries = read_journal(train(network(second=False), clips, clips, config, tmp_path / "run"))
    assert (entries[4]["style.size.0"], entries[4]["style.size.1"]) == (6, 18)
    assert entries[4]["style.ari.last"] == 1.0
    with pytest.raises(RecipeError, match="style_sizes has 2 numbers, the model 3 styles"):
        train(network(styles=3, second=False), clips, clips, config, tmp_path / "other")


def test_the_journal_is_the_same_in_both_files(quick: Path) -> None:
    entries = read_journal(quick)
    with (quick / "journal.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation.uar"]) for row in rows] == [entry["validation.uar"] for entry in entries]
    assert rows[0]["train.style"] == ""
    assert {"epoch", "step", "learning_rate", "reversal", "seconds", "train.total", "validation.loss"} <= set(rows[0])


def test_tensorboard_events_are_written(corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus()
    folder = train(network(), clips, clips, replace(QUICK, tensorboard=True), tmp_path / "run")
    assert list(folder.glob("events.out.tfevents.*"))


def test_mixed_precision_trains(quick: Path, corpus: Corpus, network: Network, tmp_path: Path) -> None:
    clips = corpus()
    folder = train(network(), clips, clips, replace(QUICK, precision="bf16-mixed"), tmp_path / "run")
    half, full = read_journal(folder)[0], read_journal(quick)[0]
    assert half["train.total"] != full["train.total"]
    assert half["train.total"] == pytest.approx(full["train.total"], rel=0.05)
    assert all(tensor.dtype == torch.float32 for tensor in weights(folder).values() if tensor.is_floating_point())


UNEVEN = 23  # one emotion has a clip more
_PLAIN: dict[str, torch.Tensor] = {}


@pytest.fixture
def plain(corpus: Corpus, network: Network, tmp_path: Path) -> dict[str, torch.Tensor]:
    """Weights after one epoch without any switch, trained once."""
    if not _PLAIN:
        clips = corpus(n_clips=UNEVEN)
        _PLAIN.update(weights(train(network(), clips, clips, QUICK, tmp_path / "plain")))
    return _PLAIN


@pytest.mark.parametrize(
    "changes",
    [
        {"balance": "loss"},
        {"balance": "sampling"},
        {"label_smoothing": 0.1},
        {"augmentation": AugmentationConfig(mixup=0.4, raw_noise=5e-4)},
        {"optimiser": OptimiserConfig(schedule="published", learning_rate=0.01)},
        {"weights": LossWeights(mining="consistency")},
        {"weights": LossWeights(mining="off", heads_trained="H")},
        {"weights": LossWeights(mining="published", covariance=0.0)},
    ],
)
def test_every_switch_changes_what_is_learnt(
    corpus: Corpus, network: Network, tmp_path: Path, plain: dict[str, torch.Tensor], changes: dict[str, object]
) -> None:
    clips = corpus(n_clips=UNEVEN)
    config = replace(QUICK, **changes)
    assert not same(plain, weights(train(network(), clips, clips, config, tmp_path / "other")))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "`training.epochs` is 0"),
        ({"batch_size": 0}, "`training.batch_size` is 0"),
        ({"patience": -1}, "`training.patience` is -1"),
        ({"seed": -1}, "`training.seed` is -1"),
        ({"label_smoothing": 1.0}, "`training.label_smoothing` is 1.0"),
    ],
)
def test_impossible_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        TrainingConfig(**setting)
