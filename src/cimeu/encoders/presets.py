"""Encoders of the Hugging Face hub by a short name, with what is known of each; no weights and no network needed.

Facts are those that the model's page, its repository or its paper state; None is unknown, never guessed. Layers are
starting points: half of the depth for sound, where emotion was found in speech encoders, three quarters of it for
frames and video. None of them was measured with these weights; `--setting layer=N` takes another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal["hub-sound", "hub-picture", "hub-video"]

NORMALISATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    }
)
"""Mean and deviation of RGB in 0..1 that are subtracted and divided by."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model of the hub, and the settings it is used with."""

    kind: Kind
    """Encoder that computes it."""
    model: str
    """Name on the hub."""
    revision: str | None
    """Commit on the hub; None: whichever the cache holds."""
    architecture: str
    """`model_type` of its configuration."""
    depth: int
    """Layers of the part that is used."""
    width: int
    """Width of its hidden states."""
    settings: Mapping[str, object]
    """Settings of the encoder that differ from its defaults; `layer` is always one of them."""
    normalisation: str
    """Frames: a key of `NORMALISATIONS`. Sound: what its feature extractor does."""
    size: str
    """Parameters as stated for the whole model."""
    licence: str
    trained_on: str
    """What it was trained on, as far as its authors state."""

    @property
    def page(self) -> str:
        """Page that offers the model and states its terms."""
        return f"https://huggingface.co/{self.model}"

    @property
    def fetch_command(self) -> str:
        """Command of the hub's own client that fills its cache."""
        return f"hf download {self.model}" + (f" --revision {self.revision}" if self.revision else "")


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "wavlm-large": Preset(
            kind="hub-sound",
            model="microsoft/wavlm-large",
            revision="c1423ed94bb01d80a3f5ce5bc39f6026a0f4828c",
            architecture="wavlm",
            depth=24,
            width=1024,
            settings={"layer": 12, "pool": 8},
            normalisation="waveform to zero mean and unit variance",
            size="316 M parameters",
            licence="CC BY-SA 3.0 (LICENSE of github.com/microsoft/UniSpeech)",
            trained_on="Libri-Light (60,000 h), GigaSpeech (10,000 h), VoxPopuli (24,000 h); English",
        ),
        "whisper-large-v3": Preset(
            kind="hub-sound",
            model="openai/whisper-large-v3",
            revision="06f233fe06e710322aca913c1bc4249a0d71fce1",
            architecture="whisper",
            depth=32,
            width=1280,
            settings={"layer": 16, "pool": 8},
            normalisation="log-mel spectrogram of 30 s, clipped and scaled",
            size="1,550 M parameters with its decoder, which is left out",
            licence="Apache-2.0",
            trained_on="1 million h weakly labelled and 4 million h pseudo-labelled sound; sources not stated",
        ),
        "w2v-bert-2.0": Preset(
            kind="hub-sound",
            model="facebook/w2v-bert-2.0",
            revision="da985ba0987f70aaeb84a80f2851cfac8c697a7b",
            architecture="wav2vec2-bert",
            depth=24,
            width=1024,
            settings={"layer": 12, "pool": 8},
            normalisation="log-mel spectrogram, each bin of a clip to zero mean and unit variance",
            size="600 M parameters",
            licence="MIT",
            trained_on="4.5 million h of unlabelled sound in more than 143 languages; sources not stated",
        ),
        "dinov2-base": Preset(
            kind="hub-picture",
            model="facebook/dinov2-base",
            revision="f9e44c814b77203eaa57a6bdbbd535f21ede1415",
            architecture="dinov2",
            depth=12,
            width=768,
            settings={"layer": 9, "pool": "first"},
            normalisation="imagenet",
            size="86 M parameters",
            licence="Apache-2.0",
            trained_on="LVD-142M: images from the web that resemble curated sets such as ImageNet-22k",
        ),
        "dinov3": Preset(
            kind="hub-picture",
            model="facebook/dinov3-vitb16-pretrain-lvd1689m",
            revision="3a0fa61ff39414e2d3be4a1d50c7dfbf459aa8b8",
            architecture="dinov3_vit",
            depth=12,
            width=768,
            settings={"layer": 9, "pool": "first"},
            normalisation="imagenet",
            size="86 M parameters",
            licence="DINOv3 License (its page asks for consent first)",
            trained_on="LVD-1689M: images selected from public posts on Instagram",
        ),
        "siglip2": Preset(
            kind="hub-picture",
            model="google/siglip2-base-patch16-224",
            revision="75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
            architecture="siglip",
            depth=12,
            width=768,
            settings={"layer": 9, "pool": "mean"},
            normalisation="half",
            size="375 M parameters with its text part, which is left out",
            licence="Apache-2.0",
            trained_on="WebLI: images and texts from the web in 109 languages",
        ),
        "vjepa2": Preset(
            kind="hub-video",
            model="facebook/vjepa2-vitl-fpc64-256",
            revision="b3c1679b7c34d3255ef3547f27c7b226aefab26f",
            architecture="vjepa2",
            depth=24,
            width=1024,
            settings={"layer": 18, "length": 16},
            normalisation="imagenet",
            size="326 M parameters with its predictor, which is left out",
            licence="MIT",
            trained_on="VideoMix22M: Something-Something v2, Kinetics 400/600/700, HowTo100M, YT-Temporal-1B, ImageNet",
        ),
        "videoprism": Preset(
            kind="hub-video",
            model="google/videoprism-base-f16r288",
            revision=None,
            architecture="videoprism_vision_model",
            depth=16,
            width=768,
            settings={"layer": 14, "length": 16},
            normalisation="none",
            size="114 M parameters",
            licence="Apache-2.0",
            trained_on="36 million videos with captions and 582 million clips with noisy text, from the web",
        ),
        "videomae-base": Preset(
            kind="hub-video",
            model="MCG-NJU/videomae-base",
            revision="dc740ceda42fce44faed2ea03c6d447db72f6af9",
            architecture="videomae",
            depth=12,
            width=768,
            settings={"layer": 9, "length": 16},
            normalisation="imagenet",
            size="94 M parameters with its decoder, which is left out",
            licence="CC BY-NC 4.0 (not for products)",
            trained_on="Kinetics-400",
        ),
    }
)
"""Presets by name."""
