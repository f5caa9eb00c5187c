"""Clock times, odd headers, and what a table must not leave open."""

import itertools
from datetime import timedelta

import pytest

from input_pipeline.errors import UserError

from .dialects import START, clock


def test_clock_times_before_the_psg_and_across_midnight(read):
    rows = [f"{clock(30 * k)};W\n" for k in range(-2, 40)]
    hypnogram = read("Uhrzeit;Stadium\n" + "".join(rows))
    assert hypnogram.onset_s.tolist() == [30.0 * k for k in range(-2, 40)]


def test_epochs_that_are_left_out_stay_out(read):
    rows = [f"{k};{clock(30 * k - 30)};N2\n" for k in (1, 2, 5, 6)]
    assert read("Epoch;Time;Stage\n" + "".join(rows)).stage.tolist() == [2, 2, -1, -1, 2, 2]


def test_seconds_are_preferred_to_clock_times(read):
    text = "Date,Time,Recording onset,Duration,Annotation\n" + "".join(
        f"2001-01-01,{clock(30 * k)},{30 * k},30,Sleep stage {stage}\n"
        for k, stage in enumerate(("W", "N1", "N2", "N3", "R"))
    )
    assert read(text).stage.tolist() == [0, 1, 2, 3, 4]


def test_a_date_that_was_made_anonymous(read):
    text = f"Time,Stage,Duration\n1985-01-01 {clock(60)},N2,60\n"
    with pytest.raises(UserError, match="times of day agree.*hypnogram_confirm: date"):
        read(text)
    assert read(text, hypnogram_confirm="date").onset_s.tolist() == [60, 90]


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%d/%m/%y, %H:%M:%S", "%d-%m-%Y;%H:%M:%S"]
)
def test_the_date_of_another_night_in_any_order(read, form):
    head = "Date;Time;Stage\n" if ";" in form else "Time;Stage\n"
    for day in (0, 20):
        rows = [f"{clock(86400 * day + 30 * k, form)};N2\n" for k in range(20)]
        text = head + "".join(rows)  # the first half before midnight
        if day:
            with pytest.raises(UserError, match="another date than the PSG"):
                read(text)
        found = read(text, hypnogram_confirm="date" if day else "")
        assert found.onset_s.tolist() == [30.0 * k for k in range(20)]


def minutes() -> str:
    rows = [f"{k / 2},0.5,N{1 + k // 20}\n" for k in range(60)]
    return "onset,duration,stage\n" + "".join(rows)


