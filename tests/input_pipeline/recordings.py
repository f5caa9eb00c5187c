"""Real EDF+ and video files in which every sample and every frame says which one it is."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import edfio
import numpy as np

START = datetime(2024, 1, 31, 22, 15, 3)
PATIENT = "Erika_Mustermann"
"""Name in the patient field of every file; no message may show it."""

_BITS = 16
_HEIGHT, _WIDTH = 32, 64


def write_psg(
    path: Path,
    seconds: int,
    *,
    rate: int = 125,
    start: datetime = START,
    stages: Sequence[str] = (),
    labels: Sequence[str] = ("EEG C3-A2",),
    unit: str = "uV",
    annotations: Sequence[tuple[float, float, str]] = (),
    samples: np.ndarray | None = None,
) -> Path:
    """Writes an EDF+ file whose sample i has the value i (microvolt), or `samples`.

    Args:
        stages: one a clip of 30 s from the start on, as "Sleep stage …" annotations.
        annotations: further (onset, duration, text).
    """
    values = np.arange(seconds * rate, dtype=float) if samples is None else samples
    signals = [
        edfio.EdfSignal(
            values, rate, label=label, physical_dimension=unit, physical_range=(-32768, 32767)
        )
        for label in labels
    ]
    events = [(30.0 * k, 30.0, f"Sleep stage {stage}") for k, stage in enumerate(stages)]
    edfio.Edf(
        signals,
        patient=edfio.Patient(name=PATIENT),
        recording=edfio.Recording(startdate=start.date()),
        starttime=start.time(),
        annotations=[edfio.EdfAnnotation(*event) for event in (*events, *annotations)],
    ).write(path)
    return path


def with_onsets(source: Path, target: Path, onsets: Sequence[str], flag: str = "EDF+D") -> Path:
    """Copies an EDF+ file and says anew when each of its records began."""
    data = bytearray(source.read_bytes())
    count = int(data[252:256])
    widths = [int(data[256 + 216 * count + 8 * i :][:8]) * 2 for i in range(count)]
    labels = [bytes(data[256 + 16 * i :][:16]).strip() for i in range(count)]
    place = labels.index(b"EDF Annotations")
    data[192:236] = flag.encode().ljust(44)
    for k, onset in enumerate(onsets):
        begin = 256 * (count + 1) + k * sum(widths) + sum(widths[:place])
        stamp = f"{onset}\x14\x14".encode()
        assert len(stamp) < widths[place]
        data[begin : begin + widths[place]] = stamp.ljust(widths[place], b"\0")
    target.write_bytes(data)
    return target


def patched(source: Path, target: Path, position: int, text: bytes) -> Path:
    """Copies a file with some of its bytes replaced."""
    data = bytearray(source.read_bytes())
    data[position : position + len(text)] = text
    target.write_bytes(data)
    return target


def numbered(number: int) -> np.ndarray:
    """A picture that shows `number` as black and white blocks, which survive any codec."""
    bits = (number >> np.arange(_BITS)) & 1
    blocks = np.where(bits.reshape(2, 8), 235, 20).astype(np.uint8)
    return np.kron(blocks, np.ones((_HEIGHT // 2, _WIDTH // 8), np.uint8))


def numbers(frames: np.ndarray) -> list[int]:
    """The numbers that frames [n, height, width, 1] show."""
    n, height, width, _ = frames.shape
    blocks = frames.reshape(n, 2, height // 2, 8, width // 8).mean((2, 4)).reshape(n, _BITS) > 128
    return (blocks @ (1 << np.arange(_BITS))).tolist()


def write_video(
    path: Path,
    stamps: Sequence[float | Fraction],
    *,
    codec: str = "libx264",
    metadata: dict[str, str] | None = None,
    first: int = 0,
    fmt: str | None = None,
    rate: int = 25,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    sound_from: float | None = None,
) -> Path:
    """Writes a video of numbered frames shown at `stamps` (seconds, in steps of a millisecond).

    Args:
        first: number of the first frame.
        fmt: the container, if the name does not say.
        options, muxer: of the codec and of the container.
        sound_from: with sound that begins at this second and lasts 4 s.
    """
    with av.open(str(path), "w", format=fmt, options=muxer or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, pix_fmt
        if codec not in ("mpeg2video", "mpeg4"):  # those take no clock of milliseconds
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        sound = None if sound_from is None else container.add_stream("mp2", rate=16000)
        if sound is not None and sound_from is not None:
            for k in range(int(4 * 16000 / 1152)):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), "s16", "stereo")
                silence.rate, silence.time_base = 16000, Fraction(1, 16000)
                silence.pts = round(sound_from * 16000) + 1152 * k
                container.mux(sound.encode(silence))
            container.mux(sound.encode())
        for number, stamp in enumerate(stamps, first):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="gray")
            frame.pts, frame.time_base = round(stamp * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def steady(count: int, rate: float) -> list[float]:
    """Time stamps of `count` frames at a steady rate."""
    return [k / rate for k in range(count)]


def later(seconds: float) -> datetime:
    """The clock time `seconds` after `START`."""
    return START + timedelta(seconds=seconds)
