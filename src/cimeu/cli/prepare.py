"""`cimeu prepare`: a corpus as it was packed to a manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cimeu.cli.terminal import AllowUnknownLabels, LabelMap, Output, finish, pairs, progress_bars, say
from cimeu.errors import ManifestError, RecipeError, listed

if TYPE_CHECKING:
    from cimeu.corpora.manifest import Manifest
    from cimeu.corpora.toy.corpus import ToyConfig

UNPUBLISHED = ("folder", "csv", "toy")
APPLIES_TO = {
    **dict.fromkeys(("takes", "speakers", "strength", "habit", "seed"), ("toy",)),
    **dict.fromkeys(("lists", "speaker"), ("lists",)),
    "task": ("mafw", "affwild2"),
    "modality": ("ravdess",),
    "name": ("folder", "csv", "lists"),
    **dict.fromkeys(("csv", "column"), ("folder", "csv")),
}
"""Corpora by the option that is for them alone; `allow_partial` is for all but `UNPUBLISHED`, the others for all."""
TASKS = {"mafw": ("single", "compound"), "affwild2": ("expr", "va", "both")}
EXAMPLE_OF = {
    "folder": "cimeu prepare folder recordings -o manifest.csv",
    "csv": "cimeu prepare csv recordings --csv labels.csv -o manifest.csv",
    "toy": "cimeu prepare toy toy --takes 2 -o toy/manifest.csv",
    "lists": "cimeu prepare lists corpus --list train=train.csv --list test=test.csv --label-map 0=happiness",
    "mafw": "cimeu prepare mafw MAFW --task compound -o manifest.csv",
    "ravdess": "cimeu prepare ravdess RAVDESS --modality 03 -o manifest.csv",
    "affwild2": "cimeu prepare affwild2 AFFWILD2 --task both -o manifest.csv",
    "iemocap": "cimeu prepare iemocap IEMOCAP_full_release --label-map excitement=happiness -o manifest.csv",
}


def applies(option: str, corpus: str) -> bool:
    """Whether an option, by the name of its parameter, has a use for a corpus."""
    if option == "allow_partial":
        return corpus not in UNPUBLISHED
    return corpus in APPLIES_TO.get(option, (corpus,))


def complete_corpus(incomplete: str) -> list[str]:
    """Names of corpora for the completion of a shell."""
    from cimeu.corpora.adapters.registry import CORPORA

    return [name for name in CORPORA if name.startswith(incomplete)]


Corpus = Annotated[
    str,
    typer.Argument(
        help="`folder`, `csv`, `toy`, or the name of a corpus; put --help behind it for its options alone.",
        autocompletion=complete_corpus,
    ),
]
Csv = Annotated[Path | None, typer.Option(help="Table with the manifest's columns, instead of folder names.")]
Takes = Annotated[int | None, typer.Option(help="Toy corpus: clips of each speaker and emotion. [default: 4]")]
Strength = Annotated[float | None, typer.Option(help="Toy corpus: strength of culture's effect, 0 to 1. [default: 1]")]
Habit = Annotated[
    float | None,
    typer.Option(help="Toy corpus: how far each culture has gestures of its own, 0 to 1. [default: 1]"),
]
Task = Annotated[
    Literal["single", "compound", "expr", "va", "both"] | None,
    typer.Option(help="Which labels. MAFW: single (default) or compound; Aff-Wild2: expr (default), va or both."),
]
Modality = Annotated[
    Literal["01", "02", "03"] | None, typer.Option(help="RAVDESS: 01 with sound, 02 silent, 03 sound only.")
]
Lists = Annotated[
    list[str] | None,
    typer.Option("--list", help="Lists: part=file, such as test=test.csv or, for a fold, 1=set_1_test.txt."),
]
Column = Annotated[
    list[str] | None,
    typer.Option(help="Csv: name=column, such as path=file or emotion=label, where the table has other names."),
]
Speaker = Annotated[str | None, typer.Option(help="Lists: expression whose group finds the speaker in a path.")]


def prepare(
    corpus: Corpus,
    root: Annotated[Path, typer.Argument(help="Folder of the recordings (for `toy`: where to draw them).")],
    output: Output = Path("manifest.csv"),
    csv: Csv = None,
    takes: Takes = None,
    speakers: Annotated[int | None, typer.Option(help="Toy corpus: speakers of each culture. [default: 8]")] = None,
    strength: Strength = None,
    habit: Habit = None,
    seed: Annotated[int | None, typer.Option(help="Toy corpus: seed of the generator. [default: 0]")] = None,
    allow_partial: Annotated[
        bool,
        typer.Option(
            "--allow-partial", help="Accept a part of the corpus: counts are not checked, absent files are no failure."
        ),
    ] = False,
    task: Task = None,
    modality: Modality = None,
    name: Annotated[str | None, typer.Option(help="Folder, csv, lists: name of the corpus. [default: folder]")] = None,
    lists: Lists = None,
    label_map: LabelMap = None,
    allow_unknown_labels: AllowUnknownLabels = False,
    column: Column = None,
    speaker: Speaker = None,
) -> None:
    """Turn a folder of recordings into a manifest: one row per clip; published counts and folds are checked first."""
    from cimeu.atomic import check_free
    from cimeu.corpora.adapters.registry import CORPORA, PUBLISHED
    from cimeu.corpora.labelling import label_counts, relabelled
    from cimeu.corpora.manifest import write_manifest
    from cimeu.corpora.same_file import with_same_file
    from cimeu.label_words import check_known

    toy: dict[str, Any] = {"takes": takes, "speakers": speakers, "strength": strength, "habit": habit, "seed": seed}
    listed = {"lists": lists or None, "speaker": speaker, "column": column or None}
    given = toy | listed | {"task": task, "modality": modality, "name": name, "csv": csv}
    check_request(corpus, given | {"allow_partial": allow_partial or None})
    check_free([output], "manifest")
    labels = pairs(label_map or (), "Wut=anger")
    with progress_bars() as progress:
        if corpus == "toy":
            manifest = CORPORA["toy"](toy_config(toy), root, progress=progress)
        elif corpus == "lists":
            files = {part: Path(file) for part, file in pairs(lists or ()).items()}
            manifest = PUBLISHED["lists"](
                root, check_counts=not allow_partial, lists=files, labels=labels, speaker=speaker or "", corpus=name
            )
        elif corpus in PUBLISHED:
            manifest = PUBLISHED[corpus](
                root, check_counts=not allow_partial, **adapter_options(corpus, task, modality)
            )
        elif csv:
            manifest = CORPORA["csv"](csv, root=root, corpus=name, columns=pairs(column or (), "path=file"))
        else:
            manifest = CORPORA[corpus](root, corpus=name, label_map=labels)
    if corpus != "lists":  # whose numbers have no meaning without their names
        manifest = relabelled(manifest, labels)
    counts = label_counts(manifest)
    if not allow_unknown_labels and (corpus not in PUBLISHED or corpus == "lists"):  # adapters name what they know
        check_known(counts, f"`{csv or root}`")
    manifest = with_same_file(manifest)
    write_manifest(manifest, output)
    summarise(manifest, counts, output)
    if corpus in PUBLISHED and corpus != "lists":
        say("counts were not compared with the published ones" if allow_partial else "counts are the published ones")
    if not allow_partial:
        finish_prepared(manifest, output)


def adapter_options(corpus: str, task: str | None, modality: str | None) -> dict[str, str]:
    """The options of an adapter that were given.

    Raises:
        RecipeError: the corpus has no such task.
    """
    if task and task not in TASKS[corpus]:
        raise RecipeError(f"`{corpus}` has no task `{task}`\n\nhint: {' or '.join(TASKS[corpus])}")
    return {name: value for name, value in (("task", task), ("modality", modality)) if value}


def toy_config(options: Mapping[str, Any]) -> "ToyConfig":
    """The toy corpus that options ask for; None leaves a default."""
    from cimeu.corpora.toy.corpus import ToyConfig

    fields = {"speakers": "speakers_per_culture", "strength": "culture_strength"}
    return ToyConfig(**{fields.get(key, key): value for key, value in options.items() if value is not None})


def summarise(manifest: "Manifest", counts: Mapping[str, int], path: Path) -> None:
    """Say how many clips a manifest has, of which labels, and how its published folds divide them."""
    from cimeu.corpora.inclusions import inclusions_of

    unusable = int((manifest.table["problem"] != "").sum())
    say(f"{path}: {len(manifest):,} clips" + (f", {unusable} of them unusable (column `problem`)" * bool(unusable)))
    say_missing(manifest)
    say_repeated(manifest)
    say("labels: " + ", ".join(f"{label or 'none'} {count:,}" for label, count in counts.items()))
    for division in ("fold", "split"):
        sizes = manifest.table[division][manifest.table[division] != ""].value_counts()
        if len(sizes):
            parts = sorted(sizes.index, key=lambda part: (len(part), part))
            say(f"published `{division}`: " + ", ".join(f"{part} {sizes[part]:,}" for part in parts))
    for inclusion in inclusions_of(str(manifest.table["corpus"].iloc[0])):
        say(f"warning: {inclusion}; keep the two out of training and test of one model")


def finish_prepared(manifest: "Manifest", path: Path) -> None:
    """Exit status 3 where files that the manifest names cannot be opened; what a corpus itself lists without a
    recording (never released, hidden) is complete without it.

    Raises:
        ManifestError: no clip at all can be used.
    """
    from cimeu.corpora.paths import UNREADABLE

    problems = manifest.table["problem"]
    failed = problems[problems.isin(UNREADABLE)]
    if len(failed) and (problems != "").all():
        raise ManifestError(
            f"none of the {len(manifest):,} clips can be used: {failed.iloc[0]}, such as "
            f"`{manifest.root / manifest.table['path'][failed.index[0]]}`\n\n"
            f"hint: name the folder that the paths start from instead of `{manifest.root}`; `{path}` is written, but "
            "serves only features that are imported"
        )
    if len(failed):
        finish(len(problems) - len(failed), len(problems), "clips have a file", f"column `problem` of {path}")


def check_request(corpus: str, options: Mapping[str, object]) -> None:
    """Refuse an unknown corpus, and options that do not go with it.

    Raises:
        RecipeError: such a name, or such an option.
    """
    from cimeu.corpora.adapters.registry import CORPORA
    from cimeu.errors import guess

    if corpus not in CORPORA:
        raise RecipeError(f"unknown corpus `{corpus}`\n\nhint: {guess(corpus, tuple(CORPORA))}")
    check_applies(corpus, options)
    if corpus == "csv" and not options["csv"]:
        raise RecipeError("no table is named for `csv`\n\nhint: add --csv FILE, with columns path and emotion")
    if options["column"] and not options["csv"]:
        raise RecipeError("--column without a table\n\nhint: add --csv FILE")


def say_missing(manifest: "Manifest") -> None:
    """Name the first files that cannot be opened for each reason, and the folder that the paths start from."""
    from cimeu.corpora.paths import MISSING_FILE, UNREADABLE

    table = manifest.table[manifest.table["problem"].isin(UNREADABLE)]
    for reason, rows in table.groupby("problem", sort=False):
        names = listed([f"`{path}`" for path in rows["path"]])
        what = "missing" if reason == MISSING_FILE else reason
        say(f"{what}: {len(rows):,} files below `{manifest.root}`: {names}")


def say_repeated(manifest: "Manifest") -> None:
    """Name clips of one recording, and parts of a published division that share such clips."""
    from cimeu.corpora.folds import SAME_FILE

    if SAME_FILE not in manifest.table.columns:
        return
    table = manifest.table[manifest.table[SAME_FILE] != ""]
    first = table["clip_id"][table[SAME_FILE] == table[SAME_FILE].iloc[0]]
    names = " and ".join(f"`{clip_id}`" for clip_id in first[:2])
    say(
        f"{len(table):,} clips hold the recording of another one, such as {names}; "
        f"folds go by their column `{SAME_FILE}`"
    )
    for division in ("fold", "split"):
        parts = table[table[division] != ""].groupby(SAME_FILE)[division].nunique()
        if (parts > 1).any():
            shared = parts.index[parts > 1]
            say(
                f"warning: {len(shared):,} of these are in several parts of the published `{division}`, "
                f"such as `{shared[0]}`"
            )


def check_applies(corpus: str, options: Mapping[str, object]) -> None:
    """Refuse an option that was given (its value is not None) for a corpus that has no use for it.

    Raises:
        RecipeError: such an option.
    """
    for option, value in options.items():
        if value is not None and not applies(option, corpus):
            able = ", ".join(APPLIES_TO.get(option, ("corpora with published counts",)))
            words = option.replace("_", "-").replace("lists", "list")
            raise RecipeError(f"--{words} does not apply to `{corpus}`\n\nhint: it is for {able}")
