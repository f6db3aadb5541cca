"""`cimeu agree`: a person's annotation beside the model's, or beside another person's."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import AllowUnknownLabels, LabelMap, Output, pairs, say


def agree(
    first: Annotated[Path, typer.Argument(help="Annotation of a person: ELAN .eaf, or a table.")],
    second: Annotated[Path, typer.Argument(help="What it is compared with: results of `predict`, or another person.")],
    output: Output = Path("agreement.html"),
    tier: Annotated[str | None, typer.Option(help="Tier of the first. [default: the only one with emotions]")] = None,
    second_tier: Annotated[str | None, typer.Option(help="Tier of the second. [default: of the same name]")] = None,
    grid: Annotated[float, typer.Option(help="Seconds between two moments that are compared.")] = 0.1,
    iou: Annotated[float, typer.Option(help="Overlap from which on two segments are the same.")] = 0.5,
    label_map: LabelMap = None,
    allow_unknown_labels: AllowUnknownLabels = False,
) -> None:
    """Compare two annotations: kappa, alpha, segment F1, confusion and every disagreement; .json and .csv beside."""
    from cimeu.timeline.agreement import agree as compare_files
    from cimeu.timeline.agreement import write_agreement

    found = compare_files(
        first,
        second,
        tier=tier,
        second_tier=second_tier,
        grid_s=grid,
        same_iou=iou,
        label_map=pairs(label_map or ()),
        allow_unknown=allow_unknown_labels,
    )
    written = write_agreement(found, output)
    kappa = "n/a" if found.kappa is None else f"{found.kappa:.2f}"
    say(f"kappa {kappa}, same label {found.observed:.0%} ({found.by_chance:.0%} by chance) of {found.both_s:g} s")
    for words in found.left_out:
        say(f"left out: {words}")
    if found.unmatched:
        say(f"labels that one side never uses: {', '.join(found.unmatched)}")
    if found.unknown:
        say(f"labels that are no known emotion: {', '.join(found.unknown)}")
    print(written[0])
