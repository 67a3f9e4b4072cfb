"""Samplers: one step each, pure functions of their arguments, by their names in the literature."""

from __future__ import annotations

from multidiff.core.method import Method
from multidiff.core.samplers.ancestral import DDPM
from multidiff.core.samplers.ddim import DDIM
from multidiff.core.samplers.multistep import DPMSolver, Rule, SDEDPMSolver
from multidiff.core.samplers.ode import Euler, Heun
from multidiff.core.samplers.step import Draw, Sampler, State, Transition


def _first_order() -> DPMSolver:
    return DPMSolver(order=1)


def _second_order(rule: Rule = "midpoint") -> DPMSolver:
    return DPMSolver(order=2, rule=rule)


def _third_order(published: bool = False) -> DPMSolver:
    return DPMSolver(order=3, published=published)


SAMPLERS: dict[str, Method] = {
    "ddpm": Method(DDPM, "ancestral, small or large variance", "Ho et al. 2020, 2006.11239"),
    "ddim": Method(DDIM, "deterministic at eta = 0, ancestral at eta = 1", "Song et al. 2021, 2010.02502"),
    "euler": Method(Euler, "probability-flow ODE, order 1", "Karras et al. 2022, 2206.00364"),
    "heun": Method(Heun, "probability-flow ODE, order 2, two evaluations a step", "Karras et al. 2022, 2206.00364"),
    "dpm++": Method(_first_order, "DPM-Solver++, order 1", "Lu et al. 2022, 2211.01095"),
    "dpm++2m": Method(_second_order, "DPM-Solver++, order 2, multistep", "Lu et al. 2022, 2211.01095"),
    "dpm++3m": Method(_third_order, "DPM-Solver++, order 3, multistep", "Lu et al. 2022, 2211.01095"),
    "dpm++2m-sde": Method(SDEDPMSolver, "SDE-DPM-Solver++, order 1 or 2", "Lu et al. 2022, 2211.01095"),
}

__all__ = [
    "DDIM",
    "DDPM",
    "SAMPLERS",
    "DPMSolver",
    "Draw",
    "Euler",
    "Heun",
    "SDEDPMSolver",
    "Sampler",
    "State",
    "Transition",
]
