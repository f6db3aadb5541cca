from pathlib import Path

import numpy as np
import pytest

from cimeu.errors import CheckpointError
from cimeu.inference.neighbours import FILE, NEAREST, TrainingClips


def clips(n_clips: int = 8, style: bool = True) -> TrainingClips:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, n_clips, 6)).astype(np.float32)
    names = {
        name: tuple(f"{name}{row}" for row in range(n_clips)) for name in ("clip_id", "emotion", "corpus", "culture")
    }
    return TrainingClips(names=names, emotion=values[0], style=values[1] if style else None)


def test_a_clip_is_nearest_to_itself() -> None:
    known = clips()
    near = known.nearest(known.emotion[3])
    assert len(near) == NEAREST
    assert (near[0].clip_id, near[0].emotion, near[0].culture) == ("clip_id3", "emotion3", "culture3")
    assert near[0].similarity == pytest.approx(1, abs=1e-4)
    assert [each.similarity for each in near] == sorted((each.similarity for each in near), reverse=True)


def test_style_can_bring_another_clip_nearer() -> None:
    known = clips()
    mixed = 0.55 * known.emotion[3] + 0.45 * known.emotion[5]
    assert known.nearest(mixed)[0].clip_id == "clip_id3"
    assert known.nearest(mixed, known.style[5])[0].clip_id == "clip_id5"  # type: ignore[index]


def test_a_scale_of_one_dimension_changes_no_neighbour() -> None:
    known = clips()
    scales = np.array([100, 1, 1, 1, 1, 1], np.float32)
    scaled = TrainingClips(names=known.names, emotion=known.emotion * scales, style=None)
    asked = np.ones(6, np.float32)
    assert scaled.nearest(asked * scales) == known.nearest(asked)


def test_nothing_is_near_a_segment_without_a_face() -> None:
    assert clips().nearest(np.full(6, np.nan, np.float32)) == ()


@pytest.mark.parametrize("style", [True, False])
def test_the_file_of_a_run_gives_them_back(tmp_path: Path, style: bool) -> None:
    clips(style=style).save(tmp_path)
    found = TrainingClips.load(tmp_path)
    assert found is not None
    assert found.names == clips().names
    np.testing.assert_allclose(found.emotion, clips().emotion, atol=2e-3)
    assert (found.style is None) != style


def test_a_run_of_an_earlier_version_has_none(tmp_path: Path) -> None:
    assert TrainingClips.load(tmp_path) is None


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"PK nothing")
    with pytest.raises(CheckpointError, match=r"training_clips\.npz` is damaged .*\n\nhint: `cimeu evaluate` writes"):
        TrainingClips.load(tmp_path)
