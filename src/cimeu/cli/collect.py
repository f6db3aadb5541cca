"""`cimeu collect`: the results of many recordings as the tables of a study."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import Output, finish, progress_bars, say


def collect(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `cimeu predict` wrote to.")],
    output: Output = Path("study"),
    participants: Annotated[
        Path | None,
        typer.Option(
            help="Table: file, participant, person (where a file shows several), any other columns. "
            "[default: the one kept beside the results]"
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            help="Table: file (or *), start, end (empty for a moment), condition. "
            "[default: the one kept beside the results]"
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="Condition that differences are taken from. [default: each participant's own mean]")
    ] = "",
    before: Annotated[float, typer.Option(help="Seconds of a curve before the start of an event.")] = 5.0,
    after: Annotated[float, typer.Option(help="Seconds of a curve after the start of an event.")] = 10.0,
    formats: Annotated[
        str, typer.Option("--format", help="sav (SPSS), dta (Stata): participants.csv once more; needs cimeu[stats].")
    ] = "",
) -> None:
    """Join recordings to a study: one series, participants by condition, curves around events, a page."""
    from cimeu.timeline.study.collect import SUMMARY, StudySettings, with_kept_tables
    from cimeu.timeline.study.collect import collect as collect_results
    from cimeu.timeline.study.kept_tables import TABLES

    named = StudySettings(
        participants=participants,
        events=events,
        baseline=baseline,
        before_s=before,
        after_s=after,
        formats=[f".{name.strip().lower().removeprefix('.')}" for name in formats.split(",") if name.strip()],
    )
    settings = with_kept_tables(named, folders)
    for name in TABLES:
        if getattr(settings, name) != getattr(named, name):
            say(f"{name}: `{getattr(settings, name)}`, which lies beside the results")
    with progress_bars() as progress:
        study = collect_results(folders, output, settings, progress)
    for words in study.left_out:
        say(f"missing or left out: {words}")
    n_recordings = len(study.recordings)
    say(f"{n_recordings:,} recording{'s' * (n_recordings != 1)} collected in {output}")
    print(output / SUMMARY)
    if study.missing_files:
        finish(n_recordings, n_recordings + study.missing_files, "recordings have results")
