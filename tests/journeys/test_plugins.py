"""The templates of the plug-in guide work as they stand there."""

import re
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from cimeu.baselines.fit import fit
from cimeu.baselines.registry import method_named
from cimeu.bench.cells import foreign_cell
from cimeu.bench.comparison import Bench
from cimeu.bench.rows import row_named
from cimeu.bench.runner import run_bench
from cimeu.cli.main import main
from cimeu.corpora.manifest import read_manifest
from cimeu.encoders.description import describe
from cimeu.encoders.encoding import encode
from cimeu.encoders.registry import build_encoder, encoder_from, encoder_names
from cimeu.errors import RecipeError
from cimeu.evaluation.metrics import uar
from cimeu.features.extract import extract
from cimeu.features.store import FeatureStore
from cimeu.training.config import TrainingConfig

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "plugins.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both packages of the guide, installed into a folder of their own."""
    folder = tmp_path_factory.mktemp("plugins")
    files = re.findall(r"^`([\w-]+/[\w.]+)`:\n\n```\w+\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    for name, content in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    packages = sorted({str(folder / name.split("/")[0]) for name, _ in files})
    assert len(files) == 2 * len(packages) == 4
    offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, *packages], check=True)
    return folder / "site"


@pytest.fixture(autouse=True)
def _on_the_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))


def offer(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, code: str, entry_points: str) -> None:
    """An installed package of one module, for this test alone."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    declared = folder / f"{module}-1.dist-info"
    declared.mkdir()
    about = f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1\n"
    (declared / "METADATA").write_text(about, encoding="utf-8")
    (declared / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)


def manifest_of_noise(folder: Path) -> Path:
    """A manifest of two clips of a second."""
    noise = np.random.default_rng(0).normal(0, 3000, (2, 16_000)).astype("<i2")
    for name, samples in zip(("a", "b"), noise, strict=True):
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
    (folder / "manifest.csv").write_text("path,emotion\na.wav,anger\nb.wav,fear\n", encoding="utf-8")
    return folder / "manifest.csv"


def test_the_method_of_the_guide_is_a_row_that_learns(world) -> None:
    assert row_named("mean-pool").kind == "method"
    parts = world.parts(world.folds[0])
    fitted = fit(method_named("mean-pool"), parts.train, parts.validation, TrainingConfig(epochs=20, batch_size=16))
    calls = fitted.probabilities(parts.validation).argmax(axis=1)
    assert uar(parts.validation.emotions, calls) > 0.6
    assert {"worst", "mean"} <= set(fitted.history[0])


def test_the_encoder_of_the_guide_measures_loudness_and_is_found_again() -> None:
    encoder = build_encoder("loudness", floor_db=-40.0)
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    steps = encode(encoder, np.concatenate([tone, 0 * tone]), "forward")
    assert steps[0, 0] == pytest.approx(10 * np.log10(0.5), abs=0.1)
    assert steps[-1, 0] == -40.0
    assert describe(encoder_from(describe(encoder))) == describe(encoder)


def test_the_encoder_of_the_guide_fills_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = manifest_of_noise(tmp_path)
    command = ["extract", str(manifest), "-o", str(tmp_path / "features"), "--encoder", "loudness"]
    monkeypatch.setattr(sys, "argv", ["cimeu", *command, "--workers", "1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    store = FeatureStore.open(tmp_path / "features" / "loudness")
    assert {store.get(key).features.shape[1] for key in store.keys()} == {2}  # noqa: SIM118
    store.close()


def test_names_of_other_packages_are_among_all_names_and_in_guesses() -> None:
    assert encoder_names()[-1] == "loudness"
    with pytest.raises(RecipeError, match="unknown encoder `lowdness`\n\nhint: did you mean `loudness`"):
        build_encoder("lowdness")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("raise OSError('no licence')", r"`broken` of the package `.*` cannot be imported \(OSError: no licence\)"),
        ("Broken = 3", "encoder `broken` of another package is not a class"),
        ("class Broken: name = 'broken'", "encoder `broken` of another package lacks version, width, window"),
        (
            "from cimeu_loudness import Loudness\nclass Broken(Loudness): name = 'other'",
            "encoder `broken` of another package calls itself `other`",
        ),
    ],
)
def test_a_wrong_package_ends_in_one_message_and_stops_no_other_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, message: str
) -> None:
    offer(tmp_path, monkeypatch, "broken_package", module, "[cimeu.encoders]\nbroken = broken_package:Broken\n")
    with pytest.raises(RecipeError, match=message):
        build_encoder("broken")
    assert build_encoder("loudness").name == "loudness"


FAILING = """
from cimeu_mean import MeanPool

