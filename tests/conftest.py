"""Shapes in signatures are checked while testing, and only then."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("cimeu", "beartype.beartype")

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> None:
    torch.set_num_threads(1)  # several test processes share the cores
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of the parity fixtures (inputs and outputs of the original code, random weights)."""
    return FIXTURES


@pytest.fixture(scope="session")
def trial_data() -> Path:
    """Folder of the real trial recordings; tests that need it skip where it is absent."""
    root = Path(os.environ.get("CIMEU_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / "speech" / "manifest.csv").is_file():
        pytest.skip(f"trial recordings absent: {root} (set CIMEU_DATA)")
    return root
