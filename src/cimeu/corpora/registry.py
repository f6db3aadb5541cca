"""The corpora that can be prepared, by name."""

from collections.abc import Callable

from cimeu.corpora.csv import from_csv
from cimeu.corpora.folder import from_folder
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.toy import make_toy

CORPORA: dict[str, Callable[..., Manifest]] = {"folder": from_folder, "csv": from_csv, "toy": make_toy}
