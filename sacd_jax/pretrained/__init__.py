"""Weights of the public networks, read from PyTorch and safetensors files without unpickling."""

from sacd_jax.pretrained.weights import ARCHITECTURES, Converted, convert, load

__all__ = ["ARCHITECTURES", "Converted", "convert", "load"]
