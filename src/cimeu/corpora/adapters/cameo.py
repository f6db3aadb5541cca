"""CAMEO: thirteen speech corpora in eight languages with unified labels, as Parquet tables that hold the sound.

`data/<corpus>-00000-of-00001.parquet`. The published splits are the corpora themselves, there is no training or test
part. Sound is read from the tables, nothing is copied. MESD and RESD name no speakers; EMNS and PAVOQUE have one each.
CREMA-D, RAVDESS, eNTERFACE'05 and nEMO are recordings that other adapters read too. Terms differ by row.

Source: Christop and Czajka, CAMEO: collection of multilingual emotional speech corpora, arXiv 2505.11051.
"""

from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, columns_needed, files_below, manifest_of, needed
from cimeu.corpora.manifest import Manifest
from cimeu.errors import ManifestError
from cimeu.media.packed import SUFFIX

LANGUAGES = {
    "Bengali": "bn",
    "English": "en",
    "French": "fr",
    "German": "de",
    "Italian": "it",
    "Polish": "pl",
    "Russian": "ru",
    "Spanish": "es",
}
TEXTS = ("file_id", "emotion", "transcription", "speaker_id", "gender", "age", "dataset", "language", "license")
UNVERIFIED = {"clips": 41_265, "emotions": 17}


def from_cameo(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the tables, named `dataset/file_id`. Extra columns: `dataset`, `age`, `text`, `licence`.

    Raises ManifestError.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    rows: list[Row] = []
    folder = root / "data" if (root / "data").is_dir() else root
    for path in files_below(needed(folder, "`data/<corpus>-00000-of-00001.parquet`"), {SUFFIX}):
        try:
            with ParquetFile(path) as file:
                names = file.schema_arrow.names
                table = file.read(columns=[name for name in TEXTS if name in names]).to_pandas().fillna("").astype(str)
        except (pyarrow.ArrowException, OSError) as error:
            raise ManifestError(f"`{path}` is not a Parquet table ({error})\n\nhint: download it again") from error
        columns_needed(table, TEXTS, path)
        for number, cells in enumerate(table.to_dict("records")):
            dataset, speaker = cells["dataset"].lower(), cells["speaker_id"]
            rows.append(
                {
                    "clip_id": f"{dataset}/{cells['file_id'].rpartition('.')[0] or cells['file_id']}",
                    "path": str(path / str(number)),
                    "emotion": cells["emotion"],
                    "speaker": f"{dataset}_{speaker}" if speaker.lower() not in ("", "none", "nan") else "",
                    "gender": cells["gender"][:1].lower(),
                    "language": LANGUAGES.get(cells["language"], cells["language"].lower()),
                    "dataset": dataset,
                    "age": cells["age"],
                    "text": cells["transcription"],
                    "licence": cells["license"],
                }
            )
    if not rows:
        raise ManifestError(
            f"no table of CAMEO below `{folder}`\n\nhint: expected `data/ravdess-00000-of-00001.parquet`"
        )
    manifest = manifest_of(rows, root, corpus="cameo")
    return checked(manifest, {}, unverified=UNVERIFIED) if check_counts else manifest


CORPUS = Published(
    "cameo", from_cameo, "CC BY-NC-SA 4.0 as a collection (not for products); each row has terms of its own"
)
