"""How commands are listed: by what they are for, with an example each."""

import shlex
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from cimeu.cli.prepare import EXAMPLE_OF, applies

DATA, TRAIN, JUDGE, USE = "Data", "Train", "Judge", "Use"
EXAMPLES = {
    "prepare": "cimeu prepare folder recordings -o manifest.csv",
    "audit": "cimeu audit manifest.csv -o audit.html",
    "overlap": "cimeu overlap mer2024.csv mer2023.csv -o overlap.csv",
    "extract": "cimeu extract manifest.csv -o features --encoder hog --encoder spectral",
    "features import": "cimeu features import list.txt --root arrays --encoder videomae-v2 -o features",
    "weights list": "cimeu weights list",
    "weights fetch": "cimeu weights fetch moonshine",
    "weights verify": "cimeu weights verify",
    "recipes list": "cimeu recipes list",
    "recipes copy": "cimeu recipes copy toy/demo -o mine.yaml",
    "train": "cimeu train toy/demo data.manifest=manifest.csv data.features=features",
    "adapt": "cimeu adapt runs/toy-demo-west-s0 --target new.csv --shots 16 -o adapted",
    "bench": "cimeu bench toy/demo data.manifest=manifest.csv --methods main --seeds 3 -o bench",
    "evaluate": "cimeu evaluate runs/toy-demo-west-s0",
    "report": "cimeu report runs/toy-demo-west-s0 -o report.html",
    "score": "cimeu score predictions.csv manifest.csv -o score",
    "submit": "cimeu submit runs/blemore-0-s0 runs/blemore-1-s0 --format blemore -o submission.json",
    "agree": "cimeu agree anna.eaf results/interview.eaf -o agreement.html",
    "predict": "cimeu predict interview.mp4 -o results --model runs/toy-demo-west-s0",
    "collect": "cimeu collect results -o study --participants participants.csv --events events.csv --baseline rest",
    "utterances": "cimeu utterances results/interview.series.parquet interview.srt -o interview.utterances.csv",
    "embed": "cimeu embed clips -o embeddings.parquet --model runs/toy-demo-west-s0",
    "bundle": "cimeu bundle runs/toy-demo-west-s0 -o model.zip",
    "publish": "cimeu publish runs/toy-demo-west-s0 anna/toy-demo --dry-run published",
    "serve": "cimeu serve --model runs/toy-demo-west-s0",
}
"""A command line for each command, shown below its options."""


def shown(name: str, panel: str = "") -> dict[str, Any]:
    """Keyword arguments of `app.command`: where a command is listed, and its example."""
    # A line of \b alone keeps click from wrapping what follows it.
    return {"rich_help_panel": panel, "epilog": f"\b\nExample:\n  {EXAMPLES[name]}"}


class CommandsByUse(TyperGroup):
    """A group whose help lists its commands under headings, in the order in which they were added."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            row = (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
            panels.setdefault(getattr(command, "rich_help_panel", "") or "Commands", []).append(row)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


class CorpusCommand(TyperCommand):
    """`prepare`: with a corpus before `--help`, only what applies to that corpus is shown."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        corpus = next((word for word in args if not word.startswith("-")), "")
        if "--help" in args and corpus:
            for option in self.params:
                if isinstance(option, TyperOption):
                    option.hidden |= not applies(option.name or "", corpus)
            example = EXAMPLE_OF.get(corpus, f"cimeu prepare {corpus} {corpus.upper()} -o manifest.csv")
            self.epilog = f"\b\nExample:\n  {example}"
        return super().parse_args(ctx, args)


def example_words(name: str) -> list[str]:
    """The words of an example behind those of its command."""
    return shlex.split(EXAMPLES[name])[1 + len(name.split()) :]
