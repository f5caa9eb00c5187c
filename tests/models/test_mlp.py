import jax
import jax.numpy as jnp
import numpy as np

from sacd_jax.models import encoder as encoders


def test_reads_any_array_and_scales_bytes() -> None:
    encoder = encoders.create("mlp", num_classes=3, input_key="video", embedding_dim=8)
    batch = {"video": jnp.full((2, 4, 3, 3, 1), 255, jnp.uint8)}
    output, variables = encoder.init_with_output(jax.random.key(0), batch, train=False)
    assert encoder.input_keys == ("video",)
    assert output.embedding.shape == (2, 8) and output.logits.shape == (2, 3)
    assert [stage.shape for stage in output.stages] == [(2, 64)]
    ones = encoder.apply(variables, {"video": jnp.ones((2, 36))}, train=True)
    np.testing.assert_allclose(output.logits, ones.logits, rtol=1e-6)
