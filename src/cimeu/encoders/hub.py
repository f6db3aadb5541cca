"""Any frozen encoder of the Hugging Face hub: of sound (wav2vec2, HuBERT, WavLM, Whisper, ...) or of single pictures
(ViT, DINOv2, CLIP, SigLIP, ...), as `transformers.AutoModel` reads it.

`weights` is a folder with `config.json` and tensors, or the name of a model that is in the hub's cache on this machine:
nothing is fetched here. What the files hold (not what they are called) is part of the fingerprint.

Axes: N samples or windows, T' hidden states of a clip, S side of a crop, D width.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from cimeu.encoders.base import SOUND_RATE_HZ, Window
from cimeu.encoders.inputs import check_choices, picture_input, sound_input
from cimeu.encoders.weights import sha256_of
from cimeu.errors import CheckpointError, RecipeError, WeightsMissing
from cimeu.media.faces import DEFAULT_DETECTOR
from cimeu.media.video import FRAME_RATE_HZ

LONGEST_S = 30
"""Sound is encoded in stretches of at most this length: what Whisper sees, and what attention can pay for."""
TENSORS = ("*.safetensors", "pytorch_model*.bin")
"""The second only as plain tensors: transformers runs no code from it."""


def find_model(weights: Path | str) -> Path:
    """Folder of a model: a path, or the name of one in the hub's cache.

    Raises:
        WeightsMissing: neither is there, or the folder holds no model.
    """
    folder = Path(weights).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(str(weights), local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError) as error:
            raise WeightsMissing(
                f"no folder `{weights}`, and no model of that name in the hub's cache"
                "\n\nhint: give a folder with config.json and model.safetensors, or fill the cache where there is a "
                f"network with `hf download {weights}` (read the model's licence first)"
            ) from error
    for needed in (("config.json",), TENSORS):
        if not any(path for pattern in needed for path in folder.glob(pattern)):
            raise WeightsMissing(f"`{folder}` holds no `{needed[0]}`\n\nhint: copy the whole folder of the model")
    return folder


class _HubEncoder:
    """What both kinds share: where the model is, and how it is read."""

    version = "1"
    optional: tuple[int, ...] = ()
    kind: Literal["steps"] = "steps"
    heavy = True

    def __init__(self, weights: Path | str | None, layer: int) -> None:
        if weights is None:
            raise WeightsMissing("no model is named\n\nhint: weights=FOLDER, or a name in the hub's cache")
        self._folder, self._layer = find_model(weights), layer
        depth = _setting(self._settings, "num_hidden_layers", "encoder_layers")
        if not -depth - 1 <= layer <= depth:
            raise RecipeError(f"layer {layer} of `{self._folder.name}`\n\nhint: 0 (before the first) to {depth}")

    @cached_property
    def _settings(self) -> Any:
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(self._folder, error) from error
        return getattr(config, "vision_config", config)

    @cached_property
    def _preprocessor(self) -> dict[str, Any]:
        path = self._folder / "preprocessor_config.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @cached_property
    def _content(self) -> str:
        """SHA-256 over the content of the files that shape the numbers, in the order of their names."""
        patterns = ("config.json", "preprocessor_config.json", *TENSORS)
        files = sorted(path for pattern in patterns for path in self._folder.glob(pattern))
        return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()

    @property
    def width(self) -> int:
        """Width of the hidden states."""
        return _setting(self._settings, "hidden_size", "d_model")

    def _hidden(self, inputs: Tensor) -> Float32[Tensor, "N _ D"]:
        """States of the layer that was asked for."""
        return _model(self._folder, self._content)(inputs, output_hidden_states=True).hidden_states[self._layer]


class HubSound(_HubEncoder):
    """Hidden states of a sound encoder, as many a second as it makes (50 in all models named above).

    `layer` counts from 0 (before the first layer); -1 is the last. `pool` averages so many states into one step.

    Raises:
        WeightsMissing: no such model on this machine.
        CheckpointError: it is none of sound.
        RecipeError: a layer or pooling it cannot have.
    """

    name = "hub-sound"
    window: Window | None = None
    source: Literal["sound"] = "sound"

    def __init__(
        self,
        *,
        weights: Path | str | None = None,
        layer: int = -1,
        pool: int = 1,
        trim: bool = False,
        level: bool = False,
    ) -> None:
        super().__init__(weights, layer)
        if pool < 1:
            raise RecipeError(f"pool is {pool}\n\nhint: 1 keeps every hidden state, 8 averages 160 ms")
        self._pool = pool
        self.preprocessing: Mapping[str, object] = {
            **sound_input(trim=trim, level=level),
            "layer": layer,
            "pool": pool,
            "content_sha256": self._content,
        }

    @cached_property
    def _extractor(self) -> Any:
        from transformers import AutoFeatureExtractor

        try:
            return AutoFeatureExtractor.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"`{self._folder}` does not say how sound is made ready for it"
                "\n\nhint: its preprocessor_config.json belongs to the model; copy it too"
            ) from error

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
        """Samples as they are."""
        return source

    @torch.inference_mode()
    def __call__(self, windows: Float32[np.ndarray, "1 N"]) -> Float32[np.ndarray, "_ D"]:
        """The whole clip to its hidden states."""
        samples, longest = windows[0], round(LONGEST_S * SOUND_RATE_HZ)
        stretches = [samples[start : start + longest] for start in range(0, len(samples), longest)]
        shortest = self._extractor.sampling_rate // 10  # a rest under 100 ms says nothing, and some models refuse it
        kept = [each for each in stretches if len(each) >= shortest] or [np.pad(samples, (0, shortest))]
        states = torch.cat([self._states(each) for each in kept])
        if self._pool > 1:
            states = F.avg_pool1d(states.T[None], self._pool, ceil_mode=True)[0].T
        return states.numpy()

    def _states(self, samples: Float32[np.ndarray, " n"]) -> Float32[Tensor, "_ D"]:
        """Of one stretch, without those of padding."""
        made = self._extractor(samples, sampling_rate=SOUND_RATE_HZ, return_tensors="pt")
        padded = "input_features" in made  # a spectrogram of fixed length
        states = self._hidden(made["input_features" if padded else "input_values"])[0]
        return states[: max(1, len(states) * len(samples) // (LONGEST_S * SOUND_RATE_HZ))] if padded else states


class HubPicture(_HubEncoder):
    """One vector for every `stride`-th picture of a clip.

    `pool` takes the first token (`first`: the class token) or the mean over all tokens of `layer`.

    Raises:
        WeightsMissing: no such model on this machine.
        CheckpointError: it does not say which pictures it wants.
        RecipeError: an unknown region, pooling or detector, or a layer it does not have.
        FingerprintMismatch: another version of the detector is installed.
    """

    name = "hub-picture"

    def __init__(
        self,
        *,
        weights: Path | str | None = None,
        layer: int = -1,
        pool: str = "first",
        stride: int = 4,
        source: Literal["face", "frame"] = "face",
        detector: str = DEFAULT_DETECTOR,
        rate_hz: float | int = FRAME_RATE_HZ,
        batch_size: int = 8,
    ) -> None:
        super().__init__(weights, layer)
        check_choices(self.name, {"pool": (pool, ("first", "mean"))})
        seen = picture_input(self.name, source=source, detector=detector, rate_hz=rate_hz)
        if pool == "first" and self._settings.model_type.startswith("siglip"):
            raise RecipeError(
                "pool `first` of SigLIP would be a corner of the picture\n\nhint: it has no class token; use `mean`"
            )
        self.source: Literal["face", "frame"] = source
        self.window, self.batch_size, self._pool = Window(1, stride), batch_size, pool
        said = self._preprocessor
        if "image_mean" not in said or "image_std" not in said:
            raise CheckpointError(
                f"`{self._folder}` does not say how pictures are normalised for it"
                "\n\nhint: its preprocessor_config.json (image_mean, image_std) belongs to the model; copy it too"
            )
        self.preprocessing: Mapping[str, object] = {
            "side": _setting(self._settings, "image_size"),
            "resampling": "bilinear",
            **seen,
            "stride": stride,
            "layer": layer,
            "pool": pool,
            "content_sha256": self._content,
        }

    def prepare(self, source: UInt8[np.ndarray, "F S S 3"]) -> UInt8[np.ndarray, "F S S 3"]:
        """Crops as they are."""
        return source

    @torch.inference_mode()
    def __call__(self, windows: UInt8[np.ndarray, "N 1 S S 3"]) -> Float32[np.ndarray, "N D"]:
        """One vector per picture."""
        mean, deviation = (torch.tensor(self._preprocessor[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
        pixels = torch.from_numpy(np.array(windows[:, 0], np.float32)).permute(0, 3, 1, 2) / 255
        tokens = self._hidden((pixels - mean) / deviation)
        return (tokens[:, 0] if self._pool == "first" else tokens.mean(1)).numpy()


@lru_cache(maxsize=2)
def _model(folder: Path, content: str) -> nn.Module:
    """The frozen network, read once for every encoder that has it; the part that sees or hears of a pair."""
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(folder, error) from error
    for part in ("vision_model", "encoder"):
        if model.config.model_type in ("whisper", "clip", "siglip") and hasattr(model, part):
            model = getattr(model, part)
    return model.requires_grad_(False).eval()


def _unreadable(folder: Path, error: Exception) -> CheckpointError:
    reason = str(error).splitlines()[0]
    return CheckpointError(f"`{folder}` cannot be read as a model: {reason}\n\nhint: copy its whole folder again")


def _setting(config: Any, *names: str) -> int:
    for name in names:
        if isinstance(getattr(config, name, None), int):
            return getattr(config, name)
    raise CheckpointError(
        f"a `{config.model_type}` model has no `{names[0]}`\n\nhint: give an encoder of sound or pictures"
    )
