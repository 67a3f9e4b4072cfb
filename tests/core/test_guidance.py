from itertools import pairwise

import pytest
import torch

from multidiff.core import (
    GRIDS,
    GUIDANCE,
    PARAMETERIZATIONS,
    SAMPLERS,
    SCHEDULES,
    ClassifierFree,
    Estimate,
    NetworkDenoiser,
    make,
    sample,
)
from multidiff.core.denoiser import noise_estimate
from multidiff.core.guidance import AdaptiveProjected, Autoguidance, CFGPlusPlus, ClassifierGradient, Composed, Guided
from multidiff.core.schedule import expand
from tests.core.exact import CheapNoise, schedule

T = torch.tensor([0.3, 0.7], dtype=torch.float64)
X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
TOKENS, NULL = torch.full((2, 5, 8), 2.0), {"tokens": torch.zeros(1, 5, 8)}


class Told:
    """Predicts the mean token; remembers the sizes of its batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, x, log_snr, condition):
        self.batches.append(len(x))
        return condition["tokens"].mean((1, 2)).reshape(-1, 1, 1).expand_as(x)


def told(name="cosine", clamp=lambda x0: x0):
    network = Told()
    return network, NetworkDenoiser(network, schedule(name), make(PARAMETERIZATIONS, "data"), clamp)


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 0.0), (1.0, 2.0), (3.0, 6.0)])
def test_the_scale_stretches_the_way_from_null_to_condition(scale, expected):
    network, denoiser = told()
    x0 = ClassifierFree(denoiser, scale, NULL)(X, T, {"tokens": TOKENS}).x0
    torch.testing.assert_close(x0, torch.full_like(X, expected))
    assert network.batches == [4 if scale == 3 else 2]


@pytest.mark.parametrize("guidance", [ClassifierFree, AdaptiveProjected])
def test_where_the_prompt_is_the_null_one_the_network_is_asked_once_and_nothing_is_guided(guidance):
    network, denoiser = told()
    condition = {"tokens": NULL["tokens"].expand(2, -1, -1), "mask": torch.zeros(2, 1, 4), "known": X}
    x0 = guidance(denoiser, 3.0, NULL)(X, T, condition).x0
    assert network.batches == [2]
    torch.testing.assert_close(x0, denoiser(X, T, condition).x0)
    one = {**condition, "tokens": torch.stack([NULL["tokens"][0], TOKENS[0]])}
    torch.testing.assert_close(guidance(denoiser, 3.0, NULL)(X, T, one).x0[0], x0[0])
    assert network.batches[2:] == [4]


def test_what_is_known_stays_known_under_guidance():
    known, mask = torch.randn(2, 3, 4), torch.tensor([1, 1, 0, 0]).expand(2, 1, 4)
    _, denoiser = told()
    condition = {"tokens": TOKENS, "known": known, "mask": mask}
    x0 = ClassifierFree(denoiser, 4.0, NULL)(X, T, condition).x0
    torch.testing.assert_close(x0[..., :2], known[..., :2])
    torch.testing.assert_close(x0[..., 2:], torch.full((2, 3, 2), 8.0))


OPTIONS = {
    "classifier-free": {"rescale": 0.5},
    "composed": {"prompts": {"-1": -0.3}},
    "autoguidance": {"weak": "short"},
    "classifier": {"model": "it"},
}
"""Of every guidance, so that it does something."""


@pytest.mark.parametrize("name", GUIDANCE)
def test_every_guidance_keeps_what_is_known_and_the_variance_of_the_condition(name):
    def network(x, log_snr, condition):
        told = condition["tokens"].mean((1, 2)).reshape(-1, 1, 1).expand_as(x)
        return torch.tanh(x + told), told

    def model(own):
        return NetworkDenoiser(own, schedule("cosine"), make(PARAMETERIZATIONS, "velocity"))

    run = Guided(
        0.5 if name == "cfg++" else 3.0,
        NULL,
        torch.linspace(1, 0, 11),
        prompt=lambda text: {"tokens": torch.full((1, 5, 8), float(text))},
        model=lambda other: model(lambda x, log_snr, condition: (x, 0 * x)),
        classifier=lambda other: lambda x, t, condition: -x.square().flatten(1).sum(1),
    )
    guided = make(GUIDANCE, name, OPTIONS.get(name))(model(network), run)
    known, mask = torch.randn(2, 3, 4), torch.tensor([1, 1, 0, 0]).expand(2, 1, 4)
    condition = {"tokens": TOKENS, "known": known, "mask": mask}
    estimate, plain = guided(X, T, condition), model(network)(X, T, condition)
    torch.testing.assert_close(estimate.x0[..., :2], known[..., :2])
    assert not torch.allclose(estimate.x0[..., 2:], plain.x0[..., 2:])
    torch.testing.assert_close(estimate.v, torch.full_like(X, 2.0))


def test_the_guided_estimate_is_held_in_bounds():
    _, denoiser = told()
    x0 = ClassifierFree(denoiser, 3.0, NULL, clamp=lambda x0: x0.clamp(-1, 1))(X, T, {"tokens": TOKENS}).x0
    assert bool((x0 == 1).all())


def test_a_condition_without_the_prompt_is_refused():
    _, denoiser = told()
    with pytest.raises(ValueError, match="lacks 'tokens'"):
        ClassifierFree(denoiser, 3.0, NULL)(X, T, {})


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_sampler_and_schedule_works_under_guidance(name, sampler):
    _, denoiser = told(name)
    times = make(GRIDS, "log-snr")(denoiser.schedule, 4)
    guided = make(GUIDANCE, "classifier-free")(denoiser, Guided(2.0, NULL, times))
    x = sample(guided, make(SAMPLERS, sampler), times, CheapNoise((2, 3, 4)), {"tokens": TOKENS})
    torch.testing.assert_close(x, torch.full((2, 3, 4), 4.0, dtype=torch.float64))


class Meant:
    """Exact denoiser of white Gaussians whose mean is the condition's token and whose variance is `variance`."""

    def __init__(self, s, variance=0.3):
        self.schedule, self.variance = s, variance

    def __call__(self, x_t, t, condition=None):
        alpha, sigma = (expand(level(t), x_t) for level in (self.schedule.alpha, self.schedule.sigma))
        mean = expand(condition["token"], x_t)
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        return Estimate(mean + gain * (x_t - alpha * mean))


