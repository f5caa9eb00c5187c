"""Times of day on the clock of a PSG."""

from datetime import datetime, timedelta

import pytest

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.hypnogram.psg import (
    PsgTime,
    check_clock_was_not_set,
    check_date,
    clock_onsets,
    parse_clock,
    seconds_after,
)

from .dialects import START

NIGHT = Night("n", "s", None, None)
HOUR, DAY = 3600.0, 86400.0
PSG = PsgTime(START, 8 * HOUR)
"""From 23:50:03 on."""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("22:15:03", (None, 80103)),
        ("22.15.03", (None, 80103)),
        (" 7:05 ", (None, 25500)),
        ("2024-01-31T22:15:03.5", ("2024-01-31", 80103.5)),
        ("2024-01-31 22:15:03,25", ("2024-01-31", 80103.25)),
        ("31.01.2024, 22:15:03", (None, 80103)),
        ("10:15:03 PM", (None, 80103)),
        ("10:15:03 a.m.", (None, 36903)),
        ("12:00:01 AM", (None, 1)),
        ("12:00:01pm", (None, 43201)),
        ("1:00 am", (None, 3600)),
        ("23:59:59.9", (None, 86399.9)),
        ("00:00:00", (None, 0)),
        *((text, None) for text in ("24:00:00", "23:60:00", "23:59:60", "22:15.03", "22", "W")),
        *((text, None) for text in ("0:15 AM", "13:15 PM", "22:15:03" + " " * 52)),
    ],
)
def test_clock_times(text, found):
    assert parse_clock(text) == (None if found is None else pytest.approx(found))


@pytest.mark.parametrize("shift", [-DAY + 1, -60.0, 0.0, 8 * HOUR, DAY - 1])
def test_a_file_begins_within_a_day_of_the_psg(shift):
    assert seconds_after(START + timedelta(seconds=shift), PSG, NIGHT) == shift


def test_a_file_of_another_date():
    confirmed = Night("n", "s", None, None, hypnogram_confirm="date")
    for days in (-9999, -1, 1, 365):
        for rest in (-HOUR, 0.0, 120.5, 8 * HOUR):
            start = START + timedelta(days=days, seconds=rest)
            if -DAY < days * DAY + rest < DAY:
                continue
            assert seconds_after(start, PSG, confirmed) == rest
            with pytest.raises(UserError, match="times of day agree"):
                seconds_after(start, PSG, NIGHT)
        for rest in (-HOUR - 1, 8 * HOUR + 1):
            start = START + timedelta(days=2 * days, seconds=rest)
            with pytest.raises(UserError, match="at another time of day"):
                seconds_after(start, PSG, NIGHT)
    midnight = START.replace(hour=0, minute=0, second=0)
    for begin in (-1, 0, 1):
        psg = PsgTime(midnight + timedelta(seconds=begin), HOUR)
        assert seconds_after(midnight + timedelta(days=9), psg, confirmed) == -begin
    for begin in (-2, 2):
        psg = PsgTime(midnight + timedelta(seconds=begin), HOUR)
        with pytest.raises(UserError, match="its time was removed"):
            seconds_after(midnight + timedelta(days=9), psg, confirmed)
    for start, refused in (("00:05", True), ("11:59", True), ("12:00", False), ("23:50", False)):
        zero = datetime.fromisoformat(f"1970-01-01T{start}:00")
        if refused:
            with pytest.raises(UserError, match="dated 1970-01-01, .* seconds in a column onset"):
                seconds_after(zero, PSG, confirmed)
        else:
            seconds_after(zero, PSG, confirmed)
        soon = PsgTime(zero + timedelta(days=9, minutes=1), HOUR)
        assert seconds_after(zero, soon, confirmed) == -60
    long = PsgTime(START, 3 * DAY)
    assert seconds_after(START + timedelta(days=2), long, NIGHT) == 2 * DAY


def of(*seconds):
    """Clock times so long after the PSG's begin."""
    return [parse_clock(f"{START + timedelta(seconds=after):%H:%M:%S}") for after in seconds]


def test_times_without_dates_lie_around_the_middle_of_the_psg():
    for psg in (PSG, PsgTime(START, DAY)):
        middle = psg.seconds / 2
        after = [0.0, 600.0, middle - DAY / 2, middle + DAY / 2 - 1, psg.seconds - 1, -3.0]
        after = [max(each, middle - DAY / 2) for each in after]
        assert clock_onsets(of(*after), psg, NIGHT) == after
    assert clock_onsets([], PSG, NIGHT) == []
    dated = [("2001-01-01", 85803.0), (None, 85833.0)]  # not all have dates: none counts
    assert clock_onsets(dated, PSG, NIGHT) == [0.0, 30.0]
    with pytest.raises(UserError, match="longer than a day"):
        clock_onsets(of(0.0), PsgTime(START, DAY + 1), NIGHT)


