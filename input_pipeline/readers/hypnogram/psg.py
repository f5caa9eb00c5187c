"""The clock of the PSG that a hypnogram belongs to, and clock times placed on it."""

import contextlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.edf import recorded_time
from input_pipeline.readers.hypnogram.grid import Span

_DAY_S = 86400.0
_HOUR_S = 3600.0
_SUMMER_TIME_HOUR = 5
"""Clocks are set before."""
_SLACK_S = 60.0
"""A scoring may begin before its PSG or end after it by so much."""
_SOON_S = 600.0
"""Times that begin within may count from the begin of the recording."""


@dataclass(frozen=True)
class PsgTime:
    """When the PSG was recorded."""

    start: datetime
    """Local time of the first sample."""
    seconds: float
    """From the first sample to the end of the last record, pauses included."""


def psg_time(night: Night) -> PsgTime:
    """Reads when the PSG of a night was recorded.

    Raises:
        UserError: its header cannot be read.
    """
    return PsgTime(*recorded_time(night.psg, name=night.night_id))


def seconds_after(start: datetime, psg: PsgTime, night: Night) -> float:
    """Seconds from the PSG's first sample to the moment at which the hypnogram's file begins.

    Raises:
        UserError: it begins on another day, while the PSG has ended; the manifest can confirm that
            the dates do not count. Or its times are seconds that were written as a date.
    """
    shift = (start - psg.start).total_seconds()
    if -_DAY_S < shift < max(_DAY_S, psg.seconds):
        return shift
    rest = shift - _DAY_S * round(shift / _DAY_S)
    if start.time() == time(0) and abs(rest) > 1:
        raise UserError(
            f"night {night.night_id}: the hypnogram begins on another date than the PSG and at "
            "0:00:00: its time was removed, too; correct it, or give the stages as a CSV file in "
            "seconds of the PSG"
        )
    if start.date() == date(1970, 1, 1) and start.hour < 12 and abs(rest) > _SLACK_S:
        raise UserError(
            f"night {night.night_id}: the hypnogram is dated 1970-01-01, as programs write seconds "
            "since the begin of a recording whose date they do not know; expected seconds in a "
            "column onset, or the time of day"
        )
    if "date" in night.hypnogram_confirm:
        return rest
    problem = f"night {night.night_id}: the hypnogram begins on another date than the PSG"
    if -3600 <= rest <= psg.seconds:
        raise UserError(
            f"{problem}, though the times of day agree: one of the dates was made anonymous, or it "
            "is another night's; correct it, or confirm that the time of day alone counts "
            "(manifest column hypnogram_confirm: date)"
        )
    raise UserError(f"{problem}, and at another time of day; is it another night's?")


_DATE = re.compile(r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})(?!\d)")
_CLOCK = re.compile(
    r"(?:(?P<iso>\d{4}-\d\d-\d\d)[T ]|\d{1,4}[./-]\d{1,2}[./-]\d{1,4},? )?"
    r"(?P<hour>\d{1,2})(?P<mark>[:.])(?P<minute>\d\d)(?:(?P=mark)(?P<second>\d\d(?:[.,]\d{1,9})?))?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
)


def parse_clock(text: str) -> tuple[str | None, float] | None:
    """Date (only where written as 2024-01-31) and seconds after midnight of a clock time such as
    "22:15:03", "22.15.03", "2024-01-31T22:15:03.5", "31.01.2024 22:15:03" or "10:15:03 PM"."""
    found = _CLOCK.fullmatch(" ".join(text.split())) if len(text) < 60 else None
    if found is None:
        return None
    hour, minute = int(found["hour"]), int(found["minute"])
    second = float((found["second"] or "0").replace(",", "."))
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (found["half"] in "Pp")
    if hour > 23 or minute > 59 or second >= 60:
        return None
    return found["iso"], 3600.0 * hour + 60 * minute + second


