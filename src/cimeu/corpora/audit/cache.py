"""What was seen of a clip, and a file that remembers it, so that no recording is decoded twice for the same answer.

A line of the file is one look in JSON, under the content of the clip and the detector that looked; about 600 bytes a
clip. It is written as soon as the look is there: a killed audit loses the clips in hand, and a line torn by the kill is
passed over. Looks of clips that could not be read are not kept.
"""

import json
import logging
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import UInt64

from cimeu.corpora.content_hash import content_of
from cimeu.corpora.manifest import Clip
from cimeu.errors import OutputError
from cimeu.media.faces import FaceDetector

logger = logging.getLogger(__name__)

VERSION = 1
"""Of what a look means: raise it when `cimeu.corpora.audit.inspection` or the hashes change."""

Sound = Literal["heard", "silent", "none", "broken"]


@dataclass(frozen=True)
class Look:
    """One clip. `problem` says why it cannot be read at all; `face_share` is None without a picture."""

    clip_id: str
    problem: str = ""
    duration_s: float = 0.0
    width: int = 0
    height: int = 0
    rate_hz: float = 0.0
    sound: Sound = "none"
    face_share: float | None = None
    picture: UInt64[np.ndarray, " picture_words"] | None = None
    voice: UInt64[np.ndarray, " sound_words"] | None = None


class LookCache:
    """Looks of earlier audits in one file; use it in a `with` block.

    A file that cannot be written only costs time the next time: the log says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reused = 0
        """Clips whose look was taken from the file."""
        self._file: IO[str] | None = None
        self._looks: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "LookCache":
        whole = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        for line in whole.splitlines():
            try:
                values = json.loads(line)
                self._looks[values.pop("key")] = values
            except (ValueError, KeyError, AttributeError, TypeError):
                continue  # torn by a kill
        if whole.strip() and not self._looks:
            raise OutputError(
                f"`{self.path}` is not a cache of `cimeu audit`\n\nhint: name another file with --cache, or another -o"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
            if whole and not whole.endswith("\n"):
                self._file.write("\n")
        except OSError as error:
            logger.warning("`%s` cannot be written (%s): the next audit will read every clip again", self.path, error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def get(self, clip: Clip, detector: FaceDetector) -> Look | None:
        """The look of a clip with this content, if there is one."""
        values = self._looks.get(_key(clip, detector))
        return None if values is None else replace(_read(values), clip_id=clip.clip_id)

    def add(self, clip: Clip, detector: FaceDetector, look: Look) -> None:
        """Remember a look, at once and for good."""
        if look.problem or not self._file:
            return
        values = asdict(look) | {"picture": _text(look.picture), "voice": _text(look.voice)}
        del values["clip_id"], values["problem"]
        self._file.write(json.dumps({"key": _key(clip, detector), **values}) + "\n")
        self._file.flush()


def _key(clip: Clip, detector: FaceDetector) -> str:
    return f"{content_of(clip)} {VERSION} {detector.name} {detector.version}"


def _read(values: dict[str, Any]) -> Look:
    return Look("", **values | {name: _words(values[name]) for name in ("picture", "voice")})


def _text(words: UInt64[np.ndarray, " words"] | None) -> str | None:
    return None if words is None else b64encode(words.tobytes()).decode()


def _words(text: str | None) -> UInt64[np.ndarray, " words"] | None:
    return None if text is None else np.frombuffer(b64decode(text), np.uint64)
