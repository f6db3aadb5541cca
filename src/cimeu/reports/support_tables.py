"""What unlabelled clips of the tested person, or of other people of the tested culture, are worth to each row.

A figure under a support set stands beside that of the row trained without supports on the same clips. A group has none,
and says why, where persons are unknown, where most of them show one emotion only, or where too few clips have a person
who can fill the mix.

A guess from the support alone is a control: it knows the labels of the support clips and never sees the scored clip.
Far from chance, it says that the mix was not drawn without regard to the clip; leaving only the scored clip out tilts
what remains of a person's clips a little against its emotion, so both the commonest and the rarest emotion are guessed.

Axes: N clips, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from cimeu.bench.protocols import NESTED
from cimeu.bench.style_offset import COUNT, WEIGHT
from cimeu.evaluation.uncertainty import Estimate, Estimates, averaged, compared, estimates_over
from cimeu.reports.bench_summary import Summary, adjusted_p
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
    lines = [line for condition in bench.supports for line in _lines(summary, condition, groups)]
    columns = (
        *("row", "support set", "UAR [95 %]", "alone, same clips [95 %]", "gain [95 %]"),
        *(f"minus {bench.reference} [95 %]", "p (Holm)", "clips in it", "largest share, %", "support alone", *groups),
    )
    notes = (
        "Transductive: beside each scored clip the model reads other unlabelled test clips, of the same person or of "
        "other people of the same culture, never the scored one and never a training clip. They are drawn five times "
        "per clip and are the same for every row; their mean, less the mix of emotions that a linear model finds in "
        "them, is subtracted from each stream. One training with supports serves every line; `alone` is the row "
        "trained without any, and its answer counts the more, the fewer emotions a support seems to hold.",
        f"Mean over {summary.word}s that have a figure; `support_sets` says what was drawn, and which have none and "
        "why. Mixes need labels to be drawn: they are conditions of the experiment, not of use. p (Holm) is over the "
        f"rows that are compared with `{bench.reference}` under one support set, not over the sets.",
        "`support alone` is the UAR of a guess from the labels of the support, by one who never meets the clip: its "
        f"commonest emotion or its rarest, whichever is right more often in a {summary.word}. Chance is "
        f"{percent(summary.chance)} %. Where it is far above (natural draws: the other clips of a person are tilted "
        "against the emotion of the scored one), a gain may owe something to how supports were drawn; `even` draws "
        "are clean of it. `own` and `other` are far from chance by their definition.",
    )
    return Table(f"{bench.name}: with unlabelled clips of the tested people", columns, tuple(lines), notes)


def _lines(summary: Summary, condition: str, groups: Sequence[str]) -> list[tuple[str, ...]]:
    """Every row under one support set."""
    bench, sets = summary.bench, sets_of(summary, condition)
    # Every row is averaged over the same groups, or rows would be compared on different people.
    counted = _counted(sets)
    running = [row for row in bench.rows if row not in bench.absent]
    measured = {row: figures for row in running if (figures := _figures(summary, row, condition, counted)) is not None}
    differences = {
        row: compared(measured[bench.reference][1], measured[row][1])
        for row in bench.compared()
        if row in measured and bench.reference in measured
    }
    adjusted = adjusted_p(bench, differences)
    lines: list[tuple[str, ...]] = []
    for row in bench.rows:
        if row not in measured:
            dash = ABSENT if row in bench.absent or (sets and not counted) else MISSING
            lines.append((row, condition, *[dash] * (8 + len(groups))))
            continue
        alone, given = measured[row]
        against = interval_of(differences[row]) if row in differences else None
        lines.append(
            (
                *(row, condition, span(interval_of(given.mean)), span(interval_of(alone.mean))),
                span(interval_of(compared(alone, given)), signed=True),
                span(against, signed=True),
                f"{adjusted[row]:.3f}" if row in adjusted else MISSING,
                *_drawn([sets[name] for name in counted]),
                *(percent(given.cultures[name].value) if name in counted else ABSENT for name in groups),
            )
        )
    return lines


def _drawn(sets: Sequence[SupportSets]) -> tuple[str, str, str]:
    """Size, share of the commonest emotion, and what a guess from a support alone is worth: means over groups."""
    shares = [group.largest_share for group in sets if group.size]
    guessed = np.mean([max(group.commonest, group.rarest) for group in sets])
    return (
        f"{np.mean([group.size for group in sets]):.1f}",
        f"{100 * np.nanmean(shares):.0f}" if shares else MISSING,
        percent(float(guessed)),
    )


def support_sets_table(summary: Summary) -> Table:
    """What was drawn for each group, why a group has no figure, and what the support alone gives away."""
    lines = []
    for condition in summary.bench.supports:
        weights = _weights(summary, condition)
        for name, sets in sets_of(summary, condition).items():
            figures = (
                f"{sets.size:.1f}",
                f"{100 * sets.largest_share:.0f}" if sets.size else MISSING,
                f"{weights[name]:.2f}" if name in weights else MISSING,
                *map(percent, (sets.commonest, sets.rarest)),
            )
            shown = figures if sets.n_clips else (ABSENT,) * len(figures)
            lines.append((condition, name, f"{sets.n_clips} of {sets.n_tested}", *shown, sets.reason))
    columns = (
        *("support set", summary.word, "test clips", "clips in it", "largest share, %", "weight"),
        *("commonest", "rarest", f"why {ABSENT}"),
    )
    notes = (
        "`commonest` and `rarest` are the UAR of guessing that emotion of the support, with its labels and without the "
        f"clip: chance is {percent(summary.chance)} %. Supports of the clip's own emotion alone (`own`), or of "
        "another one (`other`), give it away by their definition.",
        "`weight`, from 0 to 1, is what the answer given a support counts against that to the clip alone, the more, "
        f"the more emotions the support seems to hold: mean over clips, as `{summary.bench.reference}` reads them "
        f"({MISSING} where cells do not hold it).",
        "The scored clip is taken out before it is decided whether its person can fill a mix, so the rarest emotion "
        "of a person drops out first.",
    )
    return Table(f"{summary.bench.name}: support sets", columns, tuple(lines), notes)


def _weights(summary: Summary, condition: str) -> dict[str, float]:
    """Mean weight of the supports of a group's clips, in the reference row; empty where no cell holds it."""
    # Unlike what is drawn, it differs between rows: each reads supports by its own streams.
    cells = summary.cells[summary.bench.reference].values()
    tables = [cell.predictions for cell in cells if WEIGHT in cell.predictions]
    if not tables:
        return {}
    whole = pd.concat(tables, ignore_index=True)
    chosen = whole[(whole["part"] == "test") & (whole["condition"] == condition)]
    means = chosen.groupby(summary.bench.group)[WEIGHT].mean()
    return {str(name): float(mean) for name, mean in means.items()}


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


