"""Students of an exact teacher in the plane come near its law in few steps, where its own few steps do not."""

import copy
from functools import cache

import pytest
import torch
from torch import nn

from multidiff.core import (
    DISTILLATIONS,
    GRIDS,
    LOSSES,
    PARAMETERIZATIONS,
    SAMPLERS,
    TIMES,
    ClassifierFree,
    DiffusionLoss,
    Estimate,
    Lesson,
    NetworkDenoiser,
    make,
    sample,
    stratified,
)
from multidiff.core.distill import Examples
from multidiff.core.distill.lesson import follow
from tests.core.exact import CheapNoise, ExactNetwork, mixture, schedule
from tests.core.laws import drawn, energy_distance

FLOW = schedule("flow")
TEACHER = mixture(FLOW)
FLOAT32 = type(TEACHER)(FLOW, TEACHER.means.float(), TEACHER.stds.float(), TEACHER.weights.float())
TRUTH = drawn(TEACHER, 2000, seed=1)
PLAIN = DiffusionLoss(make(LOSSES, "simple"), make(TIMES, "uniform"))


def grid(steps):
    return make(GRIDS, "trailing")(FLOW, steps)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))

    def forward(self, x, log_snr, condition):
        place = log_snr.clamp(-6, 6)[:, None] * torch.tensor([0.25, 0.5, 1.0, 2.0])
        return self.layers(torch.cat([x, place.sin(), place.cos()], dim=1))


def denoiser(network):
    return NetworkDenoiser(network, FLOW, make(PARAMETERIZATIONS, "flow"))


def optimised(nets, losses, steps, rate):
    """`losses(step, x0, draw, u)` yields (name in nets, loss); Adam for each net."""
    generator = torch.Generator().manual_seed(0)
    optimisers = {name: torch.optim.Adam(net.parameters(), rate) for name, net in nets.items()}
    decays = [torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.01, steps) for o in optimisers.values()]
    data = drawn(TEACHER, 200 * 256, seed=2).float()
    for step in range(steps):
        x0 = data[torch.randint(len(data), (256,), generator=generator)]
        for name, loss in losses(
            step, x0, lambda stream=0: torch.randn(256, 2, generator=generator), stratified(256, generator)
        ):
            optimisers[name].zero_grad()
            loss.mean().backward()
            optimisers[name].step()
        for decay in decays:
            decay.step()


@cache
def pretrained():
    """The network that students begin with: the flow of the data, roughly learnt."""
    torch.manual_seed(0)
    net = Net()

    def losses(step, x0, draw, u):
        yield "network", PLAIN(denoiser(net), x0, draw(), u)[0]

    optimised({"network": net}, losses, 300, 1e-2)
    return net


def trained(method, steps, rate=1e-2, student_steps=4):
    nets = {"network": copy.deepcopy(pretrained())}
    if method.critic:
        nets["critic"] = copy.deepcopy(pretrained())
    roles = {name: denoiser(net) for name, net in nets.items()}

    def losses(step, x0, draw, u):
        student, critic = roles["network"], roles.get("critic")
        lesson = Lesson(student, FLOAT32, PLAIN, grid, student_steps, critic, step / steps)
        return method.losses(lesson, Examples(x0, draw, u))

    optimised(nets, losses, steps, rate)
    return roles["network"]


def error(of, sampler, steps, dtype=torch.float32):
    """Energy distance of samples to exact ones."""
    noise = CheapNoise((2000, 2))
    made = sample(of, make(SAMPLERS, sampler), grid(steps), lambda step, stream=0: noise(step, stream).to(dtype))
    return energy_distance(TRUTH, made)


def test_the_teachers_own_few_steps_are_far_from_its_law():
    assert error(TEACHER, "ddim", 1, torch.float64) > 0.5
    assert error(TEACHER, "ddim", 4, torch.float64) > 0.025
    assert error(TEACHER, "ddim", 32, torch.float64) < 0.003


@pytest.mark.parametrize(
    ("name", "options", "steps", "four", "one"),
    [
        ("progressive", {}, 400, 0.003, None),
        ("consistency", {}, 400, 0.003, 0.003),
        ("lcm", {}, 600, 0.015, 0.015),
        ("consistency-training", {}, 800, 0.015, 0.03),
        ("reflow", {"teacher_steps": 8}, 300, 0.003, 0.02),
    ],
)
def test_a_students_few_steps_reach_the_data(name, options, steps, four, one):
    method = make(DISTILLATIONS, name, options)
    student = trained(method, steps)
    assert error(student, method.sampler, 4) < four
    if one:
        assert error(student, method.sampler, 1) < one


@pytest.mark.parametrize(("student_steps", "bound"), [(1, 0.025), (4, 0.04)])
def test_distribution_matching_reaches_the_teachers_law_in_the_steps_it_is_for(student_steps, bound):
    method = make(DISTILLATIONS, "dmd", {"critic_steps": 4})
    student = trained(method, 300, 1e-3, student_steps)
    assert error(denoiser(pretrained()), method.sampler, student_steps) > 0.1
    assert error(student, method.sampler, student_steps) < bound


class Told:
    """A denoiser whose estimate is the condition's."""

    schedule = FLOW

    def __call__(self, x_t, t, condition=None):
        return Estimate(condition["answer"].expand_as(x_t))


def exact_student():
    parameterization = make(PARAMETERIZATIONS, "flow")
    return NetworkDenoiser(ExactNetwork(TEACHER, parameterization), FLOW, parameterization)


