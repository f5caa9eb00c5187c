"""From a video to a staged night: the trained network, and nothing of the EEG it learned from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.errors import FlaxError
from jaxtyping import Bool, Float32, UInt8

from input_pipeline.clip_arrays import INPUTS
from input_pipeline.clips import ClipSettings, read_clip
from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.progress import Progress
from input_pipeline.readers.sync import clock_drift_ppm, open_night_video
from input_pipeline.readers.video import VideoReader, VideoRecording, find_videos, open_video
from input_pipeline.readers.video.start_times import (
    start_from_digits,
    start_from_name,
    states_zone,
)
from input_pipeline.sampling import Sampling
from input_pipeline.stages import CLIP_SECONDS, STAGES
from sacd_jax import models
from sacd_jax.config import AugmentConfig, build
from sacd_jax.models.context import CLIP_OUTPUTS
from sacd_jax.models.encoder import forward
from sacd_jax.models.fold_norms import fold_norms
from sacd_jax.runs import model_file, temperature
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.staging import memory, picture_signals
from sacd_jax.staging.night_context import NightContext
from sacd_jax.staging.staged_night import StagedNight
from sacd_jax.staging.tested import how_tested
from sacd_jax.tasks.augment import centred

BATCH = 4
"""Epochs that the network sees at a time: few, for activations take memory for each of them."""

NO_NUMBERS = "the network's scores are not finite"
"""Of weights that are too large, say; the likeliest of them would be the first stage, W."""


@dataclass
class Stager:
    """A trained video network, ready to stage nights.

    Attributes:
        clips: how the pictures of an epoch are made for it.
        sampling: which of them it sees.
        augment: what is cut out of them.
        facts: about the network and how it was trained and tested, as plain JSON.
        temperature: that scores are divided by before they become probabilities.
        context: the model of a network over the night, which has the last word; None: each epoch
            stands alone.
        compute: (variables, uint8 [clips, *clip_shape]) -> `probabilities` [clips, 5] of each alone
            and, with context, what that reads; not jitted.
        variables: of the network, its norms folded, on the device.
        over_night: the network over the night, ready to be used; None: each epoch stands alone.
        taken: indices of the frames of a clip that the network sees.
    """

    model: model_file.Model
    clips: ClipSettings
    sampling: Sampling
    augment: AugmentConfig
    facts: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    context: model_file.Model | None = None

    def __post_init__(self) -> None:
        encoder = models.create(self.model.encoder, self.model.num_classes, **self.model.options)

        def compute(variables: Any, video: jax.Array) -> dict[str, jax.Array]:
            batch = centred({"video": video}, self.augment)
            output, _ = forward(encoder, variables, batch, train=False)
            scores = output.logits.astype(np.float32) / self.temperature
            said = {"probabilities": jax.nn.softmax(scores, axis=-1)}
            if self.context is not None:
                said |= zip(CLIP_OUTPUTS, (output.embedding, output.logits), strict=True)
            return said

        self.compute = compute
        self.taken = self.sampling.indices(self.clips.frames, self.clips.frame_rate)
        example = centred({"video": np.zeros((1, *self.clip_shape), np.uint8)}, self.augment)
        self.variables = jax.device_put(fold_norms(encoder, self.model.variables, example))
        self._shapes = jax.eval_shape(compute, self.variables, self._batch)
        self.over_night = None
        if self.context is not None:
            self.over_night = NightContext(self.context, self._shapes, self.temperature)
            self.facts = {**self.facts, "context over the night": self.over_night.words}

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Frames taken, height, width and colours of a clip as `compute` gets it."""
        return len(self.taken), self.clips.height, self.clips.width, self.clips.channels

    @property
    def _batch(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((BATCH, *self.clip_shape), np.uint8)

    @cached_property
    def _compiled(self) -> jax.stages.Compiled:
        return jax.jit(self.compute).lower(self.variables, self._batch).compile()

    def predict(
        self,
        video: str | Path | Sequence[str | Path],
        *,
        start: datetime | Sequence[datetime] | None = None,
        name: str = "night",
        threads: int = 0,
    ) -> StagedNight:
        """Stages a night.

        Args:
            video: a file, a folder of files, or several files of one night.
            start: local clock time of the video's first moment, or of each of several files; by
                default what the names or the containers say, and where they say nothing times are
                relative.
            name: what messages call the night; a file's name, which may hold a patient's id, is
                shown nowhere.
            threads: that decode; 0 lets FFmpeg choose.

        Raises:
            UserError: the video cannot be read, or there are more starts than files.
        """
        paths = _paths(video, name)
        starts = [start] if isinstance(start, datetime) else list(start or ())
        each = starts if len(starts) > 1 else ()
        if len(each) > len(paths):
            raise UserError(
                f"night {name}: {len(each)} starts for {len(paths)} videos; expected one each"
            )
        opened = partial(open_video, paths, name=name, starts=each, threads=threads)
        return self._predict(opened, partial(_clock, min(starts, default=None), paths), name)

    def predict_night(self, night: Night, *, threads: int = 0) -> StagedNight:
        """Stages a night of a manifest, on the clock of its PSG: what the row says of the starts of
        its files, of an offset and of a drift counts as it does for a data set.

        Args:
            night: of a manifest.
            threads: that decode; 0 lets FFmpeg choose.

        Raises:
            UserError: the video cannot be read.
        """
        start = min(night.video_starts) if night.video_starts else None

        def clock(reader: VideoReader | VideoRecording) -> tuple[datetime | None, str]:
            begun, source = _clock(start, night.video_files, reader)
            return begun and begun + timedelta(seconds=night.sync_offset_s), source

        opened = partial(open_night_video, night, threads)
        stretch = 1 + clock_drift_ppm(night) * 1e-6
        return self._predict(opened, clock, night.night_id, stretch)

    def _predict(
        self,
        opened: Callable[[], VideoReader | VideoRecording],
        clock_of: Callable[[VideoReader | VideoRecording], tuple[datetime | None, str]],
        name: str,
        stretch: float = 1.0,
    ) -> StagedNight:
        """Stages what `opened` opens.

        Args:
            opened: opens the video, twice.
            clock_of: when it began, and where that is known from.
            name: what messages call the night.
            stretch: seconds of the night in one second of the video.
        """
        with opened() as reader:
            end_s = reader.seek_end() * stretch
        epochs = int((end_s + 1 / self.clips.frame_rate) // CLIP_SECONDS)
        if epochs < 1:
            raise UserError(f"night {name}: the video lasts {end_s:.0f} s; expected 30 s or more")
        # One after the other, for each takes much: the compiler, the index of a long video, the
        # compiler once more for context over the night.
        network = self._compiled
        memory.give_back()
        with opened() as reader:
            start, clock = clock_of(reader)
            said, reasons, *signals = self._stage(reader, network, epochs, stretch)
            reader.seek_end()  # what lies behind the last epoch, such as a restart, is said too
            notes = tuple(reader.notes)
        memory.give_back()
        probabilities = said["probabilities"]
        if self.over_night is not None:
            seen = np.isfinite(probabilities).all(-1)
            probabilities = self.over_night.probabilities(*map(said.get, CLIP_OUTPUTS), seen)
            memory.give_back()
        finite = np.isfinite(probabilities).all(-1).tolist()
        reasons = tuple(
            reason or ("" if known else NO_NUMBERS)
            for reason, known in zip(reasons, finite, strict=True)
        )
        facts = {"start": start, "clock": clock, "notes": notes, "model": dict(self.facts)}
        return StagedNight(probabilities, reasons, *signals, **facts)

    def probabilities(
        self,
        video: UInt8[np.ndarray, "clips frames height width 1"],
        seen: Bool[np.ndarray, " clips"],
    ) -> Float32[np.ndarray, "clips 5"]:
        """Probabilities of the stages of clips, with context those of a night in their order.

        Args:
            video: frames that are taken, see `clip_shape`.
            seen: False where a clip shows nothing.

        Returns:
            f32 [clips, 5], NaN where nothing is seen.
        """
        said = jax.device_get(jax.jit(self.compute)(self.variables, video))
        if self.over_night is None:
            return np.where(seen[:, None], said["probabilities"], np.float32(np.nan))
        return self.over_night.probabilities(*map(said.get, CLIP_OUTPUTS), seen)

    def _stage(
        self,
        reader: VideoReader | VideoRecording,
        network: jax.stages.Compiled,
        epochs: int,
        stretch: float,
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...], np.ndarray, np.ndarray]:
        """What the network says of each epoch, why it says nothing, movement and breathing."""
        settings = self.clips
        said = {
            name: np.full((epochs, *shape.shape[1:]), np.nan, np.float32)
            for name, shape in self._shapes.items()
        }
        movement, breaths = (np.full(epochs, np.nan, np.float32) for _ in range(2))
        reasons = [""] * epochs
        waiting: list[tuple[int, np.ndarray]] = []
        running: tuple[list[int], dict[str, jax.Array]] | None = None
        steps = np.arange(settings.frames) / settings.frame_rate
        with Progress("stage", total=epochs, unit="epoch") as progress:
            for epoch in range(epochs):
                moments = (epoch * CLIP_SECONDS + steps) / stretch
                frames, reasons[epoch] = read_clip(reader, moments, settings)
                if frames is not None:
                    reasons[epoch] = picture_signals.unusable(frames)
                    movement[epoch] = picture_signals.movement(frames)
                    breaths[epoch] = picture_signals.breathing(frames, settings.frame_rate)
                    if not reasons[epoch]:
                        waiting.append((epoch, frames[self.taken]))
                if len(waiting) == BATCH or (waiting and epoch == epochs - 1):
                    # Fetched a batch late: the network computes while the next pictures are read.
                    following = [each for each, _ in waiting], self._started(network, waiting)
                    _fetch(running, said)
                    running, waiting = following, []
                progress.advance()
            _fetch(running, said)
        return said, tuple(reasons), movement, breaths

    def _started(
        self, network: jax.stages.Compiled, waiting: Sequence[tuple[int, np.ndarray]]
    ) -> dict[str, jax.Array]:
        """Starts the network on some epochs; what it says of them, soon."""
        # Always whole batches: one program is compiled, and an epoch's result does not depend on
        # how many wait with it.
        video = np.zeros((BATCH, *waiting[0][1].shape), np.uint8)
        for place, (_, frames) in enumerate(waiting):
            video[place] = frames
        return network(self.variables, video)


def _fetch(
    running: tuple[list[int], dict[str, jax.Array]] | None, said: dict[str, np.ndarray]
) -> None:
    """Waits for the network and writes what it says of its epochs."""
    if running is not None:
        epochs, found = running
        for name, values in found.items():
            said[name][epochs] = np.asarray(values)[: len(epochs)]


def load_stager(folder: str | Path) -> Stager:
    """Makes a stager of a finished run's folder.

    Raises:
        UserError: no finished run, or one whose network, or that of the clips under its context
            over the night, reads something else than video.
    """
    model, context = _networks(Path(folder))
    # A header of an earlier version has no digest, and none of its words is shown.
    odd = UserError(
        f"{folder}: the model file does not say how its pictures are made and for which network; "
        "expected one of a finished run of this version"
    )
    try:
        encoder = models.create(model.encoder, model.num_classes, **model.options)
    except (UserError, TypeError, ValueError):
        raise odd from None
    if tuple(encoder.input_keys) != ("video",):
        reads = [key for key in encoder.input_keys if key in INPUTS]
        raise UserError(
            f"{folder}: the network {model.encoder} reads {', '.join(reads) or 'something else'}; "
            "expected one that reads video alone"
        )
    if model.num_classes != len(STAGES):
        raise UserError(f"{folder}: {model.num_classes} classes; expected the five sleep stages")
    inputs = model.inputs
    run, weights = _run_folder(Path(folder)), model_file.identity(context or model)
    fitted = temperature.read(run, weights)
    said = "as the network says them: no temperature was fitted"
    if fitted:
        said = (
            f"scores divided by {fitted.value:.2f}, fitted on {fitted.clips} validation clips of "
            f"{fitted.subjects} subjects"
        )
    try:
        return Stager(
            model,
            ClipSettings(**inputs["clips"]),
            build(Sampling, inputs["sampling"], "sampling"),
            build(AugmentConfig, inputs["augment"], "augment"),
            {
                "network": model.encoder,
                **inputs["training"],
                "fingerprint of the network": weights,
                "validation accuracy": (context or model).accuracy,
                **how_tested(run, weights),
                "probabilities": said,
            },
            fitted.value if fitted else 1.0,
            context,
        )
    except (UserError, LookupError, TypeError, ValueError, OverflowError, FlaxError):
        raise odd from None


def _networks(folder: Path) -> tuple[model_file.Model, model_file.Model | None]:
    """The network that sees clips, and the one over the night, if the run has one."""
    model = model_file.load(folder)
    expected = model.inputs.get("clip_network")
    if expected is None:
        return model, None
    clips = model_file.load(_run_folder(folder).clip_network)
    if model_file.identity(clips) != expected:
        raise UserError(
            f"{folder}: the network of clips is another one than that which the network over the "
            "night has learned from; train the run again"
        )
    return clips, model


def _run_folder(folder: Path) -> RunFolder:
    """That of a run, which may be given by the folder of its model."""
    above = RunFolder(folder.parent)
    return above if above.model == folder else RunFolder(folder)


def _paths(video: str | Path | Sequence[str | Path], name: str) -> list[Path]:
    paths = [Path(video)] if isinstance(video, str | Path) else [Path(path) for path in video]
    if len(paths) == 1 and paths[0].is_dir():
        paths = find_videos(paths[0])
    for number, path in enumerate(paths, 1):
        if not path.is_file():
            raise UserError(f"night {name}: video {number} of {len(paths)}: no such file")
    if not paths:
        raise UserError(f"night {name}: the folder holds no video; expected one or more")
    return paths


def _clock(
    start: datetime | None, paths: Sequence[Path], reader: VideoReader | VideoRecording
) -> tuple[datetime | None, str]:
    """When the video began, and where that is known from."""
    if start is not None:
        return start, "given"
    for source, read in (("file name", start_from_name), ("file name", start_from_digits)):
        known = [moment for moment in map(read, paths) if moment is not None]
        if len(known) == len(paths):
            return min(known), source + " (not local time)" * any(map(states_zone, paths))
    return reader.creation_time, "container" if reader.creation_time else ""
