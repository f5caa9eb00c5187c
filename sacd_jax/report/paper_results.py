"""Figures printed in the SACD paper (arXiv 2208.05814), to stand beside ours.

Shares are in [0, 1] here, percent in the paper. They were measured on the S3VE recordings (tables
II, IV, V, Fig. 5) and UCF51 (table III): on other data they are a landmark, no target. Where the
paper contradicts itself the value taken is said beside it. Its kappas cannot follow from its
accuracies and stage shares (accuracy 0.644 gives about 0.50, not 0.60): compare accuracies.
"""

from dataclasses import dataclass
from typing import Final

from input_pipeline.stages import STAGES

BASELINE: Final = "R(2+1)D"
"""The student without distillation."""


@dataclass(frozen=True)
class PaperResult:
    """One row of a table of the paper; None where it prints no value."""

    accuracy: float
    macro_f1: float | None = None
    kappa: float | None = None
    recall: tuple[float, ...] | None = None  # the paper's "per-class accuracy", W to REM

    def figure(self, name: str) -> float | None:
        """A figure by its flat name (`accuracy`, `recall/N1`, …), None if it is not printed."""
        if name.startswith("recall/"):
            stage = name.removeprefix("recall/")
            if self.recall is None or stage not in STAGES:
                return None
            return self.recall[STAGES.index(stage)]
        return {"accuracy": self.accuracy, "macro_f1": self.macro_f1, "kappa": self.kappa}.get(name)


def _row(accuracy: float, *others: float) -> PaperResult:
    """Percent as printed: accuracy [, macro F1, kappa] [, recall of five stages]."""
    percent = [round(value / 100, 4) for value in (accuracy, *others)]
    if len(others) == 7:
        return PaperResult(percent[0], percent[1], others[1], tuple(percent[3:]))
    return PaperResult(percent[0], recall=tuple(percent[1:]) or None)


TABLE_2: Final[dict[tuple[str, str], PaperResult]] = {
    # (teacher, method): student R(2+1)D-18 in all distilled rows
    ("", "R(2+1)D"): _row(52.5, 46.6, 0.47, 64.7, 41.3, 48.4, 47.8, 57.3),
    ("", "R3D"): _row(52.8, 46.9, 0.37, 64.7, 41.4, 49.0, 48.0, 58.0),
    ("AttnSleep", "FitNet"): _row(56.1, 49.9, 0.49, 68.5, 47.2, 55.9, 53.8, 61.8),
    ("AttnSleep", "PKT"): _row(58.1, 51.2, 0.53, 71.2, 47.8, 56.3, 54.0, 62.9),
    ("AttnSleep", "CRD"): _row(62.3, 55.8, 0.56, 73.8, 49.8, 58.8, 57.1, 66.4),
    ("AttnSleep", "IFD"): _row(61.1, 54.0, 0.57, 73.0, 49.9, 58.8, 57.1, 65.1),
    ("AttnSleep", "CMC"): _row(58.9, 53.1, 0.53, 71.5, 46.2, 56.9, 55.0, 63.2),
    ("AttnSleep", "CCL"): _row(62.3, 57.0, 0.56, 74.4, 50.1, 58.7, 53.8, 64.7),
    ("AttnSleep", "SACD"): _row(64.4, 58.9, 0.60, 75.6, 51.0, 60.2, 59.3, 67.8),
    ("DeepSleepNet", "FitNet"): _row(54.6, 47.8, 0.46, 67.0, 45.2, 51.9, 49.8, 59.5),
    ("DeepSleepNet", "PKT"): _row(55.7, 48.6, 0.49, 69.6, 46.2, 52.3, 50.1, 59.8),
    ("DeepSleepNet", "CRD"): _row(58.3, 51.9, 0.50, 70.2, 47.8, 55.0, 53.2, 62.4),
    ("DeepSleepNet", "IFD"): _row(57.2, 51.3, 0.49, 69.8, 46.8, 54.0, 53.4, 61.2),
    ("DeepSleepNet", "CMC"): _row(55.5, 50.8, 0.48, 68.5, 44.8, 53.0, 51.0, 59.5),
    ("DeepSleepNet", "CCL"): _row(58.7, 52.3, 0.52, 71.0, 47.7, 54.7, 50.8, 61.0),
    ("DeepSleepNet", "SACD"): _row(60.7, 54.6, 0.54, 72.2, 48.4, 56.2, 55.3, 63.8),
    ("Modified-SEN", "FitNet"): _row(54.9, 48.9, 0.48, 67.7, 45.5, 52.2, 50.1, 60.0),
    # W as printed; its neighbours (67 to 73) suggest 71.4
    ("Modified-SEN", "PKT"): _row(57.5, 51.0, 0.50, 51.4, 48.0, 54.1, 51.7, 61.6),
    ("Modified-SEN", "CRD"): _row(60.5, 53.9, 0.53, 72.6, 48.7, 57.0, 55.1, 64.6),
    ("Modified-SEN", "IFD"): _row(59.0, 53.0, 0.51, 71.7, 48.6, 55.6, 54.8, 63.0),
    ("Modified-SEN", "CMC"): _row(57.0, 51.1, 0.51, 70.0, 46.6, 54.5, 52.4, 61.2),
    ("Modified-SEN", "CCL"): _row(60.6, 54.2, 0.53, 72.8, 49.6, 56.5, 52.7, 62.8),
    ("Modified-SEN", "SACD"): _row(62.6, 55.6, 0.56, 73.8, 49.5, 58.5, 57.3, 66.1),
}
"""Video alone at test: teacher and method. Runs behind its ± (0.45 points) are not stated."""

