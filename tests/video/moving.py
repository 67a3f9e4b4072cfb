"""Clips whose motion is known exactly."""

import numpy as np
from scipy.ndimage import gaussian_filter

from multidiff.video.media import Video


def drifting(frames: int, down: float, right: float, size: int = 48) -> Video:
    """A smooth random picture that moves by so many pixels a frame and wraps round."""
    spectrum = np.fft.fft2(gaussian_filter(np.random.default_rng(0).normal(size=(size, size)), 2.5, mode="wrap"))
    y, x = np.meshgrid(*2 * [np.fft.fftfreq(size)], indexing="ij")
    moved = [np.fft.ifft2(spectrum * np.exp(-2j * np.pi * i * (down * y + right * x))).real for i in range(frames)]
    grey = (np.array(moved) - np.min(moved)) / np.ptp(moved) * 255
    return Video(np.round(grey).astype(np.uint8)[..., None].repeat(3, -1), 8)
