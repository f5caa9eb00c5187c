"""Measurements of speed: a module a subcommand of `sacd_jax.benchmark`, and what they share."""
