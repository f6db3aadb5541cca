"""`cimeu score`: the predictions of any system, by the same rules."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import Output, say


def score(
    predictions: Annotated[Path, typer.Argument(help="CSV: clip_id and label, or a column of numbers per emotion.")],
    manifest: Annotated[Path, typer.Argument(help="Table of the clips that are tested.")],
    against: Annotated[Path | None, typer.Option(help="Predictions of another system on the same clips.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Label space, or emotions separated by commas. [default: from the tables]")
    ] = None,
    group: Annotated[str, typer.Option(help="Column whose groups are averaged.")] = "culture",
    trained_on: Annotated[
        Path | None,
        typer.Option(help="Manifest or run folder of what the system was trained on: its clips are refused here."),
    ] = None,
    output: Output = Path("score"),
) -> None:
    """Score predictions of any system: metrics with intervals, missing clips as wrong, compared with another."""
    from cimeu.reports.scoring import score_predictions, score_table, write_score
    from cimeu.tables import to_markdown

    space = labels.split(",") if labels and "," in labels else labels
    scores = score_predictions(predictions, manifest, against=against, labels=space, group=group, trained_on=trained_on)
    say(", ".join(str(path) for path in write_score(scores, output)))
    print(to_markdown(score_table(scores)))
