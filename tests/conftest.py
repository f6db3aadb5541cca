"""Shapes in signatures are checked while testing, and only then."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("cimeu", "beartype.beartype")
torch.set_num_threads(1)  # before the first fixture: sums of two threads differ in their last bits

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _a_fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of the parity fixtures (inputs and outputs of the original code, random weights)."""
    return FIXTURES


@pytest.fixture(scope="session")
def trial_data() -> Path:
    """Folder of the real trial recordings; tests that need it skip where it is absent."""
    root = Path(os.environ.get("CIMEU_DATA", Path(__file__).parents[2] / "shared" / "data")).absolute()
    if not (root / "speech" / "manifest.csv").is_file():
        pytest.skip(f"trial recordings absent: {root} (set CIMEU_DATA)")
    return root


@dataclass(frozen=True)
class Toy:
    """A small SYNTHETIC corpus whose whole way has been gone once: 3 cultures of 3 people, one take each."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "clips" / "manifest.csv"

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def run(self) -> Path:
        """The finished run of the recipe: `east` held out, two epochs, size tiny."""
        return self.folder / "runs" / "toy-east-s0"


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Made once, whichever test process asks first; tests read it and write elsewhere."""
    base = tmp_path_factory.getbasetemp()
    made = Toy((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toy")
    made.folder.mkdir(exist_ok=True)
    with (made.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made.run / "predictions.csv").is_file():
            _go_the_whole_way(made)
    return made


def _go_the_whole_way(toy: Toy) -> None:
    from cimeu.corpora.toy.corpus import ToyConfig, make_toy
    from cimeu.encoders.registry import build_encoder
    from cimeu.experiments.recipe import load_recipe
    from cimeu.experiments.run import run_recipe
    from cimeu.features.extract import extract

    config = ToyConfig(cultures=("north", "south", "east"), speakers_per_culture=3, takes=1)
    manifest = make_toy(config, toy.manifest.parent)
    encoders = [build_encoder("hog"), build_encoder("filterbank")]
    extract(manifest, encoders, toy.features, second=["filterbank"])
    toy.recipe.write_text(f"""
name: toy
data: {{manifest: {toy.manifest}, features: {toy.features}, workers: 1}}
streams: {{first: {{encoder: hog}}, second: {{encoder: filterbank}}}}
folds: {{protocol: leave-one-group-out, group: culture}}
fold: east
model: {{size: tiny}}
training: {{epochs: 2, batch_size: 16}}
output: {toy.folder / "runs"}
""")
    run_recipe(load_recipe(toy.recipe))
