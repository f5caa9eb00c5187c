"""YASA's JSON: what `yasa.Hypnogram.to_json` writes since version 0.7 (src/yasa/hypno.py in
raphaelvallat/yasa): an object with `values` (words), `n_stages`, `freq` (a pandas offset such as
"30s"), `start` (ISO time or null), `scorer` and `proba`. Also a bare list of stages, one an epoch,
as the scorers' files of Dreem-Organization/dreem-learning-evaluation."""

import json
import re
from datetime import datetime
from typing import Any

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram.psg import seconds_after
from input_pipeline.readers.hypnogram.scored import Scored, Source
from input_pipeline.stages import STAGES

_FREQUENCY = re.compile(r"(\d{0,4}(?:\.\d{1,3})?) ?(s|S|sec|min|T)")


def read_yasa(text: str, source: Source) -> Scored:
    """Reads YASA's JSON.

    Raises:
        UserError: not such an object, fewer than five stages, or a value that is no stage.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{source.name}: not well-formed JSON") from None
    if isinstance(found, list):
        return Scored({"": source.sequence(_stages(found, source))})
    values = found.get("values") if isinstance(found, dict) else None
    if not isinstance(values, list) or not values:
        raise UserError(f'{source.name}: JSON without "values"; expected YASA\'s Hypnogram.to_json')
    if found.get("n_stages", len(STAGES)) != len(STAGES):
        raise UserError(f"{source.name}: other stages than the five W, N1, N2, N3, REM")
    stages = _stages(values, source)
    frequency = found.get("freq", "30s")
    length = _FREQUENCY.fullmatch(frequency) if isinstance(frequency, str) else None
    if length is None:
        raise UserError(f'{source.name}: "freq" of the JSON is no length such as 30s')
    stated = float(length[1] or 1) * (60 if length[2] in ("min", "T") else 1)
    start = found.get("start")
    spans = source.sequence(stages, stated=stated, timed=start is not None)
    if start is not None:
        try:  # the digits are the local time, whatever the zone
            moment = datetime.fromisoformat(start).replace(tzinfo=None)
        except (TypeError, ValueError):
            raise UserError(f'{source.name}: "start" of the JSON is no date and time') from None
        shift = seconds_after(moment, source.clock(), source.night)
        spans = [(onset + shift, duration, stage) for onset, duration, stage in spans]
    scorer = found.get("scorer")
    return Scored({scorer.strip() if isinstance(scorer, str) else "": spans})


def _stages(values: list[Any], source: Source) -> list[int]:
    if not all(isinstance(value, str | int | float) for value in values):
        raise UserError(f"{source.name}: a value in the JSON is neither a word nor a number")
    return [
        source.stage(str(value), f"{source.name}, value {k}") for k, value in enumerate(values, 1)
    ]
