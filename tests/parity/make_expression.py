"""Writes tests/fixtures/expression_features.npz: what the original networks make of three drawn images.

    pip install torch==2.13.0 keras==3.15.1 h5py pillow numpy
    python tests/parity/make_expression.py images            # images.bin, for make_expression.js
    node tests/parity/make_expression.js images.bin          # expression_face_api.json
    python tests/parity/make_expression.py emotion_model.hdf5   # the fixture, with Keras on fer's own file

Run once, by hand; the tests need neither Keras nor Node.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

SIDE = 112


def drawn_face(mouth: float) -> np.ndarray:
    """A plain face, as the toy corpus draws them."""
    pixels = np.full((SIDE, SIDE, 3), 90, np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]

    def ellipse(dx: float, dy: float, width: float, height: float, radius: int = 48) -> np.ndarray:
        x, y = (columns - 56 - dx * radius) / (width * radius), (rows - 58 - dy * radius) / (height * radius)
        return x**2 + y**2 < 1

    pixels[ellipse(0, 0, 0.8, 1.05)] = (224, 180, 150)
    pixels[ellipse(0, -0.75, 0.82, 0.45)] = (60, 40, 30)
    pixels[ellipse(0, -0.05, 0.72, 0.75)] = (224, 180, 150)
    for side in (-1, 1):
        pixels[ellipse(0.32 * side, -0.12, 0.17, 0.09)] = (245, 245, 245)
        pixels[ellipse(0.32 * side, -0.12, 0.08, 0.09)] = (40, 30, 30)
        pixels[ellipse(0.32 * side, -0.32, 0.2, 0.04)] = (60, 40, 30)
    pixels[ellipse(0, 0.18, 0.08, 0.16)] = (196, 150, 122)
    pixels[ellipse(0, 0.55, 0.3, 0.08 + 0.1 * mouth)] = (150, 60, 60)
    return pixels


if __name__ == "__main__":
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    images = np.stack([drawn_face(0), drawn_face(1), noise])
    if sys.argv[1] == "images":
        images.tofile("images.bin")
        sys.exit()
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from PIL import Image

    grey = np.stack([np.asarray(Image.fromarray(image).resize((64, 64)).convert("L"), np.float32) for image in images])
    whole = keras.models.load_model(sys.argv[1], compile=False)
    before = keras.Model(whole.input, whole.get_layer("add_4").output)
    fer = before.predict((grey[..., None] / 255 - 0.5) * 2, verbose=0).mean(axis=(1, 2))
    face_api = np.array(json.loads(Path("expression_face_api.json").read_text()), np.float32)
    path = Path(__file__).parents[1] / "fixtures" / "expression_features.npz"
    np.savez_compressed(path, images=images, grey=grey.astype(np.uint8), face_api=face_api, fer=fer)
