"""BLEMORE: single and blended emotions of 58 actors without words; the share of each emotion in a blend is known.

`train_metadata.csv` with a row per clip, clips `A102_ang_int1_ver1.mov` (one emotion) and `A411_mix_ang_hap_30_70_ver1`
(two, with their saliences), test clips `test_0001.mov` without labels. Folds 0 to 4 share no actor. A blend is one
unordered pair: its name here is in alphabetical order, its saliences are in the columns of votes.

Source: BLEMORE, arXiv 2601.13225, and its repository; folds and their sizes are counted from it.
"""

from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, files_below, manifest_of, read_table
from cimeu.corpora.manifest import HIDDEN, UNLABELLED, Manifest
from cimeu.errors import ManifestError
from cimeu.media.recordings import VIDEO_SUFFIXES

EMOTIONS = {
    "ang": "anger",
    "disg": "disgust",
    "fea": "fear",
    "hap": "happiness",
    "neu": "neutral",
    "sad": "sadness",
}
COUNTS = {"clips": 3050, "unlabelled": 594, "speakers": 47}
UNVERIFIED = {f"fold {fold}": count for fold, count in enumerate((522, 486, 468, 472, 508))}


def from_blemore(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the training clips with their published fold, and of the test clips without a label.

    Extra columns: `votes_anger` .. `votes_sadness` (salience, 0 to 100), `blend` (yes or no), `intensity`, `situation`,
    `version`, `unlabelled`. Raises ManifestError.
    """
    columns = ("filename", "video_id", "gender", "emotion_1", "emotion_2", "emotion_1_salience", "emotion_2_salience")
    path = root / "train_metadata.csv"
    table = read_table(path, (*columns, "fold"))
    files = {file.stem: file for file in files_below(root, VIDEO_SUFFIXES)}
    rows: list[Row] = []
    for cells in table.to_dict("records"):
        clip = {name: value.strip().strip("-") for name, value in cells.items()}
        saliences = _saliences(clip, path)
        rows.append(
            {
                "path": str(files.get(clip["filename"], root / f"{clip['filename']}.mov")),
                "emotion": "_".join(sorted(saliences)),
                UNLABELLED: "",
                "speaker": f"blemore_{clip['video_id']}",
                "gender": clip["gender"],
                "fold": clip["fold"].removesuffix(".0"),
                "blend": "yes" if len(saliences) > 1 else "no",
                **{name: clip.get(column, "") for name, column in _DESCRIBED.items()},
                **{f"votes_{emotion}": saliences.get(emotion, "0") for emotion in EMOTIONS.values()},
            }
        )
    tested = {name: file for name, file in files.items() if name.startswith("test_")}
    if (root / "test_metadata.csv").is_file():
        names = read_table(root / "test_metadata.csv", ("filename",))["filename"]
        tested = {name: files.get(name, root / f"{name}.mov") for name in names}
    rows += [
        {"path": str(file), "emotion": "", UNLABELLED: HIDDEN, "split": "test"} for _, file in sorted(tested.items())
    ]
    manifest = manifest_of(rows, root, corpus="blemore", acted="yes")
    return checked(manifest, COUNTS, unverified=UNVERIFIED) if check_counts else manifest


CORPUS = Published("blemore", from_blemore, "not seen: ask for them with the data", {"blemore": COUNTS})


_DESCRIBED = {"intensity": "intensity_level", "situation": "situation", "version": "version"}


def _saliences(clip: Row, path: Path) -> dict[str, str]:
    """Percent of each emotion of a clip; a single one has all."""
    codes = [clip["emotion_1"], clip["emotion_2"]]
    codes = [code for code in codes if code]
    unknown = [code for code in codes if code not in EMOTIONS]
    if unknown or not codes:
        raise ManifestError(
            f"`{clip['filename']}` of `{path}` has the emotion `{unknown[0] if unknown else ''}`\n\n"
            f"hint: expected {', '.join(EMOTIONS)}"
        )
    if len(codes) == 1:
        return {EMOTIONS[codes[0]]: "100"}
    shares = [clip[f"emotion_{place}_salience"].removesuffix(".0") for place in (1, 2)]
    return {EMOTIONS[code]: share for code, share in zip(codes, shares, strict=True)}