def losses_of(
    name, options=None, student=None, teacher=TEACHER, critic=None, steps=4, condition=None, weight=None, loss=PLAIN
):
    """(group, loss (64,)) of one step."""
    noise, count = CheapNoise((64, 2)), iter(range(100))
    lesson = Lesson(student or exact_student(), teacher, loss, grid, steps, critic)
    u = torch.arange(64, dtype=torch.float64) / 64
    method = make(DISTILLATIONS, name, options)
    draw = lambda stream=0: noise(next(count))
    return list(method.losses(lesson, Examples(drawn(TEACHER, 64), draw, u, condition, weight)))


def test_the_progressive_target_of_one_substep_is_the_teachers_own_estimate():
    [(group, loss)] = losses_of("progressive", {"substeps": 1})
    assert group == "network"
    assert loss.shape == (64,)
    assert float(loss.max()) < 1e-12
    [(_, two)] = losses_of("progressive", {"substeps": 2})
    assert float(two.mean()) > 1e-3


def test_guidance_is_folded_into_the_target():
    teacher = ClassifierFree(Told(), 3.0, {"answer": torch.zeros(1, 1).double()})
    # At t = 1 the flow x - x0 = x - 3 is right: the guided teacher goes to 0 + 3 (1 - 0).
    student = denoiser(lambda x, log_snr, c: x - 3.0)
    [(_, loss)] = losses_of(
        "consistency", {}, student, teacher, steps=1, condition={"answer": torch.ones(64, 1).double()}
    )
    assert float(loss.max()) < 1e-6


def test_where_critic_and_teacher_agree_distribution_matching_is_content():
    *critics, (group, loss) = losses_of("dmd", {"critic_steps": 3}, critic=exact_student())
    assert [name for name, _ in critics] == ["critic"] * 3
    assert group == "network"
    assert float(loss.abs().max()) < 1e-20


def sure_of(value, seen=None):
    """A network's denoiser whose estimate is `value` everywhere; `seen` collects the levels it is asked at."""

    def network(x, log_snr, condition):
        if seen is not None:
            seen.append(log_snr)
        return (x - value) / torch.sigmoid(-log_snr)[:, None]  # eps - x0, where sigma = sigmoid(-log_snr)

    return denoiser(network)


def test_distribution_matching_goes_by_the_difference_of_the_scores_normalised_by_the_teachers_distance():
    seen = []
    *_, (_, loss) = losses_of("dmd", student=sure_of(0.0), teacher=sure_of(2.0), critic=sure_of(5.0, seen))
    torch.testing.assert_close(loss, torch.full_like(loss, ((5 - 2) / abs(0 - 2)) ** 2 / 2))
    assert not torch.allclose(seen[0], seen[1])  # each update of the critic at levels of its own


def test_the_teacher_is_followed_by_its_second_order_solver():
    x, (t, s) = CheapNoise((4, 2))(0), (torch.full((4,), v, dtype=torch.float64) for v in (0.9, 0.5))
    path = torch.linspace(0.9, 0.5, 5, dtype=torch.float64)
    ours = follow(TEACHER, x, t, s, None, substeps=4)
    theirs = sample(TEACHER, make(SAMPLERS, "dpm++2m"), path, CheapNoise((4, 2)), x=x)
    torch.testing.assert_close(ours, theirs)


def test_known_elements_and_weightless_ones_are_left_out():
    condition = {"mask": torch.tensor([[1.0, 0.0]]).double(), "known": torch.zeros(64, 2).double()}
    weight = torch.tensor([[1.0, 0.0]]).double()
    for name in DISTILLATIONS:
        for _, loss in losses_of(name, condition=condition, weight=weight, critic=exact_student()):
            assert float(loss.abs().max()) == 0, name


@pytest.mark.parametrize("name", ["progressive", "consistency", "lcm", "consistency-training", "reflow"])
def test_outliers_move_a_student_less_by_a_huber_loss(name):
    """Every prediction is off by 1000: the square is huge, with huber it is a line."""
    student = NetworkDenoiser(lambda x, log_snr, c: x + 1000.0, FLOW, make(PARAMETERIZATIONS, "flow"))
    huber = DiffusionLoss(PLAIN.weighting, PLAIN.times, huber=0.1)
    (_, square), (_, line) = (losses_of(name, student=student, loss=loss)[0] for loss in (PLAIN, huber))
    torch.testing.assert_close(line, 2 * 0.1 * square.sqrt(), rtol=0.05, atol=0)


def test_levels_of_consistency_training_double_until_the_last():
    method = make(DISTILLATIONS, "consistency-training", {"first": 10, "last": 40})
    assert [method.levels(progress) for progress in (0, 0.3, 0.4, 0.7, 0.99)] == [10, 10, 20, 40, 40]


def test_what_cannot_be_distilled_is_refused():
    data = NetworkDenoiser(lambda x, log_snr, c: x, FLOW, make(PARAMETERIZATIONS, "data"))
    with pytest.raises(ValueError, match="cannot predict data"):
        losses_of("consistency-training", student=data)
    with pytest.raises(ValueError, match="needs a critic"):
        losses_of("dmd")
    for name, options in (("progressive", {"substeps": 0}), ("consistency-training", {"first": 9, "last": 8})):
        with pytest.raises(ValueError, match=name):
            make(DISTILLATIONS, name, options)
