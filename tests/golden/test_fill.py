import numpy as np

from tests.golden.fill import INPUT, fill, fill_entry, fill_state_dict


def test_published_values():
    unit = [(fill((5,), k) + 1) / 2 for k in (0, 3)]
    np.testing.assert_allclose(
        unit[0], [0.567937335, 0.797913020, 0.456909722, 0.006673261, 0.075687378], atol=1e-9
    )
    np.testing.assert_allclose(unit[1][:3], [0.831851096, 0.002354871, 0.637512194], atol=1e-9)
    np.testing.assert_allclose(
        fill((4,), INPUT), [-0.5758307, 0.6989946, 0.6397288, -0.5000552], atol=1e-7
    )


def test_rules_by_name():
    w = fill((6,), 2)
    np.testing.assert_allclose(fill_entry("bn.running_var", (6,), 2), 1 + 0.5 * w, rtol=1e-6)
    np.testing.assert_allclose(fill_entry("bn.weight", (6,), 2), 1 + 0.2 * w, rtol=1e-6)
    np.testing.assert_allclose(fill_entry("bn.bias", (6,), 2), 0.1 * w, rtol=1e-6)
    np.testing.assert_allclose(
        fill_entry("fc.weight", (2, 3), 2), w.reshape(2, 3) * np.sqrt(2), rtol=1e-6
    )


def test_counters_do_not_count():
    entries = [("bn.weight", (2,)), ("bn.num_batches_tracked", ()), ("bn.bias", (2,))]
    state = fill_state_dict(entries)
    assert list(state) == ["bn.weight", "bn.bias"]
    np.testing.assert_allclose(state["bn.bias"], 0.1 * fill((2,), 1), rtol=1e-6)
