"""Optional band-pass and notch filters of the EEG, without delay."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from input_pipeline.readers.edf import Signal

_ORDER = 4
"""Of the Butterworth band-pass; running back and forth doubles it."""
_NOTCH_QUALITY = 30.0
"""Mains frequency over the width of the notch: 50 Hz loses 49.2 to 50.8 Hz."""


def filtered(
    signal: Signal,
    band_hz: tuple[float, float] | None = None,
    notch_hz: float | None = None,
) -> Signal:
    """A signal after a zero-phase Butterworth band-pass and a notch at the mains' frequency.

    Sections of second order run forth and back, so that nothing moves in time. Each stretch between
    gaps is filtered by itself: gaps stay NaN and nothing leaks across them. With neither filter the
    signal is returned as it is.

    Args:
        band_hz: lower and upper frequency at which half of the power is left after one run.
        notch_hz: what to take out.
    """
    from scipy.signal import butter, iirnotch, sosfiltfilt, tf2sos

    sections = []
    if band_hz is not None:
        sections.append(butter(_ORDER, band_hz, "bandpass", fs=signal.rate, output="sos"))
    if notch_hz is not None:
        sections.append(tf2sos(*iirnotch(notch_hz, _NOTCH_QUALITY, fs=signal.rate)))
    if not sections:
        return signal
    sos = np.concatenate(sections)
    samples = signal.samples.copy()
    for first, last in _stretches(signal.samples):
        # Padding with a mirrored signal settles the filter; a short stretch has less to mirror.
        padding = min(round(3 * signal.rate), last - first - 1)
        samples[first:last] = sosfiltfilt(sos, samples[first:last], padlen=padding)
    return replace(signal, samples=samples)


def _stretches(samples: Float32[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """First sample of each stretch without NaN, and the sample after its last."""
    present = np.concatenate([[False], np.isfinite(samples), [False]])
    borders = np.flatnonzero(present[1:] != present[:-1])
    return list(zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True))
