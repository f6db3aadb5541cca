"""Any frozen encoder of the Hugging Face hub: of sound (wav2vec 2.0, WavLM, Whisper, ...), of single frames (ViT,
DINOv2, CLIP, SigLIP, ...) or of video (V-JEPA 2, VideoPrism, VideoMAE, ...), as `transformers.AutoModel` reads it.

`weights` is a folder with `config.json` and tensors, or the name of a model in the hub's cache on this machine. Models
that have a name of their own, with the layer to take, are in `cimeu.encoders.presets`.

Axes: N samples or windows, L frames of a window, S side of a crop, T hidden states of a clip, D width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from cimeu.devices import Placement
from cimeu.encoders.base import SOUND_RATE_HZ, Window
from cimeu.encoders.hub_models import HubModel, Network, frozen_network, open_model
from cimeu.encoders.inputs import check_choices, picture_input, sound_input
from cimeu.encoders.presets import PRESETS, Kind
from cimeu.errors import CheckpointError, RecipeError, first_line
from cimeu.media.faces import DEFAULT_DETECTOR
from cimeu.media.video import FRAME_RATE_HZ

LONGEST_S = 30
"""Sound is encoded in stretches of at most this length: what Whisper sees, and what attention has memory for."""
SHORTEST_S = 0.1
"""A rest shorter than this says nothing, and some models refuse it."""


@dataclass(kw_only=True, eq=False)
class _HubEncoder:
    """What all kinds share: where the model is, which layer is taken, and where it is computed."""

    preset: str | None = None
    weights: Path | str | None = None
    layer: int | None = None
    precision: str = "auto"
    device: str = "auto"

    encoder: ClassVar[Kind]
    version: ClassVar[str] = "1"
    kind: ClassVar[Literal["steps"]] = "steps"
    optional: ClassVar[tuple[int, ...]] = ()
    heavy: ClassVar[bool] = True

    def _open(self) -> HubModel:
        """Read what the files say, and take the settings of the preset that were not given."""
        self.name = self.preset or self.encoder
        model = open_model(self.encoder, self.weights, self.preset)
        self.layer = self._setting("layer", -1)
        model.check_layer(self.layer)
        self.width = model.width
        self._precision = Placement.choose(self.device, self.precision).precision
        self._files = model.folder, model.content_sha256, model.depth
        self._checked = False
        return model

    def _setting(self, name: str, usual: Any) -> Any:
        """A setting as given, else as the preset has it, else the usual value."""
        given = getattr(self, name)
        if given is not None:
            return given
        return PRESETS[self.preset].settings.get(name, usual) if self.preset else usual

    def _identity(self) -> dict[str, object]:
        """What every description ends with."""
        identity: dict[str, object] = {"layer": self.layer, "content_sha256": self._files[1]}
        # Stores of version 0.1 do not name the precision and were computed in fp32: they keep their fingerprint.
        return identity if self._precision == "fp32" else identity | {"precision": self._precision}

    def _network(self, example: Callable[[], Mapping[str, Tensor]]) -> Network:
        """The network; an example, made once, tells a model that cannot be computed from a clip that cannot.

        Raises:
            CheckpointError: the model does not take such input.
        """
        # The device is chosen where it computes: another machine of a cluster may have a card when this has none.
        assert self.layer is not None, "_open sets it"
        network = frozen_network(*self._files, self.layer, Placement.choose(self.device, self._precision))
        if not self._checked:
            try:
                states = network(**example())
            except torch.OutOfMemoryError:
                raise
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"`{self._files[0]}` cannot be computed by {self.encoder}: {first_line(error)}"
                    "\n\nhint: it may need another kind of input; see the table of encoders in the guide on extraction"
                ) from error
            if states.shape[-1] != self.width:
                raise CheckpointError(
                    f"layer {self.layer} of `{self._files[0]}` is {states.shape[-1]} wide, not {self.width}"
                    "\n\nhint: take another layer"
                )
            self._checked = True
        return network

    def prepare(self, source: np.ndarray) -> np.ndarray:
        """Samples or crops as they are."""
        return source


@dataclass(kw_only=True, eq=False)
class HubSound(_HubEncoder):
    """Hidden states of a sound encoder, as many a second as it makes (50 in most).

    `layer` counts from 0 (before the first layer); -1 is the last. `pool` averages so many states into one step.

    Raises:
        WeightsMissing: no such model on this machine.
        CheckpointError: it is not one of sound, or not the preset's.
        RecipeError: a layer or pooling it cannot have, or an unknown precision or device.
    """

    pool: int | None = None
    trim: bool = False
    level: bool = False

    encoder: ClassVar[Kind] = "hub-sound"
    window: ClassVar[Window | None] = None
    source: ClassVar[Literal["sound"]] = "sound"

    def __post_init__(self) -> None:
        model = self._open()
        self.pool = self._setting("pool", 1)
        if self.pool < 1:
            raise RecipeError(f"pool is {self.pool}\n\nhint: 1 keeps every hidden state, 8 averages 160 ms")
        # Up to version 0.1 every spectrogram was taken as padded to 30 s, as Whisper's is: stores of other models that
        # read one hold a few percent of each clip, and their fingerprint must differ.
        masked = model.architecture != "whisper" and model.processor.get("feature_extractor_type") not in (
            None,
            "Wav2Vec2FeatureExtractor",
        )
        self.preprocessing: Mapping[str, object] = {
            **sound_input(trim=self.trim, level=self.level),
            "pool": self.pool,
            **({"padding": "left out by the extractor's mask"} if masked else {}),
            **self._identity(),
        }

    @cached_property
    def _extractor(self) -> Any:
        from transformers import AutoFeatureExtractor

        try:
            extractor = AutoFeatureExtractor.from_pretrained(self._files[0], local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"`{self._files[0]}` does not say how sound is prepared for it"
                "\n\nhint: its preprocessor_config.json belongs to the model; copy it too"
            ) from error
        if extractor.sampling_rate != SOUND_RATE_HZ:
            raise CheckpointError(
                f"`{self._files[0]}` reads sound at {extractor.sampling_rate} Hz"
                f"\n\nhint: give a model that reads {SOUND_RATE_HZ} Hz"
            )
        return extractor

    def __call__(self, windows: Float32[np.ndarray, "1 N"]) -> Float32[np.ndarray, "T D"]:
        """The whole clip to its hidden states."""
        samples, longest = windows[0], round(LONGEST_S * SOUND_RATE_HZ)
        stretches = [samples[start : start + longest] for start in range(0, len(samples), longest)]
        shortest = round(SHORTEST_S * SOUND_RATE_HZ)
        # A rest of some milliseconds would be one state of nothing.
        kept = [stretch for stretch in stretches if len(stretch) >= shortest] or [np.pad(samples, (0, shortest))]
        states = torch.cat([self._states(stretch) for stretch in kept])
        assert self.pool is not None, "__post_init__ sets it"
        if self.pool > 1:
            states = F.avg_pool1d(states.T[None], self.pool, ceil_mode=True)[0].T
        return states.numpy()

    def _states(self, samples: Float32[np.ndarray, " n"]) -> Float32[Tensor, "t D"]:
        """Of one stretch, without those of padding."""
        network = self._network(lambda: self._inputs(np.zeros(SOUND_RATE_HZ, np.float32)))
        inputs = self._inputs(samples)
        states = network(**inputs)[0]
        if "attention_mask" in inputs:
            real = round(len(states) * inputs["attention_mask"].float().mean().item())
        elif (padded_to_s := getattr(self._extractor, "chunk_length", None)) is not None:
            # Rounded down: a state that is half padding says what silence is like.
            real = len(states) * len(samples) // (padded_to_s * SOUND_RATE_HZ)
        else:
            real = len(states)
        return states[: max(1, real)]

    def _inputs(self, samples: Float32[np.ndarray, " n"]) -> dict[str, Tensor]:
        """What the model takes: a waveform, which nothing pads, or a spectrogram with the mask of its real frames."""
        extracted = self._extractor(
            samples, sampling_rate=SOUND_RATE_HZ, return_attention_mask=True, return_tensors="pt"
        )
        name = "input_features" if "input_features" in extracted else "input_values"
        values, mask = extracted[name], extracted.get("attention_mask")
        # Whisper was trained on 30 s with the silence behind a clip in sight: its encoder takes no mask.
        if values.ndim == 2 or getattr(self._extractor, "chunk_length", None) is not None:
            return {name: values}
        if mask is None:
            raise CheckpointError(
                f"the extractor of `{self._files[0]}` does not say which frames of a spectrogram are padding"
                "\n\nhint: for the audio spectrogram transformer use the encoder `ast`"
            )
        return {name: values, "attention_mask": mask}


@dataclass(kw_only=True, eq=False)
class _HubFrames(_HubEncoder):
    """What encoders of frames and of video share: how pixels are prepared."""

    stride: int = 4
    source: Literal["face", "frame"] = "face"
    detector: str = DEFAULT_DETECTOR
    rate_hz: float | int = FRAME_RATE_HZ
    batch_size: int = 8

    def _open_frames(self) -> tuple[HubModel, dict[str, object]]:
        """The model, and what a description says of its input."""
        model = self._open()
        input_settings = picture_input(self.name, source=self.source, detector=self.detector, rate_hz=self.rate_hz)
        preset = PRESETS[self.preset] if self.preset else None
        self._mean, self._deviation = (torch.tensor(numbers) for numbers in model.normalisation(preset))
        self._side = model.side()
        return model, {"side": self._side, "resampling": "bilinear", **input_settings, "stride": self.stride}

    def _pixels(self, frames: UInt8[np.ndarray, "*B S S 3"]) -> Float32[Tensor, "*B 3 S S"]:
        """Crops as the network takes them."""
        scaled = (torch.from_numpy(np.array(frames, np.float32)) / 255 - self._mean) / self._deviation
        return scaled.movedim(-1, -3)


@dataclass(kw_only=True, eq=False)
class HubPicture(_HubFrames):
    """One vector for every `stride`-th frame of a clip.

    `pool` takes the first token (`first`: the class token) or the mean over all tokens of `layer`.

    Raises:
        WeightsMissing: no such model on this machine.
        CheckpointError: it does not say which pixels it takes, is not one of single frames, or not the preset's.
        RecipeError: an unknown region, pooling, detector, precision or device, or a layer it does not have.
        FingerprintMismatch: another version of the detector is installed.
    """

    pool: str | None = None

    encoder: ClassVar[Kind] = "hub-picture"

    def __post_init__(self) -> None:
        model, input_settings = self._open_frames()
        self.pool = self._setting("pool", "first")
        check_choices(self.name, {"pool": (self.pool, ("first", "mean"))})
        if self.pool == "first" and model.architecture.startswith("siglip"):
            raise RecipeError(
                "pool `first` of SigLIP would be a corner of the frame\n\nhint: it has no class token; use `mean`"
            )
        self.window = Window(1, self.stride)
        # SigLIP 2 of any resolution takes patches in place of an image.
        self._patch = model.config.patch_size if model.architecture.startswith("siglip2") else None
        self.preprocessing: Mapping[str, object] = {**input_settings, "pool": self.pool, **self._identity()}

    def __call__(self, windows: UInt8[np.ndarray, "N 1 S S 3"]) -> Float32[np.ndarray, "N D"]:
        """One vector per frame."""
        network = self._network(lambda: self._inputs(np.zeros((1, self._side, self._side, 3), np.uint8)))
        tokens = network(**self._inputs(windows[:, 0]))
        return (tokens[:, 0] if self.pool == "first" else tokens.mean(1)).numpy()

    def _inputs(self, frames: UInt8[np.ndarray, "N S S 3"]) -> dict[str, Tensor]:
        pixels = self._pixels(frames)
        if self._patch is None:
            return {"pixel_values": pixels}
        across = self._side // self._patch
        tiles = pixels.unflatten(3, (across, self._patch)).unflatten(2, (across, self._patch))
        patches = tiles.permute(0, 2, 4, 3, 5, 1).reshape(
            len(pixels), across * across, -1
        )  # rows, columns, then colours
        return {
            "pixel_values": patches,
            "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.long),
            "spatial_shapes": torch.full((len(pixels), 2), across),
        }


@dataclass(kw_only=True, eq=False)
class HubVideo(_HubFrames):
    """One vector for every window of `length` frames, one window every `stride`: the mean over all tokens of `layer`.

    Raises:
        WeightsMissing: no such model on this machine.
        CheckpointError: it does not say which pixels it takes, is not one of video, or not the preset's.
        RecipeError: an unknown region, detector, precision or device; a layer or length it does not have.
        FingerprintMismatch: another version of the detector is installed.
    """

    length: int | None = None

    encoder: ClassVar[Kind] = "hub-video"

    def __post_init__(self) -> None:
        model, input_settings = self._open_frames()
        trained = getattr(model.config, "num_frames", None)  # V-JEPA 2 has none: its positions fit any length
        self.length = self._setting("length", trained or 16)
        if trained is not None and self.length != trained:
            raise RecipeError(
                f"length {self.length} of {self.name}\n\nhint: the model sees windows of {trained} frames"
            )
        tubelet = getattr(model.config, "tubelet_size", 1)
        step = tubelet if isinstance(tubelet, int) else tubelet[0]
        if self.length < step or self.length % step:
            raise RecipeError(f"length {self.length} of {self.name}\n\nhint: a multiple of {step} frames")
        self.window = Window(self.length, self.stride)
        whole_videos = model.architecture.startswith(("vjepa2", "videoprism"))
        self._input = "pixel_values_videos" if whole_videos else "pixel_values"
        self.preprocessing: Mapping[str, object] = {
            **input_settings,
            "length": self.length,
            "pool": "mean",
            **self._identity(),
        }

    def __call__(self, windows: UInt8[np.ndarray, "N L S S 3"]) -> Float32[np.ndarray, "N D"]:
        """One vector per window."""
        blank = np.zeros((1, windows.shape[1], self._side, self._side, 3), np.uint8)
        network = self._network(lambda: {self._input: self._pixels(blank)})
        vectors = []
        for start in range(0, len(windows), self.batch_size):
            batch = windows[start : start + self.batch_size]
            tokens = network(**{self._input: self._pixels(batch)})
            # VideoPrism gives tokens by frame or by place, in either case those of one window after those of another.
            vectors.append(tokens.reshape(len(batch), -1, tokens.shape[-1]).mean(1))
        return torch.cat(vectors).numpy()
