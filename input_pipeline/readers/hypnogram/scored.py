"""What a hypnogram's file says before it is laid on the grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.hypnogram.grid import USUAL_EPOCHS_S, Span
from input_pipeline.readers.hypnogram.psg import PsgTime
from input_pipeline.readers.hypnogram.vocabulary import SCHEMES, Scheme, text_stage
from input_pipeline.stages import CLIP_SECONDS

MAX_STAGES = 1_300_000
"""One a second for a fortnight; a file of more lines is none of stages."""


@dataclass
class Scored:
    """Scored spans by scorer ("" where the file names none), and what was odd."""

    scorings: dict[str, list[Span]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """What the reader of a dialect knows beside the file's text."""

    night: Night
    psg: PsgTime | None
    """None where the PSG cannot be read; its own reader says why."""
    scheme: Scheme | None
    """Of the manifest; None where it names none."""
    known: dict[str, int] = field(default_factory=dict)
    """Stages of texts that were looked up already."""
    notes: list[str] = field(default_factory=list)
    """What was odd, whatever the dialect."""

    @property
    def name(self) -> str:
        """Begins an error."""
        return f"night {self.night.night_id}, hypnogram"

    def stage(self, text: str, where: str) -> int:
        """The stage that a cell or line means which must hold one; see `vocabulary.text_stage`."""
        if text not in self.known:
            self.known[text] = text_stage(text, self.scheme, where)
        return self.known[text]

    def clock(self) -> PsgTime:
        """The PSG's time, for files that give times of day.

        Raises:
            UserError: it is not known.
        """
        if self.psg is None:
            raise UserError(f"{self.name}: it gives times of day, and the PSG cannot be read")
        return self.psg

    def epoch_s(self, stated: float | None = None) -> float | None:
        """Length of an epoch as named in the manifest or `stated` in the file; None if by neither.

        Raises:
            UserError: the two differ, or the file's is no length of an epoch.
        """
        named = self.night.hypnogram_epoch_s
        if stated is not None and not 0.1 <= stated <= 3600:
            raise UserError(f"{self.name}: epochs of {stated:g} s; expected 0.1 to 3600")
        if named and stated and abs(named - stated) > 1e-6:
            raise UserError(
                f"{self.name}: its epochs last {stated:g} s as it says itself, and {named:g} s as "
                "the manifest says (hypnogram_epoch_s)"
            )
        return named or stated

    def sequence(
        self,
        stages: Sequence[int],
        first: int = 0,
        stated: float | None = None,
        timed: bool = False,
    ) -> list[Span]:
        """Spans of stages that follow each other from the PSG's first sample on.

        Where neither the file nor the manifest says how long one lasts, it is 30 s, and that must
        fit the PSG.

        Args:
            first: epochs that passed before the first stage.
            stated: seconds of an epoch as the file says.
            timed: whether the file says when the first begins, so that they may end before the PSG.

        Raises:
            UserError: another usual length fits the PSG, and 30 s does not.
        """
        epoch_s = self.epoch_s(stated)
        if len(stages) > MAX_STAGES:
            raise UserError(f"{self.name}: {len(stages)} stages; expected {MAX_STAGES} at most")
        if epoch_s is None and self.scheme is not None and self.scheme.seconds != CLIP_SECONDS:
            epoch_s = self.scheme.seconds
        if epoch_s is None:
            self._check_length(first + len(stages))
            epoch_s = CLIP_SECONDS
        missing = self.psg.seconds - (first + len(stages)) * epoch_s if self.psg else 0.0
        if missing > CLIP_SECONDS and not timed:
            self.notes.append(
                f"the stages end {missing:.0f} s before the PSG; the first is taken to begin with "
                "it, as they have no times (where scoring began at lights off, export them with)"
            )
        return [((first + k) * epoch_s, epoch_s, stage) for k, stage in enumerate(stages)]

    def _check_length(self, count: int) -> None:
        if self.psg is None or abs(count * CLIP_SECONDS - self.psg.seconds) <= CLIP_SECONDS:
            return
        seconds = self.psg.seconds
        fitting = [e for e in (*USUAL_EPOCHS_S, 60.0) if abs(count * e - seconds) <= e]
        if fitting:
            raise UserError(
                f"{self.name}: {count} stages on a PSG of {seconds:.0f} s would be epochs of "
                f"{fitting[-1]:g} s, not 30 s; say which it is in the manifest column "
                "hypnogram_epoch_s"
            )
        if count * CLIP_SECONDS > 2 * seconds:
            raise UserError(
                f"{self.name}: {count} stages of 30 s last more than twice as long as the PSG of "
                f"{seconds:.0f} s; if one stage lasts otherwise, say how long in the manifest "
                "column hypnogram_epoch_s"
            )


def named_scheme(night: Night) -> Scheme | None:
    """The integer scheme that the manifest names.

    Raises:
        UserError: there is none of that name.
    """
    if not night.hypnogram_scheme:
        return None
    if night.hypnogram_scheme not in SCHEMES:
        raise UserError(
            f"night {night.night_id}: no hypnogram_scheme of that name; expected one of "
            f"{', '.join(SCHEMES)}"
        )
    return SCHEMES[night.hypnogram_scheme]
