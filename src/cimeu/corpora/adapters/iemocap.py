"""IEMOCAP: five sessions of two actors each, scripted and improvised; nine emotions and clips without agreement.

`Session1/dialog/EmoEvaluation/Ses01F_impro01.txt` has a line per utterance, `Session1/sentences/wav/Ses01F_impro01/
Ses01F_impro01_F000.wav` its sound, `Session1/dialog/avi/DivX/Ses01F_impro01.avi` both actors side by side. The letter
after `Ses01` says who wears the markers; the letter of the last field says who speaks. `xxx` is no class: the raters
did not agree. Folds are the sessions. The customary four classes take excitement for happiness
(`--label-map excitement=happiness`): 5,531 clips.

Source: Busso et al., IEMOCAP: interactive emotional dyadic motion capture database, LREV 2008; the side of an actor in
the frame is inferred from a public cropping script.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, files_below, manifest_of, needed
from cimeu.corpora.manifest import UNLABELLED, Manifest
from cimeu.errors import ManifestError

EMOTIONS = {
    "neu": "neutral",
    "hap": "happiness",
    "ang": "anger",
    "sad": "sadness",
    "exc": "excitement",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "oth": "others",
    "xxx": "",
}
SESSIONS = range(1, 6)
COUNTS = (
    {"clips": 10_039, "speakers": 10, "unlabelled": 2507, "frustration": 1849, "neutral": 1708, "anger": 1103}
    | {"sadness": 1084, "excitement": 1041, "happiness": 595, "surprise": 107, "fear": 40, "others": 3, "disgust": 2}
    | {f"fold {fold}": count for fold, count in enumerate((1819, 1811, 2136, 2103, 2170), start=1)}
)
_LINE = re.compile(
    r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<utterance>Ses0\d[FM]_\w+_(?P<letter>[FM])\w+)\t(?P<code>\w+)\t"
    r"\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]"
)
_TRANSCRIPT = re.compile(r"(?P<utterance>Ses\S+) \[[^\]]*\]: ?(?P<text>.*)")


def from_iemocap(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the utterances, their sound alone.

    Extra columns: `dialog`, `setting` (scripted or improvised), `valence`, `arousal`, `dominance` (1 to 5), `text`,
    `unlabelled`, and to cut the picture out: `video`, `video_start_s`, `video_end_s`, `half` (left or right, where the
    speaker is in the frame). Raises ManifestError.
    """
    rows: list[Row] = []
    for session in SESSIONS:
        if not check_counts and not (root / f"Session{session}").is_dir():
            continue
        folder = needed(root / f"Session{session}" / "dialog" / "EmoEvaluation", "`Session1` to `Session5`")
        for path in files_below(folder, {".txt"}):
            if path.parent.absolute() == folder.absolute():  # deeper folders hold single raters
                rows += _utterances(path, session)
    if not rows:
        raise ManifestError(f"no utterance of IEMOCAP below `{root}`\n\nhint: expected `Session1/dialog/EmoEvaluation`")
    manifest = manifest_of(rows, root, corpus="iemocap", culture="north-american", language="en", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("iemocap", from_iemocap, "by signed request, no redistribution", {"iemocap": COUNTS})


def _utterances(path: Path, session: int) -> Iterator[Row]:
    """Rows of one dialog."""
    dialog = path.stem
    session_folder = path.parents[2]
    transcript = session_folder / "dialog" / "transcriptions" / path.name
    texts: dict[str, str] = {}
    if transcript.is_file():
        lines = map(_TRANSCRIPT.match, transcript.read_text(encoding="utf-8", errors="replace").splitlines())
        texts = {line["utterance"]: line["text"] for line in lines if line}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = _LINE.match(line)
        if match is None:  # the heading, comments and the single raters
            continue
        if match["code"] not in EMOTIONS:
            raise ManifestError(
                f"line {number} of `{path}` has the label `{match['code']}`\n\nhint: expected {', '.join(EMOTIONS)}"
            )
        utterance, letter = match["utterance"], match["letter"]
        yield {
            "path": str(session_folder / "sentences" / "wav" / dialog / f"{utterance}.wav"),
            "emotion": EMOTIONS[match["code"]],
            UNLABELLED: "" if EMOTIONS[match["code"]] else "no agreement",
            "speaker": f"iemocap_{session:02d}{letter}",
            "gender": letter.lower(),
            "fold": str(session),
            "dialog": dialog,
            "setting": "scripted" if "script" in dialog else "improvised",
            **{name: match[name] for name in ("valence", "arousal", "dominance")},
            "text": texts.get(utterance, ""),
            "video": str(session_folder / "dialog" / "avi" / "DivX" / f"{dialog}.avi"),
            "video_start_s": match["start"],
            "video_end_s": match["end"],
            "half": "left" if dialog[5] == letter else "right",
        }
