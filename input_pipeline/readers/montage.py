"""Which channel of a PSG is meant: electrodes, references and the habits of those who label them.

"EEG C3-A2", "C3M2", "c3_m2" and "C3:A2" are one derivation. Where electrodes are recorded against
another reference ("C3-REF" and "A2-REF"), a derivation is the difference of two channels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from input_pipeline.errors import UserError
from input_pipeline.foreign_text import describe

DEFAULT_CHANNELS = (
    "C4-M1",
    "C3-M2",
    "C4-M2",
    "C3-M1",
    "F4-M1",
    "F3-M2",
    "O2-M1",
    "O1-M2",
    "FPZ-CZ",
    "PZ-OZ",
)
"""Tried in this order when a night names no channel: AASM derivations, then those of Sleep-EDF."""

_LAST_RESORT = ("C4", "C3", "CZ")
"""Electrodes that serve against whatever common reference they were recorded with."""

_ELECTRODE = (  # the 10-10 system, A1 and A2 for the mastoids in the older notation
    "FPZ|FP[12]|AFZ|AF[3478]|FZ|F10|F[1-9]|FCZ|FC[1-6]|FT10|FT[789]|CZ|C[1-6]|CPZ|CP[1-6]|"
    "T10|T[3-9]|TP10|TP[789]|PZ|P10|P[1-9]|POZ|PO[34789]|OZ|O[12]|NZ|IZ|[AM][12]"
)
_COMMON = {  # references that all electrodes of a recording share
    "REF": r"REF|REFERENCE",
    "LE": r"C?LE|LM|A12|M12|A1[+/]?A2|M1[+/]?M2|\(A1\+A2\)/2|\(M1\+M2\)/2",
    "AVG": r"AVG|AVERAGE|AV|C?AR",
}
_ANY_COMMON = ("", *_COMMON)
_DERIVATION = re.compile(
    r"(?:(?:EEG|POL|PSG)[\s_:.-]*)?[(\[]?"
    rf"(?P<electrode>{_ELECTRODE})[)\]]?"
    rf"(?:[\s_:/.-]*[(\[]?(?:(?P<reference>{_ELECTRODE})|"
    + "|".join(rf"(?P<{name}>{pattern})" for name, pattern in _COMMON.items())
    + r")[)\]]?)?[\s_.-]*"
)
_WORDS = frozenset(  # of labels that may be shown; what else a label holds may be a patient's
    re.findall(
        r"\S+",
        """
        EEG EOG EMG ECG EKG CHIN SUBMENTAL SUBMENTALIS LEG LEGS TIB TIBIALIS ANTERIOR ARM L R LT RT
        LEFT RIGHT LEG1 LEG2 EMG1 EMG2 EMG3 ECG1 ECG2 CHIN1 CHIN2 LOC ROC E1 E2 EOGL EOGR HORIZONTAL
        VERTICAL AIRFLOW FLOW NASAL ORAL ORO ORONASAL THERM THERMISTOR PRESSURE CANNULA THO THORAX
        THORACIC THORACICO CHEST ABD ABDO ABDOMEN ABDOMINAL RESP RESPIRATION EFFORT RIP SUM SPO2
        SAO2 SATURATION PULSE PR HR PLETH SNORE SNORING MIC MICROPHONE SOUND AUDIO POSITION BODY
        LIGHT TEMP TEMPERATURE RECTAL EVENT EVENTS MARKER STATUS TRIGGER BATTERY IMPEDANCE CPAP LEAK
        CO2 ETCO2 TCCO2 PTT ACC SEC I II III V1 V2 V3 V4 V5 V6 1 2 3 4 5 6 7 8 9 REF DC
        """,
    )
)


@dataclass(frozen=True)
class Choice:
    """Positions of the signal to read and of the one to subtract, if there is one."""

    plus: int
    minus: int | None
    derivation: tuple[str, ...]
    """What is read, however the file spells it."""
    note: str | None = None
    """What a user should know of it."""


def meaning(label: str) -> tuple[str, ...]:
    """(electrode, reference) of a label: ("C3", "M2"); the reference is "" where none is stated.

    Other labels are one word, without the habits of their writer.
    """
    text = label.strip().upper()
    found = _DERIVATION.fullmatch(text)
    if not found:
        return (" ".join(re.split(r"[\s_:.-]+", text)),)
    reference = found["reference"] or next((name for name in _COMMON if found[name]), "")
    return tuple(re.sub("^A(?=[12]$)", "M", part) for part in (found["electrode"], reference))


def derivation(channel: str) -> str:
    """What was read, in one spelling, of a channel as `Signal.channel` names it: C3-M2 of "EEG
    C3-A2" and of "C3-REF - A2-REF"."""
    parts = [meaning(label) for label in channel.split(" - ")]
    if len(parts) == 2 and all(len(part) == 2 for part in parts):
        return f"{parts[0][0]}-{parts[1][0]}"
    return "-".join(filter(None, meaning(channel)))


