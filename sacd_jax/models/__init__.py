"""Networks: every encoder of the paper by name, and what they are built from."""

from sacd_jax.models.encoder import EncoderOutput, available, create

__all__ = ["EncoderOutput", "available", "create"]
