"""Infrared video of a recording: still images that breathe, movements, sensor noise, H.264."""

import platform
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, Int, UInt8

from input_pipeline.simulation.movement import PARTS, Movement
from input_pipeline.simulation.recording import HiddenSignals, Recording
from input_pipeline.simulation.scene import Camera, Scene, draw_pose, make_camera, render
from input_pipeline.simulation.settings import SimulationSettings, stream

_CHUNK_PIXELS = 3_000_000
"""Pixels rendered at once, so that whole nights at any size fit into memory."""
_NOISE_POOL = 1 << 20


def frame_numbers(settings: SimulationSettings, recording: Recording) -> Int[np.ndarray, " frames"]:
    """Numbers of the frames the camera delivers, from 0 at `frame_rate`; some are lost."""
    count = int(recording.clocks.video_seconds * settings.frame_rate)
    rng = stream(settings.seed, recording.night, f"camera {recording.window}")
    kept = rng.random(count) >= settings.dropped_frames
    kept[:2] = True
    return np.flatnonzero(kept)


def frames(
    settings: SimulationSettings, recording: Recording, hidden: HiddenSignals
) -> Iterator[tuple[Int[np.ndarray, " chunk"], UInt8[np.ndarray, "chunk height width"]]]:
    """Images of a recording in order: (frame numbers, grey levels), a few hundred at a time."""
    height, width = settings.height, settings.width
    rng = stream(settings.seed, recording.night, f"video {recording.window}")
    camera = make_camera(stream(settings.seed, recording.night, "room"))
    sensor = _Sensor(rng, camera, height, width)
    numbers = frame_numbers(settings, recording)
    time = recording.clocks.psg_time(numbers / settings.frame_rate)
    chest, abdomen = (
        np.interp(time, hidden.time, signal)
        for signal in (hidden.breathing.chest, hidden.breathing.abdomen)
    )
    shown = _Shown(settings, recording, camera)
    chunk = max(_CHUNK_PIXELS // (height * width), 8)
    for first, last, before, after in _segments(time, shown.turns):
        for begin in range(first, last, chunk):
            now = slice(begin, min(begin + chunk, last))
            pictures = shown.pictures(time[now], chest[now], abdomen[now], before, after)
            yield numbers[now], sensor.expose(pictures)


def _segments(
    time: Float[np.ndarray, " frames"], turns: list[Movement]
) -> Iterator[tuple[int, int, int, int]]:
    """Runs of frames (first, last) with the numbers of the scenes before and after them."""
    first = 0
    for number, turn in enumerate(turns):
        onset, end = np.searchsorted(time, [turn.onset, turn.end])
        if onset > first:
            yield first, int(onset), number, number
        if end > max(onset, first):
            yield max(first, int(onset)), int(end), number, number + 1
        first = max(first, int(end))
    if first < len(time):
        yield first, len(time), len(turns), len(turns)


class _Shown:
    """Renders what happens in front of the camera, without noise."""

    def __init__(self, settings: SimulationSettings, recording: Recording, camera: Camera):
        self._settings, self._recording, self._camera = settings, recording, camera
        begin = recording.clocks.video_begin
        end = begin + recording.clocks.video_seconds * 1.001
        self._movements = [m for m in recording.movements if m.end > begin and m.onset < end]
        self.turns = [movement for movement in self._movements if movement.resettles]
        self._textures = [settings.seed, recording.night]
        times = np.array([begin] + [turn.end for turn in self.turns])
        self._postures = recording.posture_at(times)
        self._scenes: dict[int, Scene] = {}
        self._scale = settings.width / 64

    def _scene(self, number: int) -> Scene:
        if number not in self._scenes:
            for old in [key for key in self._scenes if key < number - 1]:
                del self._scenes[old]
            settings, recording = self._settings, self._recording
            name = f"pose {recording.window} {number}"
            pose = draw_pose(
                stream(settings.seed, recording.night, name), int(self._postures[number]), number
            )
            seed = int(np.random.default_rng(self._textures).integers(2**31))
            self._scenes[number] = render(
                seed, recording.subject, self._camera, pose, settings.height, settings.width
            )
        return self._scenes[number]

    def pictures(
        self,
        time: Float[np.ndarray, " chunk"],
        chest: Float[np.ndarray, " chunk"],
        abdomen: Float[np.ndarray, " chunk"],
        before: int,
        after: int,
    ) -> Float[np.ndarray, "chunk height width"]:
        shape = (len(time), self._settings.height, self._settings.width)
        total = self._layer(before, time, chest, abdomen)
        if after != before:
            turn = self.turns[before]
            progress = np.clip((time - turn.onset) / turn.duration, 0, 1)
            blend = (progress**2 * (3 - 2 * progress))[:, None].astype(np.float32)
            total = (1 - blend) * total + blend * self._layer(after, time, chest, abdomen)
        return total.reshape(shape)

    def _layer(
        self, number: int, time: np.ndarray, chest: np.ndarray, abdomen: np.ndarray
    ) -> Float[np.ndarray, "chunk pixels"]:
        scene = self._scene(number)
        # No matrix products here: their rounding depends on memory alignment.
        pictures = np.repeat(scene.image.ravel().astype(np.float32)[None], len(time), axis=0)
        for depth, change in ((chest, scene.chest), (abdomen, scene.abdomen)):
            pictures += depth.astype(np.float32)[:, None] * change.ravel().astype(np.float32)
        moves = self._moves(time)
        moving = np.flatnonzero(np.abs(moves).max(axis=(1, 2)) > 0.02)
        if len(moving):
            pictures[moving] = _warp(pictures[moving], moves[moving], scene.parts)
        return pictures

    def _moves(self, time: np.ndarray) -> Float[np.ndarray, "chunk parts 2"]:
        """Displacement of each part at each moment, in pixels (down, right)."""
        moves = np.zeros((len(time), len(PARTS), 2), np.float32)
        for movement in self._movements:
            near = slice(*np.searchsorted(time, [movement.onset, movement.end]))
            if near.stop > near.start:
                weights = np.array(movement.weights)[None, :, None]
                moves[near, :4] += weights * movement.displacement(time[near])[:, None]
        twitches = self._recording.twitches
        first, last = np.searchsorted(twitches.onset, [time[0] - twitches.seconds, time[-1]])
        for twitch in range(first, last):
            onset = twitches.onset[twitch]
            near = slice(*np.searchsorted(time, [onset, onset + twitches.seconds]))
            moves[near, twitches.part[twitch]] += twitches.displacement[twitch]
        return moves * self._scale


def _warp(
    pictures: Float[np.ndarray, "chunk pixels"],
    moves: Float[np.ndarray, "chunk parts 2"],
    parts: Float[np.ndarray, "parts height width"],
) -> Float[np.ndarray, "chunk pixels"]:
    """Moves parts of images, with bilinear interpolation."""
    count, height, width = len(pictures), parts.shape[1], parts.shape[2]
    flat = parts.reshape(len(parts), -1).astype(np.float32)
    down, right = (np.einsum("np,pi->ni", moves[:, :, axis], flat) for axis in (0, 1))
    rows, columns = np.divmod(np.arange(height * width, dtype=np.int32), width)
    y = np.clip(rows.astype(np.float32) - down, 0, height - 1.001)
    x = np.clip(columns.astype(np.float32) - right, 0, width - 1.001)
    top, left = y.astype(np.int32), x.astype(np.int32)
    y -= top
    x -= left
    corner = top * width + left + (np.arange(count, dtype=np.int32) * (height * width))[:, None]
    values = pictures.ravel()
    upper = values[corner] * (1 - x) + values[corner + 1] * x
    lower = values[corner + width] * (1 - x) + values[corner + width + 1] * x
    return upper * (1 - y) + lower * y


class _Sensor:
    """Adds Poisson-Gaussian noise and a fixed pattern, then quantises to 8 bits."""

    def __init__(self, rng: np.random.Generator, camera: Camera, height: int, width: int):
        self._rng, self._noise = rng, camera.noise
        columns = 0.5 * rng.normal(size=(1, width))
        self._pattern = (columns + 0.6 * rng.normal(size=(height, width))).astype(np.float32)
        self._pool = rng.normal(size=max(_NOISE_POOL, 4 * height * width)).astype(np.float32)

    def expose(
        self, pictures: Float[np.ndarray, "chunk height width"]
    ) -> UInt8[np.ndarray, "chunk height width"]:
        count, height, width = pictures.shape
        # Photon noise grows with the light, read-out noise does not; 100 is mid-grey.
        level = np.sqrt(np.maximum(0.4 + 0.006 * pictures.mean(axis=0), 0.1)) * self._noise
        starts = self._rng.integers(0, len(self._pool) - height * width, size=count)
        for picture, start in zip(pictures, starts, strict=True):
            noise = self._pool[start : start + height * width].reshape(height, width)
            picture += level * noise + self._pattern
        return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def write_mp4(
    path: Path, settings: SimulationSettings, recording: Recording, hidden: HiddenSignals
) -> None:
    """Writes the video of a recording: H.264, yuv420p, timestamps by the camera's clock.

    One encoder thread: the file is the same on any number of cores.
    """
    options = {"preset": "veryfast", "crf": f"{settings.encoder_crf:.1f}"}
    if platform.machine() == "x86_64":
        # On a busy machine x264's AVX-512 code occasionally decides differently (one file in 40);
        # the older instructions, which every machine that runs JAX has, write the same bytes.
        options["x264-params"] = "asm=SSE4.2"
    rate = Fraction(settings.frame_rate).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4") as container:
        output = container.add_stream("libx264", rate=rate)
        output.width, output.height, output.pix_fmt = settings.width, settings.height, "yuv420p"
        output.options = options
        output.codec_context.thread_count = 1
        output.codec_context.time_base = 1 / rate
        for numbers, pictures in frames(settings, recording, hidden):
            for number, picture in zip(numbers, pictures, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="gray")
                frame = frame.reformat(format="yuv420p")
                frame.pts, frame.time_base = int(number), 1 / rate
                container.mux(output.encode(frame))
        container.mux(output.encode(None))
