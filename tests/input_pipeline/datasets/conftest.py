"""What the tests of data sets share."""

import pytest

from input_pipeline.datasets import decode

from ..fake_nights import fake_clips


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Puts made-up clips in place of the readers; the list grows by each night that is decoded."""
    nights = []

    def clips(night, settings):
        nights.append(night.night_id)
        return fake_clips(night, settings)

    monkeypatch.setattr(decode, "clips", clips)
    return nights
