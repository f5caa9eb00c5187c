"""Reading batches of clips: this project's loader beside a copy in memory and a mapped file.

With --torch-python, an interpreter of an environment that has PyTorch, its DataLoader reads that
file, too.

CPU seconds count every thread, so `clips/CPU s` says how many cores a device needs to be fed.
Without --data, clips of random noise of the usual size are written to a temporary folder first
(6 GB with the defaults). Grain's shuffle costs more where a split has few clips (0.1 ms a clip for
256 of them, 5 µs for 80,000).
"""

import argparse
import contextlib
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from input_pipeline.clip_arrays import LABELS, input_forms
from input_pipeline.clips import ClipSettings
from input_pipeline.datasets import DatasetSettings
from input_pipeline.datasets.building import describe, write_clips
from input_pipeline.datasets.decode import DecodedNight
from input_pipeline.datasets.settings import FRAME_STORAGES
from input_pipeline.files import write_json
from input_pipeline.loader import Loader
from input_pipeline.night import Night
from input_pipeline.sampling import Sampling
from input_pipeline.source import ClipSource, open_split
from input_pipeline.splits import SPLITS, Splits, SplitSettings
from sacd_jax import parallel
from sacd_jax.benchmarks import timing
from sacd_jax.benchmarks.timed_step import check_positive
from sacd_jax.benchmarks.timing import Measured
from sacd_jax.benchmarks.torch_child import INPUT, TorchChild
from sacd_jax.report.tables import show

EXAMPLE = "python -m sacd_jax.benchmark input --json input.json"
EMBEDDING, CLASSES = 512, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `benchmark input`."""
    add = parser.add_argument
    add("--data", type=Path, help="folder of a built data set; made of noise without")
    add("--split", default="train", choices=SPLITS, help="of the data set (default: train)")
    add("--clips", type=int, default=1024, help="clips of noise (default: 1024)")
    add("--batch", type=int, default=64, help="clips a batch (default: 64)")
    add("--batches", type=int, default=16, help="batches a run (default: 16)")
    add("--moments", type=int, default=16, help="frames that are taken of a clip (default: 16)")
    add("--threads", type=int, default=2, help="that read (default: 2)")
    add("--rounds", type=int, default=5, help="runs of each (default: 5)")
    add("--height", type=int, default=128, help="of frames of noise (default: 128)")
    add("--width", type=int, default=171, help="of frames of noise (default: 171)")
    add("--torch-python", metavar="PATH", help="interpreter of an environment with PyTorch")
    add("--json", type=Path, metavar="FILE", help="writes every figure there")


class Reading:
    """One way to read batches, time and again."""

    group = "input"

    def __init__(self, name: str, read: Callable[[], None]):
        """`read` reads the batches of one run."""
        self.name, self._read = name, read

    def run(self) -> Measured:
        """Reads once."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._read()
        return Measured(time.perf_counter() - wall, time.process_time() - cpu)


def run(arguments: argparse.Namespace) -> None:
    """Times the ways to read and prints the table.

    Raises:
        UserError: no such data set, clips without frames of one number, or no PyTorch there.
    """
    names = ("clips", "batch", "batches", "moments", "rounds", "height", "width")
    check_positive(arguments, *names)
    machine = timing.machine()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        contestants: list[timing.Contestant] = []
        for storage in ("",) if arguments.data else FRAME_STORAGES:
            data = arguments.data or write_noise(Path(folder) / storage, storage, arguments)
            source = open_split(data, arguments.split)
            contestants += loaders(source, storage or source.info.frame_storage, arguments)
        file = Path(folder) / "video"
        contestants = [*limits(source, file, arguments), *contestants]
        if arguments.torch_python:
            contestants.append(child := stack.enter_context(_torch(source, file, arguments)))
            machine["torch"] = child.answer["version"]
        timed = timing.take_turns(contestants, arguments.rounds)
        info = source.info
    settings = {
        "batch": arguments.batch,
        "frames": f"{arguments.moments} of {info.frames}",
        "size": f"{info.height}x{info.width}x{info.channels}",
        "threads": arguments.threads,
        "batches": arguments.batches,
        "rounds": arguments.rounds,
    }
    clips = arguments.batch * arguments.batches
    notes = (
        "wall and CPU seconds are medians; ratio: wall seconds over those of the first row",
        "files are in the system's cache: a disk may be slower",
        timing.facts(machine),
    )
    show(timing.table(timing.heading("reading batches", settings), timed, clips, notes))
    if arguments.json:
        results = timing.as_json(timed, clips)
        write_json(arguments.json, {"machine": machine, "settings": settings, "results": results})


