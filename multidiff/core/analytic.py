"""Exact denoisers of Gaussians and mixtures: the oracle of tests and tutorials."""

from __future__ import annotations

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Estimate
from multidiff.core.schedule import NoiseSchedule, expand


class GaussianDenoiser:
    """x0 ~ N(mean, covariance), mean (*event), covariance (D, D) over the flattened event of D elements.

    E[x0 | x_t] = mean + alpha C (alpha^2 C + sigma^2 I)^-1 (x_t - alpha mean)
    """

    def __init__(self, schedule: NoiseSchedule, mean: Tensor, covariance: Tensor) -> None:
        self.schedule = schedule
        self.mean = mean
        self.values, self.vectors = torch.linalg.eigh(covariance)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        alpha = self.schedule.alpha(t.double()).to(x_t)[:, None]
        sigma = self.schedule.sigma(t.double()).to(x_t)[:, None]
        gain = alpha * self.values / (alpha**2 * self.values + sigma**2)
        centred = x_t.flatten(1) - alpha * self.mean.flatten()
        x0 = self.mean.flatten() + ((centred @ self.vectors) * gain) @ self.vectors.T
        return Estimate(x0.reshape(x_t.shape))


class MixtureDenoiser:
    """x0 ~ sum_k weights_k N(means_k, stds_k^2 I): means (K, *event), stds (K,), weights (K,) summing to 1.

    E[x0 | x_t] = sum_k p(k | x_t) (means_k + alpha s_k^2/(alpha^2 s_k^2 + sigma^2) (x_t - alpha means_k))
    """

    def __init__(self, schedule: NoiseSchedule, means: Tensor, stds: Tensor, weights: Tensor) -> None:
        self.schedule = schedule
        self.means, self.stds, self.weights = means, stds, weights

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        alpha = expand(self.schedule.alpha(t.double()), x_t)[:, None]
        sigma = expand(self.schedule.sigma(t.double()), x_t)[:, None]
        stds = self.stds.reshape(-1, *(1,) * (x_t.ndim - 1))
        variance = (alpha * stds) ** 2 + sigma**2
        centred = x_t[:, None] - alpha * self.means
        squares = (centred**2 / variance).flatten(2).sum(2)
        energy = squares + self.means[0].numel() * variance.log().flatten(2).squeeze(2)
        share = torch.softmax(self.weights.log() - energy / 2, dim=1)
        x0 = self.means + alpha * stds**2 / variance * centred
        return Estimate((share.reshape(*share.shape, *(1,) * (x_t.ndim - 1)) * x0).sum(1))
