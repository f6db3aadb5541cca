"""The short recordings that inference is tested on, and a document as ELAN saves it."""

from pathlib import Path

import pytest
from pympi import Elan

from ..inference.conftest import recordings

__all__ = ["recordings"]


@pytest.fixture
def human(tmp_path: Path) -> Path:
    """An ELAN document of pympi: emotions, words with times, and a tier whose annotations borrow theirs."""
    document = Elan.Eaf(author="somebody")
    document.add_tier("emotion")
    document.add_tier("words")
    for start, end, label in ((0, 1500, "Angry"), (1500, 3000, "Joy"), (3000, 4000, "")):
        document.add_annotation("emotion", start, end, label)
    document.add_annotation("words", 0, 900, "well then")
    document.add_linguistic_type("borrowed", constraints="Symbolic_Association", timealignable=False)
    document.add_tier("second look", ling="borrowed", parent="emotion")
    document.add_ref_annotation("second look", "emotion", 100, "sad")
    document.to_file(str(tmp_path / "human.eaf"))
    return tmp_path / "human.eaf"
