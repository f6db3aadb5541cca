"""A corpus that comes as a CSV with a row per clip."""

from pathlib import Path

from cimeu.corpora.manifest import Manifest, build_manifest, read_manifest


def from_csv(path: Path, *, root: Path | None = None, corpus: str | None = None) -> Manifest:
    """Read a CSV (`path,emotion` and any other column) as `read_manifest`; rows without a corpus get one.

    `corpus` defaults to the name of the folder that holds the CSV.
    """
    manifest = read_manifest(path, root=root)
    table = manifest.table.copy()
    table["corpus"] = table["corpus"].where(table["corpus"] != "", corpus or manifest.root.name)
    return build_manifest(table, manifest.root)
