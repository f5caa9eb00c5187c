"""Who is believed where a hypnogram holds the stages of several scorers."""

from collections.abc import Mapping

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.hypnogram.grid import Span, span_arrays
from input_pipeline.readers.hypnogram.vocabulary import fold, is_plain
from input_pipeline.stages import CLIP_SECONDS, STAGES, UNKNOWN

CONSENSUS = "consensus"


def believed(scorings: Mapping[str, list[Span]], night: Night, epoch_s: float | None) -> list[Span]:
    """The spans of the scorer whom the manifest names, or what most scorers say.

    A scorer is named by the word that stands in the file (a cell or a column's name), or by the
    position in the order in which scorers appear in it: "2" is the second. "consensus" is the stage
    that most have given, and unknown where two have as many votes; who left a moment unscored has
    no vote.

    Args:
        scorings: spans by what the file calls the scorer; "" where it names none.

    Raises:
        UserError: several scorers and none chosen, one that is not there, or overlapping spans that
            disagree for 30 s or more.
    """
    wanted = fold(night.scorer)
    if wanted == CONSENSUS:
        return consensus(
            [span for spans in scorings.values() for span in _filled(spans, night, epoch_s)]
        )
    spans = _filled(scorings[_choose(list(scorings), night)], night, epoch_s)
    seconds = disagreement_s(spans)
    if seconds >= CLIP_SECONDS - 1e-6:
        raise UserError(
            f"night {night.night_id}: two scorings in the hypnogram overlap and disagree for "
            f"{seconds:g} s; keep one of them, or take what most say "
            "(manifest column scorer: consensus)"
        )
    return spans


def _filled(spans: list[Span], night: Night, epoch_s: float | None) -> list[Span]:
    arrays = span_arrays(spans, name=night.night_id, epoch_s=epoch_s)
    onset, duration, stage = (column.tolist() for column in arrays)
    return list(zip(onset, duration, stage, strict=True))


def _choose(names: list[str], night: Night) -> str:
    wanted = fold(night.scorer)
    where = f"night {night.night_id}"
    if not wanted and len(names) == 1:
        return names[0]
    if names == [""]:
        raise UserError(
            f"{where}: the manifest names a scorer, but the hypnogram tells no scorers apart; "
            "expected nothing in the column scorer"
        )
    found = [name for name in names if fold(name) == wanted]
    if wanted and not found:
        positions = [str(k) for k in range(1, len(names) + 1)]
        position = wanted.removeprefix("scorer").strip()
        found = [names[int(position) - 1]] if position in positions else []
    if wanted and len(found) == 1:
        return found[0]
    choices = ", ".join(
        name if name and is_plain(name) else f"{k}" for k, name in enumerate(names[:9], 1)
    )
    more = " …" if len(names) > 9 else ""
    problem = (
        "the scorer that the manifest names is not in the hypnogram"
        if wanted
        else f"{len(names)} scorers in the hypnogram"
    )
    raise UserError(
        f"{where}: {problem}; expected in the manifest column scorer one of {choices}{more} (a "
        f"number is the position in the file), or {CONSENSUS}"
    )


def _votes(spans: list[Span]) -> tuple[np.ndarray, np.ndarray]:
    """Moments at which something changes [m], and how many spans of unknown, W, N1, N2, N3, REM
    hold from each to the next [6, m - 1]."""
    onset, duration, stage = (np.array(column) for column in zip(*spans, strict=True))
    end = onset + duration
    moments = np.unique(np.concatenate([onset, end]))
    counts = [
        np.searchsorted(np.sort(onset[stage == label]), moments[:-1], "right")
        - np.searchsorted(np.sort(end[stage == label]), moments[:-1], "right")
        for label in range(UNKNOWN, len(STAGES))
    ]
    return moments, np.stack(counts)


def disagreement_s(spans: list[Span]) -> float:
    """Seconds during which spans of different known stages overlap."""
    moments, votes = _votes(spans)
    return float(np.diff(moments)[(votes[1:] > 0).sum(0) > 1].sum())


def consensus(spans: list[Span]) -> list[Span]:
    """The stage that most of the overlapping spans have at each moment; unknown where two have as
    many, or where all that hold are unknown."""
    moments, votes = _votes(spans)
    known = votes[1:]
    most = known.max(0)
    clear = (most > 0) & ((known == most).sum(0) == 1)
    label = np.where(clear, known.argmax(0), UNKNOWN)
    return [
        (float(moments[k]), float(moments[k + 1] - moments[k]), int(label[k]))
        for k in np.flatnonzero(votes.sum(0) > 0)
    ]
