"""The corpora that can be prepared, by name, and how many clips they were published with."""

from collections.abc import Callable, Mapping

from cimeu.corpora.adapters import (
    afew,
    ased,
    casme2,
    cremad,
    dfew,
    emodb,
    emovo,
    enterface,
    ferv39k,
    mafw,
    meld,
    nemo,
    ravdess,
    urdu,
)
from cimeu.corpora.adapters.csv import from_csv
from cimeu.corpora.adapters.folder import from_folder
from cimeu.corpora.adapters.lists import from_lists
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.toy.corpus import make_toy

PUBLISHED: dict[str, Callable[..., Manifest]] = {
    "dfew": dfew.from_dfew,
    "mafw": mafw.from_mafw,
    "ferv39k": ferv39k.from_ferv39k,
    "afew": afew.from_afew,
    "cremad": cremad.from_cremad,
    "ravdess": ravdess.from_ravdess,
    "enterface": enterface.from_enterface,
    "meld": meld.from_meld,
    "casme2": casme2.from_casme2,
    "emodb": emodb.from_emodb,
    "urdu": urdu.from_urdu,
    "ased": ased.from_ased,
    "emovo": emovo.from_emovo,
    "nemo": nemo.from_nemo,
    "lists": from_lists,
}
"""Corpora with a documented layout; each takes its root and `check_counts`."""
CORPORA: dict[str, Callable[..., Manifest]] = {"folder": from_folder, "csv": from_csv, "toy": make_toy, **PUBLISHED}

COUNTS: dict[str, Mapping[str, int]] = {
    "dfew": dfew.COUNTS,
    "mafw": mafw.COUNTS["single"],
    "mafw-compound": mafw.COUNTS["compound"],
    "ferv39k": ferv39k.COUNTS,
    "cremad": cremad.COUNTS,
    "ravdess": ravdess.COUNTS,
    "enterface": enterface.COUNTS,
    "meld": meld.COUNTS,
    "casme2": casme2.COUNTS,
    "emodb": emodb.COUNTS,
    "urdu": urdu.COUNTS,
    "ased": ased.COUNTS,
    "emovo": emovo.COUNTS,
    "nemo": nemo.COUNTS,
}
"""Published counts by the name of the corpus, as `cimeu.corpora.adapters.layout.differing` compares them."""
