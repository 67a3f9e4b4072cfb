import pytest
import torch

from multidiff.core import (
    GRIDS,
    GUIDANCE,
    PARAMETERIZATIONS,
    SAMPLERS,
    SCHEDULES,
    ClassifierFree,
    NetworkDenoiser,
    make,
    sample,
)
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


def test_what_is_known_stays_known_under_guidance():
    known, mask = torch.randn(2, 3, 4), torch.tensor([1, 1, 0, 0]).expand(2, 1, 4)
    _, denoiser = told()
    condition = {"tokens": TOKENS, "known": known, "mask": mask}
    x0 = ClassifierFree(denoiser, 4.0, NULL)(X, T, condition).x0
    torch.testing.assert_close(x0[..., :2], known[..., :2])
    torch.testing.assert_close(x0[..., 2:], torch.full((2, 3, 2), 8.0))


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
    guided = make(GUIDANCE, "classifier-free", {"denoiser": denoiser, "scale": 2.0, "null": NULL})
    times = make(GRIDS, "log-snr")(denoiser.schedule, 4)
    x = sample(guided, make(SAMPLERS, sampler), times, CheapNoise((2, 3, 4)), {"tokens": TOKENS})
    torch.testing.assert_close(x, torch.full((2, 3, 4), 4.0, dtype=torch.float64))
