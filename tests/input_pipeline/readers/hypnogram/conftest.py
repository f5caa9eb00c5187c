"""A PSG, and hypnograms of it from their text."""

import pytest

from input_pipeline.night import Night
from input_pipeline.readers.hypnogram import Hypnogram, read_hypnogram

from ...recordings import write_psg
from . import dialects


@pytest.fixture(scope="session")
def half_hour(tmp_path_factory):
    """A PSG of 30 minutes that begins at `dialects.START`."""
    folder = tmp_path_factory.mktemp("hypnogram")
    return write_psg(folder / "psg.edf", 1800, rate=10, start=dialects.START)


@pytest.fixture(scope="session")
def read(half_hour):
    """Reads the text of a hypnogram of `half_hour`."""

    def read_text(text: str | bytes, **night) -> Hypnogram:
        path = half_hour.with_name("stages.txt")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_hypnogram(Night("n", "s", None, half_hour, path, **night))

    return read_text
