"""Samplers: one step each, pure functions of their arguments, by their names in the literature."""

from __future__ import annotations

import math
from typing import Literal

from multidiff.core.method import Method
from multidiff.core.samplers.adams_bashforth import AdamsBashforth, deis, eab, lms
from multidiff.core.samplers.ancestral import DDPM
from multidiff.core.samplers.consistency import Consistency
from multidiff.core.samplers.ddim import DDIM
from multidiff.core.samplers.langevin import AnnealedLangevin, PredictorCorrector
from multidiff.core.samplers.learned import LearnedDDPM
from multidiff.core.samplers.multistep import DPMSolver, Rule, SDEDPMSolver
from multidiff.core.samplers.ode import Churn, Heun
from multidiff.core.samplers.planned import Planned, plan
from multidiff.core.samplers.step import Draw, Past, Sampler, State, Transition
from multidiff.core.samplers.unipc import UniPC


def _ddpm(variance: Literal["small", "large", "learned"] = "small") -> Sampler:
    return LearnedDDPM() if variance == "learned" else DDPM(variance)


def _euler(gamma: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0) -> Sampler:
    churn = Churn(DDIM(), gamma, s_tmin, s_tmax, s_noise)
    return churn if gamma else churn.sampler


def _heun(gamma: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0) -> Sampler:
    churn = Churn(Heun(), gamma, s_tmin, s_tmax, s_noise)
    return churn if gamma else churn.sampler


def _first_order() -> DPMSolver:
    return DPMSolver(order=1)


def _second_order(rule: Rule = "midpoint") -> DPMSolver:
    return DPMSolver(order=2, rule=rule)


def _third_order(published: bool = False) -> DPMSolver:
    return DPMSolver(order=3, published=published)


def _third_order_sde() -> SDEDPMSolver:
    return SDEDPMSolver(order=3)


def _predictor_corrector(corrections: int = 1, snr: float = 0.16) -> PredictorCorrector:
    return PredictorCorrector(corrections, snr)


SAMPLERS: dict[str, Method] = {
    "ddpm": Method(_ddpm, "ancestral; small, large or learned variance", "Ho et al. 2020, 2006.11239"),
    "ddim": Method(DDIM, "deterministic at eta = 0, ancestral at eta = 1", "Song et al. 2021, 2010.02502"),
    "euler": Method(_euler, "probability-flow ODE, order 1; churn", "Karras et al. 2022, 2206.00364"),
    "heun": Method(_heun, "the same, order 2, two evaluations a step", "Karras et al. 2022, 2206.00364"),
    "dpm++": Method(_first_order, "DPM-Solver++, order 1", "Lu et al. 2022, 2211.01095"),
    "dpm++2m": Method(_second_order, "DPM-Solver++, order 2, multistep", "Lu et al. 2022, 2211.01095"),
    "dpm++3m": Method(_third_order, "DPM-Solver++, order 3, multistep", "Lu et al. 2022, 2211.01095"),
    "dpm++2m-sde": Method(SDEDPMSolver, "SDE-DPM-Solver++, order 1, 2 or 3", "Lu et al. 2022, 2211.01095"),
    "dpm++3m-sde": Method(_third_order_sde, "SDE-DPM-Solver++, order 3", "Lu et al. 2022, 2211.01095"),
    "unipc": Method(UniPC, "multistep predictor and corrector, order + 1", "Zhao et al. 2023, 2302.04867"),
    "lms": Method(lms, "Adams-Bashforth, eps over sigma/alpha", "Crowson 2022, k-diffusion"),
    "deis": Method(deis, "exponential Adams-Bashforth, eps over log-SNR", "Zhang and Chen 2023, 2204.13902"),
    "eab": Method(eab, "exponential Adams-Bashforth, x0 over log-SNR", "Hochbruck and Ostermann 2010"),
    "langevin": Method(AnnealedLangevin, "annealed Langevin dynamics (NCSN)", "Song and Ermon 2019, 1907.05600"),
    "predictor-corrector": Method(
        _predictor_corrector, "ancestral step, then Langevin steps", "Song et al. 2021, 2011.13456"
    ),
    "consistency": Method(Consistency, "noise the estimate anew (consistency, LCM)", "Song et al. 2023, 2303.01469"),
}

__all__ = [
    "DDIM",
    "DDPM",
    "SAMPLERS",
    "AdamsBashforth",
    "AnnealedLangevin",
    "Churn",
    "Consistency",
    "DPMSolver",
    "Draw",
    "Heun",
    "LearnedDDPM",
    "Past",
    "Planned",
    "PredictorCorrector",
    "SDEDPMSolver",
    "Sampler",
    "State",
    "Transition",
    "UniPC",
    "deis",
    "eab",
    "lms",
    "plan",
]
