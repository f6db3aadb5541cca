"""The spectrogram transformer against the released code on its own random weights."""

from pathlib import Path

import numpy as np
import torch

from cimeu.encoders.ast import load_ast


def test_tokens_are_those_of_the_released_code(fixtures: Path) -> None:
    arrays = np.load(fixtures / "ast_tiny_256.npz")
    module = load_ast(fixtures / "ast_tiny_256.pth", heads=4).eval()
    with torch.inference_mode():
        tokens = module(torch.from_numpy(arrays["fbank"]))
    torch.testing.assert_close(tokens, torch.from_numpy(arrays["tokens"]), atol=2e-5, rtol=0)
