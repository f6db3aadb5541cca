"""What a reader of a report needs to judge its figures, in words.

How many clips, which folds and seeds, what was chosen on which clips, whether speakers are known and kept apart.
"""

from collections.abc import Sequence

import numpy as np

from cimeu.corpora.folds import SPEAKERS_SHARED
from cimeu.evaluation.metrics import uar
from cimeu.experiments.run_folder import Json, Run
from cimeu.reports.pooling import Tested, group_column
from cimeu.reports.pretraining import encoders_of, knowledge_in_words, marks_of, unseen_among
from cimeu.training.config import CCC, CHOOSING, UAR, UAR_CCC

SPEAKERS_APART = ("leave-one-group-out", "within-group", "speaker-independent")
"""Protocols whose folds never share a speaker (checked when they are made)."""


def grouping(tested: Tested) -> tuple[str, str]:
    """The column of the groups and the honest word for one: a culture known from a single corpus is a corpus group."""
    column = group_column(tested.runs, tested.clips)
    if column != "culture":
        return column, column or "set of clips"
    pairs = tested.clips[["culture", "corpus"]].drop_duplicates()
    same = len(pairs) == pairs["culture"].nunique() == pairs["corpus"].nunique() > 1
    return column, "corpus group" if same else "culture"


def unseen(tested: Tested, word: str) -> str:
    """What the test clips are to the training, for a title."""
    protocol = tested.runs[0].fold_facts.get("protocol")
    held_out = protocol == "leave-one-group-out"
    if held_out:
        return f"clips of unseen {plural(word)}"
    return "clips of unseen speakers" if protocol in SPEAKERS_APART and all(tested.fused.speakers) else "unseen clips"


def plural(word: str) -> str:
    """Several of what the word names.

    >>> plural("culture"), plural("corpus"), plural("set of clips")
    ('cultures', 'corpora', 'sets of clips')
    """
    first, *rest = word.split(" ")
    return "corpora" if word == "corpus" else " ".join([f"{first}s", *rest]) if "of" in rest else f"{word}s"


def facts(tested: Tested, word: str) -> list[Json]:
    """What a reader needs to judge the figures, in order."""
    unused = int(tested.fused.unused.sum())
    drawn = "speakers" if any(tested.fused.speakers) else "clips"
    return [
        {"label": "Data", "value": _data_in_words(agreed([run.synthetic for run in tested.runs]))},
        {
            "label": "Clips",
            "value": f"{len(tested.clips):,} tested; {_unused_in_words(unused)}",
        },
        {
            "label": "Seeds",
            "value": f"{len(tested.seeds)} ({', '.join(map(str, tested.seeds))}), averaged, not counted as samples",
        },
        {"label": "Folds", "value": _folds_in_words(tested, word)},
        {"label": "Selection", "value": _selection_in_words(tested.runs)},
        {"label": "Speakers", "value": _speakers_in_words(tested)},
        {"label": "Pretraining", "value": _pretraining_in_words(tested)},
        {
            "label": "Intervals",
            "value": f"95 %, bootstrap over {drawn} within each {word}; means over {plural(word)} are unweighted",
        },
    ]


def is_oracle(runs: Sequence[Run]) -> bool:
    """Whether anything was chosen on test clips."""
    return any(
        "oracle" in (run.settings.get("selection"), run.recipe.get("training", {}).get("selection")) for run in runs
    )


def agreed(values: Sequence[bool | None]) -> bool | None:
    """Synthetic if any is; recorded only if all say so."""
    if any(values):
        return True
    return None if None in values else False


def _data_in_words(synthetic: bool | None) -> str:
    return {
        True: "SYNTHETIC clips made by a generator: these figures say nothing about people",
        False: "recordings of people",
        None: "whether clips are recorded or synthetic was not noted by the runs",
    }[synthetic]


def _unused_in_words(unused: int) -> str:
    return (
        f"{unused:,} could not be used and count{'s' if unused == 1 else ''} as wrong"
        if unused
        else "all could be used"
    )


def _folds_in_words(tested: Tested, word: str) -> str:
    folds = list(dict.fromkeys(run.fold for run in tested.runs))
    protocol = str(tested.runs[0].fold_facts.get("protocol", "protocol not noted")).replace("-", " ")
    protocol = protocol.replace("leave one group out", f"leave one {word} out")
    return f"{len(folds)}, {protocol} ({', '.join(folds)})"


def _selection_in_words(runs: Sequence[Run]) -> str:
    ensemble = sorted({str(run.settings.get("selection", "not noted")) for run in runs})
    trained = [run.recipe.get("training", {}) for run in runs]
    checkpoint = sorted({_checkpoint_in_words(training) for training in trained})
    words = f"checkpoint: {', '.join(checkpoint)}; mixture, levels, temperature and threshold: {', '.join(ensemble)}"
    return f"ORACLE, chosen on the test clips ({words})" if is_oracle(runs) else words


def _checkpoint_in_words(training: Json) -> str:
    """Which epoch was kept, by which figure where it is not the UAR."""
    selection, criterion = str(training.get("selection", "not noted")), str(training.get("criterion", UAR))
    figures = {CCC: "mean CCC", UAR_CCC: "mean of UAR and mean CCC"}
    return f"{selection} by {figures[criterion]}" if selection in CHOOSING and criterion in figures else selection


def _pretraining_in_words(tested: Tested) -> str:
    """Whether each tested corpus was among the data of the encoders, and UAR over those that surely were not."""
    encoders = encoders_of(tested.runs[0].recipe.get("streams", {}).values())
    corpora = sorted(map(str, tested.clips["corpus"].unique()))
    words = knowledge_in_words(encoders, corpora)
    unseen_ones = unseen_among(marks_of(encoders, {corpus: [corpus] for corpus in corpora}))
    if not unseen_ones:
        return words
    alone, everywhere = _mean_uar(tested, unseen_ones), _mean_uar(tested, corpora)
    return f"{words}. Mean UAR over corpora: unseen alone {100 * alone:.1f} %, all {100 * everywhere:.1f} %"


def _mean_uar(tested: Tested, corpora: Sequence[str]) -> float:
    """Unweighted over corpora and seeds."""
    fused, names = tested.fused, tested.clips["corpus"].to_numpy()
    return float(
        np.mean(
            [
                uar(fused.truth[names == corpus], predicted[names == corpus], len(fused.emotions))
                for corpus in corpora
                for predicted in fused.predicted
            ]
        )
    )


def _speakers_in_words(tested: Tested) -> str:
    notes = {run.fold: str(run.fold_facts.get("note", "")) for run in tested.runs}
    shared = [fold for fold, note in notes.items() if SPEAKERS_SHARED in note]
    if shared:
        return (
            f"{SPEAKERS_SHARED} between training and test in {len(shared)} of {len(notes)} published divisions: "
            "figures say nothing about people never seen"
        )
    speakers = tested.fused.speakers
    named = [speaker for speaker in speakers if speaker]
    if len(named) == len(speakers):
        apart = tested.runs[0].fold_facts.get("protocol") in SPEAKERS_APART or all(
            run.fold_facts.get("speakers_known") for run in tested.runs
        )
        kept = "kept apart from training by the protocol" if apart else "whether training knows them was not checked"
        return f"known, {len(set(named)):,}; {kept}"
    if not named:
        return "speakers unknown: the same person may be in training and test, and intervals are too narrow"
    return f"unknown for {len(speakers) - len(named):,} of {len(speakers):,} clips; intervals are too narrow"