def shown(label: str, position: int) -> str:
    """A label as messages may show it: itself if it is made of known words, else its position."""
    words = re.split(r"[\s_:./()+-]+", label.strip().upper())
    known = len(meaning(label)) == 2 or all(
        not word or word in _WORDS or re.fullmatch(_ELECTRODE, word) for word in words
    )
    return label if known and label else f"channel {position + 1}"


def choose(labels: Sequence[str | None], channel: str, *, name: str) -> Choice:
    """Finds the channel that is asked for.

    Args:
        labels: of all signals of the file; None for those that hold no samples.
        channel: see `read_signal`.
        name: what errors call the recording (a night_id).

    Raises:
        UserError: it is not there, or more than once.
    """
    meanings = [() if label is None else meaning(label) for label in labels]
    unique = _unique(labels)
    asked = [part.strip() for part in channel.split("|") if part.strip()]
    for want in asked or DEFAULT_CHANNELS:
        wanted = meaning(want)
        alike = [[i for i, label in enumerate(labels) if label == want]]
        alike.append([i for i, label in enumerate(unique) if label == want])
        alike.append([i for i, other in enumerate(meanings) if other == wanted])
        if wanted[1:] == ("",):
            alike.append([i for i, m in enumerate(meanings) if m in _with_common(wanted[0])])
        for found in filter(None, alike):
            if len(found) > 1:
                raise _ambiguous(want, found, labels, unique, name)
            return Choice(found[0], None, meanings[found[0]])
        if pairs := _differences(wanted, meanings):
            if len(pairs) > 1:
                both = sorted({i for pair in pairs for i in pair})
                raise _ambiguous(want, both, labels, unique, name)
            return Choice(*pairs[0], wanted)
    for electrode in () if asked else _LAST_RESORT:
        found = [i for i, m in enumerate(meanings) if m in _with_common(electrode)]
        if len(found) == 1:
            label = shown(labels[found[0]] or "", found[0])
            note = f"no EEG against a mastoid; {label} is read as it was recorded"
            return Choice(found[0], None, meanings[found[0]], note)
    raise _missing(asked, labels, unique, name)


def _with_common(electrode: str) -> list[tuple[str, str]]:
    return [(electrode, reference) for reference in _ANY_COMMON]


def _differences(
    wanted: tuple[str, ...], meanings: Sequence[tuple[str, ...]]
) -> list[tuple[int, int]]:
    """Pairs of channels with one reference whose difference is the derivation `wanted`."""
    if len(wanted) != 2 or not wanted[1] or wanted[1] in _COMMON:
        return []
    return [
        (i, j)
        for i, plus in enumerate(meanings)
        for j, minus in enumerate(meanings)
        if plus[:1] == wanted[:1] and minus[:1] == wanted[1:] and plus[1:] == minus[1:] and i != j
    ]


def _unique(labels: Sequence[str | None]) -> list[str]:
    """The labels with -0, -1, … after those that are there more than once, as MNE names them."""
    seen: dict[str, int] = {}
    names = []
    for label in labels:
        label = label or ""
        number = seen.get(label, 0)
        seen[label] = number + 1
        names.append(f"{label}-{number}" if labels.count(label) > 1 else label)
    return names


def _quoted(want: str) -> str:
    return repr(want) if shown(want, 0) == want else f"of {describe(want)}"


def _ambiguous(
    want: str, found: list[int], labels: Sequence[str | None], unique: list[str], name: str
) -> UserError:
    names = " or ".join(
        repr(unique[i]) if shown(labels[i] or "", i) == labels[i] else f"channel {i + 1}"
        for i in found
    )
    return UserError(
        f"night {name}: channel {_quoted(want)} is there {len(found)} times; name {names}"
    )


def _missing(
    asked: list[str], labels: Sequence[str | None], unique: list[str], name: str
) -> UserError:
    there = [
        unique[i]
        for i, label in enumerate(labels)
        if label is not None and shown(label, i) == label
    ]
    others = sum(label is not None for label in labels) - len(there)
    if others:
        there.append(f"{others} channel{'s' if others > 1 else ''} of other names")
    what = (
        "channel " + " or ".join(map(_quoted, asked))
        if asked
        else f"EEG channel among {', '.join(DEFAULT_CHANNELS)}"
    )
    return UserError(f"night {name}: no {what}; the PSG holds {', '.join(there) or 'no signals'}")
