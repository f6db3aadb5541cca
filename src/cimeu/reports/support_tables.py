"""What unlabelled clips of the tested person, or of other people of the tested culture, are worth to each row.

A figure under a support set stands beside that of the row trained without supports on the same clips. A group has none,
and says why, where persons are unknown, where most of them show one emotion only, or where too few clips have a person
who can fill the mix.

A guess from the support alone is a control: it knows the labels of the support clips and never sees the scored clip.
Far from chance, it says that the mix was not drawn without regard to the clip; leaving only the scored clip out tilts
what remains of a person's clips a little against its emotion, so both the commonest and the rarest emotion are guessed.

Axes: N clips, K emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from cimeu.bench.protocols import NESTED
from cimeu.bench.style_offset import COUNT
from cimeu.evaluation.predictions import Predictions
from cimeu.evaluation.uncertainty import Estimate, Estimates, averaged, compared, estimates_over
from cimeu.reports.bench_summary import Summary
from cimeu.reports.views import View, main_view, pairs, predictions_of
from cimeu.tables import ABSENT, MISSING, Table, interval_of, percent, span

FEWEST_CLIPS = 20
"""Clips of a group that must have a support; fewer give no figure."""


@dataclass(frozen=True)
class SupportSets:
    """What was drawn for the test clips of one group; the same for every row and seed."""

    n_clips: int
    """With a support."""
    n_tested: int
    size: float
    """Mean number of clips in a support."""
    largest_share: float
    """Mean share of the commonest emotion in a support that holds any clip."""
    commonest: float
    """UAR of guessing the commonest emotion of the support; ties are shared."""
    rarest: float
    reason: str
    """Why the group has no figure; empty where it has one."""


def supports_table(summary: Summary) -> Table | None:
    """Every row under every support set; None for a bench without any."""
    bench = summary.bench
    if not bench.supports:
        return None
    groups = tested_groups(summary)
    lines = []
    for condition in bench.supports:
        sets = sets_of(summary, condition)
        # Every row is averaged over the same groups, or rows would be compared on different people.
        counted = [name for name in groups if name in sets and not sets[name].reason]
        reference = _figures(summary, bench.reference, condition, counted)
        for row in bench.rows:
            figures = None if row in bench.absent else _figures(summary, row, condition, counted)
            if figures is None:
                dash = ABSENT if row in bench.absent or (sets and not counted) else MISSING
                lines.append((row, condition, *[dash] * (6 + len(groups))))
                continue
            alone, given = figures
            shares = [sets[name].largest_share for name in counted if sets[name].size]
            against = None if reference is None or row == bench.reference else compared(reference[1], given)
            lines.append(
                (
                    *(row, condition, span(interval_of(given.mean)), span(interval_of(alone.mean))),
                    span(interval_of(compared(alone, given)), signed=True),
                    MISSING if against is None else span(interval_of(against), signed=True),
                    f"{np.mean([sets[name].size for name in counted]):.1f}",
                    f"{100 * np.nanmean(shares):.0f}" if shares else MISSING,
                    *(percent(given.cultures[name].value) if name in counted else ABSENT for name in groups),
                )
            )
    columns = (
        *("row", "support set", "UAR [95 %]", "alone, same clips [95 %]", "gain [95 %]"),
        *(f"minus {bench.reference} [95 %]", "clips in it", "largest share, %", *groups),
    )
    notes = (
        "Transductive: beside each scored clip the model reads other unlabelled test clips, of the same person or of "
        "other people of the same culture, never the scored one and never a training clip. They are drawn five times "
        "per clip and are the same for every row; their mean, less the mix of emotions that a linear model finds in "
        "them, is subtracted from each stream. One training with supports serves every line; `alone` is the row "
        "trained without any, and its answer counts the more, the fewer emotions a support seems to hold.",
        f"Mean over {summary.word}s that have a figure; `support_sets` says what was drawn, which have none and why, "
        "and what a guess from the support alone is worth. Mixes need labels to be drawn: they are conditions of the "
        "experiment, not of use.",
    )
    return Table(f"{bench.name}: with unlabelled clips of the tested people", columns, tuple(lines), notes)


def support_sets_table(summary: Summary) -> Table:
    """What was drawn for each group, why a group has no figure, and what the support alone gives away."""
    lines = []
    for condition in summary.bench.supports:
        for name, sets in sets_of(summary, condition).items():
            figures = (
                f"{sets.size:.1f}",
                f"{100 * sets.largest_share:.0f}" if sets.size else MISSING,
                *map(percent, (sets.commonest, sets.rarest)),
            )
            shown = figures if sets.n_clips else (ABSENT,) * len(figures)
            lines.append((condition, name, f"{sets.n_clips} of {sets.n_tested}", *shown, sets.reason))
    columns = ("support set", summary.word, "test clips", "clips in it", "largest share, %", "commonest", "rarest")
    note = (
        "`commonest` and `rarest` are the UAR of guessing that emotion of the support, with its labels and without the "
        f"clip: chance is {percent(summary.chance)} %. Supports of the clip's own emotion alone (`own`), or of "
        "another one (`other`), give it away by their definition."
    )
    return Table(f"{summary.bench.name}: support sets", (*columns, f"why {ABSENT}"), tuple(lines), (note,))


def tested_groups(summary: Summary) -> list[str]:
    """Groups with a test clip, in alphabetical order."""
    return sorted(set(_tested(summary, "")[summary.bench.group]))


def sets_of(summary: Summary, condition: str) -> dict[str, SupportSets]:
    """What was drawn, by group; empty until a cell is there."""
    bench = summary.bench
    tested, given = _tested(summary, ""), _tested(summary, condition)
    by_person = condition.startswith("person")
    sets = {}
    for name, clips in tested.groupby(bench.group, sort=True):
        drawn = given[given[bench.group] == name]
        sets[str(name)] = _sets(clips, drawn, bench.emotions, by_person=by_person)
    return sets


def _sets(tested: pd.DataFrame, drawn: pd.DataFrame, emotions: Sequence[str], *, by_person: bool) -> SupportSets:
    counts = drawn[[COUNT + emotion for emotion in emotions]].to_numpy(float) if len(drawn) else np.zeros((0, 1))
    sizes = counts.sum(axis=1)
    some = sizes > 0
    share = (counts[some].max(axis=1) / sizes[some]).mean() if some.any() else np.nan
    truth = np.array([list(emotions).index(emotion) for emotion in drawn["emotion"]], np.int64)
    commonest, rarest = (_guess(truth, sign * counts) if len(drawn) else np.nan for sign in (1, -1))
    size = float(sizes.mean()) if len(drawn) else 0.0
    reason = _why_absent(tested, drawn, by_person=by_person)
    return SupportSets(drawn["clip_id"].nunique(), len(tested), size, float(share), commonest, rarest, reason)


def _why_absent(tested: pd.DataFrame, drawn: pd.DataFrame, *, by_person: bool) -> str:
    if by_person:
        shown = tested[tested["speaker"] != ""].groupby(["corpus", "speaker"])["emotion"].nunique()
        if shown.empty:
            return "no speaker is known"
        single = int((shown == 1).sum())
        # Where most speakers show one emotion, their support gives the label away.
        if 2 * single > len(shown):
            return f"{single} of {len(shown)} speakers show one emotion"
    n_clips = drawn["clip_id"].nunique()
    if n_clips < FEWEST_CLIPS:
        return f"{n_clips} of {len(tested)} clips have such a support"
    missing = sorted(set(tested["emotion"]) - set(drawn["emotion"]))
    return f"no clip of {', '.join(missing)} has such a support" if missing else ""


def _guess(truth: Int[np.ndarray, " N"], scores: Float[np.ndarray, "N K"]) -> float:
    """UAR of answering the emotion with the highest score; equals share the answer."""
    highest = scores == scores.max(axis=1, keepdims=True)
    # A tie is answered by chance: each of its emotions gets its share of the hit.
    hits = highest[np.arange(len(truth)), truth] / highest.sum(axis=1)
    return float(np.mean([hits[truth == emotion].mean() for emotion in np.unique(truth)]))


def _tested(summary: Summary, condition: str) -> pd.DataFrame:
    """Test clips under a condition, once each, by any row; folds of one clip under `nested` draw alike."""
    for cells in summary.cells.values():
        tables = [cell.predictions for cell in cells.values()]
        if tables:
            whole = pd.concat(tables, ignore_index=True)
            chosen = (whole["part"] == "test") & (whole["condition"] == condition)
            # Supports are the same for all rows, so any row tells what was drawn.
            return whole[chosen].drop_duplicates([*({"clip_id", "draw"} & set(whole))]).reset_index(drop=True)
    return pd.DataFrame(columns=["clip_id", "emotion", "corpus", "speaker", summary.bench.group])


def _figures(summary: Summary, row: str, condition: str, groups: Sequence[str]) -> tuple[Estimates, Estimates] | None:
    """UAR alone and given supports, on the same clips of the groups; None where nothing is there yet."""
    alone: dict[str, Estimate] = {}
    given: dict[str, Estimate] = {}
    for position, name in enumerate(groups):
        estimates = [_both(summary, row, view, condition, position) for view in _views(summary, name)]
        measured = [estimate for estimate in estimates if estimate is not None]
        if not measured or len(measured) < len(estimates):
            return None
        alone[name], given[name] = (averaged(side) for side in zip(*measured, strict=True))
    return (estimates_over(alone), estimates_over(given)) if groups else None


def _views(summary: Summary, group: str) -> list[View]:
    bench = summary.bench
    if bench.protocol == NESTED:
        return [view for (_, tested), view in pairs(bench).items() if tested == group]
    return [View(main_view(bench).folds, tested=group)]


def _both(summary: Summary, row: str, view: View, condition: str, seed: int) -> tuple[Estimate, Estimate] | None:
    bench, cells = summary.bench, summary.cells[row]
    answers = [predictions_of(bench, cells, View(view.folds, set_name, view.tested)) for set_name in ("", condition)]
    if answers[0] is None or answers[1] is None:
        return None
    # Alone on the same clips: the others could not fill the set, and may be easier or harder.
    kept = answers[0].clips["clip_id"].isin(answers[1].clips["clip_id"]).to_numpy()
    return tuple(_uar(answered, summary, seed) for answered in (answers[0].take(kept), answers[1]))  # type: ignore[return-value]


def _uar(predictions: Predictions, summary: Summary, seed: int) -> Estimate:
    return predictions.estimates(resamples=summary.figures.resamples, seed=seed)["uar"].mean
