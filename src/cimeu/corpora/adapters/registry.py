"""The corpora that can be prepared, by name, and how many clips they were published with."""

from collections.abc import Callable, Mapping

from cimeu.corpora.adapters import (
    afew,
    affwild2,
    blemore,
    cameo,
    casme2,
    chsims,
    cremad,
    dfew,
    enterface,
    ferv39k,
    iemocap,
    mafw,
    meld,
    mer,
    msppodcast,
    nemo,
    ravdess,
    speech,
)
from cimeu.corpora.adapters.csv import from_csv
from cimeu.corpora.adapters.folder import from_folder
from cimeu.corpora.adapters.lists import from_lists
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.toy.corpus import make_toy

_CORPORA = (
    *(dfew.CORPUS, mafw.CORPUS, ferv39k.CORPUS, afew.CORPUS, cremad.CORPUS, ravdess.CORPUS, enterface.CORPUS),
    *(meld.CORPUS, casme2.CORPUS, *speech.CORPORA, nemo.CORPUS, iemocap.CORPUS, msppodcast.CORPUS, chsims.CORPUS),
    *(mer.CORPUS, affwild2.CORPUS, cameo.CORPUS, blemore.CORPUS),
)
PUBLISHED: dict[str, Callable[..., Manifest]] = {corpus.name: corpus.read for corpus in _CORPORA} | {
    "lists": from_lists
}
"""Corpora with a documented layout; each takes its root and `check_counts`."""
CORPORA: dict[str, Callable[..., Manifest]] = {"folder": from_folder, "csv": from_csv, "toy": make_toy, **PUBLISHED}

COUNTS: dict[str, Mapping[str, int]] = {name: counts for corpus in _CORPORA for name, counts in corpus.counts.items()}
"""Published counts by the name of the corpus, as `cimeu.corpora.adapters.layout.differing` compares them."""

TERMS: dict[str, str] = {
    **{name: corpus.terms for corpus in _CORPORA if corpus.terms for name in (corpus.name, *corpus.counts)},
    # read as a folder
    "eyase": "educational and research purposes, as the project that holds it states; no corpus licence seen",
    "toy": "MIT, as CiMEU: drawn by a program",
}
"""Terms as the publishers of a corpus state them; a corpus that is not here has terms unknown to CiMEU."""