def limits(source: ClipSource, file: Path, arguments: argparse.Namespace) -> list[Reading]:
    """What no loader can beat: the frames of random clips gathered from memory, and from a file."""
    taken, shape = _mapped(source, arguments)
    clips = shape[0]
    mapped = np.memmap(file, np.uint8, "w+", shape=shape)
    for row in range(clips):
        mapped[row] = source[row]["video"]
    memory = np.array(mapped)
    rows = np.random.default_rng(0).integers(0, clips, arguments.batch)

    def gather(videos: np.ndarray) -> None:
        for _ in range(arguments.batches):
            batch = np.empty((arguments.batch, len(taken), *shape[2:]), np.uint8)
            for out, row in zip(batch, rows.tolist(), strict=True):
                np.take(videos[row], taken, axis=0, out=out, mode="clip")

    def copy() -> None:
        for _ in range(arguments.batches):
            chosen = memory[:, : len(taken)]
            batch = np.empty((arguments.batch, len(taken), *shape[2:]), np.uint8)
            for out, row in zip(batch, rows.tolist(), strict=True):
                np.copyto(out, chosen[row])

    return [
        Reading("copy in memory", copy),
        Reading("gather from a mapped file", lambda: gather(mapped)),
    ]


def _mapped(source: ClipSource, arguments: argparse.Namespace) -> tuple[list[int], tuple[int, ...]]:
    """The frames that are taken of a clip, and the shape of the mapped file."""
    info = source.info
    taken = Sampling(arguments.moments).indices(info.frames, info.frame_rate)
    clips = min(len(source), 4 * arguments.batch)
    return taken.tolist(), (clips, *input_forms(info)["video"].shape)


def _torch(source: ClipSource, file: Path, arguments: argparse.Namespace) -> TorchChild:
    taken, shape = _mapped(source, arguments)
    return TorchChild(
        arguments.torch_python,
        INPUT,
        "PyTorch's DataLoader, the mapped file",
        "input",
        file=str(file),
        shape=shape,
        taken=taken,
        batch=arguments.batch,
        batches=arguments.batches,
    )


def loaders(source: ClipSource, storage: str, arguments: argparse.Namespace) -> list[Reading]:
    """This project's loader: frames alone, with a teacher cache, on the device, with EEG."""
    rows = len(source)
    cache = {
        "teacher_embedding": np.zeros((rows, EMBEDDING), np.float32),
        "teacher_logits": np.zeros((rows, CLASSES), np.float32),
    }

    def read(
        keys: tuple[str, ...], extra: dict[str, np.ndarray], to_device: Any = None
    ) -> Callable[[], None]:
        loader = Loader(
            source,
            Sampling(arguments.moments),
            keys,
            extra,
            to_device=to_device,
            read_threads=arguments.threads,
        )

        def batches() -> None:
            with loader.train(arguments.batch, seed=0) as each:
                for batch in itertools.islice(each, arguments.batches):
                    jax.block_until_ready(batch)

        return batches

    found = [Reading(f"video, frames in {storage}", read(("video",), {}))]
    found.append(Reading(f"video and teacher cache, frames in {storage}", read(("video",), cache)))
    if arguments.batch % jax.device_count() == 0:
        placed = read(("video",), {}, parallel.to_device(parallel.make_mesh()))
        found.append(Reading(f"video on the device, frames in {storage}", placed))
    if "eeg" in source.info.inputs:
        both = read(("video", "eeg"), {})
        found.append(Reading(f"video and EEG, frames in {storage}", both))
    return found


def write_noise(folder: Path, storage: str, arguments: argparse.Namespace) -> Path:
    """Builds a data set of noise: a night in each split, the clips in `train`."""
    clips = ClipSettings(height=arguments.height, width=arguments.width)
    rng = np.random.default_rng(0)
    decoded = []
    for split in SPLITS:
        count = arguments.clips if split == "train" else 1
        path = folder / "decoded" / split
        path.mkdir(parents=True)
        with open(path / "video", "wb") as video, open(path / "eeg", "wb") as eeg:
            shape = input_forms(clips)["video"].shape
            for _ in range(count):
                video.write(rng.integers(0, 256, shape, np.uint8).data)
                eeg.write(rng.normal(0, 20, clips.samples).astype(np.float32).data)
        for name, form in LABELS.items():
            (np.arange(count) % CLASSES).astype(form.dtype).tofile(path / name)
        decoded.append(DecodedNight(Night(split, split, None, path / "eeg"), path, clips))
    subjects = {split: (split,) for split in SPLITS}
    split = Splits(SplitSettings(), **subjects, groups={})
    settings = DatasetSettings("s3ve", Path("noise.csv"), clips=clips, frame_storage=storage)
    data = folder / "data"
    data.mkdir()
    tables = write_clips(settings, split, decoded, data)
    describe(settings, "noise", split, tables, {}).write(data)
    shutil.rmtree(folder / "decoded")
    return data
