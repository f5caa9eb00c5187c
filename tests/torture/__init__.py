"""Damaged inputs and killed trainings, by thousands: `python -m tests.torture`."""
