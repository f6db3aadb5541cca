"""`cimeu agree`: a person's annotation beside the model's, or beside another person's."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import AllowUnknownLabels, LabelMap, Output, pairs, say


def agree(
    first: Annotated[Path, typer.Argument(help="Annotation of a person: ELAN .eaf, Praat .TextGrid, or a table.")],
    second: Annotated[Path, typer.Argument(help="What it is compared with: results of `predict`, or another person.")],
    output: Output = Path("agreement.html"),
    also: Annotated[
        list[Path] | None, typer.Option(help="A third annotator, and further ones: alpha and Fleiss' kappa of all.")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="Tier of the first. [default: the only one with emotions]")] = None,
    second_tier: Annotated[str | None, typer.Option(help="Tier of the second. [default: of the same name]")] = None,
    grid: Annotated[float, typer.Option(help="Seconds between two points in time that are compared.")] = 0.1,
    iou: Annotated[float, typer.Option(help="Overlap from which on two segments are the same.")] = 0.5,
    ratings: Annotated[
        str, typer.Option(help="Compare this column of numbers instead, such as valence: ICC and CCC; tables only.")
    ] = "",
    label_map: LabelMap = None,
    allow_unknown_labels: AllowUnknownLabels = False,
) -> None:
    """Compare two annotations: kappa, alpha, segment F1, confusion and every disagreement; .json and .csv beside."""
    if ratings:
        _agree_on_ratings([first, second, *(also or ())], ratings, output, tier, grid)
        return
    from cimeu.timeline.agreement import agree as compare_files
    from cimeu.timeline.agreement import write_agreement
    from cimeu.timeline.raters import agree_all, further_tiers, pairs_csv

    agreement = compare_files(
        first,
        second,
        tier=tier,
        second_tier=second_tier,
        grid_s=grid,
        same_iou=iou,
        label_map=pairs(label_map or ()),
        allow_unknown=allow_unknown_labels,
    )
    further, left_out = {}, list(agreement.left_out)
    if also:
        others = further_tiers(
            also, agreement.first.name, label_map=pairs(label_map or ()), allow_unknown=allow_unknown_labels
        )
        of_all = agree_all([agreement.first, agreement.second, *others], grid_s=grid)
        left_out += [words for tier in others for words in tier.left_out]
        further[".raters.csv"] = pairs_csv(of_all)
    written = write_agreement(agreement, output, further)
    if also:
        say(
            f"{len(of_all.tiers)} annotators: alpha {_two_digits(of_all.alpha)} of {of_all.alpha_s:g} s that two or "
            f"more labelled, Fleiss' kappa {_two_digits(of_all.fleiss_kappa)} of {of_all.fleiss_s:g} s that all "
            f"labelled: {written[-1]}"
        )
    same_label = f"same label {agreement.observed:.0%} ({agreement.by_chance:.0%} by chance)"
    say(f"kappa {_two_digits(agreement.kappa)}, {same_label} of {agreement.both_s:g} s")
    for words in left_out:
        say(f"left out: {words}")
    if agreement.unmatched:
        say(f"labels that one side never uses: {', '.join(agreement.unmatched)}")
    if agreement.unknown:
        say(f"labels that are no known emotion: {', '.join(agreement.unknown)}")
    print(written[0])


def _two_digits(coefficient: float | None) -> str:
    return "n/a" if coefficient is None else f"{coefficient:.2f}"


def _agree_on_ratings(paths: list[Path], column: str, output: Path, person: str | None, grid: float) -> None:
    from cimeu.atomic import beside, page_path, write_whole
    from cimeu.timeline.ratings import agree_on, ratings_csv, read_rating

    agreement = agree_on([read_rating(path, column, person=person) for path in paths], grid_s=grid)
    path = beside(page_path(output, "agreement"), ".ratings.csv")
    write_whole(path, ratings_csv(agreement), "agreement")
    figures = (agreement.icc_agreement, agreement.icc_consistency, agreement.icc_of_mean)
    single, consistent, of_mean = map(_two_digits, figures)
    say(
        f"{len(paths)} ratings, {agreement.seconds:g} s that all rated: ICC(A,1) {single}, ICC(C,1) {consistent}, "
        f"ICC(A,k) {of_mean}; CCC of each pair in the table"
    )
    print(path)