TABLE_3: Final[dict[tuple[str, str], PaperResult]] = {
    ("", "R(2+1)D"): _row(57.5),
    ("", "FitNet"): _row(48.4),
    ("", "PKT"): _row(53.2),
    ("", "RKD"): _row(53.0),
    ("", "CRD"): _row(60.3),
    ("", "CMC"): _row(59.2),
    ("", "CCL"): _row(64.9),
    ("", "SACD"): _row(66.0),
}
"""UCF51, audio to video, top-1. All but SACD's agree with the benchmark of CCL's authors."""

TABLE_4: Final[dict[tuple[str, str], PaperResult]] = {
    # The paper's row of R3D repeats the recalls of R(2+1)D here.
    ("", "video only, R3D"): _row(52.8, 64.7, 41.3, 48.4, 47.8, 57.3),
    ("", "EEG only, AttnSleep"): _row(78.8, 92.8, 54.1, 74.2, 78.7, 70.4),
    ("", "A"): _row(79.3, 93.4, 54.8, 74.5, 78.7, 70.8),
    ("", "B"): _row(80.4, 94.0, 55.5, 75.3, 79.4, 71.8),
    ("", "C"): _row(84.4, 96.1, 59.2, 80.2, 84.3, 76.1),
    ("", "D"): _row(85.5, 96.9, 60.5, 81.8, 85.6, 77.4),
    ("", "E"): _row(80.6, 94.2, 55.5, 75.6, 79.8, 72.2),
    ("", "F"): _row(85.3, 96.7, 60.1, 81.5, 85.3, 77.4),
    ("", "G"): _row(83.2, 95.0, 58.7, 79.6, 82.0, 74.3),
}
"""Both modalities: fusion (A to D) and distillation from video to EEG (E to G)."""

TABLE_5: Final[dict[tuple[str, str], PaperResult]] = {
    ("", "v0"): _row(52.2, 64.7, 40.3, 48.4, 47.8, 57.3),  # cross-entropy; 52.5 in table II
    ("", "v1"): _row(56.1, 67.7, 43.8, 52.0, 50.4, 59.2),  # L_C + JSD
    ("", "v2"): _row(62.3, 73.4, 49.0, 58.0, 57.2, 65.8),  # L_D + L_C
    ("", "v3"): _row(60.1, 71.5, 45.6, 55.4, 54.5, 63.6),  # L_D + JSD
    ("", "v4"): _row(61.1, 72.4, 46.8, 56.7, 55.8, 64.6),  # L_D + JSD + L_C in one direction
    ("", "full"): _row(64.4, 75.6, 51.0, 60.2, 59.3, 67.8),
}
"""Ablation of SACD's terms."""

FIGURE_5: Final[dict[tuple[float, float, float], float]] = {
    (0.5, 1.0, 1.0): 0.644,
    (0.5, 0.5, 1.0): 0.608,
    (0.5, 10.0, 10.0): 0.52,
    (0.5, 1.0, 0.1): 0.626,
    (1.0, 1.0, 1.0): 0.642,
    # Called the lowest of panel c, yet (0.5, 0.5, 1), which lies in that panel too, is lower in a.
    (0.5, 0.1, 1.0): 0.618,
}
"""Weights (L_D, L_C, JSD) -> accuracy: the points that the text gives."""
