"""The number of frames a moment reaches every video network, and no other."""

import pytest

from input_pipeline.errors import UserError
from sacd_jax.models.lags import with_lags


def test_video_networks_are_told_and_others_are_not() -> None:
    assert with_lags("r3d_18", {"width": 0.5}, 3) == {"width": 0.5, "lags": 3}
    assert with_lags("attnsleep", {"eeg_scale": 2.0}, 3) == {"eeg_scale": 2.0}
    parts = {"first": {"name": "r2plus1d_small"}, "second": {"name": "attnsleep"}}
    assert with_lags("fusion", {**parts, "layers": 3}, 2) == {
        "first": {"name": "r2plus1d_small", "options": {"lags": 2}},
        "second": {"name": "attnsleep", "options": {}},
        "layers": 3,
    }
    with pytest.raises(UserError, match="does not take these options"):
        with_lags("r3d_18", {"widht": 1}, 1)
