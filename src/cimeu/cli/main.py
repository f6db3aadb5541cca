"""The command line: parse, call one function, print. Data goes to stdout, everything else to stderr.

Nothing heavy is imported until a command runs, so that `cimeu --help` answers at once.
"""

import errno
import io
import logging
import sys
from typing import Annotated

import typer

from cimeu.cli.adapt import adapt
from cimeu.cli.agree import agree
from cimeu.cli.audit import audit
from cimeu.cli.bench import bench
from cimeu.cli.bundle import bundle
from cimeu.cli.collect import collect
from cimeu.cli.embed import embed
from cimeu.cli.evaluate import evaluate, report
from cimeu.cli.extract import extract, import_
from cimeu.cli.help import DATA, JUDGE, TRAIN, USE, CommandsByUse, CorpusCommand, shown
from cimeu.cli.overlap import overlap
from cimeu.cli.predict import predict
from cimeu.cli.prepare import prepare
from cimeu.cli.publish import publish
from cimeu.cli.recipes import recipes_app
from cimeu.cli.score import score
from cimeu.cli.serve import serve
from cimeu.cli.submit import submit
from cimeu.cli.terminal import say
from cimeu.cli.train import train
from cimeu.cli.utterances import utterances
from cimeu.cli.weights import weights_app
from cimeu.errors import CimeuError

ABOUT = "Emotion in clips of talking faces, tested on people and cultures never seen."

app = typer.Typer(
    help=ABOUT,
    cls=CommandsByUse,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
)
features_app = typer.Typer(help="Work with stored features.", no_args_is_help=True, rich_markup_mode=None)
features_app.command("import", **shown("features import"))(import_)
app.command(cls=CorpusCommand, **shown("prepare", DATA))(prepare)
app.command(**shown("audit", DATA))(audit)
app.command(**shown("overlap", DATA))(overlap)
app.command(**shown("extract", DATA))(extract)
app.add_typer(features_app, name="features", rich_help_panel=DATA)
app.add_typer(weights_app, name="weights", rich_help_panel=DATA)
app.add_typer(recipes_app, name="recipes", rich_help_panel=TRAIN)
app.command(**shown("train", TRAIN))(train)
app.command(**shown("adapt", TRAIN))(adapt)
app.command(**shown("bench", JUDGE))(bench)
app.command(**shown("evaluate", JUDGE))(evaluate)
app.command(**shown("report", JUDGE))(report)
app.command(**shown("score", JUDGE))(score)
app.command(**shown("submit", JUDGE))(submit)
app.command(**shown("agree", JUDGE))(agree)
app.command(**shown("predict", USE))(predict)
app.command(**shown("collect", USE))(collect)
app.command(**shown("utterances", USE))(utterances)
app.command(**shown("embed", USE))(embed)
app.command(**shown("bundle", USE))(bundle)
app.command(**shown("publish", USE))(publish)
app.command(**shown("serve", USE))(serve)

KEPT = "; what is finished is kept, run the command again"
REFUSED = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space" + KEPT),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a folder that you may write to" + KEPT),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "choose a shorter name"),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        "a file has the name of a needed folder; choose another",
    ),
    errno.ENOENT: "check the name",
}
"""What the machine refuses, and the way out; any other error of the system is a bug of ours and keeps its traceback."""


def print_version(is_given: bool) -> bool:
    """Print name and version, and end."""
    if is_given:
        from importlib.metadata import version

        print(f"cimeu {version('cimeu')}")
        raise typer.Exit
    return is_given


Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version.")]


@app.callback()
def before_command(version: Version = False) -> None:
    pass


def main() -> None:
    """Run the command line; a deliberate error is one message and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):  # a file name may hold bytes that are no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except CimeuError as error:
        say(f"error: {error}")
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        say(f"error: {error}\n\nhint: {REFUSED[error.errno]}")
        raise SystemExit(1) from None