def epochs(head: str, end: int, step: int, form: str, less: int = 0) -> str:
    """Rows of the begin and the end of each step, and a stage."""
    rows = [form.format(k, k + step + less, 1 + k // step % 3) for k in range(0, end, step)]
    return "\n".join([head, *rows])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Epoch;Time;Stage\n1;23:50:03;W\n2;00:50:33;W\n3;00:51:03;W\n", "line 3: .*clock changed"),
        ("Time,Stage\n25:00:00,W\n", "line 2: the onset is neither seconds nor a time of day"),
        ("Time,Stage\n2024-13-41 22:00:00,W\n", "a date in the hypnogram is no date"),
        ("When,Stage\n23:50:03,W\n", "line 1: times, but no column .*; is it column 1"),
        ("duration,stage\n60,W\n30,N1\n", "line 1: times, but no column"),
        ("onset,duration,stage\n0,30,W,Erika\n", "line 2: 4 cells, expected 3"),
        ("0,30,W\n30,30,N1,x\n", "line 2: 4 cells, expected 3"),
        # No names of rows: an empty last cell, other numbers, and one row that has none.
        ("onset,duration,stage\n1,0,30,\n", "line 2: 30 is no|line 2: the number 30"),
        ("onset,duration,stage\n2,0,30,W\n", "line 2: 4 cells, expected 3"),
        ("onset,duration,stage\n1,0,30,W\n2,30,30,W\n3,60,30,W\n90,30,W\n", "line 5: 3 cells"),
        ("onset duration phase\n0 30 W\n", "line 1: .* is no stage"),
        ("onset duration stage\n0 30 Sleep stage W\n", "line 2: 5 cells, expected 3"),
        ("23:50:03,30,W\n23:50:33,30,W\n", "line 1: "),
        ("label\nW\nN1\n", "line 1: 5 characters .letters. is no stage"),
        ("onset,duration,stage\n", "a header in line 1, but no stages"),
        ("onset,duration,stage\nn/a,30,W\n", "line 2: onset and duration must be seconds"),
        ("onset,duration,stage\n0,30,Erika\n", "line 2: 5 characters .letters. is no stage"),
        ("onset,duration,stage\n0,10,W\n20,10,W\n40,10,W\n", "no 30 s are scored in one piece"),
        ("onset,duration,stage,x\n0,30,W,SLEEP-S2\n", "line 2: column 4 holds stages as well"),
        ("onset,duration,Erika,Otto\n0,30,W,W\n", "line 1: columns onset, duration, but none of"),
        ("onset,stage\n0,W\n90,N1\n", "open how long each lasts"),
        ("Time,Stage\n0:00:00,W\n0:00:30,W\n", "times begin with 0:00:00"),
        ("Time,Stage\n0:00:30,W\n0:29:30,W\n", "as times since its begin they fit"),
        ("Time;Duration;Stage\n23:51;30;N2\n23:51;30;N2\n", "line 3: the same onset .* seconds"),
        (minutes(), "its times end at 30, and the PSG lasts 1800 s: are they minutes"),
        (epochs("time,stage", 60, 1, "{0},N{2}"), "its times end at 59, .*: are they epochs"),
        (epochs("start,end,stage", 60, 3, "{0},{1},N{2}"), "its times end at 60, .* epochs"),
        (epochs("onset,duration,stage", 54_000, 1800, "{0},1800,N{2}"), "milliseconds or samples"),
        (epochs("start_epoch,end_epoch,stage", 9, 3, "{0},{1},N{2}"), "column 1 may say when"),
        (epochs("epoch,last epoch,stage", 9, 3, "{0},{1},N{2}"), "column 2 may say when"),
        (epochs(",stage", 9, 1, "{0},N{2}") + "\n11,W", "line 11: .* column 1 jump, .* epoch"),
        (epochs("t_s;stage", 5, 1, "{0},5;N{2}"), "line 2: .* column 1 begin neither with 0 nor"),
        (epochs("sample,stage", 99, 9, "{0},N{2}") + "\n107.9,W", "line 13: .* column 1 jump"),
        (epochs("onset,end,stage", 1800, 30, "{0},{1}.5,N{2}", -1), "no 30 s have one stage all"),
        (epochs("onset,duration,stage", 1800, 30, "{0},1,N{2}"), "no 30 s have one stage all"),
    ],
)
def test_what_is_wrong_with_a_table(read, text, message):
    with pytest.raises(UserError, match=message) as raised:
        read(text)
    assert "Erika" not in str(raised.value)


def set_clock(hours: int, unscored: int = 0, form: str = "%H:%M:%S") -> str:
    """A night of 4 min from 23:50:03 on and of 4 min from 01:56 on, when the clock is set."""
    asleep = 7200 - 243  # 01:52:00
    moments = [30.0 * k for k in range(8)] + [asleep + 30.0 * k for k in range(8)]
    moments += [asleep + 240 + 3600.0 * hours + 30 * (k + unscored) for k in range(4)]
    rows = [f"{clock(moment, form)};30;N{1 + k % 3}\n" for k, moment in enumerate(moments)]
    return "Time;Duration;Stage\n" + "".join(rows)


@pytest.mark.parametrize("form", ["%H:%M:%S", "%Y-%m-%dT%H:%M:%S"])
def test_a_clock_that_is_set_in_the_night_moves_no_stage(read, form):
    for hours, words in ((-1, "back by an hour, .* ends"), (1, "forward by an hour, .* begins")):
        with pytest.raises(UserError, match=f"before stage 17 of 20 .* goes {words}"):
            read(set_clock(hours, form=form))
    whole = read(set_clock(0, form=form))
    assert whole.onset_s[-1] == 7200 - 243 + 11 * 30 and whole.stage[-1] == 2
    pause = read(set_clock(1, unscored=3, form=form))  # nobody scored for an hour and more
    assert pause.onset_s[-1] == 7200 - 243 + 3600 + 14 * 30