class ImpossibleShape(MeanPool):
    def logits(self, batch):
        return super().logits(batch) @ batch.first.features

class Diverging(MeanPool):
    def logits(self, batch):
        return super().logits(batch) / 0

class Silent(MeanPool):
    def update(self, batches):
        return None
"""


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ImpossibleShape", r"`failing` of the package `failing-package` failed \(RuntimeError: .*"),
        ("Diverging", r"scores of a clip are not finite\n\nhint: lower `training.optimiser.learning_rate`"),
        ("Silent", r"`failing` of .* failed \(AttributeError: 'NoneType' object has no attribute 'items'\)"),
        ("Misspelt", r"`failing` of .* cannot be imported \(AttributeError: .*'Misspelt'\)"),
    ],
)
def test_a_method_that_fails_ends_in_one_message_and_stops_no_other_row(
    world, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, message: str
) -> None:
    offer(tmp_path, monkeypatch, "failing_package", FAILING, f"[cimeu.methods]\nfailing = failing_package:{method}\n")
    parts = world.parts(world.folds[0])
    bench = Bench(
        name="little",
        emotions=world.labels.emotions,
        rows=("mean-pool", "failing"),
        folds=(world.folds[0].name,),
        seeds=(0,),
        reference="mean-pool",
    )
    ran = run_bench(
        bench, lambda cell: foreign_cell(cell.row, parts, TrainingConfig(epochs=1, batch_size=16)), tmp_path / "bench"
    )
    assert ran.done == 1
    (reason,) = ran.failures.values()
    assert re.match(message, reason)
    if method == "ImpossibleShape":
        assert re.search(r"hint: it happened at .*failing_package\.py:6$", reason)


def test_an_encoder_that_fails_fails_its_clips_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = """
from cimeu_loudness import Loudness

class Deaf(Loudness):
    name = "deaf"

    def __call__(self, windows):
        return windows["left"]
"""
    offer(tmp_path, monkeypatch, "deaf_package", module, "[cimeu.encoders]\ndeaf = deaf_package:Deaf\n")
    manifest = manifest_of_noise(tmp_path)
    found = extract(
        read_manifest(manifest), [build_encoder("loudness"), build_encoder("deaf")], tmp_path / "features", workers=1
    )
    assert list(found.failures["clip_id"]) == ["a", "b"]
    assert found.failures["reason"].str.startswith("IndexError: only integers, slices").all()
    for name, problems in (("loudness", {""}), ("deaf", set(found.failures["reason"]))):
        with FeatureStore.open(tmp_path / "features" / name) as store:
            assert {store.get(key).problem for key in store.keys()} == problems  # noqa: SIM118


def test_the_guide_explains_every_field_of_a_batch_and_a_stream() -> None:
    from cimeu.batching.collate import Batch
    from cimeu.pyramid import Stream

    for kind in (Batch, Stream):
        (table,) = re.findall(rf"^\| field of `{kind.__name__}` .*\n\|.*\n((?:\|.*\n)+)", GUIDE, re.MULTILINE)
        named = [name for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"\w+", cell)]
        assert named == list(kind.__dataclass_fields__)
