"""A long recording with a known course: what the timeline says of each stretch, against the truth.

    python benchmarks/long_file.py RUN CLIPS [--seconds 90]

RUN is a run folder of a model of faces and sound, CLIPS a folder of videos of one talking head. They are joined
to a recording with cuts, and after every second one come black pictures with a silent sound track.
Truth comes from how the recording was made: cuts and black stretches from the lengths of its parts, speech from each
clip's own sound (`trim_silence`). A border may be off by one hop. The clips show one person in one place: a cut between
two of them is no border.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path

import av
import numpy as np

from cimeu.devices import describe_device
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import RATE_HZ, is_silent, read_sound, trim_silence
from cimeu.media.video import frames, write_video
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import Segment

BLACK_S = 3.0
RATE_OF_PICTURES_HZ = 25.0


@dataclass(frozen=True)
class Stretch:
    """What is true of a part of the recording: `both`, `face` (nobody heard) or `` (nobody seen)."""

    start_s: float
    end_s: float
    modality: str


def where_computed(recogniser: Recogniser) -> str:
    """Device and precision that were taken, for the head of a table."""
    precisions = {e.name: e.preprocessing.get("precision", "fp32") for e in recogniser.encoders.values() if e.heavy}
    networks = ", ".join(f"{name} in {precision}" for name, precision in precisions.items()) or "none"
    return f"computed on {describe_device(recogniser.device)}; encoders that are networks: {networks}"


def main() -> None:
    """Make the recording, recognise it, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--seconds", type=float, default=90.0)
    arguments = parser.parse_args()
    recogniser = Recogniser.from_pretrained(arguments.run)
    print(where_computed(recogniser))
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "long.mp4"
        truth = join(sorted(arguments.clips.glob("*.mp4")), recording, until_s=arguments.seconds)
        timeline = recogniser(recording)
    rows = list(compared(truth, timeline))
    worst_s = max(off_s for *_, off_s in rows)
    print(f"{'truth':<24}{'said':<42}{'borders off by':>14}")
    for stretch, segments, off_s in rows:
        was = f"{stretch.start_s:6.2f} {stretch.end_s:6.2f} {stretch.modality or 'black'}"
        said = "; ".join(sorted({f"{one.person}: {one.modality or one.reason}" for one in segments}))
        print(f"{was:<24}{said:<42.42}{off_s:>12.2f} s")
    silent = [one for one in timeline.segments if not one.label and not one.reason]
    print(f"worst border {worst_s:.2f} s, hop {recogniser.hop_s:.2f} s; {len(silent)} segments without label or reason")
    sys.exit(worst_s > recogniser.hop_s + 1e-3 or bool(silent))


def join(clips: Sequence[Path], target: Path, *, until_s: float) -> list[Stretch]:
    """Clips one after another, black after every second one; returns what is true when."""
    truth: list[Stretch] = []
    parts: list[Path] = []
    time_s, black = 0.0, target.with_name("black.mp4")
    write_part(clips[0], black, black=True)
    encoded = [target.with_name(f"part {clip.name}") for clip in clips]
    for clip, part in zip(clips, encoded, strict=True):
        write_part(clip, part, black=False)
    for shot, clip in enumerate(cycle(encoded)):
        for part in (clip, black) if shot % 2 else (clip,):
            length_s = length_of(part)
            truth += stretches(part, time_s, length_s, black=part is black)
            parts.append(part)
            time_s += length_s
        if time_s >= until_s:
            break
    chain(parts, target)
    return joined(truth)


def stretches(part: Path, start_s: float, length_s: float, *, black: bool) -> Iterator[Stretch]:
    """Where one part shows a face, and where somebody speaks in it."""
    if black:
        yield Stretch(start_s, start_s + length_s, "")
        return
    samples = read_sound(part)
    first, last = (0, 0) if is_silent(samples) else trim_silence(samples, RATE_HZ)
    edges = sorted({0.0, first / RATE_HZ, last / RATE_HZ, length_s})
    for edge, following in pairwise(edges):
        spoken = first / RATE_HZ <= edge < last / RATE_HZ
        yield Stretch(start_s + edge, start_s + following, "both" if spoken else "face")


def joined(truth: Iterable[Stretch]) -> list[Stretch]:
    """Neighbours in which the same is true as one."""
    made: list[Stretch] = []
    for stretch in truth:
        if made and made[-1].modality == stretch.modality:
            stretch = Stretch(made.pop().start_s, stretch.end_s, stretch.modality)
        made.append(stretch)
    return made


def compared(truth: Sequence[Stretch], timeline: Timeline) -> Iterator[tuple[Stretch, list[Segment], float]]:
    """For each stretch what was said in its middle, and how far its borders are from where that begins and ends."""
    for stretch in truth:
        middle_s = (stretch.start_s + stretch.end_s) / 2
        there = [one for one in timeline.segments if one.start_s <= middle_s < one.end_s]
        same = [one for one in there if one.modality == stretch.modality]
        if not same:
            yield stretch, there, stretch.end_s - stretch.start_s
            continue
        alike = [
            one
            for one in timeline.segments
            if one.person == same[0].person and one.modality == same[0].modality and touches(one, stretch)
        ] or same
        start_s, end_s = min(one.start_s for one in alike), max(one.end_s for one in alike)
        yield stretch, there, max(abs(start_s - stretch.start_s), abs(end_s - stretch.end_s))


def touches(segment: Segment, stretch: Stretch) -> bool:
    """Whether most of a segment lies in a stretch."""
    shared_s = min(segment.end_s, stretch.end_s) - max(segment.start_s, stretch.start_s)
    return shared_s > (segment.end_s - segment.start_s) / 2


def chain(parts: Iterable[Path], target: Path) -> float:
    """Copy the packets of recordings with the same encoding one after another; returns the length in seconds."""
    time_s = 0.0
    with av.open(str(target), "w") as sink:
        streams: list[av.stream.Stream] = []
        last: dict[int, int] = {}
        for part in parts:
            with av.open(str(part)) as source:
                tracks = [source.streams.video[0], source.streams.audio[0]]
                streams = streams or [sink.add_stream_from_template(track) for track in tracks]
                for packet in source.demux(tracks):
                    number = tracks.index(packet.stream)
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = round(time_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    if packet.dts > last.get(number, -(2**62)):  # sound may reach a little into the next part
                        last[number] = packet.dts
                        packet.stream = streams[number]
                        sink.mux(packet)
            time_s += length_of(part)
    return time_s


def length_of(path: Path) -> float:
    """Length of the pictures."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        return float(video.frames / video.average_rate)


def write_part(clip: Path, target: Path, *, black: bool) -> None:
    """A clip, or black pictures and silence of `BLACK_S`, encoded so that all parts can be chained."""
    pictures = frames(clip, rate_hz=RATE_OF_PICTURES_HZ, end_s=BLACK_S if black else None)
    shown = (picture.pixels * 0 if black else picture.pixels for picture in pictures)
    samples = np.zeros(round(BLACK_S * RATE_HZ), np.float32) if black else read_sound(clip)
    write_video(target, shown, rate_hz=RATE_OF_PICTURES_HZ, samples=samples, preset="veryfast", crf="20")


if __name__ == "__main__":
    main()
