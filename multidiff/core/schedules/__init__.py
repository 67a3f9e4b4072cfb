"""Schedules by their names in the literature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multidiff.core.method import Method, make
from multidiff.core.schedule import NoiseSchedule
from multidiff.core.schedules.changed import Shifted, ZeroTerminalSNR
from multidiff.core.schedules.exploding import VE, Karras
from multidiff.core.schedules.flow import RectifiedFlow
from multidiff.core.schedules.preserving import Cosine, Linear, Sigmoid
from multidiff.core.schedules.sub_vp import SubVP
from multidiff.core.schedules.tabulated import Tabulated, scaled_linear

Named = str | Mapping[str, Any]
"""A schedule by its name, or {"name": ..., "options": {...}}."""


def _named(schedule: Named) -> NoiseSchedule:
    given: Mapping[str, Any] = {"name": schedule} if isinstance(schedule, str) else schedule
    made: NoiseSchedule = make(SCHEDULES, given["name"], given.get("options"))
    return made


def shifted(schedule: Named = "flow", shift: float = 3.0) -> Shifted:
    """`Shifted` of a schedule by name."""
    return Shifted(_named(schedule), shift)


def zero_terminal_snr(schedule: Named = "scaled-linear") -> ZeroTerminalSNR:
    """`ZeroTerminalSNR` of a schedule by name."""
    return ZeroTerminalSNR(_named(schedule))


SCHEDULES: dict[str, Method] = {
    "linear": Method(Linear, "linear beta(t), variance preserving", "Ho et al. 2020, 2006.11239"),
    "scaled-linear": Method(scaled_linear, "roots of the betas linear", "Rombach et al. 2022, 2112.10752"),
    "cosine": Method(Cosine, "cosine alpha(t), variance preserving", "Nichol and Dhariwal 2021, 2102.09672"),
    "sigmoid": Method(Sigmoid, "logistic alpha(t)^2, variance preserving", "Jabri et al. 2023, 2212.11972"),
    "ve": Method(VE, "variance exploding, sigma geometric in t", "Song et al. 2021, 2011.13456"),
    "karras": Method(Karras, "variance exploding, sigma^(1/rho) linear in t", "Karras et al. 2022, 2206.00364"),
    "sub-vp": Method(SubVP, "sigma = 1 - alpha^2", "Song et al. 2021, 2011.13456"),
    "flow": Method(RectifiedFlow, "straight paths, alpha = 1 - t", "Liu et al. 2022, 2209.03003"),
    "tabulated": Method(Tabulated.linear, "a discrete chain's betas", "Ho et al. 2020, 2006.11239"),
    "shifted": Method(shifted, "another schedule, log-SNR less log(shift)", "Hoogeboom et al. 2023, 2301.11093"),
    "zero-terminal-snr": Method(zero_terminal_snr, "another one, alpha = 0 at its end", "Lin et al. 2023, 2305.08891"),
}

__all__ = [
    "SCHEDULES",
    "VE",
    "Cosine",
    "Karras",
    "Linear",
    "RectifiedFlow",
    "Shifted",
    "Sigmoid",
    "SubVP",
    "Tabulated",
    "ZeroTerminalSNR",
    "scaled_linear",
    "shifted",
    "zero_terminal_snr",
]
