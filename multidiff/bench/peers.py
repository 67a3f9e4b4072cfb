"""diffusers' schedulers and k-diffusion's samplers, walked in float64 beside ours on a denoiser without error.

Neither is needed: what is not installed is left out. Of k-diffusion only `sampling.py` is loaded, so that
`pip install --no-deps k-diffusion` is enough.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from multidiff.core import SAMPLERS, Denoiser, make, states
from multidiff.core.denoiser import noise_estimate

STEPS = 20

DIFFUSERS: dict[tuple[str, int | None], tuple[str, dict[str, Any]]] = {
    ("ddpm", None): ("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_small"}),
    ("ddim", None): ("DDIMScheduler", {"clip_sample": False}),
    ("euler", None): ("EulerDiscreteScheduler", {}),
    ("heun", None): ("HeunDiscreteScheduler", {}),
    ("dpm++", None): ("DPMSolverMultistepScheduler", {"solver_order": 1}),
    ("dpm++2m", None): ("DPMSolverMultistepScheduler", {"solver_order": 2}),
    ("dpm++3m", None): ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    ("unipc", 1): ("UniPCMultistepScheduler", {"solver_order": 1, "lower_order_final": False}),
    ("unipc", 2): ("UniPCMultistepScheduler", {"solver_order": 2, "lower_order_final": False}),
    ("unipc", 3): ("UniPCMultistepScheduler", {"solver_order": 3, "lower_order_final": False}),
    ("lms", 2): ("LMSDiscreteScheduler", {}),
    ("lms", 4): ("LMSDiscreteScheduler", {}),
    ("deis", 2): ("DEISMultistepScheduler", {"solver_order": 2, "lower_order_final": False}),
    ("deis", 3): ("DEISMultistepScheduler", {"solver_order": 3, "lower_order_final": False}),
    ("dpm++2m-sde", None): ("DPMSolverMultistepScheduler", {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}),
    ("consistency", None): ("LCMScheduler", {"clip_sample": False, "timestep_scaling": 1e9}),
}
"""Our sampler and its order -> their class and its settings. They agree with dpm++3m when it is `published`."""

K_DIFFUSION: dict[tuple[str, int | None], tuple[str, dict[str, Any]]] = {
    ("ddpm", None): ("sample_euler_ancestral", {}),
    ("ddim", None): ("sample_euler", {}),
    ("euler", None): ("sample_euler", {}),
    ("heun", None): ("sample_heun", {}),
    ("dpm++", None): ("sample_euler", {}),
    ("dpm++2m", None): ("sample_dpmpp_2m", {}),
    ("lms", 2): ("sample_lms", {"order": 2}),
    ("lms", 4): ("sample_lms", {"order": 4}),
    ("dpm++2m-sde", None): ("sample_dpmpp_2m_sde", {}),
}
"""The same for k-diffusion. Its dpmpp_3m_sde has half of D'' and no setting to change it, so it has no row."""

STOCHASTIC = ("ddpm", "dpm++2m-sde", "consistency")
SCALED = ("euler", "heun", "lms")
"""Those whose samples diffusers divides by alpha."""


@dataclass
class _Drawn:
    """Noise from one generator in the order of the steps, as both peers draw it."""

    generator: torch.Generator

    def __call__(self, step: int = 0, stream: int = 0) -> Tensor:
        return torch.randn(6, 2, dtype=torch.float64, generator=self.generator)


def _drawn(seed: int) -> _Drawn:
    return _Drawn(torch.Generator().manual_seed(seed))


def _ours(name: str, order: int | None, denoiser: Denoiser, times: Tensor) -> Tensor:
    """x after each step, (steps, 6, 2)."""
    options = {"order": order} if order else {"published": True} if name == "dpm++3m" else {}
    run = states(denoiser, make(SAMPLERS, name, options), times, _drawn(3), x=_drawn(0)())
    return torch.stack([state.x for state in run][1:])


def diffusers_difference(name: str, order: int | None, denoiser: Denoiser) -> float | None:
    """The largest difference in x, over 20 steps but for the last; None without a peer or diffusers.

    The denoiser's schedule is the table of 1000 betas that is diffusers' default.
    """
    if (name, order) not in DIFFUSERS:
        return None
    try:
        import diffusers
    except ImportError:
        return None
    kind, settings = DIFFUSERS[name, order]
    schedule, scaled = denoiser.schedule, name in SCALED
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
            sigmas = schedule.sigma(times) / schedule.alpha(times)
            sigmas[-1] = 1e-3
            repeats = torch.tensor([1, *[2 if name == "heun" else 1] * (len(sigmas) - 2), 1])
            scheduler.sigmas = sigmas.repeat_interleave(repeats)
        options: dict[str, Any] = {"generator": torch.Generator().manual_seed(3)} if name in STOCHASTIC else {}
        options |= {"order": order} if name == "lms" else {}
        x, theirs = _drawn(0)(), []
        x = x / schedule.alpha(times[0]) if scaled else x
        for k in scheduler.timesteps[: (len(visited) - 1) * (2 if name == "heun" else 1)]:
            t = (k.double().expand(6) + 1) / 1000
            x_t = x * schedule.alpha(t)[:, None] if scaled else x
            scheduler.scale_model_input(x, k)  # it warns of a step without; what it returns is for networks
            eps = noise_estimate(schedule, x_t, denoiser(x_t, t).x0, t)
            x = scheduler.step(eps, k, x, **options).prev_sample
            theirs.append(x)
        walk = torch.stack(theirs[1::2] if name == "heun" else theirs)
    if scaled:
        walk = walk * schedule.alpha(times[1:-1])[:, None, None]
    return float((_ours(name, order, denoiser, times[:-1]) - walk).abs().max())


def k_difference(name: str, order: int | None, denoiser: Denoiser) -> float | None:
    """The same for k-diffusion, on 20 steps uniform in log-SNR."""
    sampling = k_sampling()
    if (name, order) not in K_DIFFUSION or sampling is None:
        return None
    kind, settings = K_DIFFUSION[name, order]
    schedule = denoiser.schedule
    times = schedule.inverse(torch.linspace(-4.0, 4.0, STEPS + 1, dtype=torch.float64))
    sigmas = schedule.sigma(times) / schedule.alpha(times)
    noise = _drawn(3)

    def model(y: Tensor, sigma: Tensor) -> Tensor:
        t = schedule.inverse(-sigma.log())
        return denoiser(schedule.alpha(t)[:, None] * y, t).x0

    if name in STOCHASTIC:
        settings = settings | {"noise_sampler": lambda sigma, sigma_next: noise()}
    theirs: list[Tensor] = []
    last = getattr(sampling, kind)(
        model,
        _drawn(0)() / schedule.alpha(times[0]),
        sigmas,
        callback=lambda at: theirs.append(at["x"]),
        disable=True,
        **settings,
    )
    walk = torch.stack([*theirs[1:], last]) * schedule.alpha(times[1:])[:, None, None]
    return float((_ours(name, order, denoiser, times) - walk).abs().max())


def k_sampling() -> ModuleType | None:
    """k_diffusion/sampling.py alone: the rest of the package, which imports much, has stand-ins meanwhile."""
    found = importlib.util.find_spec("k_diffusion")
    if found is None or found.submodule_search_locations is None:
        return None
    package, helpers = ModuleType("k_diffusion"), ModuleType("k_diffusion.utils")
    package.__path__ = list(found.submodule_search_locations)
    append_dims: Callable[[Tensor, int], Tensor] = lambda v, ndim: v.reshape(v.shape + (1,) * (ndim - v.ndim))
    vars(helpers)["append_dims"] = append_dims
    vars(package)["utils"] = helpers
    ode = ModuleType("torchdiffeq")
    vars(ode)["odeint"] = None
    stand_ins = {"k_diffusion": package, "k_diffusion.utils": helpers}
    for name, module in (("torchdiffeq", ode), ("torchsde", ModuleType("torchsde"))):
        if importlib.util.find_spec(name) is None:
            stand_ins[name] = module
    before = {name: sys.modules.get(name) for name in (*stand_ins, "k_diffusion.sampling")}
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("k_diffusion.sampling")
    except ImportError:
        return None
    finally:
        for name, was in before.items():
            if was is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = was
