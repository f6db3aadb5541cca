"""The corpora that can be prepared, by name, and how many clips they were published with."""

from collections.abc import Callable, Mapping

from cimeu.corpora import ased, casme2, cremad, dfew, emodb, emovo, enterface, ferv39k, mafw, meld, nemo, ravdess, urdu
from cimeu.corpora.afew import from_afew
from cimeu.corpora.ased import from_ased
from cimeu.corpora.casme2 import from_casme2
from cimeu.corpora.cremad import from_cremad
from cimeu.corpora.csv import from_csv
from cimeu.corpora.dfew import from_dfew
from cimeu.corpora.emodb import from_emodb
from cimeu.corpora.emovo import from_emovo
from cimeu.corpora.enterface import from_enterface
from cimeu.corpora.ferv39k import from_ferv39k
from cimeu.corpora.folder import from_folder
from cimeu.corpora.lists import from_lists
from cimeu.corpora.mafw import from_mafw
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.meld import from_meld
from cimeu.corpora.nemo import from_nemo
from cimeu.corpora.ravdess import from_ravdess
from cimeu.corpora.toy import make_toy
from cimeu.corpora.urdu import from_urdu

PUBLISHED: dict[str, Callable[..., Manifest]] = {
    "dfew": from_dfew,
    "mafw": from_mafw,
    "ferv39k": from_ferv39k,
    "afew": from_afew,
    "cremad": from_cremad,
    "ravdess": from_ravdess,
    "enterface": from_enterface,
    "meld": from_meld,
    "casme2": from_casme2,
    "emodb": from_emodb,
    "urdu": from_urdu,
    "ased": from_ased,
    "emovo": from_emovo,
    "nemo": from_nemo,
    "lists": from_lists,
}
"""Corpora with a documented layout; each takes its root and `check_counts`."""
CORPORA: dict[str, Callable[..., Manifest]] = {"folder": from_folder, "csv": from_csv, "toy": make_toy, **PUBLISHED}

COUNTS: dict[str, Mapping[str, int]] = {
    **{
        module.__name__.rpartition(".")[2]: module.COUNTS
        for module in (ased, casme2, cremad, dfew, emodb, emovo, enterface, ferv39k, meld, nemo, ravdess, urdu)
    },
    "mafw": mafw.COUNTS["single"],
    "mafw-compound": mafw.COUNTS["compound"],
}
"""Published counts by the name of the corpus, as `cimeu.corpora.layout.differing` compares them."""