def clock_onsets(
    clocks: Sequence[tuple[str | None, float]], psg: PsgTime, night: Night
) -> list[float]:
    """Seconds after the PSG's first sample of clock times of `parse_clock`.

    With dates, the first tells where the hypnogram begins and all others how long after. Without,
    each is taken within 12 hours of the PSG's middle, so midnight may be crossed and rows may come
    in any order.

    Raises:
        UserError: dates that are no dates or another night's, times that count from 0:00:00, or a
            PSG of more than a day and times without dates.
    """
    where = f"night {night.night_id}"
    if not clocks:
        return []
    if all(date for date, _ in clocks):
        try:
            moments = [
                datetime.fromisoformat(f"{date}T00:00:00") + timedelta(seconds=seconds)
                for date, seconds in clocks
            ]
        except ValueError:
            raise UserError(f"{where}: a date in the hypnogram is no date") from None
        first = seconds_after(moments[0], psg, night)
        return [first + (moment - moments[0]).total_seconds() for moment in moments]
    if psg.seconds > _DAY_S:
        raise UserError(
            f"{where}: the hypnogram gives times of day, and the PSG lasts longer than a day; "
            "expected dates as well, or seconds in a column onset"
        )
    midnight = psg.start.replace(hour=0, minute=0, second=0, microsecond=0)
    begin = (psg.start - midnight).total_seconds()
    if clocks[0][1] == 0 and min(begin, _DAY_S - begin) > 1:
        raise UserError(
            f"{where}: the hypnogram's times begin with 0:00:00, and the PSG does not begin at "
            "midnight; expected the time of day, or seconds in a column onset"
        )
    earliest = psg.seconds / 2 - _DAY_S / 2
    onsets = [(seconds - begin - earliest) % _DAY_S + earliest for _, seconds in clocks]
    beside = min(onsets) < -_SLACK_S or max(onsets) > psg.seconds + _SLACK_S
    if beside and clocks[0][1] <= _SOON_S and max(s for _, s in clocks) < psg.seconds + _SLACK_S:
        raise UserError(
            f"{where}: as times of day the hypnogram's times lie beside the PSG, and as times "
            "since its begin they fit; expected the time of day, or seconds in a column onset"
        )
    return onsets


def check_date(text: str, psg: PsgTime, night: Night) -> None:
    """Refuses a date, in whatever order its parts are written, on which the PSG was not recorded.

    Args:
        text: begins with the date.

    Raises:
        UserError: it is another night's; the manifest can confirm that the dates do not count.
    """
    found = _DATE.match(text.strip())
    if found is None or "date" in night.hypnogram_confirm:
        return
    parts = [int(part) for part in found.groups()]
    first, last = psg.start - timedelta(days=1), psg.start + timedelta(seconds=psg.seconds, days=1)
    known = []
    for year, month, day in (parts, (parts[2], parts[1], parts[0]), (parts[2], *parts[:2])):
        with contextlib.suppress(ValueError):
            known.append(date(year + 2000 if year < 100 else year, month, day))
    if known and not any(first.date() <= each <= last.date() for each in known):
        raise UserError(
            f"night {night.night_id}: the hypnogram's times have another date than the PSG: one of "
            "the dates was made anonymous, or it is another night's; correct it, or confirm that "
            "the time of day alone counts (manifest column hypnogram_confirm: date)"
        )


def check_clock_was_not_set(spans: Sequence[Span], psg: PsgTime, night: Night) -> None:
    """Refuses times of day that jump by an hour, as clocks do where summer time ends or begins: all
    that follows would lie an hour beside its truth.

    Args:
        spans: stages in the order of the file.

    Raises:
        UserError: after midnight a stage begins an hour before the one before it ends; or an hour
            after, and the scoring lasts longer than the PSG.
    """
    timed = [(onset, onset + duration) for onset, duration, _ in spans if duration > 0]
    if not timed:
        return
    first, last = min(onset for onset, _ in timed), max(end for _, end in timed)
    for number, ((_, end), (onset, _)) in enumerate(itertools.pairwise(timed), 2):
        if (psg.start + timedelta(seconds=onset)).hour >= _SUMMER_TIME_HOUR:
            continue
        # A second scoring of the same hour begins where the first one did.
        back = abs(onset - end + _HOUR_S) <= 1 and onset > first + 60
        forward = abs(onset - end - _HOUR_S) <= 1 and last > psg.seconds + 60
        if back or forward:
            raise UserError(
                f"night {night.night_id}: before stage {number} of {len(timed)} the hypnogram's "
                f"clock goes {'back' if back else 'forward'} by an hour, as where summer time "
                f"{'ends' if back else 'begins'}; expected seconds in a column onset"
            )
