"""Networks are made by name, and what a name or an option cannot be is said in one line."""

import re
from typing import Any

import jax
import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax import models
from sacd_jax.models import encoder as encoders
from sacd_jax.models.encoder import EncoderSpec, forward, init_variables, output_spec, spec_of


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


def test_the_example_of_the_page(root, tmp_path, monkeypatch) -> None:
    """docs/adding_an_encoder.md is true: a file and a line of the registry, no more."""
    page = (root / "docs" / "adding_an_encoder.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "band_of_the_page.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(encoders._REGISTRY, "band", "band_of_the_page:Band")
    with pytest.raises(UserError, match="embedding_dim is 'wide', expected a whole number"):
        models.create("band", embedding_dim="wide")
    band = models.create("band", embedding_dim=16)
    assert (band.input_keys, band.optional_keys, band.has_state) == (("eeg",), (), False)
    batch = {"eeg": np.ones((2, 3750), np.float32), "stage": np.zeros(2, np.int32)}
    variables = init_variables(band, jax.random.key(0), batch)
    output, _ = forward(band, variables, batch, train=True, dropout=jax.random.key(1))
    assert output_spec(band, batch) == EncoderSpec(16, 5, (30,)) == spec_of(output)
