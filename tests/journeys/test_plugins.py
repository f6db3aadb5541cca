"""The templates of the plug-in guide work as they stand there."""

import re
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from cimeu.baselines.fit import FitConfig, fit
from cimeu.baselines.registry import method_named
from cimeu.bench.rows import row_named
from cimeu.cli.main import main
from cimeu.encoders.description import describe
from cimeu.encoders.encoding import encode
from cimeu.encoders.registry import build_encoder, encoder_from, encoder_names
from cimeu.errors import RecipeError
from cimeu.evaluation.metrics import uar
from cimeu.features.store import FeatureStore

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


def test_the_method_of_the_guide_is_a_row_that_learns(world) -> None:
    assert row_named("mean-pool").kind == "method"
    parts = world.parts(world.folds[0])
    fitted = fit(method_named("mean-pool"), parts.train, parts.validation, FitConfig(epochs=20, batch_size=16))
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
    noise = np.random.default_rng(0).normal(0, 3000, (2, 16_000)).astype("<i2")
    for name, samples in zip(("a", "b"), noise, strict=True):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
    (tmp_path / "manifest.csv").write_text("path,emotion\na.wav,anger\nb.wav,fear\n", encoding="utf-8")
    command = ["extract", str(tmp_path / "manifest.csv"), "-o", str(tmp_path / "features"), "--encoder", "loudness"]
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
    (tmp_path / "broken_package.py").write_text(module, encoding="utf-8")
    declared = tmp_path / "broken_package-1.dist-info"
    declared.mkdir()
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1\n", encoding="utf-8")
    (declared / "entry_points.txt").write_text("[cimeu.encoders]\nbroken = broken_package:Broken\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_package", raising=False)
    with pytest.raises(RecipeError, match=message):
        build_encoder("broken")
    assert build_encoder("loudness").name == "loudness"


def test_the_guide_explains_every_field_of_a_batch_and_a_stream() -> None:
    from cimeu.batching.collate import Batch
    from cimeu.pyramid import Stream

    for kind in (Batch, Stream):
        (table,) = re.findall(rf"^\| field of `{kind.__name__}` .*\n\|.*\n((?:\|.*\n)+)", GUIDE, re.MULTILINE)
        named = [name for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"\w+", cell)]
        assert named == list(kind.__dataclass_fields__)
