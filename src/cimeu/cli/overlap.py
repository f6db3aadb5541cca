"""`cimeu overlap`: which recordings two corpora share, by their content."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import Output, finish, progress_bars, say


def overlap(
    one: Annotated[Path, typer.Argument(help="Manifest or folder of recordings.")],
    other: Annotated[Path, typer.Argument(help="Manifest or folder that it is compared with.")],
    output: Output = Path("overlap.csv"),
    features: Annotated[
        list[Path] | None,
        typer.Option(
            help="Compare the features in this folder of `cimeu extract` instead of the recordings, which need not be "
            "there; repeat where the second has a folder of its own."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Clips decoded at a time; 0 takes one for each core.", min=0)] = 0,
) -> None:
    """Find recordings that are in both, recoded, cut or renamed; exit status 2 if there are any."""
    import pandas as pd

    from cimeu.atomic import check_free, write_whole
    from cimeu.corpora.adapters.folder import read_recordings
    from cimeu.corpora.audit.shared_recordings import shared_recordings
    from cimeu.corpora.inclusions import inclusions_among
    from cimeu.csv_files import frame_text
    from cimeu.errors import RecipeError
    from cimeu.experiments.prepare import cores
    from cimeu.features.shared_clips import shared_clips

    if features and len(features) > 2:
        raise RecipeError(f"--features names {len(features)} folders\n\nhint: one for both, or one for each manifest")
    check_free([output], "overlap")
    manifests = [read_recordings(path) for path in (one, other)]
    for inclusion in inclusions_among({corpus for manifest in manifests for corpus in manifest.table["corpus"]}):
        say(f"warning: {inclusion}")
    with progress_bars() as progress:
        if features:
            compared = shared_clips(manifests[0], manifests[1], features, progress=progress)
            overlap, method = compared.overlap, f"compared by {', '.join(compared.encoders)}"
        else:
            overlap, method = shared_recordings(*manifests, workers=workers or cores(), progress=progress), "compared"
    copies = overlap.copies
    columns = ("one", "other", "by", "offset_s")
    rows = [[copy.one, copy.other, copy.by, "" if copy.offset_s is None else f"{copy.offset_s:.3f}"] for copy in copies]
    write_whole(output, frame_text(pd.DataFrame(rows, columns=columns, dtype=str)), "overlap")
    shared = [len({getattr(copy, side) for copy in copies}) for side in ("one", "other")]
    counts = [f"{n_shared:,} of {len(manifest):,}" for n_shared, manifest in zip(shared, manifests, strict=True)]
    say(f"{output}: {counts[0]} clips of `{one}` are in `{other}`, as {counts[1]} clips of it")
    total, unread = sum(map(len, manifests)), sum(overlap.unread)
    if copies:
        if unread:
            lacking = "have no features" if features else "cannot be read"
            say(f"{unread:,} of {total:,} clips {lacking} and were not compared")
        if features:
            say(f"{total - unread:,} of {total:,} clips {method}")
        raise typer.Exit(2)
    finish(total - unread, total, f"clips {method}")
