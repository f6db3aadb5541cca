"""What is said live: how late, how far from the same recording read afterwards, and in how much memory.

    python benchmarks/live.py DATA [--speakers 12] [--seconds 60] [--minutes 60] [--part late|apart|memory]

DATA is a manifest of labelled clips with speakers (`$CIMEU_DATA/speech/manifest.csv`), the model the voice that ships.

late     the clips of a speaker joined and sent to `cimeu serve --live` at the pace of time: from the end of a window to
         the arrival of its answer, with all there is between. On a busy machine answers come later.
apart    recordings of one speaker each, twelve clips with pauses, live and afterwards: how far encoders listened back,
         share of windows of one likeliest emotion, and UAR of the clips (the mean over the windows of a clip). The
         model was trained on these very clips: only the difference says anything.
memory   so many minutes of these recordings as fast as they can be read: resident memory every sixth of it.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from cimeu.evaluation.metrics import uar
from cimeu.inference.live import LiveSession, Moment
from cimeu.inference.model_store import STARTER
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import RATE_HZ, read_sound, write_sound
from cimeu.server.live import SOCKET, SOUND
from cimeu.server.pieces import FULL_SCALE
from cimeu.timeline.segments import ScoredWindow

CLIPS, PAUSES_S = 12, (0.3, 0.8)
PIECE_S = 0.1
"""As the page sends it."""
PARTS = ("late", "apart", "memory")
Spans = dict[int, tuple[float, float]]
"""By row of the manifest: when a clip is heard."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--speakers", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--part", choices=PARTS, action="append")
    arguments = parser.parse_args()
    table = pd.read_csv(arguments.data)
    parts = arguments.part or PARTS
    if "late" in parts:
        late(arguments.data.parent, table, arguments.seconds)
    if "apart" in parts:
        apart(arguments.data.parent, table, arguments.speakers)
    if "memory" in parts:
        memory(arguments.data.parent, table, arguments.minutes)


