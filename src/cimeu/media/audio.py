"""Sound as one channel of samples in -1..1, from any file FFmpeg can open.

Channels are mixed down and resampled by FFmpeg. Time 0 is the same as for the frames of the file: a track that starts
late is preceded by silence, one that pauses keeps its pause, so that sound and video stay together.

Levels are measured without the constant part of a signal: microphones and cheap sound cards add an offset that nobody
hears, and that would pass for speech.

Source: FFmpeg through PyAV; levels in dBFS (0 = a full-scale square wave).
Axes: N samples, C channels.
"""

import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float, Float32

from cimeu.errors import MediaError
from cimeu.media.container import declared_length_s, decoded_from, longest_gap_s, open_media, origin_s, sound_stream
from cimeu.media.downmix import InPhase

RATE_HZ = 16_000
"""Every sound is brought to this rate."""
SILENT_DBFS = -70.0
"""A clip whose loudest 25 ms stay below this RMS is silent: dither and codec noise of muted tracks lie under it."""
LEVEL_DBFS = -26.0
"""RMS level of `at_level`: the active speech level customary in speech processing (ITU-T P.56 measurements)."""
TRIM_DB = 32.0
"""Leading and trailing frames this far below the 98th percentile of frame energy are trimmed."""
INAUDIBLE = 1e-7
"""RMS (-140 dBFS) under which there is nothing to scale but rounding."""
FRAME_S = 0.025
"""Length of the frames whose energy `is_silent`, `trim_silence` and `at_level` measure."""
PREROLL_S = 0.2
"""Decoders of compressed sound need a moment before their output is exact."""
SHORTEST_PAUSE_S = 0.05
"""Gaps in the time stamps from this length on are filled with silence; shorter ones are rounding."""
RATES_HZ = (2_000, 768_000)
"""Sampling rates that exist; a header that claims another one would make hours, or nothing, of a short file."""
FLOATS = ("flt", "fltp", "dbl", "dblp")
"""Formats of samples that may not be numbers, because a program left such in the file or the file is damaged."""
MOST_CHANNELS = 63
"""FFmpeg mixes no more to one."""


def stream_sound(
    path: Path,
    *,
    block_s: float | int,
    rate_hz: int = RATE_HZ,
    start_s: float | int = 0.0,
    end_s: float | int | None = None,
) -> Iterator[Float32[np.ndarray, " n"]]:
    """Blocks of `block_s` seconds, the last one shorter; one block is in memory at a time.

    Raises:
        MediaError: missing, empty or no media; no sound track, or none that can be decoded.
    """
    size = max(1, round(block_s * rate_hz))
    waiting: list[np.ndarray] = []
    length = 0
    for part in _samples(path, rate_hz, start_s, end_s):
        waiting.append(part)
        length += len(part)
        if length >= size:
            joined = np.concatenate(waiting)
            # Only whole blocks leave; the rest waits, so that blocks do not depend on the decoder's packets.
            whole = length - length % size
            yield from (joined[index : index + size] for index in range(0, whole, size))
            waiting, length = [joined[whole:]], length - whole
    if length:
        yield np.concatenate(waiting)


def read_sound(
    path: Path, *, rate_hz: int = RATE_HZ, start_s: float | int = 0.0, end_s: float | int | None = None
) -> Float32[np.ndarray, " N"]:
    """All samples from `start_s` to `end_s`, mono, in -1..1.

    Raises:
        MediaError: missing, empty or no media; no sound track, or none that can be decoded.
    """
    return np.concatenate(list(_samples(path, rate_hz, start_s, end_s)))