B = 4
COND = {"token": torch.full((B,), 1.5, dtype=torch.float64)}
ZERO = {"token": torch.full((1,), 0.5, dtype=torch.float64)}


def guided_estimates(name, guided, expected_mean, expected_variance=0.3):
    """The guided x0 beside that of the Gaussian it should belong to, at several levels."""
    s = schedule(name)
    for t in (0.05, 0.4, 0.8, 1.0):
        times = torch.full((B,), t, dtype=torch.float64)
        x = torch.randn(B, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        mean = {"token": torch.full((B,), expected_mean, dtype=torch.float64)}
        torch.testing.assert_close(guided(x, times, COND).x0, Meant(s, expected_variance)(x, times, mean).x0)


@pytest.mark.parametrize("name", ["cosine", "ve", "flow"])
def test_guidance_of_equal_gaussians_moves_their_mean_and_keeps_their_variance(name):
    d = Meant(schedule(name))
    guided_estimates(name, ClassifierFree(d, 3.0, ZERO), 0.5 + 3 * 1.0)
    guided_estimates(name, AdaptiveProjected(d, 3.0, ZERO, eta=1.0), 0.5 + 3 * 1.0)
    away = {"token": torch.full((1,), -1.0, dtype=torch.float64)}
    same = {"token": torch.full((1,), 1.5, dtype=torch.float64)}
    guided_estimates(name, Composed(d, [same, away], [2.0, -0.5], ZERO), 0.5 + 2 * 1.0 - 0.5 * -1.5)


@pytest.mark.parametrize("name", ["cosine", "ve", "flow"])
def test_the_exact_classifier_makes_the_exact_conditional_denoiser(name):
    """y = x0 + noise of variance 0.2 is seen: p(y | x_t) is Gaussian, and so is the law of x0 given y."""
    s, prior, noise, y = schedule(name), 0.3, 0.2, 1.1
    d = Meant(s, prior)

    def log_probability(x, t, condition):
        alpha, sigma = expand(s.alpha(t), x), expand(s.sigma(t), x)
        spread = prior * sigma**2 / (alpha**2 * prior + sigma**2) + noise
        return -((y - d(x, t, condition).x0) ** 2 / (2 * spread)).flatten(1).sum(1)

    posterior = prior * noise / (prior + noise)
    mean = posterior * (1.5 / prior + y / noise)
    x = torch.randn(B, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for level in (0.05, 0.4, 0.8):
        t = torch.full((B,), level, dtype=torch.float64)
        told = {"token": torch.full((B,), mean, dtype=torch.float64)}
        with torch.inference_mode():
            x0 = ClassifierGradient(d, 1.0, log_probability)(x, t, COND).x0
        torch.testing.assert_close(x0, Meant(s, posterior)(x, t, told).x0)
    assert bool(ClassifierGradient(d, 1.0, log_probability)(x, t * 0 + 1, COND).x0.isfinite().all())


def test_autoguidance_goes_away_from_the_weaker_model():
    s = schedule("cosine")
    strong, weak = Meant(s, 0.3), Meant(s, 0.8)
    x, t = torch.randn(B, 3, dtype=torch.float64), torch.full((B,), 0.4, dtype=torch.float64)
    guided = Autoguidance(strong, 2.5, weak)(x, t, COND).x0
    torch.testing.assert_close(guided, 2.5 * strong(x, t, COND).x0 - 1.5 * weak(x, t, COND).x0)
    torch.testing.assert_close(Autoguidance(strong, 1.0, weak)(x, t, COND).x0, strong(x, t, COND).x0)


def test_guidance_is_off_outside_of_its_interval_for_each_sample_alone():
    s = schedule("cosine")
    d = Meant(s)
    t = s.inverse(torch.tensor([-3.0, -0.5, 0.5, 3.0], dtype=torch.float64))
    x = torch.randn(B, 3, dtype=torch.float64)
    bounded = ClassifierFree(d, 4.0, ZERO, start=-1.0, end=1.0)(x, t, COND).x0
    full, off = ClassifierFree(d, 4.0, ZERO)(x, t, COND).x0, d(x, t, COND).x0
    torch.testing.assert_close(bounded, torch.stack([off[0], full[1], full[2], off[3]]))


def test_rescaled_guidance_has_the_standard_deviation_of_the_conditional_estimate():
    class Louder:
        schedule = schedule("cosine")

        def __call__(self, x_t, t, condition=None):
            return Estimate(expand(condition["token"], x_t) * x_t)

    t = torch.full((B,), 0.3, dtype=torch.float64)
    x = torch.randn(B, 50, dtype=torch.float64)
    # 0.5 x without the condition and 1.5 x with it make 4.5 x at scale 4.
    for share, gain in ((0.0, 4.5), (0.5, 3.0), (1.0, 1.5)):
        guided = ClassifierFree(Louder(), 4.0, ZERO, rescale=share)(x, t, COND).x0
        torch.testing.assert_close(guided, gain * x)


def test_projected_guidance_is_orthogonal_to_the_conditional_estimate_and_bounded():
    d = Meant(schedule("cosine"))
    t, x = torch.full((B,), 0.3, dtype=torch.float64), torch.randn(B, 7, dtype=torch.float64)
    conditional = d(x, t, COND).x0
    change = AdaptiveProjected(d, 5.0, ZERO, radius=0.1)(x, t, COND).x0 - conditional
    torch.testing.assert_close((change * conditional).sum(1), torch.zeros(B, dtype=torch.float64), rtol=0, atol=1e-12)
    assert bool((change.norm(dim=1) <= 4 * 0.1 + 1e-12).all())


@pytest.mark.parametrize("name", ["cosine", "ve", "flow"])
def test_cfg_plus_plus_is_ddim_renoised_with_the_unconditional_noise(name):
    s = schedule(name)
    d, scale = Meant(s), 0.6
    times = make(GRIDS, "trailing")(s, 6)
    noise = CheapNoise((B, 3))
    x = expand(s.sigma(times[:1]).expand(B), noise(0)) * noise(0)
    ours = sample(CFGPlusPlus(d, scale, ZERO, times), make(SAMPLERS, "ddim"), times, noise, COND, x=x)
    null = {"token": ZERO["token"].expand(B)}
    for t, end in pairwise(times):
        at = t.expand(B)
        free, told = d(x, at, null).x0, d(x, at, COND).x0
        x = s.alpha(end) * (free + scale * (told - free)) + s.sigma(end) * noise_estimate(s, x, free, at)
    torch.testing.assert_close(ours, x)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_guidance_works_under_every_sampler(sampler):
    s = schedule("flow")
    d, times = Meant(s), make(GRIDS, "log-snr")(schedule("flow"), 3)
    run = Guided(
        0.5,
        ZERO,
        times,
        prompt=lambda text: {"token": torch.full((1,), float(text), dtype=torch.float64)},
        model=lambda name: Meant(s, 0.9),
        classifier=lambda name: lambda x, t, condition: -x.square().flatten(1).sum(1),
    )
    for name in GUIDANCE:
        guided = make(GUIDANCE, name, OPTIONS.get(name))(d, run)
        x = sample(guided, make(SAMPLERS, sampler), times, CheapNoise((B, 3)), COND)
        assert bool(x.isfinite().all()), name


def test_without_a_null_condition_there_is_nothing_to_guide_away_from():
    s = schedule("flow")
    run = Guided(0.5, {}, make(GRIDS, "log-snr")(s, 3))
    x, t = torch.randn(B, 3, dtype=torch.float64), torch.full((B,), 0.4, dtype=torch.float64)
    for name in ("classifier-free", "apg", "cfg++"):
        torch.testing.assert_close(make(GUIDANCE, name)(Meant(s), run)(x, t, COND).x0, Meant(s)(x, t, COND).x0)


def test_impossible_guidance_is_refused():
    d, times = Meant(schedule("flow")), torch.tensor([1.0, 0.0])
    for name, options, fault in (
        ("classifier-free", {"rescale": 2.0}, "rescale"),
        ("apg", {"radius": 0.0}, "radius"),
        ("cfg++", {}, "between 0 and 1"),
        ("autoguidance", {"weak": "short"}, "no other model"),
        ("classifier", {"model": "it"}, "no classifier"),
    ):
        with pytest.raises(ValueError, match=fault):
            make(GUIDANCE, name, options)(d, Guided(2.0, ZERO, times))
    with pytest.raises(ValueError, match="at least one prompt"):
        make(GUIDANCE, "composed", {"prompts": {}})
    with pytest.raises(ValueError, match="as many weights"):
        Composed(d, [ZERO], [], ZERO)
