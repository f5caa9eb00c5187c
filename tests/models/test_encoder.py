"""Networks are made by name, and what a name or an option cannot be is said in one line."""

from typing import Any

import pytest

from input_pipeline.errors import UserError
from sacd_jax import models


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("r3d18", {}, "encoder 'r3d18' is not known: did you mean 'r3d_18'?"),
        ("r3d_18", {"wdth": 0.5}, "encoder 'r3d_18' does not take these options: .*'wdth'"),
        ("r3d_18", {"shortcut": "C"}, r"shortcut is 'C', expected A \| B \| factorized"),
        ("r2plus1d_18", {"form": "im2col"}, r"form is 'im2col', expected auto \| direct"),
        ("torchvision_r3d_18", {"head_init": "zeros"}, "head_init is 'zeros', expected "),
    ],
)
def test_what_cannot_be_made_is_named(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        models.create(name, **options)