def write_sound(path: Path, samples: Float32[np.ndarray, " N"], *, rate_hz: int = RATE_HZ) -> None:
    """Write 16-bit WAV or FLAC, as the suffix says.

    Raises:
        MediaError: another suffix.
    """
    path = Path(path)
    codecs = {".wav": "pcm_s16le", ".flac": "flac"}
    if path.suffix.lower() not in codecs:
        raise MediaError(f"sound cannot be written as `{path.name}`\n\nhint: name the file .wav or .flac")
    # 32767, not 32768: +1.0 would overflow to the most negative value.
    whole = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    with av.open(str(path.absolute()), "w") as container:
        stream = container.add_stream(codecs[path.suffix.lower()], rate=rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        for start in range(0, len(whole), rate_hz):
            frame = av.AudioFrame.from_ndarray(whole[None, start : start + rate_hz], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def is_silent(samples: Float32[np.ndarray, " N"], rate_hz: int = RATE_HZ) -> bool:
    """Digital or practical silence: not even the loudest 25 ms reach `SILENT_DBFS`. No samples are silent too."""
    return bool(frame_energies(samples, _frame_size(rate_hz)).max(initial=0.0) < 10 ** (SILENT_DBFS / 10))


def trim_silence(samples: Float32[np.ndarray, " N"], rate_hz: int) -> tuple[int, int]:
    """First and last + 1 sample to keep: frames 32 dB below the 98th percentile of frame energy go, at both ends.

    (0, 0) if all is silent. Pauses inside stay.
    """
    if is_silent(samples, rate_hz):
        return 0, 0
    energies = frame_energies(samples, _frame_size(rate_hz))
    # The percentile, not the maximum: one click must not make all speech count as silence.
    loud = np.flatnonzero(energies >= np.percentile(energies, 98) * 10 ** (-TRIM_DB / 10))
    size = _frame_size(rate_hz)
    return int(loud[0]) * size, min(len(samples), (int(loud[-1]) + 1) * size)


def at_level(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
    """Samples without their mean, scaled to an RMS of `LEVEL_DBFS`, or as near to it as possible without clipping."""
    if len(samples) == 0:
        return samples
    centred = samples - samples.mean(dtype=np.float64).astype(np.float32)
    size = _frame_size(RATE_HZ)
    # The last frame is shorter, and weighs as much less.
    lengths = np.diff(np.arange(0, len(samples), size), append=len(samples))
    rms = float(np.sqrt(np.average(frame_energies(samples, size), weights=lengths)))
    if rms < INAUDIBLE:
        return centred
    return centred * np.float32(min(10 ** (LEVEL_DBFS / 20) / rms, 1 / float(np.abs(centred).max())))


def frame_energies(samples: Float32[np.ndarray, " N"], size: int) -> Float[np.ndarray, " F"]:
    """Variance of each frame of `size` samples, the last one cut short: the energy without the offset."""
    if len(samples) == 0:
        return np.zeros(0)
    starts = np.arange(0, len(samples), size)
    lengths = np.diff(starts, append=len(samples))
    means = np.add.reduceat(samples, starts, dtype=np.float64) / lengths
    # Two passes: mean square less squared mean would leave rounding noise of a large offset.
    centred = samples - np.repeat(means, lengths)
    return np.add.reduceat(np.square(centred), starts) / lengths


def _frame_size(rate_hz: int) -> int:
    return max(1, int(FRAME_S * rate_hz))


def _samples(
    path: Path, rate_hz: int, start_s: float | int, end_s: float | int | None
) -> Iterator[Float32[np.ndarray, " n"]]:
    """Mono samples from `start_s` to `end_s` in pieces of the decoder's size."""
    with open_media(path) as container:
        stream = sound_stream(container)
        if stream is None:
            raise MediaError(
                f"`{path}` has no sound track\n\nhint: use it as a silent video, or give the sound separately"
            )
        next_due = round(start_s * rate_hz)
        end = sys.maxsize if end_s is None else round(end_s * rate_hz)
        is_empty = True
        frames = InPhase()(_plausible(decoded_from(max(0.0, start_s - PREROLL_S), container, stream, path), path))
        placed = _placed(frames, rate_hz, start_s, origin_s(container), declared_length_s(container))
        for position, part in placed:
            if next_due >= end:
                break
            while position > next_due and next_due < end:
                # A second at a time: a gap of hours must not be one array.
                silence = min(position - next_due, end - next_due, rate_hz)
                yield np.zeros(silence, np.float32)
                next_due += silence
            # What overlaps with samples that were given already is cut off: time stamps may run back.
            part = part[next_due - position : end - position]
            if len(part):
                yield part
                is_empty = False
                next_due += len(part)
        if is_empty:
            raise MediaError(
                f"`{path}` has no sound that can be decoded after {start_s:g} s\n\n"
                "hint: check that the file is whole and that the start lies within it"
            )


def _plausible(frames: Iterable[av.AudioFrame], path: Path) -> Iterator[av.AudioFrame]:
    """The same frames, as long as rate and channels are such as recordings have.

    Raises:
        MediaError: they are not, as in files whose header is damaged or made up.
    """
    for frame in frames:
        lowest, highest = RATES_HZ
        if not lowest <= frame.sample_rate <= highest:
            raise MediaError(
                f"`{path}` claims a sampling rate of {frame.sample_rate} Hz\n\n"
                f"hint: {lowest} to {highest} Hz are read; save the sound again, as WAV or FLAC"
            )
        if frame.layout.nb_channels > MOST_CHANNELS:
            raise MediaError(
                f"`{path}` has {frame.layout.nb_channels} channels\n\n"
                f"hint: up to {MOST_CHANNELS} can be mixed to one; save the sound again as mono or stereo"
            )
        yield _with_numbers(frame) if frame.format.name in FLOATS else frame


def _with_numbers(frame: av.AudioFrame) -> av.AudioFrame:
    """The frame with silence for samples that are no numbers: FFmpeg makes the loudest sound there is of them."""
    samples = frame.to_ndarray()
    if np.isfinite(samples).all():
        return frame
    numbers: Any = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    copy = av.AudioFrame.from_ndarray(numbers, format=frame.format.name, layout=frame.layout.name)
    copy.sample_rate, copy.pts, copy.time_base = frame.sample_rate, frame.pts, frame.time_base
    return copy


def _placed(
    frames: Iterable[av.AudioFrame], rate_hz: int, start_s: float | int, origin_s: float, length_s: float | None
) -> Iterator[tuple[int, Float32[np.ndarray, " n"]]]:
    """Resampled mono pieces, each with the position of its first sample, counted from time 0.

    A track may change its rate or its channels half-way, and may pause: both start a new resampler. `length_s` is what
    the file says of its own length: pauses that lead beyond it come of broken time stamps.
    """
    resampler: av.AudioResampler | None = None
    source: tuple[str, str, int] | None = None
    position, due_s, skipped_s = round(start_s * rate_hz), start_s, 0.0
    for frame in frames:
        # Frames without a time stamp follow the one before.
        time_s = due_s if frame.time is None else frame.time - origin_s - skipped_s
        pause_s = time_s - due_s
        if pause_s > max(SHORTEST_PAUSE_S, longest_gap_s(length_s, due_s)):
            skipped_s += pause_s
            time_s, pause_s = due_s, 0.0
        if source is None or pause_s > SHORTEST_PAUSE_S or source != _layout(frame):
            if resampler is not None:
                for part in _mono(resampler, None):
                    yield position, part
                    position += len(part)
            if source is None and pause_s < 0:
                position = round(time_s * rate_hz)
            elif pause_s > SHORTEST_PAUSE_S:
                position = max(position, round(time_s * rate_hz))
            source = _layout(frame)
            # Integers make FFmpeg keep the mix of several channels within full scale; 32 bits lose nothing.
            resampler = av.AudioResampler(format="s32", layout="mono", rate=rate_hz)
        assert resampler is not None
        for part in _mono(resampler, frame):
            yield position, part
            position += len(part)
        due_s = time_s + frame.samples / frame.sample_rate
    if resampler is not None:
        for part in _mono(resampler, None):
            yield position, part
            position += len(part)


def _layout(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _mono(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> Iterator[Float32[np.ndarray, " n"]]:
    for resampled in resampler.resample(frame):
        yield (resampled.to_ndarray()[0] * 2.0**-31).astype(np.float32)  # full scale of 32 bits
