"""Equal-time training of point networks: the peer is what it is said to be, and both are trained and judged alike."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal

from multidiff import core, recipe, weights
from multidiff.bench import equal_time, pointnet, points_training
from multidiff.bench.equal_time import Row
from multidiff.bench.pointnet import LATENT, LEVELS, SCHEDULE, Coupling, PointNetDiffusion
from multidiff.bench.points_training import FLOOR, OURS, PEER, TRAINING
from multidiff.errors import InputError

TINY = (
    *points_training.CHANGES,
    "data.count=60",
    "data.points=256",
    "data.drawn=64",
    "options.points=64",
    "network.dim=8",
    "network.latent_dim=8",
    "network.latents=4",
    "network.blocks=1",
    "network.condition_dim=8",
    "train.batch=2",
    "train.warmup=0",
)


@pytest.fixture
def peer():
    torch.manual_seed(0)
    module = PointNetDiffusion()
    for coupling in module.flow:
        torch.nn.init.normal_(coupling.layers[-1].weight, std=0.05)
    return module.eval()


def test_the_peers_encoder_ignores_the_order_and_its_denoiser_the_other_points(peer):
    x, z = torch.randn(2, 40, 3), torch.randn(2, LATENT)
    order = torch.randperm(40)
    moved = x.clone()
    moved[:, 7] += 1
    with torch.no_grad():
        for a, b in zip(peer.encoder(x), peer.encoder(x[:, order]), strict=True):
            torch.testing.assert_close(a, b)
        assert not torch.allclose(peer.encoder(x)[0], peer.encoder(moved)[0])
        beta = torch.full((2,), 0.02)
        out, other = peer.denoiser(x, beta, z), peer.denoiser(moved, beta, z)
        changed = ((out - other).abs().amax((0, 2)) > 1e-6).nonzero().flatten()
        assert changed.tolist() == [7]
        for level, latent in ((beta + 0.02, z), (beta, z + 1)):
            assert ((peer.denoiser(x, level, latent) - out).abs().amax(-1) > 1e-6).all()


def test_the_prior_is_inverted_by_its_latents_and_has_the_density_of_the_jacobian(peer):
    w = torch.randn(3, LATENT)
    z = peer.latent(w).detach()
    assert (z - w).abs().max() > 0.1

    def flow(z: torch.Tensor) -> torch.Tensor:
        for coupling in peer.flow:
            z, _ = coupling(z)
        return z

    torch.testing.assert_close(flow(z), w, atol=1e-4, rtol=1e-4)
    jacobian = torch.autograd.functional.jacobian(lambda one: flow(one[None])[0], z[0])
    density = Normal(0.0, 1.0).log_prob(w[0]).sum() + torch.linalg.slogdet(jacobian)[1]
    assert float(peer.log_prior(z)[0].detach()) == pytest.approx(float(density), rel=1e-4)


def test_a_coupling_keeps_one_half_and_tells_its_determinant_both_ways():
    coupling, z = Coupling(first=False), torch.randn(2, LATENT)
    out, log_determinant = coupling(z)
    assert torch.equal(out[:, : LATENT // 2], z[:, : LATENT // 2])
    assert not torch.allclose(out[:, LATENT // 2 :], z[:, LATENT // 2 :])
    back, inverse = coupling(out, inverse=True)
    torch.testing.assert_close(back, z, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(inverse, -log_determinant)


def test_the_peers_loss_is_the_error_of_its_noise_and_the_divergence_of_its_latent(peer, monkeypatch):
    """With a network that says 0 for the noise, the error is the noise's own mean square."""
    x0 = torch.randn(4, 30, 3)
    monkeypatch.setattr(peer, "noise", lambda x, level, z: torch.zeros_like(x))
    generator = torch.Generator().manual_seed(5)
    eps = torch.randn(x0.shape, generator=generator)
    torch.randint(LEVELS, (4,), generator=generator)
    mean, log_variance = peer.encoder(x0)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    z = mean + posterior.stddev * torch.randn(mean.shape, generator=generator)
    divergence = -posterior.entropy().sum(-1) - peer.log_prior(z)
    expected = eps.square().mean((1, 2)) + pointnet.KL_WEIGHT * divergence
    torch.testing.assert_close(peer.loss(x0, torch.Generator().manual_seed(5)), expected)


