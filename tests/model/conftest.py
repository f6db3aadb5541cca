"""Networks here are tiny: a second thread would only wait."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread(_two_threads_and_a_fixed_seed: None) -> None:
    torch.set_num_threads(1)
