"""`cimeu audit`: what is wrong with a corpus, before anything is trained on it."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cimeu.cli.terminal import Output, pairs, progress_bars, say


def audit(
    manifests: Annotated[list[Path], typer.Argument(help="Tables written by `cimeu prepare`; several are compared.")],
    output: Output = Path("audit.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON too.")] = False,
    labels: Annotated[str | None, typer.Option(help="Label space, or emotions separated by commas.")] = None,
    merge: Annotated[list[str] | None, typer.Option(help="Emotion that becomes another, as in calm=neutral.")] = None,
    group: Annotated[str, typer.Option(help="Column that names the groups.")] = "culture",
    mark: Annotated[
        Path | None,
        typer.Option(help="Write a manifest of all clips with near-duplicates marked, which folds keep together."),
    ] = None,
    fail_on: Annotated[
        Literal["error", "warning", "never"], typer.Option(help="Least finding that ends with status 2.")
    ] = "error",
    cache: Annotated[
        Path | None,
        typer.Option(help="Cache of earlier audits, by content of the clips. [default: OUTPUT.looks.jsonl]"),
    ] = None,
    workers: Annotated[int, typer.Option(help="Clips decoded at a time; 0 takes one for each core.", min=0)] = 0,
) -> None:
    """Check the recordings themselves, the folds and the labels; exit status 2 if figures would be wrong."""
    from cimeu.atomic import beside, check_free, page_path
    from cimeu.corpora.adapters.folder import read_recordings
    from cimeu.corpora.audit.audit import audit as run_audit
    from cimeu.corpora.audit.audit import to_json, with_duplicates, write_html
    from cimeu.corpora.audit.cache import LookCache
    from cimeu.corpora.manifest import join_manifests, write_manifest
    from cimeu.experiments.prepare import cores
    from cimeu.labels import label_space

    page = page_path(output, "audit")
    check_free([page], "audit")
    if mark:
        check_free([mark], "manifest")
    clips = join_manifests([read_recordings(manifest) for manifest in manifests])
    space = label_space(labels.split(",") if "," in labels else labels) if labels else None
    with progress_bars() as progress, LookCache(cache or beside(page, ".looks.jsonl")) as looks:
        report = run_audit(
            clips,
            labels=space,
            merge=pairs(merge or ()),
            group=group,
            cache=looks,
            workers=workers or cores(),
            progress=progress,
        )
    write_html(report, page, title=", ".join(manifest.name for manifest in manifests))
    if mark:
        write_manifest(with_duplicates(clips, report.duplicates), mark)
    for finding in report.findings:
        say(f"{finding.severity}: {finding.message}")
    reused = f", {looks.reused:,} of them from the cache" * bool(looks.reused)
    say(f"{page}: {len(report.clips):,} clips{reused}; {len(report.findings)} findings")
    if as_json:
        sys.stdout.write(to_json(report) + "\n")
    if fail_on != "never" and report.as_bad_as(fail_on):
        raise typer.Exit(2)
