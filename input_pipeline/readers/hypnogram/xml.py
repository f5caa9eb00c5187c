"""XML of Compumedics Profusion and of the National Sleep Research Resource (NSRR).

- Profusion (`CMPStudyConfig`, as in SHHS's `-profusion.xml`): `EpochLength`, and one `SleepStage`
  an epoch from the begin of the recording: 0 W, 1 to 3, 4 (N3), 5 REM, 6 movement, 9 unscored.
- NSRR (`PSGAnnotation`, as in SHHS's `-nsrr.xml`, Luna's "NSRR XML files"): `ScoredEvent`s with
  `Start` and `Duration` in seconds, whose `EventConcept` is "Stage 2 sleep|2" and the like; one
  may last many epochs.

The parser is Expat without document types, entities and other files.
"""

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram.events import stage_spans
from input_pipeline.readers.hypnogram.scored import Scored, Source
from input_pipeline.readers.hypnogram.vocabulary import SCHEMES, text_stage
from input_pipeline.stages import UNKNOWN

_MAX_DEPTH = 50
_MAX_TEXT = 1000
_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{0,12})?")


@dataclass
class _Document:
    """What is kept of a document: the root's name, stages, events, and the length of an epoch."""

    root: str = ""
    epoch_length: str = ""
    stages: list[tuple[int, str]] = field(default_factory=list)
    """Line and text of each `SleepStage`."""
    events: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Line and the texts of the children of each `ScoredEvent`."""


def read_xml(text: str, source: Source) -> Scored:
    """Reads Profusion's or NSRR's XML.

    Raises:
        UserError: not well formed, with a document type, of another program, or without stages.
    """
    document = _parse(text, source)
    if document.root == "CMPStudyConfig":
        return _profusion(document, source)
    if document.root == "PSGAnnotation":
        return _nsrr(document, source)
    raise UserError(
        f"{source.name}: an XML file of another program; expected one of Profusion "
        "(CMPStudyConfig) or of NSRR (PSGAnnotation)"
    )


def _parse(text: str, source: Source) -> _Document:
    parser = expat.ParserCreate("utf-8")  # the text is decoded already, whatever its head says
    parser.buffer_text = True
    document = _Document()
    path: list[str] = []
    content: list[str] = []

    def refuse(*_: object) -> None:
        raise UserError(
            f"{source.name}: the XML declares a document type or entities; expected plain XML"
        )

    def start(tag: str, _: dict[str, str]) -> None:
        path.append(tag)
        content.clear()
        if len(path) == 1:
            document.root = tag
        if len(path) > _MAX_DEPTH:
            raise UserError(f"{source.name}: XML elements more than {_MAX_DEPTH} deep")
        if tag == "ScoredEvent":
            document.events.append((parser.CurrentLineNumber, {}))

    def end(tag: str) -> None:
        value = "".join(content).strip()
        parent = path[-2] if len(path) > 1 else ""
        if tag == "SleepStage" and parent == "SleepStages":
            document.stages.append((parser.CurrentLineNumber, value))
        elif tag == "EpochLength":
            document.epoch_length = value
        elif parent == "ScoredEvent" and tag in ("EventType", "EventConcept", "Start", "Duration"):
            document.events[-1][1][tag] = value
        path.pop()
        content.clear()

    def characters(data: str) -> None:
        if sum(map(len, content)) < _MAX_TEXT:
            content.append(data[:_MAX_TEXT])

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise UserError(
            f"{source.name}: the XML is not well formed in line {error.lineno} "
            f"({expat.ErrorString(error.code)})"
        ) from None
    return document


def _epoch_length(document: _Document, source: Source) -> float | None:
    if not document.epoch_length:
        return None
    if not _NUMBER.fullmatch(document.epoch_length):
        raise UserError(f"{source.name}: the XML's EpochLength is not a number")
    return float(document.epoch_length)


def _profusion(document: _Document, source: Source) -> Scored:
    if not document.stages:
        raise UserError(f"{source.name}: Profusion XML without SleepStages")
    scheme = source.scheme or SCHEMES["profusion"]
    stages = [
        text_stage(value, scheme, f"{source.name} line {line}") if value else UNKNOWN
        for line, value in document.stages
    ]
    return Scored({"": source.sequence(stages, stated=_epoch_length(document, source))})


def _nsrr(document: _Document, source: Source) -> Scored:
    events = []
    for line, event in document.events:
        times = [event.get(key, "") for key in ("Start", "Duration")]
        if not all(map(_NUMBER.fullmatch, times)):
            if event.get("EventType", "").startswith("Stages"):
                raise UserError(f"{source.name} line {line}: a stage without Start and Duration")
            continue
        events.append((float(times[0]), float(times[1]), event.get("EventConcept", "")))
    spans, notes = stage_spans(events, source.night, source.scheme, "the hypnogram file")
    return Scored({"": spans}, notes)
