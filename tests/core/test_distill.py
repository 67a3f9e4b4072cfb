"""Students of an exact teacher in the plane come near its law in few steps, where its own few steps do not."""

import pytest
import torch
from torch import nn

from multidiff.core import (
    GRIDS,
    LOSSES,
    PARAMETERIZATIONS,
    SAMPLERS,
    TIMES,
    DiffusionLoss,
    Estimate,
    NetworkDenoiser,
    make,
    sample,
    stratified,
)
from multidiff.core.distill import DISTILLATIONS
from tests.core.exact import CheapNoise, ExactNetwork, mixture, schedule
from tests.core.laws import drawn, energy_distance

FLOW = schedule("flow")
TEACHER = mixture(FLOW)
DDIM = make(SAMPLERS, "ddim")
FOUR = make(GRIDS, "trailing")(FLOW, 4)
TRUTH = drawn(TEACHER, 2000, seed=1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))

    def forward(self, x, log_snr, condition):
        place = log_snr.clamp(-6, 6)[:, None] * torch.tensor([0.25, 0.5, 1.0, 2.0])
        return self.layers(torch.cat([x, place.sin(), place.cos()], dim=1))


def trained(objective, steps, rate=1.5e-2):
    """A student of float32 that predicts the flow."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = Net()
    student = NetworkDenoiser(net, FLOW, make(PARAMETERIZATIONS, "flow"))
    optimiser = torch.optim.Adam(net.parameters(), rate)
    decay = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    data = drawn(TEACHER, 200 * 256, seed=2).float()
    for _ in range(steps):
        x0 = data[torch.randint(len(data), (256,), generator=generator)]
        noise = torch.randn(256, 2, generator=generator)
        loss, _ = objective(student, x0, noise, stratified(256, generator))
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
        decay.step()
    return student


def by_ddim(denoiser, times, dtype=torch.float32):
    return sample(denoiser, DDIM, times, lambda step, stream=0: CheapNoise((2000, 2))(step).to(dtype))


@torch.no_grad()
def by_consistency(student, times):
    """Estimate, then noise again to the next level (Song et al. 2023, algorithm 1)."""
    noise = CheapNoise((2000, 2))
    x = noise(0).float()
    for i in range(len(times) - 1):
        x0 = student(x, times[i].expand(2000)).x0
        x = FLOW.diffuse(x0, noise(i + 1).float(), times[i + 1].expand(2000))
    return x


def make_objective(name, options):
    return make(DISTILLATIONS, name, options)


def test_the_teachers_own_few_steps_are_far_from_its_law():
    many = make(GRIDS, "trailing")(FLOW, 32)
    assert energy_distance(TRUTH, by_ddim(TEACHER, SINGLE, torch.float64)) > 0.5
    assert energy_distance(TRUTH, by_ddim(TEACHER, FOUR, torch.float64)) > 0.025
    assert energy_distance(TRUTH, by_ddim(TEACHER, many, torch.float64)) < 0.003


def test_a_progressive_student_takes_four_steps_for_the_teachers_thirty_two():
    options = {"teacher": TEACHER32, "times": FOUR, "weighting": make(LOSSES, "edm"), "substeps": 8}
    student = trained(make_objective("progressive", options), 600)
    assert energy_distance(TRUTH, by_ddim(student, FOUR)) < 0.005


def test_reflow_makes_paths_straight_enough_for_four_steps():
    loss = DiffusionLoss(make(LOSSES, "simple"), make(TIMES, "uniform"))
    options = {"teacher": TEACHER32, "sampler": make(SAMPLERS, "dpm++2m"), "times": make(GRIDS, "trailing")(FLOW, 8)}
    student = trained(make_objective("reflow", {**options, "loss": loss}), 400)
    assert energy_distance(TRUTH, by_ddim(student, FOUR)) < 0.01


SINGLE = torch.tensor([1.0, 0.0], dtype=torch.float64)


def test_a_consistency_student_needs_one_step_and_four_are_no_worse():
    options = {"times": FOUR, "teacher": TEACHER32, "substeps": 8}
    student = trained(make_objective("consistency", options), 600)
    assert energy_distance(TRUTH, by_consistency(student, FOUR)) < 0.01
    assert energy_distance(TRUTH, by_consistency(student, SINGLE)) < 0.01


def test_consistency_training_without_a_teacher_makes_a_coarse_one_step_student():
    student = trained(make_objective("consistency-training", {"times": make(GRIDS, "trailing")(FLOW, 12)}), 600)
    assert energy_distance(TRUTH, by_consistency(student, SINGLE)) < 0.1


def float32(d):
    return type(d)(d.schedule, d.means.float(), d.stds.float(), d.weights.float())


TEACHER32 = float32(TEACHER)


class Told:
    """A denoiser whose estimate is the condition's."""

    schedule = FLOW

    def __call__(self, x_t, t, condition=None):
        return Estimate(condition["answer"].expand_as(x_t))


def exact_student():
    parameterization = make(PARAMETERIZATIONS, "flow")
    return NetworkDenoiser(ExactNetwork(TEACHER, parameterization), FLOW, parameterization)


def batch(count=64):
    noise = CheapNoise((count, 2))
    return drawn(TEACHER, count), noise(0), torch.arange(count, dtype=torch.float64) / count


def test_the_progressive_target_of_one_substep_is_the_teachers_own_estimate():
    options = {"teacher": TEACHER, "times": FOUR, "weighting": make(LOSSES, "edm"), "substeps": 1}
    loss, log_snr = make_objective("progressive", options)(exact_student(), *batch())
    assert float(loss.max()) < 1e-12
    assert log_snr.shape == (64,)
    two, _ = make_objective("progressive", {**options, "substeps": 2})(exact_student(), *batch())
    assert float(two.mean()) > 1e-3


def test_guidance_is_folded_into_the_target():
    null, condition = {"answer": torch.zeros(1, 1).double()}, {"answer": torch.ones(64, 1).double()}
    options = {"teacher": Told(), "times": torch.tensor([1.0, 0.0]), "scale": 3.0, "null": null}
    x0, noise, _ = batch()
    objective = make_objective("lcm", options)
    network = NetworkDenoiser(lambda x, log_snr, c: x - 3.0, FLOW, make(PARAMETERIZATIONS, "flow"))
    # At t = 1 the flow x - x0 = x - 3 is right: the guided teacher goes to 0 + 3 (1 - 0).
    loss, _ = objective(network, x0, noise, torch.zeros(64, dtype=torch.float64), condition)
    assert float(loss.max()) < 1e-6


def test_known_elements_and_weightless_ones_are_left_out():
    condition = {"mask": torch.tensor([[1.0, 0.0]]).double(), "known": torch.zeros(64, 2).double()}
    weight = torch.tensor([[1.0, 0.0]]).double()
    for name in ("progressive", "consistency"):
        options = {"teacher": TEACHER, "times": FOUR}
        if name == "progressive":
            options["weighting"] = make(LOSSES, "edm")
        loss, _ = make_objective(name, options)(exact_student(), *batch(), condition, weight)
        assert float(loss.abs().max()) == 0


def test_what_cannot_be_distilled_is_refused():
    student = NetworkDenoiser(lambda x, log_snr, c: x, FLOW, make(PARAMETERIZATIONS, "data"))
    with pytest.raises(ValueError, match="cannot predict data"):
        make_objective("consistency-training", {"times": FOUR})(student, *batch())
    with pytest.raises(ValueError, match="substeps"):
        make_objective("progressive", {"teacher": TEACHER, "times": FOUR, "weighting": None, "substeps": 0})
