"""The recipe of valence and arousal, from SYNTHETIC clips to the series of people it never saw."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.corpora.toy.corpus import ToyConfig, make_toy
from cimeu.experiments.recipe import load_recipe
from cimeu.experiments.run import run_recipe
from cimeu.inference.batch import predict_files
from cimeu.reports.run_summary import summarise
from cimeu.timeline.segments import CONTINUOUS_CAUTION


@pytest.mark.long
def test_the_series_of_a_culture_never_seen_follows_the_valence_and_arousal_of_the_generator(tmp_path: Path) -> None:
    config = ToyConfig(cultures=("north", "south", "west"), speakers_per_culture=8, takes=2)
    manifest = make_toy(config, tmp_path / "toy")
    places = [f"data.manifest={tmp_path / 'toy' / 'manifest.csv'}", f"data.features={tmp_path / 'features'}"]
    settings = [*places, "data.workers=1", f"output={tmp_path}", "direction=forward", "evaluation.probes=false"]
    (run,) = run_recipe(load_recipe("toy/continuous", settings))
    for row in summarise([run])["continuous"]:
        assert row["ccc"]["low"] > 0.0, row
    report = predict_files([manifest.root / "west"], tmp_path / "results", run, formats=[".series.csv"])
    assert report.failures.empty
    clips = manifest.table[manifest.table["culture"] == "west"]
    files = [(tmp_path / "results" / path[len("west/") :]).with_suffix(".series.csv") for path in clips["path"]]
    assert all(CONTINUOUS_CAUTION in file.read_text() for file in files)
    series = [pd.read_csv(file, comment="#") for file in files]
    for name in ("valence", "arousal"):
        means = [table[f"value.{name}"].mean() for table in series]
        assert np.corrcoef(means, clips[name].astype(float))[0, 1] > 0.3, name
