"""Diffusion in the plane, from the forward process to guidance, in one sitting.

    python recipes/tutorial/tutorial.py out/tutorial

writes the pictures named below. Everything uses multidiff.core as it is; nothing here is a toy copy of it. The data is
a mixture of three Gaussians in the plane, whose exact denoiser is known, so that each step can be checked.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from multidiff.core import (
    GRIDS,
    LOSSES,
    PARAMETERIZATIONS,
    SAMPLERS,
    SCHEDULES,
    TIMES,
    ClassifierFree,
    DiffusionLoss,
    MixtureDenoiser,
    NetworkDenoiser,
    SeededNoise,
    make,
    sample,
    states,
    stratified,
)
from multidiff.core.likelihood import Levels, log_likelihood

PICTURES = Path(sys.argv[1] if len(sys.argv) > 1 else "out/tutorial")
COUNT, TRAINING = 800, 1500

MEANS = torch.tensor([[-1.2, 0.6], [1.2, 0.4], [0.0, -1.3]])
STDS, WEIGHTS = torch.tensor([0.25, 0.35, 0.2]), torch.tensor([0.3, 0.4, 0.3])


def data(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points (count, 2) and the component (count,) each is from."""
    kind = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    return MEANS[kind] + STDS[kind, None] * torch.randn(count, 2, generator=generator), kind


