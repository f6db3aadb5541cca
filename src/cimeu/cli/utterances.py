"""`cimeu utterances`: one answer for each stretch of a transcript."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import Output, say


def utterances(
    series: Annotated[Path, typer.Argument(help="NAME.series.parquet of `cimeu predict`.")],
    transcript: Annotated[Path, typer.Argument(help="Stretches with words: .srt, .vtt, .TextGrid, .eaf or a table.")],
    output: Output = Path("utterances.csv"),
    tier: Annotated[str | None, typer.Option(help="Tier or speaker that counts alone. [default: all]")] = None,
) -> None:
    """Write an emotion beside each utterance of a transcript, or the reason for none."""
    from cimeu.timeline.study.utterances import answer_utterances, write_answers

    measures, answers = answer_utterances(series, transcript, tier)
    print(write_answers(measures, answers, output))
    n_utterances, n_rows = len({answer.utterance for answer in answers}), len(answers)
    say(f"{n_utterances:,} utterance{'s' * (n_utterances != 1)}, {n_rows:,} row{'s' * (n_rows != 1)}")
    for reason, number in Counter(answer.reason for answer in answers if not answer.person).items():
        say(f"without an answer: {number:,} ({reason})")
