"""The reference of the command line, written from the program itself each time the documentation is built."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import click
import typer.main

from cimeu.cli.main import app


def command_reference() -> str:
    """A page in Markdown: every command with its usage, arguments and options."""
    program = typer.main.get_command(app)
    parts = [
        "# Command line\n\nWritten from the program. `cimeu COMMAND --help` says the same. Data goes to stdout, "
        "everything else to stderr; what an exit status means: [What commands write](../guides/outputs.md)."
    ]
    for path, command in _commands(program, "cimeu"):
        context = click.Context(command, info_name=path)
        about = inspect.cleandoc(command.help or "")
        parts.append(f"## `{path}`\n\n{about}\n\n```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```")
        rows = [row for parameter in command.get_params(context) for row in _rows(parameter, context)]
        if rows:
            parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def write(folder: Path) -> None:
    """Write `cli.md` where it differs, so that an unchanged page is not built again."""
    path, text = folder / "cli.md", command_reference()
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Commands that do something, in the order of `--help`."""
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
        return
    context = click.Context(command, info_name=path)
    for name in command.list_commands(context):  # type: ignore[attr-defined]
        if not children[name].hidden:
            yield from _commands(children[name], f"{path} {name}")


def _rows(parameter: click.Parameter, context: click.Context) -> Iterator[str]:
    if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
        return
    record = parameter.get_help_record(context)
    names, about = record or (parameter.human_readable_name, getattr(parameter, "help", "") or "")
    yield f"- `{names}`: {' '.join(about.split())}" if about else f"- `{names}`"