def counted_groups(summary: Summary, condition: str) -> list[str]:
    """Groups that have a figure under a support set, in alphabetical order; none until a cell is there."""
    return _counted(sets_of(summary, condition))


def _counted(sets: Mapping[str, SupportSets]) -> list[str]:
    return [name for name, drawn in sets.items() if not drawn.reason]


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
            # Cells of a bench without supports name no condition.
            given = whole.get("condition", "")
            chosen = (whole["part"] == "test") & (given == condition)
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


def pairs_given(summary: Summary, row: str, condition: str, counted: Sequence[str]) -> dict[tuple[str, str], Estimate]:
    """UAR of a row of a nested bench given supports, by outer and tested group, of the counted tested groups."""
    estimates = {
        pair: _given(summary, row, view, condition, counted.index(view.tested))
        for pair, view in pairs(summary.bench).items()
        if view.tested in counted
    }
    return {pair: estimate for pair, estimate in estimates.items() if estimate is not None}


def _views(summary: Summary, group: str) -> list[View]:
    bench = summary.bench
    if bench.protocol == NESTED:
        return [view for (_, tested), view in pairs(bench).items() if tested == group]
    return [View(main_view(bench).folds, tested=group)]


def _both(summary: Summary, row: str, view: View, condition: str, seed: int) -> tuple[Estimate, Estimate] | None:
    bench, cells = summary.bench, summary.cells[row]
    alone, answered = (predictions_of(bench, cells, replace(view, condition=name)) for name in ("", condition))
    given = _given(summary, row, view, condition, seed)
    if alone is None or answered is None or given is None:
        return None
    # Alone on the same clips: the others could not fill the set, and may be easier or harder.
    kept = alone.clips["clip_id"].isin(answered.clips["clip_id"]).to_numpy()
    return alone.take(kept).estimates(resamples=summary.figures.resamples, seed=seed)["uar"].mean, given


def _given(summary: Summary, row: str, view: View, condition: str, seed: int) -> Estimate | None:
    figures = summary.figures.view(row, replace(view, condition=condition), seed=seed)
    return None if figures is None else figures["uar"].mean
