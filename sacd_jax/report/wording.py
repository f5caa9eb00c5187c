"""Sentences and words that several reports share."""

from collections.abc import Mapping
from typing import Any


def counted(number: int, thing: str) -> str:
    """1 subject, 2 subjects."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def cautions(dataset_info: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences that must accompany figures on such data."""
    said = []
    if dataset_info.get("simulated", False):
        said.append(
            "Simulated nights: these figures test the software and the method's mechanics. "
            "They say nothing about patients."
        )
    split_mode = dataset_info.get("split_mode", "subject")
    if split_mode != "subject":
        said.append(
            f"Split mode {split_mode}: validation clips come from training subjects (a leak kept "
            "for comparison with the paper)."
        )
    return tuple(said)
