"""An adapted run is a run folder like any other, and says where it comes from."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cimeu.errors import FoldLeak, RecipeError
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments.adapt import Adaptation, Adapted, adapt_run, adaptation_table
from cimeu.experiments.run import evaluate_run
from cimeu.reports.report import report
from cimeu.training.finetune import FineTuning

QUICK = FineTuning(steps=3)


@pytest.fixture(scope="module")
def adapted(toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Adapted]]:
    """The toy run on the people of `east`, which it held out: folder, target and figures."""
    folder = tmp_path_factory.mktemp("adapted")
    table = pd.read_csv(toy.manifest, dtype=str, keep_default_na=False)
    for column in ("path", "audio_path"):
        table[column] = [str(toy.manifest.parent / cell) if cell else "" for cell in table[column]]
    target = folder / "new_group.csv"
    table[table["culture"] == "east"].to_csv(target, index=False)
    found = adapt_run(toy.run, target, folder / "run", Adaptation(shots=2, prior=True, fit=QUICK))
    return folder / "run", target, found


def test_the_table_goes_from_no_label_to_all_and_corrects_both_ends(adapted: tuple[Path, Path, list[Adapted]]) -> None:
    assert [(each.name, each.labels) for each in adapted[2]] == [
        ("as it came", 0),
        ("heads, 1 labels", 1),
        ("heads, 2 labels", 2),
        ("as it came, prior corrected", 0),
        ("heads, 2 labels, prior corrected", 2),
    ]
    assert adapted[2][0].gain is None
    for each in adapted[2][1:]:
        assert each.gain is not None
        assert each.gain.value == pytest.approx(each.uar.value - adapted[2][0].uar.value)
    table = adaptation_table(adapted[2], "x")
    assert "The gain is above zero from" in table.notes[1] or "No number of labels" in table.notes[1]


def test_no_speaker_who_gave_labels_is_tested(adapted: tuple[Path, Path, list[Adapted]]) -> None:
    run, target, _ = adapted
    said = json.loads((run / "adaptation.json").read_text())
    speakers = pd.read_csv(target).set_index("clip_id")["speaker"]
    tested = pd.read_csv(run / "predictions.csv")
    assert set(tested["part"]) == {"test"}
    assert set(speakers[said["labelled"]]).isdisjoint(speakers[tested["clip_id"]])
    assert said["speakers_known"]
    assert len(said["labelled"]) == 4  # of each emotion, all that the one speaker who gives labels has


def test_the_card_names_the_run_it_comes_from(toy, adapted: tuple[Path, Path, list[Adapted]]) -> None:
    run = adapted[0]
    assert f"adapted from {toy.run.name} with 2 labels of each emotion (heads)" in (run / "MODEL_CARD.md").read_text()
    said = json.loads((run / "adaptation.json").read_text())
    assert (said["run"], said["part"], said["shots"], said["prior_corrected"]) == (str(toy.run), "heads", 2, True)


def test_the_card_keeps_the_groups_that_the_run_was_trained_on(adapted: tuple[Path, Path, list[Adapted]]) -> None:
    card = (adapted[0] / "MODEL_CARD.md").read_text()
    rows = card.partition("## Who it was trained on")[2].partition("Clips by emotion")[0]
    assert all(f"| toy | {culture} |" in rows for culture in ("north", "south", "east"))


def test_clips_that_the_run_was_trained_on_are_refused_under_another_name(
    toy, adapted: tuple[Path, Path, list[Adapted]], tmp_path: Path
) -> None:
    table = pd.read_csv(toy.manifest, dtype=str, keep_default_na=False)
    north = table[table["culture"] == "north"]
    for place, path in enumerate(north["path"]):
        (tmp_path / f"{place}.mp4").write_bytes((toy.manifest.parent / path).read_bytes())
    renamed = pd.concat(
        [
            pd.read_csv(adapted[1], dtype=str, keep_default_na=False),
            north.assign(
                clip_id="", audio_path="", path=[f"{place}.mp4" for place in range(len(north))], culture="new"
            ),
        ]
    )
    renamed.to_csv(tmp_path / "target.csv", index=False)
    message = f"{len(north)} of {len(renamed)} clips hold recordings that `{toy.run.name}` was trained on: `0` "
    with pytest.raises(FoldLeak, match=message):
        adapt_run(toy.run, tmp_path / "target.csv", tmp_path / "run", Adaptation(shots=1, fit=QUICK))


def test_only_the_heads_differ_from_the_run(toy, adapted: tuple[Path, Path, list[Adapted]]) -> None:
    before, after = (load_file(run / "backward" / "model.safetensors") for run in (toy.run, adapted[0]))
    changed = {name.partition(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed <= {"first_heads", "second_heads", "gate"}
    assert {"first_heads", "second_heads"} <= changed
    assert EnsembleSettings.load(adapted[0]) == EnsembleSettings.load(toy.run)


def test_an_adapted_run_is_scored_again_and_reported_like_any_other(
    adapted: tuple[Path, Path, list[Adapted]], tmp_path: Path
) -> None:
    run = adapted[0]
    before = (run / "predictions.csv").read_text()
    evaluate_run(run)
    assert (run / "predictions.csv").read_text() == before
    assert "adaptation" in report([run], tmp_path / "page.html").read_text()


def test_a_folder_that_holds_something_is_not_written_to(toy, adapted: tuple[Path, Path, list[Adapted]]) -> None:
    with pytest.raises(RecipeError, match="is not empty\n\nhint: choose a new folder for the adapted run"):
        adapt_run(toy.run, adapted[1], adapted[0], Adaptation(shots=1))
