"""CiMEU: culture-independent multimodal emotion understanding.

video/audio file
  -> media          pixels and samples
  -> corpora        a manifest, honest folds
  -> encoders       frozen vectors per window      -> features   a store
  -> batching       16, 8 and 4 steps of a clip
  -> model          disentangle, align, mine       -> training   forward and backward checkpoints
  -> evaluation     numbers with intervals         -> experiments, bench, reports   run folders, comparisons, pages
  -> inference      a timeline of a person's own file
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cimeu.corpora.folds import make_folds
    from cimeu.corpora.manifest import Manifest, read_manifest
    from cimeu.experiments.recipe import Recipe, load_recipe
    from cimeu.experiments.run import run_recipe
    from cimeu.features.extract import extract
    from cimeu.features.store import FeatureStore
    from cimeu.inference.explain import explain
    from cimeu.inference.recogniser import FaceTools, Recogniser
    from cimeu.model.config import ModelConfig
    from cimeu.model.network import CiMEU
    from cimeu.reports.report import report
    from cimeu.timeline.agreement import agree
    from cimeu.timeline.result import Timeline
    from cimeu.timeline.settings import TimelineSettings
    from cimeu.timeline.study.collect import StudySettings, collect

_HOMES = {
    "CiMEU": "cimeu.model.network",
    "FaceTools": "cimeu.inference.recogniser",
    "FeatureStore": "cimeu.features.store",
    "Manifest": "cimeu.corpora.manifest",
    "ModelConfig": "cimeu.model.config",
    "Recipe": "cimeu.experiments.recipe",
    "Recogniser": "cimeu.inference.recogniser",
    "StudySettings": "cimeu.timeline.study.collect",
    "Timeline": "cimeu.timeline.result",
    "TimelineSettings": "cimeu.timeline.settings",
    "agree": "cimeu.timeline.agreement",
    "collect": "cimeu.timeline.study.collect",
    "explain": "cimeu.inference.explain",
    "extract": "cimeu.features.extract",
    "load_recipe": "cimeu.experiments.recipe",
    "make_folds": "cimeu.corpora.folds",
    "read_manifest": "cimeu.corpora.manifest",
    "report": "cimeu.reports.report",
    "run_recipe": "cimeu.experiments.run",
}

__all__ = [
    "CiMEU",
    "FaceTools",
    "FeatureStore",
    "Manifest",
    "ModelConfig",
    "Recipe",
    "Recogniser",
    "StudySettings",
    "Timeline",
    "TimelineSettings",
    "agree",
    "collect",
    "explain",
    "extract",
    "load_recipe",
    "make_folds",
    "read_manifest",
    "report",
    "run_recipe",
]


def __dir__() -> list[str]:
    """Public names, whether they are imported yet or not."""
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `import cimeu` costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("cimeu")
    if name not in _HOMES:
        raise AttributeError(f"module `cimeu` has no attribute `{name}`")
    return getattr(importlib.import_module(_HOMES[name]), name)
