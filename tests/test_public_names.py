"""What `import cimeu` offers, and what its objects say of themselves."""

from importlib.metadata import version
from pathlib import Path

import pandas as pd

import cimeu
from cimeu.corpora.folds import Fold
from cimeu.corpora.manifest import build_manifest
from cimeu.encoders.description import describe
from cimeu.encoders.registry import build_encoder
from cimeu.features.store import FeatureStore
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import USE_LIMITS, Header, Segment

HEADER = Header(
    media="interview.mp4",
    content="0" * 16,
    duration_s=2.5,
    model="toy-1234",
    emotions=("anger", "fear"),
    fingerprints={},
    settings={},
    demonstration=False,
    version="0",
    faces="",
)


def test_the_public_names_are_listed_and_can_be_had() -> None:
    assert set(cimeu.__all__) < set(dir(cimeu))
    assert all(hasattr(cimeu, name) for name in dir(cimeu))
    assert cimeu.__version__ == version("cimeu")


def test_objects_say_in_a_line_what_they_hold(tmp_path: Path) -> None:
    manifest = build_manifest(pd.DataFrame({"path": ["a.wav", "b.wav"], "emotion": ["anger", "anger"]}), tmp_path)
    assert repr(manifest) == f"<Manifest {tmp_path}: 2 clips (anger 2)>"
    fold = Fold("west", ("a", "b"), (), ("c",), speakers_known=True, note="speakers shared")
    assert repr(fold) == "<Fold west: train 2, validation 0, test 1 clips; speakers shared>"
    with FeatureStore.open(tmp_path / "hog", describe(build_encoder("hog")), writable=True) as store:
        assert repr(store) == f"<FeatureStore {tmp_path / 'hog'}: 0 rows of hog>"


def test_a_notebook_shows_a_timeline_as_a_table_below_its_limits() -> None:
    timeline = Timeline(
        HEADER,
        (Segment("person 1", 0.0, 2.5, "", None, {}, abstain=False, modality="", reason="no face"),),
        Path("x.mp4"),
    )
    assert repr(timeline) == "<Timeline interview.mp4: 2.5 s, 1 person, 1 segments, model toy-1234>"
    shown = timeline._repr_html_()
    assert shown.startswith(f"<p>{USE_LIMITS}</p>")
    assert "no face" in shown
