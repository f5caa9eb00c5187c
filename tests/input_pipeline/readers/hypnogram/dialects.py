"""The same stages as files of many scoring programs, with a patient's name where it is usual.

What a stage or the length of all epochs is written with stands between two marks, so that a test
can damage everything else.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

START = datetime(2024, 1, 31, 23, 50, 3)
"""Of the PSG: 15 clips before midnight."""
NAME, BIRTH, REMARK = "Mustermann", "24.12.1957", "Kissen_fiel"
"""What no message may show."""

OPEN, CLOSE = "\x01", "\x02"
Labels = list[int]


def marked(text: str) -> str:
    return f"{OPEN}{text}{CLOSE}"


def plain(text: str) -> str:
    return text.replace(OPEN, "").replace(CLOSE, "")


def words(labels: Labels, *names: str) -> list[str]:
    """The words for W, N1, N2, N3, REM and unknown."""
    return [marked(names[label]) for label in labels]


def runs(labels: Labels) -> list[tuple[int, int, int]]:
    """(first clip, clips, label) of each run of equal labels."""
    edges = [0, *(k for k, (a, b) in enumerate(itertools.pairwise(labels), 1) if a != b)]
    ends = [*edges[1:], len(labels)]
    return [(a, b - a, labels[a]) for a, b in zip(edges, ends, strict=True)]


def spaced(labels: Labels) -> str:
    rows = [f'"{30 * k}"; "30"; "{w}"\n' for k, w in enumerate(words(labels, *AASM))]
    return '"Onset (s)"; "Duration (s)"; "Sleep Stage"\n' + "".join(rows)


def clock(seconds: float, form: str = "%H:%M:%S") -> str:
    return (START + timedelta(seconds=seconds)).strftime(form)


AASM = ("W", "N1", "N2", "N3", "R", "?")


def csv_rows(labels: Labels) -> str:
    rows = [f"{30 * k},30,{w},{REMARK}\n" for k, w in enumerate(words(labels, *AASM))]
    return "onset,duration,stage,remark\n" + "".join(rows)


def ids(labels: Labels) -> str:
    names = words(labels, "W", "N1", "N2", "N3", "REM", "UNKNOWN")
    return "".join(f"{30 * a},{30 * n},{names[a]}\n" for a, n, _ in runs(labels))


def csv_runs(labels: Labels) -> str:
    names = words(labels, "Wake", "NREM1", "NREM2", "NREM3", "REM", "Unscored")
    rows = [f"{30 * a};{30 * (a + n)};{names[a]}\n" for a, n, _ in runs(labels)]
    return "Start;End;Sleep stage\r\n" + "".join(rows)


def quoted(labels: Labels) -> str:
    rows = [f'"{k + 1}",{30 * k},30,"{w}"\n' for k, w in enumerate(words(labels, *AASM))]
    return '"","onset","duration","stage"\n' + "".join(rows)


def clock_times(labels: Labels) -> str:
    names = words(labels, "WK", "N1", "N2", "N3", "REM", "")
    rows = [f"{k + 1};{clock(30 * k)};{word}\n" for k, word in enumerate(names)]
    return "Epoch;Time;Stage\n" + "".join(rows)


def dated_times(labels: Labels) -> str:
    rows = [
        f"{clock(30 * k, '%Y-%m-%dT%H:%M:%S.0')}\t{word}\t30\n"
        for k, word in enumerate(words(labels, "S0", "S1", "S2", "S4", "REM", "MT"))
    ]
    return "Start time\tStage\tDuration (s)\n" + "".join(rows)


def half_days(labels: Labels) -> str:
    names = words(labels, "Wake", "Stage 1", "Stage 2", "Stage 3", "REM", "Unknown")
    rows = [f"{clock(30 * k, '%m/%d/%Y %I:%M:%S %p')},{w}\n" for k, w in enumerate(names)]
    return "Time,Stage\n" + "".join(rows)


def remlogic(labels: Labels) -> str:
    names = [f"SLEEP-{name}" for name in ("S0", "S1", "S2", "S3", "REM", "UNSCORED")]
    rows = []
    for k, word in enumerate(words(labels, *names)):
        rows.append(f"W\tUnknown Position\t{clock(30 * k)}\t{word}\t30\tROC-LOC\n")
        rows.append(f"W\tUnknown Position\t{clock(30 * k + 7)}\tMCAP-A1\t5\tF4-C4\n")
    preamble = f"RemLogic Event Export\nPatient:\t{NAME}\nBirth date:\t{BIRTH}\n"
    preamble += f"Notes, 30; {REMARK}\n\n"
    header = "Sleep Stage\tPosition\tTime [hh:mm:ss]\tEvent\tDuration[s]\tLocation\n"
    return preamble + header + "".join(rows)


def embla(labels: Labels) -> str:
    names = [f"Sleep stage {name}" for name in ("W", "N1", "N2", "N3", "R", "?")]
    rows = [f"{clock(30 * k)}\t{word}\t30\n" for k, word in enumerate(words(labels, *names))]
    events = [f"{clock(11)}\tHypopnea\t14\n"]
    return f"Name: {NAME}\r\nBorn: {BIRTH}\r\nTime [hh:mm:ss]\tEvent\tDuration[s]\r\n" + "".join(
        rows[:1] + events + rows[1:]
    )


def bids_events(labels: Labels) -> str:
    names = words(labels, "Wake", "N1", "N2", "N3", "REM", "n/a")
    rows = [f"{30 * a:.1f}\t{30 * n}\t{names[a]}\t{REMARK}\n" for a, n, _ in runs(labels)]
    return "onset\tduration\ttrial_type\tnote\n4.5\tn/a\tlights_off\tn/a\n" + "".join(rows)


def bids_hypnogram(labels: Labels) -> str:
    rows = [f"{30.0 * k}\t30.0\t{w}\n" for k, w in enumerate(words(labels, *AASM[:5], "n/a"))]
    return "onset\tduration\tstage\n" + "".join(rows)


def nsrr(labels: Labels) -> str:
    names = ("Wake|0", "Stage 1 sleep|1", "Stage 2 sleep|2", "Stage 4 sleep|4", "REM sleep|5")
    events = [("Respiratory|Respiratory", "Hypopnea|Hypopnea", 40.2, 12.5)]
    for a, n, label in runs(labels):
        events.append(("Stages|Stages", marked((*names, "Unscored|9")[label]), 30 * a, 30 * n))
    rows = "".join(
        f"<ScoredEvent>\n<EventType>{kind}</EventType>\n<EventConcept>{concept}</EventConcept>\n"
        f"<Start>{start:.1f}</Start>\n<Duration>{seconds:.1f}</Duration>\n</ScoredEvent>\n"
        for kind, concept, start, seconds in events
    )
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<PSGAnnotation><Remark>{NAME}</Remark>\n'
    length = f"<EpochLength>{marked('30')}</EpochLength>\n"
    return f"{head}{length}<ScoredEvents>\n{rows}</ScoredEvents></PSGAnnotation>\n"


def profusion(labels: Labels) -> str:
    rows = [f"<SleepStage>{w}</SleepStage>\n" for w in words(labels, "0", "1", "2", "3", "5", "9")]
    head = f"<CMPStudyConfig><Patient>{NAME}</Patient><EpochLength>{marked('30')}</EpochLength>\n"
    return f"{head}<SleepStages>\n{''.join(rows)}</SleepStages></CMPStudyConfig>"


def yasa(labels: Labels) -> str:
    names = ("WAKE", "N1", "N2", "N3", "REM", "UNS")
    values = {"values": words(labels, *names), "n_stages": 5, "freq": marked("30s")}
    rest = {"start": marked(f"{START.isoformat()}+01:00"), "scorer": None, "proba": None}
    text = json.dumps({**values, **rest}, indent=2)
    return text.replace("\\u0001", OPEN).replace("\\u0002", CLOSE)


def one_a_line(labels: Labels) -> str:
    return "\n".join(words(labels, "W", "S1", "S2", "S3", "REM", "?")) + "\n"


def one_line(labels: Labels) -> str:
    cells = words(labels, "W", "N1", "N2", "N3", "R", "")
    return ",".join([*cells[:-1], *words(labels[-1:], *AASM)]) + ",\n"


def elan(labels: Labels) -> str:
    numbers = words([label for label in labels for _ in range(30)], "0", "1", "2", "3", "5", "-1")
    head = f"time_base {marked('1.000000')}\nsampling_period 0.01\nepoch_nb {len(numbers)}\n"
    return head + "epoch_list\n" + "\n".join(numbers) + "\n"


def stage_ends(labels: Labels) -> str:
    names = words(labels, "Wake", "N1", "N2", "N3", "REM", "Art")
    rows = [f"{names[a]}\t{30.0 * (a + n)}\n" for a, n, _ in runs(labels)]
    return f"*Duration_sec\t{30.0 * len(labels)}\n*Subject\t{NAME}\n" + "".join(rows)


@dataclass(frozen=True)
class Dialect:
    write: Callable[[Labels], str]
    timed: bool = True
    """Whether each stage stands with its time, so that a lost line moves no other."""
    night: dict[str, Any] = field(default_factory=dict)
    """Columns of the manifest that the file needs."""


SEQUENCE = {"hypnogram_epoch_s": 30.0}
DIALECTS = {
    **{
        write.__name__: Dialect(write)
        for write in (
            *(csv_rows, csv_runs, ids, quoted, spaced, clock_times, dated_times, half_days),
            *(remlogic, embla, bids_events, bids_hypnogram, nsrr),
        )
    },
    "profusion": Dialect(profusion, timed=False),
    "yasa": Dialect(yasa, timed=False),
    "one_a_line": Dialect(one_a_line, timed=False, night=SEQUENCE),
    "one_line": Dialect(one_line, timed=False, night=SEQUENCE),
    "elan": Dialect(elan, timed=False),
    "stage_ends": Dialect(stage_ends, timed=False),
}