@pytest.mark.parametrize(
    ("begin", "refused"), [(-600.0, True), (-2.0, True), (-1.0, False), (1.0, False), (2.0, True)]
)
def test_times_from_midnight_on_are_of_a_psg_from_midnight_on(begin, refused):
    psg = PsgTime(START.replace(hour=0, minute=0, second=0) + timedelta(seconds=begin), 8 * HOUR)
    clocks = [(None, 0.0), (None, 30.0)]
    if refused:
        with pytest.raises(UserError, match="begin with 0:00:00"):
            clock_onsets(clocks, psg, NIGHT)
    else:
        assert clock_onsets(clocks, psg, NIGHT) == [-begin, 30 - begin]


@pytest.mark.parametrize(
    ("begin", "clocks", "refused"),
    [
        (0, (30, 28859), False),
        (-597, (30, 28263), False),  # ends a minute after the PSG
        (-597, (30, 28264), True),
        (-597, (600, 28859), True),
        (-597, (601, 28859), False),
        (-597, (30, 28860), False),
        (360, (300, 330), False),  # begins a minute before it
        (361, (300, 330), True),
        (361, (330, 300), True),
    ],
)
def test_times_that_fit_as_times_since_the_begin_alone(begin, clocks, refused):
    psg = PsgTime(START.replace(hour=0, minute=0, second=0) + timedelta(seconds=begin), 8 * HOUR)
    given = [(None, float(clock)) for clock in clocks]
    if refused:
        with pytest.raises(UserError, match="as times since its begin they fit"):
            clock_onsets(given, psg, NIGHT)
    else:
        assert clock_onsets(given, psg, NIGHT) == [clock - begin for clock in clocks]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        *((f"{day}T22:00", False) for day in ("2024-01-30", "2024-01-31", "2024-02-02")),
        *((f"{day}T22:00", True) for day in ("2024-01-29", "2024-02-03", "2023-01-31")),
        *((day, False) for day in ("31.1.2024", "1/31/2024", "31/01/24", " 2/1/24 22:00")),
        *((day, True) for day in ("31.1.2023", "3/1/2024", "1.31.23", "4.5.06")),
        *((text, False) for text in ("22:15", "", "99.99.9999")),
    ],
)
def test_dates_in_any_order_are_of_the_night(text, refused):
    """From 31 January 2024, 23:50, to the next morning, and a day on either side."""
    check_date(text, PSG, Night("n", "s", None, None, hypnogram_confirm="date"))
    if refused:
        with pytest.raises(UserError, match="another date than the PSG"):
            check_date(text, PSG, NIGHT)
    else:
        check_date(text, PSG, NIGHT)


@pytest.mark.parametrize(
    ("end", "onset", "lasts", "said"),
    [
        *((7200.0, 3600.0 + late, 8 * HOUR, "back") for late in (-1, 0, 1)),
        *((7200.0, 3600.0 + late, 8 * HOUR, "") for late in (-2, 2)),
        (4261.0, 661.0, 8 * HOUR, "back"),
        (4260.0, 660.0, 8 * HOUR, ""),  # as good as a second scoring from the first stage on
        (4200.0, 600.0, 8 * HOUR, ""),
        *((7200.0, 10800.0 + late, 10740.0 + late, "forward") for late in (-1, 0, 1)),
        *((7200.0, 10800.0 + late, 10740.0, "") for late in (-2, 2)),
        (7200.0, 10800.0, 10741.0, ""),  # it ends a minute after the PSG
        (22196.0, 18596.0, 8 * HOUR, "back"),  # 04:59:59
        (22197.0, 18597.0, 8 * HOUR, ""),
    ],
)
def test_a_clock_that_was_set(end, onset, lasts, said):
    spans = [(600.0, 1.0, 0), (end - 1, 1.0, 1), (onset, 1.0, 2)]
    psg = PsgTime(START, lasts)
    if said:
        with pytest.raises(UserError, match=f"before stage 3 of 3 .* goes {said} by an hour"):
            check_clock_was_not_set(spans, psg, NIGHT)
    else:
        check_clock_was_not_set(spans, psg, NIGHT)
        check_clock_was_not_set([], psg, NIGHT)
