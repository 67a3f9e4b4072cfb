"""Inverse tasks by the names of the literature: how a known region is met, and how what is given is edited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.inverse.completion import Replacement, repaint_times
from multidiff.core.inverse.editing import inversion_edit, sdedit
from multidiff.core.inverse.operators import Operator, masked
from multidiff.core.inverse.posterior import DPS, MMPS, Measurement, PiGDM, ReconstructionGuidance
from multidiff.core.method import Method
from multidiff.core.noise import Noise
from multidiff.core.samplers.step import Sampler, State


@dataclass(frozen=True)
class Plan:
    """What a run does: the denoiser and what it is told, the sampler, the grid of times (N + 1,)."""

    denoiser: Denoiser
    sampler: Sampler
    times: Tensor
    condition: Mapping[str, Tensor]


Completion = Callable[[Plan, Tensor, Tensor], Plan]
"""(plan, known (B, *event), mask, 1 where known, broadcastable to it) -> the plan that meets what is known."""


def trained() -> Completion:
    """The denoiser is told what is known, as a network trained with masks was (`denoiser.keep_known`)."""
    return lambda plan, known, mask: replace(plan, condition={**plan.condition, "known": known, "mask": mask})


def replacement() -> Completion:
    """`Replacement`."""
    return lambda plan, known, mask: replace(plan, sampler=Replacement(plan.sampler, known, mask))


def repaint(jump: int = 10, repeats: int = 10) -> Completion:
    """`Replacement` along `repaint_times`."""
    if jump < 1 or repeats < 1:
        raise ValueError(f"jump {jump} and repeats {repeats} must be at least 1")
    return lambda plan, known, mask: replace(
        plan, sampler=Replacement(plan.sampler, known, mask), times=repaint_times(plan.times, jump, repeats)
    )


Posterior = Callable[[Plan, Operator, Tensor], Plan]
"""(plan, operator, y (B, *measured) = operator(x0)) -> the plan that meets what was measured."""


def reconstruction_guidance(scale: float = 1.0, std: float = 0.0) -> Posterior:
    """`ReconstructionGuidance`, y measured with noise of `std`."""
    return lambda plan, operator, y: replace(
        plan, denoiser=ReconstructionGuidance(plan.denoiser, Measurement(operator, y, std), scale)
    )


def pigdm(std: float = 0.0, data_std: float = 1.0, iterations: int = 20) -> Posterior:
    """`PiGDM`, y measured with noise of `std`."""
    return lambda plan, operator, y: replace(
        plan, denoiser=PiGDM(plan.denoiser, Measurement(operator, y, std), iterations, data_std)
    )


def mmps(std: float = 0.0, iterations: int = 5) -> Posterior:
    """`MMPS`, y measured with noise of `std`."""
    return lambda plan, operator, y: replace(
        plan, denoiser=MMPS(plan.denoiser, Measurement(operator, y, std), iterations)
    )


def dps(scale: float = 1.0, std: float = 0.0) -> Posterior:
    """`DPS`, y measured with noise of `std`."""
    return lambda plan, operator, y: replace(plan, sampler=DPS(plan.sampler, Measurement(operator, y, std), scale))


def _of_part(method: Method) -> Method:
    """The method with a known region for its measurement."""

    @wraps(method.make)
    def make(*arguments: Any, **options: Any) -> Completion:
        posterior: Posterior = method.make(*arguments, **options)

        def complete(plan: Plan, known: Tensor, mask: Tensor) -> Plan:
            operator = masked(mask)
            return posterior(plan, operator, operator(known))

        return complete

    return Method(make, method.summary, method.paper)


@dataclass(frozen=True)
class Edit:
    """What is edited: x0 (B, *event), by its share `strength` in (0, 1] of the path. `plain` is the denoiser without
    guidance and `source` the condition that describes x0: what inversion needs."""

    x0: Tensor
    strength: float
    plain: Denoiser
    source: Condition


Editing = Callable[[Plan, Noise, Edit], Iterator[State]]


def _sdedit() -> Editing:
    return lambda plan, noise, edit: sdedit(
        plan.denoiser, plan.sampler, plan.times, noise, edit.x0, edit.strength, plan.condition
    )


def _inversion() -> Editing:
    return lambda plan, noise, edit: inversion_edit(
        plan.denoiser,
        plan.sampler,
        plan.times,
        noise,
        edit.x0,
        edit.strength,
        edit.source,
        plan.condition,
        edit.plain,
    )


POSTERIORS: dict[str, Method] = {
    "reconstruction-guidance": Method(
        reconstruction_guidance, "gradient of the misfit of x0", "Ho et al. 2022, 2204.03458"
    ),
    "dps": Method(dps, "gradient of the misfit after every step", "Chung et al. 2023, 2209.14687"),
    "pigdm": Method(pigdm, "pseudo-inverse of the misfit", "Song et al. 2023, ICLR"),
    "mmps": Method(mmps, "posterior covariance from the denoiser's Jacobian", "Rozet et al. 2024, 2405.13712"),
}

COMPLETIONS: dict[str, Method] = {
    "trained": Method(trained, "told to a network that was trained with masks", "Saharia et al. 2022, 2111.05826"),
    "replacement": Method(replacement, "known region diffused, put in its place", "Song et al. 2021, 2011.13456"),
    "repaint": Method(repaint, "replacement, going back and forth", "Lugmayr et al. 2022, 2201.09865"),
    **{name: _of_part(method) for name, method in POSTERIORS.items()},
}

EDITINGS: dict[str, Method] = {
    "sdedit": Method(_sdedit, "noised part of the way, sampled from there", "Meng et al. 2022, 2108.01073"),
    "inversion": Method(_inversion, "exact DDIM inversion, sampled from there", "Pan et al. 2023, 2309.04907"),
}