def speakers(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Clips of speakers who have twelve, one culture after the other; their order and choice are drawn once."""
    large = table.groupby(["culture", "speaker"], sort=True).filter(lambda own: len(own) >= CLIPS)
    by_culture = [
        [own.sample(CLIPS, random_state=0) for _, own in theirs.groupby("speaker", sort=True)]
        for _, theirs in large.groupby("culture", sort=True)
    ]
    for number in range(max(map(len, by_culture))):
        yield from (theirs[number] for theirs in by_culture if number < len(theirs))


def joined(folder: Path, clips: pd.DataFrame, seed: int = 0) -> tuple[np.ndarray, Spans]:
    """The sound of clips with pauses of near silence, and when each is heard."""
    generator, parts, spans, at = np.random.default_rng(seed), [], {}, 0
    for row, path in clips["path"].items():
        samples = read_sound(folder / path)
        pause = (1e-4 * generator.standard_normal(round(generator.uniform(*PAUSES_S) * RATE_HZ))).astype(np.float32)
        spans[row] = at / RATE_HZ, (at + len(samples)) / RATE_HZ
        parts += [samples, pause]
        at += len(samples) + len(pause)
    return np.concatenate(parts), spans


def late(folder: Path, table: pd.DataFrame, seconds: float) -> None:
    """Send sound at the pace of time, and print how late answers are."""
    sound = joined(folder, pd.concat([clips for clips, _ in zip(speakers(table), range(4), strict=False)]))[0]
    pieces = np.array_split(sound[: round(seconds * RATE_HZ)], round(seconds / PIECE_S))
    command = [sys.executable, "-m", "cimeu", "serve", "--live", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            address = next(found[1] for line in server.stderr if (found := re.search(r"http://(\S+)/", line)))
            lateness, dropped = answered(address, pieces)
        finally:
            server.terminate()
    steady = np.array(lateness)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {seconds:.0f} s of speech at the pace of time")
    quantiles = ", ".join(f"p{share} {np.percentile(steady, share):.3f} s" for share in (50, 95, 100))
    print(f"from the end of a window to its answer: {quantiles}; {len(steady)} windows, {dropped} not answered")


def answered(address: str, pieces: list[np.ndarray]) -> tuple[list[float], int]:
    """From the end of each window to the arrival of its answer, and how many had none."""
    lateness: list[float] = []
    dropped, sent_s = 0, 0.0
    with connect(f"ws://{address}{SOCKET}") as socket:
        socket.send("{}")
        assert json.loads(socket.recv())["type"] == "ready"
        started_s = time.monotonic()

        def receive(until_s: float) -> None:
            nonlocal dropped
            while (left_s := until_s - time.monotonic()) > 0:
                try:
                    message = json.loads(socket.recv(timeout=left_s))
                except (TimeoutError, ConnectionClosed):
                    return
                now_s = time.monotonic() - started_s
                dropped = message["dropped"]
                ends_s = {moment["window_end_s"] for moment in message["moments"]}
                lateness.extend(now_s - end_s for end_s in ends_s)

        for piece in pieces:
            # A piece can leave once its last sample has been heard.
            sent_s += len(piece) / RATE_HZ
            receive(started_s + sent_s)
            socket.send(bytes([SOUND]) + (piece * (FULL_SCALE - 1)).astype("<i2").tobytes())
        receive(time.monotonic() + 2)
    return lateness, dropped


def apart(folder: Path, table: pd.DataFrame, most: int) -> None:
    """Print how far live is from the recording."""
    rows, same, context_s, differences = [], [], [], []
    chosen = [clips for clips, _ in zip(speakers(table), range(most), strict=False)]
    for number, clips in enumerate(chosen):
        sound, spans = joined(folder, clips, seed=number)
        for style in ("none", "recording"):
            recogniser = Recogniser.from_pretrained(STARTER, style=style)
            with tempfile.TemporaryDirectory() as scratch:
                write_sound(Path(scratch) / "joined.flac", sound)
                afterwards = recogniser(Path(scratch) / "joined.flac").series or ()
            moments = list(live(recogniser, sound))
            said = [moment.scored for moment in moments]
            for way, windows in (("live", said), ("afterwards", afterwards)):
                answers = by_clip(windows, spans)
                rows += [(style, way, table["emotion"][clip], answer) for clip, answer in answers.items()]
            if style == "recording":
                pairs = paired(said, afterwards)
                same += [int(np.argmax(one) == np.argmax(other)) for one, other in pairs]
                differences += [float(np.abs(one - other).max()) for one, other in pairs]
                context_s += [moment.context_s for moment in moments if moment.scored.scores]
    found = pd.DataFrame(rows, columns=["style", "way", "emotion", "answer"])
    emotions = list(Recogniser.from_pretrained(STARTER).emotions)
    found["emotion"] = [emotions.index(emotion) for emotion in found["emotion"]]
    print(f"{len(chosen)} recordings of {len(chosen)} speakers, {len(chosen) * CLIPS} clips the model was trained on")
    quantiles = " / ".join(f"{np.percentile(context_s, share):.2f}" for share in (50, 100))
    print(f"encoders listened back {quantiles} s from the end of a window (median / most)")
    print(
        f"windows with one likeliest emotion live and afterwards: {100 * np.mean(same):.1f} % of {len(same)}; "
        f"largest difference of a probability, mean over windows: {np.mean(differences):.3f}"
    )
    for style, own in found.groupby("style", sort=True):
        values = {
            way: 100 * uar(part["emotion"].to_numpy(), part["answer"].to_numpy()) for way, part in own.groupby("way")
        }
        lost = values["afterwards"] - values["live"]
        print(
            f"style {style:<10} UAR of clips: live {values['live']:.1f}, afterwards {values['afterwards']:.1f}, "
            f"points lost live {lost:.1f}; N {len(own) // 2}"
        )


def live(recogniser: Recogniser, sound: np.ndarray) -> Iterator[Moment]:
    """Everything that is said while this sound comes in, with the resolution of the socket."""
    session = LiveSession(recogniser)
    size = round(PIECE_S * RATE_HZ)
    for start in range(0, len(sound), size):
        session.hear(sound[start : start + size])
        yield from session.answers()


def by_clip(windows: list[ScoredWindow] | tuple[ScoredWindow, ...], spans: Spans) -> dict[int, int]:
    """The likeliest emotion of each clip: that of the mean over the windows whose middle it holds."""
    answers = {}
    for clip, (start_s, end_s) in spans.items():
        inside = [window.scores for window in windows if window.scores and start_s <= window.centre_s < end_s]
        if inside:
            answers[clip] = int(np.mean(inside, axis=0).argmax())
    return answers


def paired(
    one: list[ScoredWindow], other: tuple[ScoredWindow, ...] | list[ScoredWindow]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores of the windows that both have, in both ways."""
    theirs = {window.start_s: window.scores for window in other}
    return [
        (np.array(window.scores), np.array(theirs[window.start_s]))
        for window in one
        if window.scores and theirs.get(window.start_s)
    ]


def memory(folder: Path, table: pd.DataFrame, minutes: float) -> None:
    """Print resident memory while a long session runs."""
    session = LiveSession(Recogniser.from_pretrained(STARTER))
    size, heard_s, windows = round(PIECE_S * RATE_HZ), 0.0, 0
    started_s = time.process_time()
    marks = [60 * minutes * part / 6 for part in range(7)]
    for clips in cycle(speakers(table)):
        sound = joined(folder, clips)[0]
        for start in range(0, len(sound), size):
            session.hear(sound[start : start + size])
            windows += len(session.answers())
            heard_s = session.heard_s
            # The first mark after a second of answers: by then everything is loaded.
            while marks and heard_s >= max(marks[0], 5.0):
                print(f"resident after {marks.pop(0) / 60:4.1f} min: {resident_mb():.0f} MB", flush=True)
        if not marks:
            break
    cpu_s = time.process_time() - started_s
    print(f"most at any time: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    print(
        f"{windows:,} windows, {1000 * cpu_s / windows:.0f} ms of processor time each, {session.dropped} not answered"
    )


def resident_mb() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
