"""A corpus that comes as a table with a row per clip."""

from collections.abc import Mapping
from pathlib import Path

from cimeu.corpora.manifest import Manifest, build_manifest, read_manifest
from cimeu.corpora.paths import absolute


def from_csv(
    path: Path, *, root: Path | None = None, corpus: str | None = None, columns: Mapping[str, str] | None = None
) -> Manifest:
    """Read a table (`path`, `emotion` and any other column) as `read_manifest`; rows without a corpus get one.

    Args:
        path: the table.
        root: folder that its paths start from; by default its own.
        corpus: by default the name of that folder.
        columns: column of the table by the manifest's name for it, such as {"path": "file", "emotion": "label"}.

    Raises:
        ManifestError: a column that the table lacks, and what `read_manifest` raises.
    """
    manifest = read_manifest(path, root=root, columns=columns)
    table = manifest.table.copy()
    table["corpus"] = table["corpus"].where(table["corpus"] != "", corpus or absolute(manifest.root).name)
    return build_manifest(table, manifest.root)
