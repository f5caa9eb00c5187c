"""Stages that are annotations of an EDF+ or BDF+ file, of the PSG itself or of one beside it."""

from pathlib import Path

from input_pipeline.readers.edf import read_annotations
from input_pipeline.readers.hypnogram.events import stage_spans
from input_pipeline.readers.hypnogram.psg import seconds_after
from input_pipeline.readers.hypnogram.scored import Scored, Source


def read_annotated(path: Path, source: Source) -> Scored:
    """Reads the stages among the annotations of a file.

    Raises:
        UserError: the file cannot be read, holds no stages, or begins at another time than the PSG.
    """
    night = source.night
    inside = path in night.psg_files
    found = read_annotations(night.psg if inside else path, name=night.night_id)
    shift = 0.0 if inside else seconds_after(found.start, source.clock(), night)
    onsets, durations = (found.onset_s + shift).tolist(), found.duration_s.tolist()
    where = "the hypnogram file"
    if not night.hypnogram:
        where = "the PSG (and the manifest names no hypnogram)"
    events = list(zip(onsets, durations, found.text, strict=True))
    spans, notes = stage_spans(events, night, source.scheme, where)
    return Scored({"": spans}, [*([] if inside else found.notes), *notes])
