"""Which stored frames of a clip a network sees."""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from input_pipeline.errors import UserError


@functools.lru_cache(maxsize=8)  # asked for with every clip
def _stored_lags(
    sampling: "Sampling", stored: int, frame_rate: float
) -> tuple[Int[np.ndarray, " lags"], int]:
    """Lags in stored frames, and how many stored frames a moment may begin at."""
    moments, lags_s = sampling.moments, sampling.lags_s
    lags = np.floor(np.asarray(lags_s) * frame_rate + 0.5).astype(np.int64)
    span = stored - int(lags[-1])
    if len(set(lags.tolist())) != len(lags):
        raise UserError(
            f"lags_s {lags_s}: two lags meet in one stored frame at {frame_rate:g} frames "
            "a second; expected lags further apart, or data built with a higher frame_rate"
        )
    if span < moments:
        raise UserError(
            f"moments {moments} with lags up to {lags_s[-1]:g} s: a clip stores "
            f"{stored} frames at {frame_rate:g} a second; expected at most {max(span, 0)}"
        )
    return lags, span


MODES = ("spread", "consecutive")


@dataclass(frozen=True)
class Sampling:
    """Frames at evenly spaced moments over the clip, at each moment one frame or a few at fixed
    lags; or frames that follow each other.

    The clip is divided into `moments` equal parts. One frame is taken in each, all at the same
    offset into their
    part: a random offset in training, the middle in test. (The paper's form is 16 moments with lag
        0; lags show movement slower than the distance of moments resolves, such as breathing.)
    """

    moments: int = 16
    lags_s: tuple[float, ...] = (0.0,)
    """Seconds after the moment, ascending from 0."""
    mode: str = "spread"
    """`spread`: as above. `consecutive`: `moments` frames that follow each other, from a random
    start in training; in test, windows of them slide over the whole clip and their predictions are
    averaged. What is shorter begins anew at its end (UCF51's protocol)."""
    validation_windows: int = 3
    """`consecutive`: windows a clip, evenly spaced, when a training validates."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "lags_s", tuple(float(lag) for lag in self.lags_s)
        )  # a config gives a list
        if self.moments < 1:
            raise UserError(f"moments {self.moments}: expected 1 or more")
        if self.mode not in MODES:
            raise UserError(f"mode {self.mode!r}: expected {' or '.join(MODES)}")
        if self.mode == "consecutive" and self.lags_s != (0.0,):
            raise UserError(f"lags_s {self.lags_s}: expected (0,) with consecutive frames")
        if self.validation_windows < 1:
            raise UserError(f"validation_windows {self.validation_windows}: expected 1 or more")
        if not np.isfinite(self.lags_s).all():
            raise UserError(f"lags_s {self.lags_s}: expected finite seconds")
        if not self.lags_s or self.lags_s[0] != 0 or list(self.lags_s) != sorted(set(self.lags_s)):
            raise UserError(f"lags_s {self.lags_s}: expected ascending seconds that begin with 0")

    @property
    def frames(self) -> int:
        """Frames a clip yields: moments times lags."""
        return self.moments * len(self.lags_s)

    def check(self, stored: int, frame_rate: float) -> None:
        """Refuses what clips of `stored` frames cannot give.

        Raises:
            UserError: more moments than frames, or lags finer than the stored frames.
        """
        if self.mode == "consecutive":
            return
        if not stored:
            raise UserError(
                "sampling.mode 'spread': clips differ in length; expected 'consecutive'"
            )
        _stored_lags(self, stored, frame_rate)

    def indices(
        self, stored: int, frame_rate: float, offset: float | Float[np.ndarray, " clips"] = 0.5
    ) -> Int[np.ndarray, "*clips frames"]:
        """Indices of the stored frames that are taken, moment by moment, within a moment lag by
        lag.

        Args:
            stored: frames stored a clip.
            frame_rate: stored frames a second.
            offset: place within each moment's part of the clip, or of the first frame among those
                a window may begin with; 0 to < 1. Several at once in mode `spread` alone.
        """
        if self.mode == "consecutive":
            starts = max(
                stored - self.moments, 1
            )  # the last possible one is never drawn, as in CCL
            return self._window(int(offset * starts), stored)
        lags, span = _stored_lags(self, stored, frame_rate)
        # So near to 1 an offset would be rounded up at some moments and not at others.
        places = np.arange(self.moments) + np.minimum(offset, 1 - 1e-9)[..., None]
        moments = np.floor(places * (span / self.moments)).astype(np.int64)
        taken = moments[..., None] + lags
        return taken.reshape(*taken.shape[:-2], -1)

    def _window(self, start: int, stored: int) -> Int[np.ndarray, " frames"]:
        """Frames from `start` on; at the clip's end those of the window begin anew."""
        return start + np.arange(self.moments) % min(self.moments, stored - start)

    def windows(
        self, stored: int, frame_rate: float, most: int | None = None
    ) -> list[Int[np.ndarray, " frames"]]:
        """Indices of each window that a test looks at; one, in the middle, unless consecutive.

        Args:
            stored: frames stored of the clip.
            frame_rate: stored frames a second.
            most: evenly spaced windows, at most so many, in place of those that cover the clip.
        """
        if self.mode != "consecutive":
            return [self.indices(stored, frame_rate)]
        starts = np.arange(0, stored, self.moments)
        if most is not None:
            starts = np.unique(np.linspace(0, max(stored - self.moments, 0), most).round())
        return [self._window(int(start), stored) for start in starts]
