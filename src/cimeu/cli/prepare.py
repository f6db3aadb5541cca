"""`cimeu prepare`: a corpus as it was packed to a manifest."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cimeu.cli.terminal import Output, pairs, progress_bars, say
from cimeu.errors import RecipeError


def prepare(
    corpus: Annotated[str, typer.Argument(help="`folder`, `csv`, `toy`, or the name of a corpus.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings (for `toy`: where to draw them).")],
    output: Output = Path("manifest.csv"),
    csv: Annotated[
        Path | None, typer.Option(help="Table with the manifest's columns, instead of folder names.")
    ] = None,
    takes: Annotated[int, typer.Option(help="Toy corpus: clips of each speaker and emotion.")] = 4,
    speakers: Annotated[int, typer.Option(help="Toy corpus: speakers of each culture.")] = 8,
    strength: Annotated[float, typer.Option(help="Toy corpus: strength of culture's effect, 0 to 1.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Toy corpus: seed of the generator.")] = 0,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Do not check the published counts.")] = False,
    task: Annotated[Literal["single", "compound"], typer.Option(help="MAFW: which labels.")] = "single",
    modality: Annotated[
        Literal["01", "02", "03"] | None, typer.Option(help="RAVDESS: 01 with sound, 02 silent, 03 sound only.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Folder, csv, lists: name of the corpus. [default: folder]")] = None,
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="Lists: part=file, such as test=test.csv or, for a fold, 1=set_1_test.txt."),
    ] = None,
    label_map: Annotated[
        list[str] | None, typer.Option(help="Lists: label=emotion, such as 0=happiness; repeat for each.")
    ] = None,
    speaker: Annotated[str, typer.Option(help="Lists: expression whose group finds the speaker in a path.")] = "",
) -> None:
    """Turn a folder of recordings into a manifest: one row a clip; published counts and folds are checked first."""
    from cimeu.corpora.manifest import write_manifest
    from cimeu.corpora.registry import CORPORA, PUBLISHED
    from cimeu.corpora.toy import ToyConfig
    from cimeu.labels import guess

    if corpus not in CORPORA:
        raise RecipeError(f"unknown corpus `{corpus}`\n\nhint: {guess(corpus, tuple(CORPORA))}")
    published = corpus in PUBLISHED and not csv
    with progress_bars() as progress:
        if corpus == "toy":
            config = ToyConfig(seed=seed, takes=takes, speakers_per_culture=speakers, culture_strength=strength)
            manifest = CORPORA["toy"](config, root, progress=progress)
        elif published:
            options: dict[str, object] = {"check_counts": not allow_partial}
            if corpus == "mafw":
                options["task"] = task
            if corpus == "ravdess":
                options["modality"] = modality
            if corpus == "lists":
                files = {part: Path(file) for part, file in pairs(lists or ()).items()}
                options |= {"lists": files, "labels": pairs(label_map or ()), "speaker": speaker, "corpus": name}
            manifest = PUBLISHED[corpus](root, **options)
        elif csv:
            manifest = CORPORA["csv"](csv, root=root, corpus=name)
        else:
            manifest = CORPORA[corpus](root, corpus=name)
    write_manifest(manifest, output)
    unusable = int((manifest.table["problem"] != "").sum())
    say(f"{output}: {len(manifest):,} clips" + (f", {unusable} of them unusable (column `problem`)" * bool(unusable)))
    for column in ("fold", "split"):
        sizes = manifest.table[column][manifest.table[column] != ""].value_counts()
        if len(sizes):
            parts = sorted(sizes.index, key=lambda part: (len(part), part))
            say(f"published `{column}`: " + ", ".join(f"{part} {sizes[part]:,}" for part in parts))
    if published and corpus != "lists":
        say("counts were not compared with the published ones" if allow_partial else "counts are the published ones")
