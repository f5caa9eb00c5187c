"""Which clips are shown, on predictions made by hand."""

import numpy as np

from sacd_jax.analysis import errors
from sacd_jax.analysis.errors import Case


def sure(said: list[int], of: list[float], classes: int = 3) -> np.ndarray:
    """Probabilities of networks that say these stages as surely as this."""
    rest = (1 - np.array(of)) / (classes - 1)
    probabilities = np.repeat(rest[:, None], classes, axis=1)
    probabilities[np.arange(len(said)), said] = of
    return probabilities


def test_neighbours_end_at_nights_and_gaps_whatever_the_order_of_rows() -> None:
    night = np.array(["n1", "n1", "n1", "n2", "n1"])
    index = np.array([0, 1, 3, 2, 4])
    stage = np.array([0, 1, 2, 2, -1])
    shuffle = np.array([4, 2, 0, 3, 1])
    before, after = errors.neighbours(night[shuffle], index[shuffle], stage[shuffle])
    back = np.argsort(shuffle)
    assert before[back].tolist() == [-1, 0, -1, -1, 2]
    assert after[back].tolist() == [1, -1, -1, -1, -1]
    border = errors.stage_borders(stage, before[back], after[back])
    assert border.tolist() == [True, True, False, False, False]


def test_main_confusions_leave_out_right_and_unscored_clips() -> None:
    stage = np.array([0, 0, 0, 0, 1, 1, -1, 2])
    said = np.array([0, 1, 1, 2, 1, 1, 0, 0])
    assert errors.main_confusions(stage, said, 3).tolist() == [1, -1, 0]


def test_one_clip_a_kind_and_stage_of_which_the_second_network_is_surest() -> None:
    stage = np.array([0, 0, 0, 1, 1, 1, -1, 2])
    first = sure([1, 2, 0, 0, 1, 0, 0, 2], [0.9] * 8)
    second = sure([0, 0, 1, 2, 2, 0, 2, 2], [0.6, 0.8, 0.7, 0.5, 0.6, 0.9, 0.99, 0.9])
    border = np.array([0, 0, 0, 1, 1, 1, 1, 1], bool)
    assert errors.select(stage, first, second, border) == [
        Case(errors.CORRECTED, 0, 1),  # 0 and 1 fit; of 1 it is surer
        Case(errors.BORDER, 1, 5),  # in 4 the first network is right
        Case(errors.CONFUSED, 0, 2),
        Case(errors.CONFUSED, 1, 4),  # stage 1 is taken for 2 twice, for 0 once
    ]