def test_the_peer_stepped_by_the_core_takes_ddpms_ancestral_steps_on_its_betas(peer):
    """Ho et al. 2020, algorithm 2, with the variance of the posterior, as the published sampler at flexibility 0."""
    z, x = torch.randn(2, LATENT), torch.randn(2, 20, 3)
    betas = torch.linspace(1e-4, 0.05, LEVELS, dtype=torch.float64)
    bars = (1 - betas).cumprod(0)
    with torch.no_grad():
        peer.denoiser.layers[-1].linear.weight.mul_(0.1)
        denoiser = equal_time.chained(partial(peer.noise, z=z), SCHEDULE)
        for level in (LEVELS - 1, 120, 3, 0):
            noise = torch.randn(2, 20, 3)
            eps = peer.denoiser(x, betas[level].float().expand(2), z)
            mean = (x - betas[level] / (1 - bars[level]).sqrt() * eps) / (1 - betas[level]).sqrt()
            before = bars[level - 1] if level else torch.tensor(1.0)
            theirs = mean + ((1 - before) / (1 - bars[level]) * betas[level]).sqrt() * noise
            times = torch.tensor([level + 1, level], dtype=torch.float64) / LEVELS
            ours = core.sample(denoiser, core.make(core.SAMPLERS, "ddpm"), times, lambda *_, e=noise: e, x=x)
            torch.testing.assert_close(ours, theirs.float(), atol=2e-4, rtol=1e-4)


def test_like_parameters_are_like_and_the_peers_those_of_its_widths():
    ours = weights.build(recipe.load("shapes", points_training.CHANGES)).network
    module = PointNetDiffusion()
    parts = [sum(p.numel() for p in part.parameters()) for part in (ours, module, module.denoiser)]
    assert parts[0] == pytest.approx(parts[1], rel=0.05)
    widths = (3, 128, 256, 512, 256, 128, 3)
    assert parts[2] == sum(a * b + b + 2 * 259 * b + b for a, b in pairwise(widths))


def test_each_way_is_trained_for_the_same_seconds_and_judged(monkeypatch, tmp_path):
    """Against as many held-out shapes, though but 12 are there: 6 of val, 6 of test."""
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
    found = list(points_training.rows(["synth"], 0.5, 50, 2, TINY))
    assert [row.name for row in found] == [FLOOR, TRAINING, OURS, PEER]
    for row in found:
        assert all(math.isfinite(value) for value in row.metrics.values())
        assert row.metrics["real_count"] == row.metrics["generated_count"] == 12
    for row in found[2:]:
        assert row.steps >= 1
        assert 0.5 <= row.seconds < 3
        # Half a second of training makes noise, which is farther from held-out shapes than training shapes are.
        assert row.metrics["mmd_cd"] > found[1].metrics["mmd_cd"]
    lines = list(points_training.markdown(iter(found), 2))
    assert [line.split("|")[1].strip() for line in lines[2:6]] == [row.name for row in found]
    assert len({line.count("|") for line in lines[:6]}) == 1


def test_the_peer_makes_as_many_clouds_as_asked_each_by_its_own_seed(monkeypatch):
    monkeypatch.setattr(points_training, "BATCH", 2)
    model = weights.build(recipe.load("shapes", TINY))
    objective = points_training.PeerObjective(model.codec, model.recipe.data)
    objective.module.eval()
    with torch.no_grad():
        made = objective.sample(3, 2, model.recipe.options)
        monkeypatch.setattr(points_training, "BATCH", 8)
        again = objective.sample(3, 2, model.recipe.options)
    assert [len(cloud) for cloud in made] == [64] * 3
    for a, b in zip(made, again, strict=True):
        torch.testing.assert_close(torch.from_numpy(a.points), torch.from_numpy(b.points), atol=1e-4, rtol=1e-4)
    assert not (made[0].points == made[1].points).all()


def test_the_table_tells_percent_and_thousandths():
    told = {"1nna_cd": 0.75, "1nna_cd_low": 0.5, "1nna_cd_high": 0.875, "mmd_cd": 0.0123, "coverage_cd": 0.4}
    told |= {"jsd": 0.125, "roughness": 0.0321, "roughness_real": 0.01, "real_count": 8.0, "generated_count": 8.0}
    lines = list(points_training.markdown(iter([Row(OURS, 2_500_000, 300.0, 77, told)]), 10))
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == [OURS, "2.50", "5.0", "77", "75.0", "50.0 to 87.5", "12.30", "40", "0.125", "32.1"]


def test_too_few_shapes_are_refused():
    with pytest.raises(
        InputError, match=r"synth: 2 shapes in the splits 'val' and 'test', 3 in 'train'; at least 4 and 8"
    ):
        next(points_training.rows(["synth"], 1.0, 2, 1, [*TINY, "data.count=3"]))
