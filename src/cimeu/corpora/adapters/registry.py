"""The corpora that can be prepared, by name, and how many clips they were published with."""

from collections.abc import Callable, Mapping
from functools import partial

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
)
from cimeu.corpora.adapters.csv import from_csv
from cimeu.corpora.adapters.folder import from_folder
from cimeu.corpora.adapters.lists import from_lists
from cimeu.corpora.adapters.speech import SPEECH_SETS, from_speech_set
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
    **{name: partial(from_speech_set, name) for name in SPEECH_SETS},
    "nemo": nemo.from_nemo,
    "iemocap": iemocap.from_iemocap,
    "msppodcast": msppodcast.from_msppodcast,
    "chsims": chsims.from_chsims,
    "mer": mer.from_mer,
    "affwild2": affwild2.from_affwild2,
    "cameo": cameo.from_cameo,
    "blemore": blemore.from_blemore,
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
    **{name: corpus.counts for name, corpus in SPEECH_SETS.items()},
    "nemo": nemo.COUNTS,
    "iemocap": iemocap.COUNTS,
    "chsims": chsims.COUNTS,
    **mer.COUNTS,
    "blemore": blemore.COUNTS,
}
"""Published counts by the name of the corpus, as `cimeu.corpora.adapters.layout.differing` compares them."""

TERMS: dict[str, str] = {
    **dict.fromkeys(("dfew", "mafw", "ferv39k", "afew", "casme2"), "by request, research only"),
    "cremad": "ODbL 1.0",
    "ravdess": "CC BY-NC-SA 4.0 (not for products)",
    "meld": "GPL-3.0 (annotations); clips of a television series",
    "emodb": "no licence stated",
    "urdu": "research only",
    "ased": "stated as freely available",
    "enterface": "research only",
    "eyase": "educational and research purposes, as the project that holds it states; no corpus licence seen",
    "nemo": "CC BY-NC-SA 4.0 (not for products)",
    "esd": "research only",
    "subesco": "CC BY 4.0",
    "shemo": "free for academic purposes",
    "cafe": "CC BY-NC-SA 4.0 (not for products)",
    "jl": "CC0 1.0",
    "iemocap": "by signed request, no redistribution",
    "msppodcast": "licence form signed by the institution; no redistribution, not even of transcripts",
    "chsims": "research",
    **dict.fromkeys(mer.COUNTS, "EULA, academic only"),
    "affwild2": "by academic form, no redistribution",
    "cameo": "CC BY-NC-SA 4.0 as a collection (not for products); each row has terms of its own",
    "blemore": "not seen: ask for them with the data",
    "toy": "MIT, as CiMEU: drawn by a program",
}
"""Terms as the publishers of a corpus state them; a corpus that is not here has terms unknown to CiMEU."""