def draw(axes: plt.Axes, points: Tensor, title: str, kind: Tensor | None = None, colour: str = "tab:blue") -> None:
    colours = colour if kind is None else [("tab:blue", "tab:orange", "tab:green")[k] for k in kind]
    axes.scatter(*points.T[:2], s=3, c=colours, alpha=0.6, linewidths=0)
    axes.set(title=title, xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
    axes.title.set_fontsize(8)


def save(figure: plt.Figure, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(PICTURES / f"{name}.png", dpi=80)
    plt.close(figure)
    print(f"{PICTURES / name}.png")


# 1. The forward process. Data is mixed with noise, x_t = alpha(t) x0 + sigma(t) eps, until nothing of it is left. A
#    schedule says how fast. Only lambda = log(alpha/sigma), the log-SNR, matters; t is a name for it.
schedule = make(SCHEDULES, "cosine")
generator = torch.Generator().manual_seed(0)
x0, kind = data(COUNT, generator)
eps = torch.randn(COUNT, 2, generator=generator)
figure, row = plt.subplots(1, 5, figsize=(10, 2.2))
for axes, time in zip(row, (0.0, 0.25, 0.5, 0.75, 1.0), strict=True):
    t = torch.full((COUNT,), time, dtype=torch.float64)
    draw(
        axes, schedule.diffuse(x0, eps, t), f"t = {time}, log-SNR {round(float(schedule.log_snr(t[0])), 1) + 0.0}", kind
    )
save(figure, "1-forward")

# 2. The score. Where does x_t come from? The best guess is the mean E[x0 | x_t], which a denoiser gives. It is all
#    there is to know: the gradient of log p(x_t), the score, is (alpha E[x0 | x_t] - x_t)/sigma^2 (Tweedie's formula;
#    arrows longer than 1 are cut).
exact = MixtureDenoiser(schedule, MEANS, STDS, WEIGHTS)
side = torch.linspace(-3, 3, 20)
grid = torch.cartesian_prod(side, side)
figure, row = plt.subplots(1, 3, figsize=(7.5, 2.7))
for axes, time in zip(row, (0.15, 0.4, 0.7), strict=True):
    t = torch.full((len(grid),), time, dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(t[0])), float(schedule.sigma(t[0]))
    score = (alpha * exact(grid, t).x0 - grid) / sigma**2
    draw(axes, schedule.diffuse(x0, eps, t[0].expand(COUNT)), f"the score at t = {time}", colour="silver")
    axes.quiver(*grid.T, *(score / score.norm(dim=1, keepdim=True).clamp(min=1)).T, scale=25, width=0.004)
save(figure, "2-score")


# 3. Learning it. A network is shown x_t and the log-SNR and predicts the velocity v = alpha eps - sigma x0; the loss is
#    its plain squared error. It is told the component, or nothing (3) three times in ten, which guidance needs below.
class Network(nn.Module):
    def __init__(self, size: int = 2, kinds: int = 4, width: int = 96) -> None:
        super().__init__()
        self.kind = nn.Embedding(kinds, 8)
        self.layers = nn.Sequential(
            nn.Linear(size + 16, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, size)
        )

    def forward(self, x: Tensor, log_snr: Tensor, condition: dict[str, Tensor]) -> Tensor:
        place = log_snr.clamp(-8, 8)[:, None] * torch.tensor([0.2, 0.4, 0.8, 1.6])
        return self.layers(torch.cat([x, place.sin(), place.cos(), self.kind(condition["kind"])], dim=1))


def train(size: int, encode: object = None) -> NetworkDenoiser:
    torch.manual_seed(0)
    network, generator = Network(size), torch.Generator().manual_seed(1)
    denoiser = NetworkDenoiser(network, schedule, make(PARAMETERIZATIONS, "velocity"))
    loss_of = DiffusionLoss(make(LOSSES, "simple"), make(TIMES, "uniform"))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    decay = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-2, TRAINING)
    for _ in range(TRAINING):
        x0, kind = data(256, generator)
        x0 = encode(x0) if callable(encode) else x0
        kind = torch.where(torch.rand(256, generator=generator) < 0.3, 3, kind)
        noise = torch.randn(x0.shape, generator=generator)
        loss, _ = loss_of(denoiser, x0, noise, stratified(256, generator), {"kind": kind})
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
        decay.step()
    return denoiser


learned = train(2)
ANY = {"kind": torch.full((COUNT,), 3)}
t = torch.full((COUNT,), 0.5, dtype=torch.float64)
x_t = schedule.diffuse(x0, eps, t)
with torch.no_grad():
    error = (learned(x_t, t, ANY).x0 - exact(x_t, t).x0).square().mean().sqrt()
print(f"the learned E[x0 | x_t] is {float(error):.2f} from the exact one at t = 0.5")
assert error < 0.1

# 4. The reverse SDE. Time can be run backwards: dx = (f x - g^2 score) dt + g dW. Its exact steps, for an estimate of
#    x0 that stays as it is, are DDPM's; the path is rough, and many steps are needed.
# 5. The probability-flow ODE has the same marginals and no noise, dx = (f x - g^2 score/2) dt: its paths are smooth,
#    every noise belongs to one sample, and the density can be followed along it.
noise = SeededNoise(range(COUNT), (2,))
times = make(GRIDS, "log-snr")(schedule, 100)
figure, row = plt.subplots(1, 2, figsize=(6, 3))
for axes, name, title in zip(row, ("ddpm", "ddim"), ("the SDE (DDPM)", "the ODE (DDIM)"), strict=True):
    path = torch.stack([state.x for state in states(learned, make(SAMPLERS, name), times, noise, ANY)])
    draw(axes, path[-1], title)
    axes.plot(*path[:, :6].permute(2, 0, 1), lw=0.6, color="black", alpha=0.6)
save(figure, "3-paths")

point = torch.tensor([[-1.2, 0.6], [0.0, 0.0]])
distance = (point[:, None] - MEANS).square().sum(-1)
truth = torch.logsumexp(WEIGHTS.log() - distance / (2 * STDS**2) - (2 * math.pi * STDS**2).log(), dim=1)
followed = log_likelihood(exact, point.double(), levels=Levels(steps=60))
print(f"log p by the ODE {followed.tolist()}, exactly {truth.tolist()}")
assert (followed - truth).abs().max() < 0.01

# 6. Fewer steps. DDIM solves the ODE to first order, DPM-Solver++ to higher. With ten steps DDPM's
#    clusters come out too narrow; DPM-Solver++ is nearly done.
figure, row = plt.subplots(1, 4, figsize=(9, 2.5))
for axes, (name, steps) in zip(row, [("ddpm", 10), ("ddim", 10), ("dpm++2m", 10), ("dpm++2m", 50)], strict=True):
    times = make(GRIDS, "trailing")(schedule, steps)
    draw(axes, sample(learned, make(SAMPLERS, name), times, noise, ANY), f"{name}, {steps} steps")
save(figure, "4-samplers")

# 7. Latent diffusion. Data often lies near a surface of few dimensions in a space of many. An encoder finds it, here by
#    principal components; diffusion runs in the latent space, whose coordinates are scaled to unit variance, and the
#    decoder takes its samples back.
lift = torch.linalg.qr(torch.randn(16, 2, generator=torch.Generator().manual_seed(3)))[0].T
high = data(4000, generator)[0] @ lift + 0.02 * torch.randn(4000, 16, generator=generator)
centre = high.mean(0)
scale, basis = torch.linalg.eigh((high - centre).T.cov())
basis, scale = basis[:, -2:], scale[-2:].sqrt()
latent = train(2, lambda x0: (x0 @ lift - centre) @ basis / scale)
times = make(GRIDS, "trailing")(schedule, 25)
z = sample(latent, make(SAMPLERS, "dpm++2m"), times, noise, ANY)
decoded = z * scale @ basis.T + centre
print(f"16 numbers a sample, 2 of them diffused; latent std {float(z.std()):.2f}")

# 8. Guidance. Told the component, the network makes its points. Classifier-free guidance goes further away from what it
#    makes when told nothing: scale 1 is the law itself, more is sharper and no longer the data's law.
figure, row = plt.subplots(1, 4, figsize=(9, 2.5))
draw(row[0], decoded @ lift.T, "latent diffusion, decoded")
told = {"kind": torch.ones(COUNT, dtype=torch.long)}
for axes, strength in zip(row[1:], (1.0, 2.0, 5.0), strict=True):
    guided = ClassifierFree(learned, strength, {"kind": torch.tensor([3])})
    x = sample(guided, make(SAMPLERS, "dpm++2m"), times, noise, told)
    draw(axes, x, f"component 1, guidance {strength:g}")
    print(f"guidance {strength:g}: mean {x.mean(0).tolist()}, std {x.std(0).tolist()}")
save(figure, "5-latent-and-guidance")
