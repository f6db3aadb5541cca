import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from cimeu.errors import CheckpointError, OutputError, WeightsMissing
from cimeu.inference.hub import fetched_model
from cimeu.inference.model_store import STARTER, model_named
from cimeu.inference.publish import upload, write_model
from cimeu.inference.recogniser import Recogniser

from .conftest import RunMaker

COMMIT = "0" * 40


@pytest.fixture
def run(make_run: RunMaker) -> Path:
    return make_run()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub, on a machine without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def put_into(cache: Path, folder: Path, name: str) -> None:
    """As the hub's own client leaves it: links to blobs, below the commit that `main` stands for."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "blobs").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    for number, file in enumerate(path for path in sorted(folder.rglob("*")) if path.is_file()):
        blob, link = place / "blobs" / str(number), place / "snapshots" / COMMIT / file.relative_to(folder)
        shutil.copyfile(file, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)


def test_what_is_published_holds_no_single_training_clip(run: Path, tmp_path: Path) -> None:
    (run / "predictions.csv").touch()
    folder = write_model(run, tmp_path / "published", terms_read=True)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= {"README.md", "LICENCES.md", "requirements.txt", "ensemble.json", "digests.json"}
    assert not [name for name in names if "clips" in name or "predictions" in name or name.startswith(".")]


def test_the_card_is_what_the_hub_shows_and_names_the_terms(run: Path, tmp_path: Path) -> None:
    (run / "MODEL_CARD.md").write_text("# Voices, trained on nobody\n")
    folder = write_model(run, tmp_path / "published", terms_read=True)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: cimeu\nlicense: other\n")
    assert card.endswith("# Voices, trained on nobody\n")
    assert "Code of CiMEU: MIT" in (folder / "LICENCES.md").read_text(encoding="utf-8")


def test_a_model_of_corpora_that_may_forbid_it_is_kept_back(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"`urdu` \(research only\)[^\0]*--terms-read"):
        write_model(STARTER, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_files_of_others_are_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    with pytest.raises(OutputError, match=r"mine` is not an empty folder"):
        write_model(run, tmp_path / "mine", terms_read=True)
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"


def test_a_model_of_the_cache_answers_as_the_run_without_a_network(
    run: Path, cache: Path, tmp_path: Path, recordings: Path
) -> None:
    put_into(cache, write_model(run, tmp_path / "published", terms_read=True), "anna/voices")
    fetched, trained = (Recogniser.from_pretrained(path) for path in (model_named("anna/voices"), run))
    assert fetched.model_id == trained.model_id
    assert fetched(recordings / "speech.wav").segments == trained(recordings / "speech.wav").segments
    assert fetched_model(f"anna/voices@{COMMIT}") == fetched_model("anna/voices")


def test_a_file_that_was_changed_in_the_cache_is_noticed(run: Path, cache: Path, tmp_path: Path) -> None:
    put_into(cache, write_model(run, tmp_path / "published", terms_read=True), "anna/voices")
    path = fetched_model("anna/voices") / "ensemble.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=3))
    with pytest.raises(CheckpointError, match=r"ensemble\.json"):
        Recogniser.from_pretrained(fetched_model("anna/voices"))


def test_a_model_that_is_nowhere_is_named_with_the_way_to_it(cache: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"`anna/none` is neither on this machine[^\0]*hf download anna/none"):
        model_named("anna/none")


def test_a_mistyped_path_is_never_looked_for_on_the_hub(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_named("runs/none") == Path("runs/none")


@pytest.mark.parametrize(("name", "message"), [("anna/voices", "cannot be reached"), ("a b/c", "cannot be the name")])
def test_what_cannot_be_uploaded_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, message: str
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(CheckpointError, match=message):
        upload(tmp_path, name)
