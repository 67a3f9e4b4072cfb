"""Diffusion, and nothing else: torch only, tensors of shape (B, *event), no medium known.

    x_t = alpha(t) x0 + sigma(t) eps,  t in [0, 1],  log_snr = log(alpha/sigma)

Build (each table is dict[str, Method(make, summary, paper)]; `make` raises ValueError naming the nearest name):

    schedule  = make(SCHEDULES, "cosine", {})            NoiseSchedule: alpha sigma derivatives log_snr inverse diffuse
    predicts  = make(PARAMETERIZATIONS, "velocity")      Parameterization: target x0 factor
    sampler   = make(SAMPLERS, "dpm++2m")                Sampler
    grid      = make(GRIDS, "log-snr")                   grid(schedule, steps) -> times (steps + 1,) float64, 1 ... 0
    loss      = DiffusionLoss(make(LOSSES, "min-snr", {"gamma": 5}), make(TIMES, "uniform"))
    denoiser  = NetworkDenoiser(network, schedule, predicts, clamp=identity)     network(x, log_snr (B,), condition)
    guided    = make(GUIDANCE, "classifier-free")(denoiser, Guided(scale, null, times))   null: keys to replace
    blended   = Blended(guided, into)       by condition["share"] = ramp(event_shape, axis): one condition, then another
    plan      = make(COMPLETIONS, "repaint")(Plan(denoiser, sampler, times, condition), known, mask)

Use:

    denoiser(x_t, t (B,), condition=None) -> Estimate(x0)
    loss(denoiser, x0, noise, u, condition=None, weight=None) -> (loss (B,), log_snr (B,))
    u = stratified(B, generator) -> (B,) uniform in [0, 1)
    by_log_snr(loss, log_snr, edges) -> (mean per bin, count per bin)
    noise = SeededNoise(seeds, event_shape, dtype=torch.float32, device="cpu");  noise(step, stream=0) -> (B, *event)
    make(NOISES, "mixed")(noise (B, *event), axis) -> like it, correlated along the axis, in training and in sampling
    states(denoiser, sampler, times, noise, condition=None, x=None) -> Iterator[State(x, t, step, history; x0)]
    sample(denoiser, sampler, times, noise, condition=None, x=None) -> x (B, *event)
    Replacement(sampler, known, mask) -> Sampler;  repaint_times(times, jump=10, repeats=10) -> times
    sdedit(denoiser, sampler, times, noise, x0, strength, condition=None) -> Iterator[State]
    inverse: Measurement(operator, y, std) for ReconstructionGuidance, PiGDM, MMPS (Denoiser) and DPS (Sampler);
        ddim_inversion, inversion_edit, noisy_start, slerp; Windows (Denoiser), Loop (Sampler), sliding
    likelihood: log_likelihood(denoiser, x0) -> nats (B,); variational_bound, anomaly_score; posthoc: PowerEMA, posthoc
    ema = EMA(module, decay=0.999): update(module), copy_to(module), state_dict(), load_state_dict(state)
    GaussianDenoiser(schedule, mean, covariance), MixtureDenoiser(schedule, means, stds, weights)
"""

from multidiff.core.adaptive import Uncertainty
from multidiff.core.analytic import GaussianDenoiser, MixtureDenoiser
from multidiff.core.correlated import NOISES, Correlation
from multidiff.core.coupling import COUPLINGS
from multidiff.core.denoiser import Condition, Denoiser, Estimate, NetworkDenoiser, Rescheduled, identity
from multidiff.core.distill import DISTILLATIONS, Distillation, Examples, Lesson
from multidiff.core.ema import EMA
from multidiff.core.guidance import GUIDANCE, SHARE, Blended, ClassifierFree, Guided, ramp
from multidiff.core.inverse import (
    COMPLETIONS,
    EDITINGS,
    OPERATORS,
    POSTERIORS,
    Edit,
    Loop,
    Operator,
    Plan,
    Replacement,
    Windows,
    ddim_inversion,
    is_local,
    local,
    noisy_start,
    repaint_times,
    sdedit,
    slerp,
    sliding,
)
from multidiff.core.loss import LOSSES, TIMES, DiffusionLoss, by_log_snr, stratified
from multidiff.core.method import Method, make
from multidiff.core.noise import Noise, SeededNoise
from multidiff.core.optimised import optimised_times
from multidiff.core.parameterization import PARAMETERIZATIONS, Parameterization
from multidiff.core.sample import sample, states
from multidiff.core.samplers import SAMPLERS, Sampler, State
from multidiff.core.schedule import NoiseSchedule, expand
from multidiff.core.schedules import SCHEDULES
from multidiff.core.timesteps import GRIDS, Grid
from multidiff.core.variance import Hybrid

__all__ = [
    "COMPLETIONS",
    "COUPLINGS",
    "DISTILLATIONS",
    "EDITINGS",
    "EMA",
    "GRIDS",
    "GUIDANCE",
    "LOSSES",
    "NOISES",
    "OPERATORS",
    "PARAMETERIZATIONS",
    "POSTERIORS",
    "SAMPLERS",
    "SCHEDULES",
    "SHARE",
    "TIMES",
    "Blended",
    "ClassifierFree",
    "Condition",
    "Correlation",
    "Denoiser",
    "DiffusionLoss",
    "Distillation",
    "Edit",
    "Estimate",
    "Examples",
    "GaussianDenoiser",
    "Grid",
    "Guided",
    "Hybrid",
    "Lesson",
    "Loop",
    "Method",
    "MixtureDenoiser",
    "NetworkDenoiser",
    "Noise",
    "NoiseSchedule",
    "Operator",
    "Parameterization",
    "Plan",
    "Replacement",
    "Rescheduled",
    "Sampler",
    "SeededNoise",
    "State",
    "Uncertainty",
    "Windows",
    "by_log_snr",
    "ddim_inversion",
    "expand",
    "identity",
    "is_local",
    "local",
    "make",
    "noisy_start",
    "optimised_times",
    "ramp",
    "repaint_times",
    "sample",
    "sdedit",
    "slerp",
    "sliding",
    "states",
    "stratified",
]
