"""Two processes on the CPU train what one trains, and go on where they were stopped.

A program that Lightning Fabric doubles trains three times: for the comparison with one process, undisturbed, and until
it is killed; a second launch goes on. The tests look at what was left.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cimeu.batching.augment import AugmentationConfig
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import RecipeError
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.training.config import TrainingConfig
from cimeu.training.journal import read_journal
from cimeu.training.loop import train

PROGRAM = """
import importlib.util, os, signal, sys, torch
from dataclasses import replace
from pathlib import Path

torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("corpus", sys.argv[1])
corpus = importlib.util.module_from_spec(spec)
spec.loader.exec_module(corpus)

from cimeu.batching.augment import AugmentationConfig
from cimeu.model import alignment
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.training.config import TrainingConfig
from cimeu.training.loop import train
from cimeu.training.optim import OptimiserConfig

alignment.DROPOUT = 0.0  # each process draws its own
still = {"drop_path": 0.0, "stream_dropout": 0.0, "stream_corruption": 0.0, "head_dropout": 0.0}
streams = {"first": StreamConfig(width=12), "second": StreamConfig(width=5)}
network = ModelConfig(emotions=corpus.EMOTIONS, size="tiny", styles=2, **streams, **still)
sgd = OptimiserConfig(schedule="published", learning_rate=0.01)
base = TrainingConfig(epochs=2, batch_size=11, accelerator="cpu", selection="last", adversary_steps=2)
compared = replace(base, style_labels="culture", optimiser=sgd, augmentation=AugmentationConfig(noise=0.0))
moved = replace(base, epochs=5, batch_size=12)


def run(job, folder, devices):
    def die(step, completed, total):
        if job == "killed" and completed == 9:
            os.kill(os.getpid(), signal.SIGKILL)

    config = replace(compared if job == "compared" else moved, devices=devices)
    column = "culture" if job == "compared" else None
    clips = corpus.open_corpus(folder / "corpus", style_column=column)
    name = {"resumed": "killed", "compared": f"compared-{devices}"}.get(job, job)
    train(network, clips, clips, config, folder / name, progress=die)


if __name__ == "__main__":
    for job in sys.argv[4:]:
        if job == "corpus":
            corpus.write_corpus(Path(sys.argv[2]) / "corpus", holes=True, longest=16)
            continue
        run(job, Path(sys.argv[2]), int(sys.argv[3]))
"""


ONE = ModelConfig(
    emotions=("anger", "happiness"), size="tiny", styles=2, first=StreamConfig(width=12), second=StreamConfig(width=5)
)


def launch(folder: Path, devices: int, *jobs: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM)
    helper = Path(__file__).with_name("conftest.py")
    command = [sys.executable, str(folder / "program.py"), str(helper), str(folder), str(devices), *jobs]
    return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    alone = launch(folder, 1, "corpus", "compared")
    assert alone.returncode == 0, alone.stderr
    killed = launch(folder, 2, "compared", "undisturbed", "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shutil.copytree(folder / "killed", folder / "stopped")
    resumed = launch(folder, 2, "resumed")
    assert resumed.returncode == 0, resumed.stderr
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.long
def test_two_processes_learn_what_one_learns(trained: Path) -> None:
    one, two = weights(trained / "compared-1"), weights(trained / "compared-2")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    for entry, same in zip(*(read_journal(trained / f"compared-{n}") for n in (1, 2)), strict=True):
        assert (entry.pop("processes"), same.pop("processes")) == (1, 2)
        for each in (entry, same):
            del each["seconds"]
        assert same == pytest.approx(entry, rel=1e-4, abs=1e-6)
        assert entry["train.style_adversary"] is not None
        assert entry["train.covariance"] is not None  # 11 clips share a batch, no process has 8


@pytest.mark.long
def test_two_processes_that_were_killed_go_on_to_the_same_bits(trained: Path) -> None:
    assert len(read_journal(trained / "stopped")) == 4
    one, other = weights(trained / "killed"), weights(trained / "undisturbed")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.long
def test_a_run_goes_on_with_as_many_processes_as_it_began_with(trained: Path) -> None:
    spec = importlib.util.spec_from_file_location("corpus", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    corpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpus)
    clips = corpus.open_corpus(trained / "corpus")
    network = replace(ONE, drop_path=0.0, stream_dropout=0.0, stream_corruption=0.0, head_dropout=0.0)
    config = TrainingConfig(epochs=5, batch_size=12, accelerator="cpu", selection="last", adversary_steps=2)
    with pytest.raises(RecipeError, match=r"holds a run with other settings: processes\n\nhint"):
        train(network, clips, clips, config, trained / "stopped")


def test_more_processes_than_clips_of_a_batch_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"16 processes share batches of 12\n\nhint: fewer devices"):
        TrainingConfig(batch_size=12, devices=8, nodes=2)


def test_more_processes_than_training_clips_are_refused(
    corpus: Callable[..., ClipDataset], network: Callable[..., ModelConfig], tmp_path: Path
) -> None:
    clips = corpus(n_clips=6)
    with pytest.raises(RecipeError, match=r"8 processes share 6 training clips\n\nhint: fewer devices"):
        train(network(), clips, clips, TrainingConfig(devices=8), tmp_path / "run")


def test_mixup_of_shares_is_refused() -> None:
    with pytest.raises(RecipeError, match="mixup on 2 processes: each would mix its own share"):
        TrainingConfig(devices=2, augmentation=AugmentationConfig(mixup=0.2))
