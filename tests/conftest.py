"""Types and shapes in signatures are checked while testing, and only then.

In each test the first calls of each function are checked, which is every kind of call; after that it is called as it
is, because a training repeats the same calls for hundreds of steps and spent two thirds of its time on checking them.
"""

import gc
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, is_dataclass
from functools import cache, partial, wraps
from inspect import isclass, iscoroutinefunction, isgeneratorfunction, signature
from pathlib import Path
from threading import local
from types import FunctionType
from typing import TYPE_CHECKING, Any, get_args

import jaxtyping
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    from cimeu.bench.cells import Parts
    from cimeu.corpora.folds import Fold
    from cimeu.corpora.manifest import Manifest
    from cimeu.features.store import FeatureStore
    from cimeu.labels import LabelSpace

CHECKED_CALLS = 8
"""Of each function in each test: two streams, two encoders of each, two blocks of a kind."""

# Time never fails a test: a busy machine is not a fault.
settings.register_profile("cimeu", deadline=None)
settings.load_profile("cimeu")

FIXTURES = Path(__file__).parent / "fixtures"

_test = 0
"""Number of the test that runs."""
_jaxtyped = jaxtyping.jaxtyped


class _Definition:
    """A function as it is written: one check, compiled once, serves all the closures that are made of it."""

    def __init__(self, item: FunctionType, typechecker: Callable[..., Any]) -> None:
        self.code = item.__code__  # kept, since its identity names the definition
        self.typechecker = typechecker
        self.test, self.left = -1, 0
        self.closure = local()
        self.checked: Callable[..., Any] | None = None

    def check(self, item: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.checked is None:
            self.checked = self._compiled(item)
        self.closure.item = item
        return self.checked(*args, **kwargs)

    def _compiled(self, item: FunctionType) -> Callable[..., Any]:
        """Compiled at the first call, since most functions are never called."""
        if "<locals>" not in item.__qualname__:
            # Binding sizes of axes is slow, and most functions name none.
            return self.typechecker(item) if _is_plain(item) else _jaxtyped(item, typechecker=self.typechecker)

        def latest(*args: Any, **kwargs: Any) -> Any:
            return self.closure.__dict__.pop("item")(*args, **kwargs)

        # Without the first closure itself: it would keep whatever it refers to.
        latest.__signature__ = signature(item)  # type: ignore[attr-defined]
        latest.__name__, latest.__qualname__, latest.__module__ = item.__name__, item.__qualname__, item.__module__
        return _jaxtyped(latest, typechecker=self.typechecker)


_definitions: dict[int, _Definition] = {}


def _is_plain(item: FunctionType) -> bool:
    """Whether beartype alone checks as much: no axes, nothing quoted that only jaxtyping resolves, no generator."""
    hints = item.__annotations__.values()
    quoted = any(isinstance(hint, str) for hint in hints)
    return not (quoted or any(map(_has_axes, hints)) or iscoroutinefunction(item) or isgeneratorfunction(item))


def _has_axes(hint: Any) -> bool:
    if isinstance(hint, list):  # parameters of a callable
        return any(map(_has_axes, hint))
    return any(map(_has_axes, get_args(hint))) or (isclass(hint) and issubclass(hint, jaxtyping.AbstractArray))


def _checked_at_first(item: Any, typechecker: Callable[..., Any]) -> Any:
    """Check the first calls of a function, and of the constructor of a dataclass."""
    if isinstance(item, type):
        if is_dataclass(item) and "__init__" in vars(item) and not hasattr(item.__init__, "__wrapped__"):
            item.__init__ = _checked_at_first(item.__init__, typechecker)
        return item
    if not isinstance(item, FunctionType):
        return _jaxtyped(item, typechecker=typechecker)
    definition = _definitions.get(id(item.__code__))
    if definition is None:
        definition = _definitions[id(item.__code__)] = _Definition(item, typechecker)

    @wraps(item)
    def call(*args: Any, **kwargs: Any) -> Any:
        if definition.test != _test:
            definition.test, definition.left = _test, CHECKED_CALLS
        if not definition.left:
            return item(*args, **kwargs)
        definition.left -= 1
        return definition.check(item, args, kwargs)

    return call


# The import hook decorates functions and classes with whatever bears this name.
jaxtyping.jaxtyped = lambda *, typechecker: partial(_checked_at_first, typechecker=typechecker)
jaxtyping.install_import_hook("cimeu", "beartype.beartype")
gc.disable()  # until everything is imported: a fifth of the time of that went into looking for garbage


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Modules and tests stay to the end, so no later collection of garbage looks at them again."""
    import torch  # here and below: the process that deals tests out to others would import it for nothing, seconds long

    torch.set_num_threads(1)  # before the first fixture: sums of two threads differ in their last bits
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Each test checks its own calls, its fixtures included."""
    global _test
    _test += 1
    return (yield)


@pytest.fixture(autouse=True)
def _a_fixed_seed() -> None:
    import torch

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


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder that is filled by whichever test process asks first; tests of all processes read it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def filled(name: str, fill: Callable[[Path], object]) -> Path:
        folder, whole = base / name, base / f"{name}.whole"
        with FileLock(base / f"{name}.lock"):
            if not whole.exists():
                folder.mkdir(exist_ok=True)
                fill(folder)
                whole.touch()
        return folder

    return filled


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
def toy(once: Callable[[str, Callable[[Path], object]], Path]) -> Toy:
    """Tests read it and write elsewhere."""
    return Toy(once("toy", lambda folder: _go_the_whole_way(Toy(folder))))


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


EMOTIONS = ("anger", "neutral", "sadness")
FIRST, SECOND, STEPS = 8, 3, 5


@dataclass(frozen=True)
class World:
    """Clips of three cultures with both streams, their folds, and one broken clip in each culture."""

    manifest: "Manifest"
    labels: "LabelSpace"
    first: "FeatureStore"
    second: "FeatureStore"
    folds: "list[Fold]"

    def parts(self, fold: "Fold", manifest: "Manifest | None" = None) -> "Parts":
        """The clips of a fold with their streams, played forward."""
        from cimeu.batching.dataset import ClipDataset
        from cimeu.bench.cells import Parts

        stores = {"first": self.first, "second": self.second}
        chosen = [(manifest or self.manifest).select(ids) for ids in (fold.train, fold.validation, fold.test)]
        return Parts(*(ClipDataset(clips, self.labels, **stores, direction="forward") for clips in chosen))


def _description(name: str, width: int) -> dict[str, object]:
    window = {"length": 16, "stride": 4}
    return {
        "name": name,
        "version": "imported",
        "width": width,
        "window": window,
        "source": "sound",
        "kind": "steps",
        "optional": [],
        "preprocessing": {},
    }


def _build_world(folder: Path, spoiled: tuple[str, ...] = (), *, culture_strength: float = 2.0) -> World:
    """The same clips each time; features of the `spoiled` cultures are replaced by nonsense."""
    import pandas as pd

    from cimeu.corpora.folds import FoldsConfig, make_folds
    from cimeu.corpora.manifest import COLUMNS, Manifest
    from cimeu.encoders.description import IMPORTED
    from cimeu.features.store import FeatureStore, Row, row_key
    from cimeu.labels import LabelSpace

    generator = np.random.default_rng(0)
    shift = generator.normal(0, culture_strength, (3, FIRST))
    means = generator.normal(0, 1.5, (3, FIRST))
    spoken = generator.normal(0, 1.0, (3, SECOND))
    rows = []
    with (
        FeatureStore.open(folder / "first", _description("first", FIRST), writable=True) as first,
        FeatureStore.open(folder / "second", _description("second", SECOND), writable=True) as second,
    ):
        for culture in range(3):
            for speaker in range(6):
                for take in range(9):
                    emotion, clip_id = take % 3, f"c{culture}/s{speaker}/{take}"
                    broken = speaker == 0 and take == 8
                    steps = shift[culture] + means[emotion] + generator.normal(0, 1, (STEPS, FIRST))
                    beside = spoken[emotion] + generator.normal(0, 1, (STEPS, SECOND))
                    if f"c{culture}" in spoiled:
                        steps, beside = 1e3 * steps[::-1], -beside
                    if not broken:
                        key = row_key(clip_id, IMPORTED, "forward")
                        first.add(key, Row(clip_id, steps.astype(np.float32), "", 1.0))
                        second.add(key, Row(clip_id, beside.astype(np.float32), "", 1.0))
                    rows.append(
                        dict.fromkeys(COLUMNS, "")
                        | {"clip_id": clip_id, "path": clip_id, "emotion": EMOTIONS[emotion], "corpus": "little"}
                        | {"speaker": f"c{culture}-s{speaker}", "culture": f"c{culture}", "gender": "f"}
                        | {"start_s": 0.0, "end_s": np.nan, "problem": "no sound" if broken else ""}
                    )
    manifest = Manifest(pd.DataFrame(rows), folder)
    stores = [FeatureStore.open(folder / name) for name in ("first", "second")]
    folds = make_folds(manifest, FoldsConfig(protocol="leave-one-group-out", validation_share=0.3))
    return World(manifest, LabelSpace("three", EMOTIONS), *stores, folds)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return _build_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def spoil(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    """Build the same world with the features of some cultures replaced by nonsense."""
    return cache(lambda *cultures: _build_world(tmp_path_factory.mktemp("spoiled"), cultures))


@pytest.fixture(scope="module")
def cluster() -> Generator[Callable[[], int]]:
    """A Ray cluster of two cores on this machine; called, it kills one of its workers and says how many there were."""
    import psutil
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)

    def kill_one() -> int:
        processes = psutil.Process().children(recursive=True)
        workers = [each for each in processes if each.name().startswith("ray::_Worker")]
        workers[0].kill()
        return len(workers)

    yield kill_one
    ray.shutdown()
