"""Thousands of damaged inputs against everything that reads: `python -m tests.torture`."""