@pytest.mark.parametrize(
    ("count", "end", "unit"),
    [
        (25, 30.55, "minutes"),
        (25, 29.45, "minutes"),
        (20, 30, "minutes"),
        (19, 30, None),  # so few may cover a small part of a night
        (25, 30.7, None),  # two hundredths beside the PSG are too many
        (25, 29.3, None),
        (25, 60.5, "epochs"),
        (25, 90.8, "epochs"),
        (25, 93, None),
    ],
)
def test_times_that_would_fill_the_psg_in_another_unit(read, count, end, unit):
    """A PSG of 30 minutes."""
    edges = [end * k / count for k in range(count + 1)]
    rows = [f"{a:.6f},{b:.6f},N2\n" for a, b in itertools.pairwise(edges)]
    text = "onset,end,stage\n" + "".join(rows)
    if unit:
        with pytest.raises(UserError, match=f"times end at {end:g}, .*: are they {unit}"):
            read(text)
    elif end >= 30:
        assert read(text).stage.tolist() == [2] * int(end // 30)
    if end > 30:
        assert set(read(text, hypnogram_epoch_s=30).stage.tolist()) == {2}


@pytest.mark.parametrize(
    ("text", "stages", "first"),
    [
        ("Time,Duration,Stage\n23:50:33,30,W\n", [0], 30),  # one row
        ("Time;Duration;Stage\n23:51;60;N2\n23:52;60;N1\n", [2, 2, 1, 1], 57),
        # Events at one moment, to the second; and some that say none.
        (
            "Time;Duration;Event\n23:50:03;30;Sleep stage W\n23:50:03;5;remark\n"
            "23:50:33;30;Sleep stage N2\nn/a;5;remark\nn/a;5;remark\n",
            [0, 2],
            0,
        ),
        ("0,30,W\n60,30,N2\n30,15,N1", [0, -1, 2], 0),  # the last row counts once
        ("\n0,30,W\n30,30,N1\n", [0, 1], 0),
        ("# Hypnogram\nonset,duration,stage\n0,30,W\n30,30,N1\n", [0, 1], 0),
        ("# stage\nW\nN1\n", [0, 1], 0),
        ("No.,StartTime,Label\n1,23:50:33,WK\n2,23:51:03,N2\n", [0, 2], 30),
        ("Time [hh:mm:ss.xxx]\tDuration[s]\tStage\n23:50:03.000\t60\tN2\n", [2, 2], 0),
        # Numbers of every row from the begin on, those of two rows, and some that are no numbers.
        (epochs(",stage", 6, 1, "{0},N{2}"), [1, 2, 3, 1, 2, 3], 0),
        (epochs("sample,stage", 54, 9, "{1},N{2}"), [1, 2, 3, 1, 2, 3], 0),
        (epochs(",stage", 5, 1, "{1},N{2}"), [1, 2, 3, 1, 2], 0),
        ("x,stage\n0.2,W\n0.7,N1\n0.8,W", [0, 1, 0], 0),
        ("x,stage\n2,W\n3,N1\n4,W\n4,W\n5,W", [0, 1, 0, 0, 0], 0),
    ],
)
def test_what_a_table_leaves_open_harmlessly(read, text, stages, first):
    found = read(text)
    assert (found.stage.tolist(), found.onset_s[0]) == (stages, first)


def test_scorers_in_rows_and_columns_of_one_name(read):
    rows = "Time;Duration;Stage;Scorer\n23:51;60;W;a\n23:51;60;N1;b\n"
    columns = "onset,duration,stage,stage\n0,30,W,N1\n"
    for text in (rows, columns):
        assert set(read(text, scorer="1").stage) == {0}
        assert set(read(text, scorer="2").stage) == {1}


def test_a_time_may_be_a_second_beside_its_epochs_number(read):
    text = "Epoch,onset,Stage\n1,0,W\n2,{},N1\n3,60,N2\n"
    assert read(text.format(30.9)).stage.tolist()[0] == 0
    with pytest.raises(UserError, match="line 3: the epoch's number and its time do not agree"):
        read(text.format(31.2))


def test_dates_of_some_rows_are_those_of_the_psg(read):
    head, rest = "Time,Duration,Stage\n", "23:50:33,30,N1\n"
    assert read(f"{head}2024-01-31 23:50:03,30,W\n{rest}").stage.tolist() == [0, 1]
    with pytest.raises(UserError, match="another date than the PSG"):
        read(f"{head}2024-01-11 23:50:03,30,W\n{rest}")


def test_bare_words_of_events_are_none_where_a_column_holds_the_stages(read):
    assert read("onset,duration,stage,event\n0,30,W,REM\n30,30,N2,REM\n").stage.tolist() == [0, 2]


def test_an_event_without_a_time_hides_no_clock_that_is_set(read):
    text = set_clock(-1).replace("Stage", "Event").replace(";N", ";Sleep stage N")
    with pytest.raises(UserError, match="before stage 17 of 20 .* goes back by an hour"):
        read(text + "n/a;5;remark\n")


def test_cells_that_are_left_out_at_the_end_of_a_row(read):
    assert read("onset,duration,stage,remark,x\n0,30,W\n30,30,N1,a\n").stage.tolist() == [0, 1]


def test_a_night_of_wake_that_is_scored_to_the_middle_of_a_clip(read):
    found = read("onset,duration,stage\n0,75,W\n75,15,N1\n")
    assert found.stage.tolist() == [0, 0, -1] and found.mixed == 1


def test_rows_of_events_without_a_time(read):
    head = "onset\tduration\ttrial_type\n"
    assert read(head + "n/a\tn/a\tremark\n0\t60\tN2\n").stage.tolist() == [2, 2]
    with pytest.raises(UserError, match="line 2: a stage without onset"):
        read(head + "n/a\t30\tN1\n0\t60\tN2\n")


def test_a_column_of_values_holds_the_stages_where_events_name_none(read):
    head = "onset\tduration\ttrial_type\tvalue\n"
    text = head + "0\t30\tsleep\t0\n30\t30\tsleep\t4\n"
    assert read(text, hypnogram_scheme="aasm").stage.tolist() == [0, 4]
    assert read(head + "0\t30\tWake\t7\n30\t30\tN2\t9\n").stage.tolist() == [0, 2]


def test_durations_of_hours_minutes_and_seconds(read):
    head = "onset,duration,stage,remark\n"
    text = head + "0,00:00:30,W,\n30,00:01:00,N1,x\n,,,\n90,30,N2,\n"
    assert read(text).stage.tolist() == [0, 1, 1, 2]
    with pytest.raises(UserError, match="line 2: the duration is not in seconds"):
        read(head + "0,00:30,W,\n")


def test_the_length_of_numbered_epochs_is_that_of_their_times(read):
    rows = [f"{k};{clock(80 + 20 * k)};N{1 + k // 4}\n" for k in range(1, 7)]
    found = read("Epoch;Time;Stage\n" + "".join(rows))
    assert found.onset_s.tolist() == [100, 130, 160, 190] and found.stage.tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("zone", ["", "+00:00", ".000000+01:00"])
def test_seconds_of_mne_count_from_their_origin(read, zone):
    text = (
        "# MNE-Annotations\n# orig_time : {}\n# onset, duration, description\n"
        "5.5, 30.0, Sleep stage W\n35.5, 30.0, Sleep stage 2\n"
    )
    found = read(text.format(f"{START + timedelta(seconds=60):%Y-%m-%d %H:%M:%S}{zone}"))
    assert (found.stage.tolist(), found.onset_s.tolist()) == ([0, 2], [65.5, 95.5])
    with pytest.raises(UserError, match="begins on another date than the PSG"):
        read(text.format(f"{START - timedelta(days=9):%Y-%m-%d %H:%M:%S}{zone}"))
    with pytest.raises(UserError, match="its orig_time is no date and time"):
        read(text.format("2024-31-01 22:15:03"))
