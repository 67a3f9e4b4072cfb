"""diffusers' schedulers, walked in float64 beside ours on a denoiser without error."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multidiff.core import SAMPLERS, Denoiser, NoiseSchedule, make, states
from multidiff.core.denoiser import noise_estimate

STEPS = 20

PEERS: dict[tuple[str, int | None], tuple[str, dict[str, Any]]] = {
    ("ddpm", None): ("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_small"}),
    ("ddim", None): ("DDIMScheduler", {"clip_sample": False}),
    ("dpm++", None): ("DPMSolverMultistepScheduler", {"solver_order": 1}),
    ("dpm++2m", None): ("DPMSolverMultistepScheduler", {"solver_order": 2}),
    ("dpm++3m", None): ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    ("unipc", 1): ("UniPCMultistepScheduler", {"solver_order": 1, "lower_order_final": False}),
    ("unipc", 2): ("UniPCMultistepScheduler", {"solver_order": 2, "lower_order_final": False}),
    ("unipc", 3): ("UniPCMultistepScheduler", {"solver_order": 3, "lower_order_final": False}),
    ("deis", 2): ("DEISMultistepScheduler", {"solver_order": 2, "lower_order_final": False}),
    ("deis", 3): ("DEISMultistepScheduler", {"solver_order": 3, "lower_order_final": False}),
    ("dpm++2m-sde", None): ("DPMSolverMultistepScheduler", {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}),
    ("consistency", None): ("LCMScheduler", {"clip_sample": False, "timestep_scaling": 1e9}),
}
"""Our sampler and its order -> their class and its settings. They agree with dpm++3m when it is `published`."""


@dataclass
class _Drawn:
    """Noise from one generator in the order of the steps, as diffusers draws it."""

    generator: torch.Generator

    def __call__(self, step: int, stream: int = 0) -> Tensor:
        return torch.randn(6, 2, dtype=torch.float64, generator=self.generator)


def difference(name: str, order: int | None, schedule: NoiseSchedule, denoiser: Denoiser) -> float | None:
    """The largest difference of 20 steps of ours from theirs, but for the last; None without a peer or diffusers.

    `schedule` is the table of 1000 betas that is diffusers' default.
    """
    if (name, order) not in PEERS:
        return None
    try:
        import diffusers
    except ImportError:
        return None
    kind, settings = PEERS[name, order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = getattr(diffusers, kind)(**settings)
        levels = torch.arange(1, 1001, dtype=torch.float64) / 1000
        scheduler.alphas_cumprod = schedule.alpha(levels) ** 2
        scheduler.set_timesteps(STEPS)
        visited = torch.as_tensor(scheduler.timesteps).unique().flip(0)
        times = torch.cat([(visited.double() + 1) / 1000, torch.zeros(1, dtype=torch.float64)])
        if hasattr(scheduler, "sigmas"):
            # In float64, and not 0 at the end, where UniPC divides by it.
            scheduler.sigmas = schedule.sigma(times) / schedule.alpha(times)
            scheduler.sigmas[-1] = 1e-3
        start = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        drawn = (
            {"generator": torch.Generator().manual_seed(3)} if name in ("ddpm", "consistency", "dpm++2m-sde") else {}
        )
        x, theirs = start, []
        for k in scheduler.timesteps[: len(visited) - 1]:
            t = (k.double().expand(6) + 1) / 1000
            eps = noise_estimate(schedule, x, denoiser(x, t).x0, t)
            x = scheduler.step(eps, k, x, **drawn).prev_sample
            theirs.append(x)
    options = {"order": order} if order else {"published": True} if name == "dpm++3m" else {}
    noise = _Drawn(torch.Generator().manual_seed(3))
    run = states(denoiser, make(SAMPLERS, name, options), times[:-1], noise, x=start)
    ours = [state.x for state in run][1:]
    return float((torch.stack(ours) - torch.stack(theirs)).abs().max())
