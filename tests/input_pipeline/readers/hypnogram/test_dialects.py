"""Stages come back label by label from every dialect, and no damage moves one in time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from input_pipeline.errors import UserError

from .dialects import BIRTH, CLOSE, DIALECTS, NAME, OPEN, REMARK, plain

LABELS = st.lists(st.integers(-1, 4), min_size=1, max_size=59)
NIGHT = [0, 0, 1, 2, 2, 3, 3, 2, -1, 4, 4, 0, 1, 1, 2, 3, 4, 4, 0, 0] * 2
MANY = pytest.mark.parametrize("dialect", DIALECTS)


@MANY
def test_a_night_in_every_dialect(read, dialect):
    labels = NIGHT if dialect in ("one_a_line", "one_line") else [*NIGHT, *NIGHT[:20]]
    hypnogram = read(plain(DIALECTS[dialect].write(labels)), **DIALECTS[dialect].night)
    assert hypnogram.stage.tolist() == labels
    np.testing.assert_allclose(hypnogram.onset_s, 30.0 * np.arange(len(labels)))
    untimed = dialect in ("one_a_line", "one_line")
    assert len(hypnogram.notes) == untimed
    assert not untimed or "the stages end 600 s before the PSG" in hypnogram.notes[0]


@MANY
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_and_line_ends(read, dialect, encoding):
    text = plain(DIALECTS[dialect].write(NIGHT)).replace("\r\n", "\n").replace("\n", "\r\n")
    if encoding == "utf-16":
        text = text.replace("UTF-8", "UTF-16")
    assert read(text.encode(encoding), **DIALECTS[dialect].night).stage.tolist() == NIGHT


@MANY
@settings(max_examples=15)
@given(labels=LABELS)
def test_any_stages_in_every_dialect(read, dialect, labels):
    hypnogram = read(plain(DIALECTS[dialect].write(labels)), **DIALECTS[dialect].night)
    assert hypnogram.stage.tolist() == labels
    np.testing.assert_allclose(hypnogram.onset_s, 30.0 * np.arange(len(labels)))


def damage(text: str, count: int, draw) -> str:
    """Replaces, removes or repeats characters outside the marks."""
    protected = np.cumsum([(c == OPEN) - (c == CLOSE) for c in text]).astype(bool)
    free = np.flatnonzero(~protected & np.array([c != CLOSE for c in text]))
    places = draw(st.lists(st.sampled_from(free.tolist()), min_size=count, max_size=count))
    letters = list(text)
    for place in places:
        other = draw(st.sampled_from(["", "7", "9", ".", ",", ";", "\t", "\n", '"', "x", "<", "é"]))
        letters[place] = draw(st.sampled_from([other, letters[place] * 2]))
    return "".join(letters)


@MANY
@settings(max_examples=40)
@given(data=st.data())
def test_no_damage_moves_a_label(read, dialect, data):
    labels = NIGHT[:20]
    kind = DIALECTS[dialect]
    count = data.draw(st.sampled_from([1, 1, 1, 3, 0]))
    text = plain(damage(kind.write(labels), count, data.draw))
    if count == 0:
        text = text[: data.draw(st.integers(len(text) // 2, len(text)))]
    try:
        hypnogram = read(text, **kind.night)
    except UserError as error:
        message = str(error)
        assert message.startswith("night n") and "\n" not in message
        assert not any(secret in message for secret in (NAME, BIRTH, REMARK, "Kissen", "24.12"))
        return
    assert not any(secret in str(hypnogram.notes) for secret in (NAME, BIRTH, REMARK))
    if not kind.timed or count > 1:
        return  # a lost line moves what follows, or a row that contradicts the damage is lost too
    for onset, stage in zip(hypnogram.onset_s, hypnogram.stage, strict=True):
        truth = {
            label
            for k, label in enumerate(labels)
            if 30 * k < onset + 30 - 0.1 and 30 * k + 30 > onset + 0.1
        }
        assert stage == -1 or not truth or truth == {stage}
