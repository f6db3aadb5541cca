"""Turn run folders into the numbers of a report; everything here is plain data, ready for JSON.

    run_folder   what one folder says          facts      what is needed to judge the figures
    pooling      folds and seeds together      figures    scores with intervals, recalls, calibration
                                               evidence   journals, primitives, probes, baselines

No model is loaded and nothing is trained.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cimeu.errors import RecipeError
from cimeu.experiments.run_folder import Json, read_run
from cimeu.reports import evidence, figures
from cimeu.reports.facts import agreed, facts, grouping, is_oracle, plural, unseen
from cimeu.reports.pooling import pool


def summarise(folders: Sequence[Path], *, title: str | None = None) -> Json:
    """Every number of the report.

    Raises:
        RecipeError: there is no run, runs do not belong together, or a clip is tested twice.
    """
    runs = [read_run(Path(folder)) for folder in folders]
    if not runs:
        raise RecipeError("there is no run to report\n\nhint: name one or more run folders")
    tested = pool(runs)
    emotions = runs[0].emotions
    column, word = grouping(tested)
    estimates = {kind: predictions.estimates() for kind, predictions in tested.predictions.items()}
    continuous = figures.continuous(tested)
    return _plain(
        {
            "title": title or f"{runs[0].recipe_name}: emotion in {unseen(tested, word)}",
            "recipe": runs[0].recipe_name,
            "synthetic": agreed([run.synthetic for run in tested.runs]),
            "oracle": is_oracle(tested.runs),
            "group_column": column,
            "group_word": word,
            "group_words": plural(word),
            "emotions": list(emotions),
            "chance": tested.fused.chance,
            "facts": facts(tested, word),
            "runs": [
                {
                    "name": run.name,
                    "fold": run.fold,
                    "seed": run.seed,
                    "n_test": int((run.predictions["part"] == "test").sum()),
                    "settings": run.settings,
                    "note": run.fold_facts.get("note", ""),
                }
                for run in tested.runs
            ],
            "left_out": list(tested.left_out),
            "environment": tested.runs[0].environment,
            "results": figures.results(tested, estimates),
            "comparisons": figures.comparisons(estimates),
            "recalls": figures.recalls_by_group(tested.fused),
            "confusion": tested.fused.confusion(),
            "gap": figures.group_gap(estimates["fused"]["uar"].cultures),
            "gender": figures.genders(tested.fused),
            "calibration": figures.calibration(tested),
            "journals": evidence.journals(tested.runs),
            "faults": evidence.faults(tested.runs),
            "projections": evidence.projections(tested.runs, column),
            "probes": evidence.probes(tested.runs),
            "baselines": evidence.baselines(tested.runs),
            "folds": figures.folds(tested),
            "elsewhere": figures.elsewhere(tested),
            # Reports on emotions alone stay what they were.
            **({"continuous": continuous} if continuous else {}),
        }
    )


def _plain(value: Any) -> Any:
    """The same as plain JSON values; what is not a number becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
