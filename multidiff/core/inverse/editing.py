"""Editing what is given: SDEdit, denoising, exact DDIM inversion, interpolation of noises.

DDIM's step from t down to s (`Transition.first_order`), with D = x0 estimated at (x_t, t),

    x_s = f(x_t) = (sigma_s/sigma_t) x_t + alpha_s (1 - e^-h) D(x_t, t)

is turned around by solving f(x_t) = x_s for x_t, not by pretending that D(x_s, s) were D(x_t, t) as Song et al.
2021 do (2010.02502, section 5.4), whose round trip drifts. The fixed point (Pan et al. 2023, 2309.04907)

    x_t <- x_t + (x_s - f(x_t)) / m,   m = sigma_s/sigma_t + alpha_s (1 - e^-h) alpha_t/(alpha_t^2 + sigma_t^2)

takes for m the slope f has on white data of variance 1, which is also right at both ends of the schedule: 1/alpha_t
of D where the noise vanishes, 0 where it is all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.noise import Noise
from multidiff.core.sample import states
from multidiff.core.samplers.step import Sampler, State, Transition
from multidiff.core.schedule import NoiseSchedule, expand


def _last_steps(times: Tensor, strength: float) -> Tensor:
    """The share `strength` of the grid's steps, counted from its end; at least one."""
    if not 0 < strength <= 1:
        raise ValueError(f"strength {strength} must lie in (0, 1]")
    steps = max(1, round(strength * (len(times) - 1)))
    return times[len(times) - 1 - steps :].double()


def sdedit(
    denoiser: Denoiser,
    sampler: Sampler,
    times: Tensor,
    noise: Noise,
    x0: Tensor,
    strength: float,
    condition: Condition = None,
) -> Iterator[State]:
    """States of an edit: x0 (B, *event) diffused part of the way, then sampled from there.

    Meng et al. 2022 (2108.01073). strength in (0, 1]: the share of the grid's steps that is taken; 1 starts from
    times[0]. Raises ValueError outside of it.
    """
    rest = _last_steps(times, strength)
    start = denoiser.schedule.diffuse(x0, noise(0), rest[0].expand(len(x0)))
    return states(denoiser, sampler, rest, noise, condition, start)


def noisy_start(schedule: NoiseSchedule, times: Tensor, y: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """The end of a grid of times (N + 1,), and x at its first, for data that are noisy: y = x0 + std eps (B, *event).

    That is x_t / alpha at the t where sigma/alpha = std, so that sampling from there draws from p(x0 | y), without
    noise of its own. Raises ValueError for a std that the schedule does not reach before its end.
    """
    times = times.double()
    if not std > 0:
        raise ValueError(f"std {std} must be positive")
    t = schedule.inverse(torch.tensor(-math.log(std), dtype=torch.float64))
    rest = times[times < t]
    if not len(rest) or t > times[0]:
        raise ValueError(f"noise of std {std:.3g} is none that the grid of times passes")
    return torch.cat([t[None].to(times), rest]), expand(schedule.alpha(t[None]), y) * y


@torch.no_grad()
def ddim_inversion(
    denoiser: Denoiser,
    times: Tensor,
    x0: Tensor,
    condition: Condition = None,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Tensor:
    """The x (B, *event) at times[0] from which DDIM (eta = 0) over `times` (N + 1,) arrives at x0 (B, *event).

    Each sample is iterated until its largest change is below `tolerance`, as a share of sqrt(alpha^2 + sigma^2), or
    `iterations` are spent; then it rests, so that it does not depend on its batch. Raises ValueError for a grid of a
    single step from pure noise to data, which keeps nothing of x.
    """
    x, times = x0, times.double()
    for t, s in zip(times.flip(0)[1:], times.flip(0)[:-1], strict=True):
        x = _step_up(denoiser, x, t.expand(len(x)), s.expand(len(x)), condition, iterations, tolerance)
    return x


def _step_up(
    denoiser: Denoiser, x_s: Tensor, t: Tensor, s: Tensor, condition: Condition, iterations: int, tolerance: float
) -> Tensor:
    """x_t of which DDIM's step to s is x_s."""
    step = Transition.between(denoiser.schedule, t, s)
    white = step.alpha_t / (step.alpha_t**2 + step.sigma_t**2)
    slope = step.sigma_s / step.sigma_t + step.alpha_s * (1 - step.decay) * white
    if not bool((slope > 0).all()):
        raise ValueError("a single step from pure noise to data cannot be inverted; give more steps")
    scale, size = expand(1 / slope, x_s), expand(torch.sqrt(step.alpha_t**2 + step.sigma_t**2), x_s)
    x = scale * x_s
    moving = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for _ in range(iterations):
        change = scale * (x_s - step.first_order(x, denoiser(x, t, condition).x0))
        x = x + expand(moving, x) * change
        moving = moving & ((change / size).abs().flatten(1).amax(1) > tolerance)
        if not bool(moving.any()):
            break
    return x


def inversion_edit(
    denoiser: Denoiser,
    sampler: Sampler,
    times: Tensor,
    noise: Noise,
    x0: Tensor,
    strength: float,
    source: Condition = None,
    condition: Condition = None,
    inverted: Denoiser | None = None,
) -> Iterator[State]:
    """States of an edit that keeps what the conditions share: inverted under `source`, sampled under `condition`.

    As `sdedit`, with the noise that belongs to x0 in the place of a random one. With source = condition and DDIM it
    returns x0. `inverted`: the denoiser that inverts, where it is another one: one without guidance.
    """
    rest = _last_steps(times, strength)
    start = ddim_inversion(inverted or denoiser, rest, x0, source)
    return states(denoiser, sampler, rest, noise, condition, start)


def slerp(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Spherical interpolation of two noises (B, *event), weight (B,) from 0 (a) to 1 (b). Shoemake 1985.

    The angle is measured over the whole event; the norm goes from |a| to |b| without the dip of a straight line, so
    that what lies between two noises is as likely a noise as they are.
    """
    length_a, length_b = (expand(torch.linalg.vector_norm(v.double().flatten(1), dim=1), a) for v in (a, b))
    cosine = ((a / length_a) * (b / length_b)).double().flatten(1).sum(1).clamp(-1, 1)
    angle, share = torch.acos(cosine), weight.double()
    sine = torch.sin(angle)
    parallel = sine < 1e-6
    sine = torch.where(parallel, 1.0, sine)
    start = expand(torch.where(parallel, 1 - share, torch.sin((1 - share) * angle) / sine), a)
    end = expand(torch.where(parallel, share, torch.sin(share * angle) / sine), a)
    length = torch.exp((1 - expand(share, a)) * length_a.log() + expand(share, a) * length_b.log())
    return length * (start * a / length_a + end * b / length_b)
