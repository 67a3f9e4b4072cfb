"""Long sequences and loops, on a stationary Gaussian whose law is known at every length."""

import pytest
import torch

from multidiff.core import GRIDS, SAMPLERS, Estimate, GaussianDenoiser, State, make, sample
from multidiff.core.inverse import MMPS, OPERATORS, Loop, Measurement, Windows, local, sliding
from tests.core.exact import CheapNoise, schedule

SIZE, COUNT = 16, 600


def stationary(size, rate=0.7):
    """Neighbours k apart correlate rate^k: a first-order autoregression."""
    place = torch.arange(size, dtype=torch.float64)
    return rate ** (place[:, None] - place).abs()


def smooth(size, length=3.0):
    place = torch.arange(size, dtype=torch.float64)
    return torch.exp(-((place[:, None] - place) ** 2) / (2 * length**2)) + 1e-4 * torch.eye(size, dtype=torch.float64)


def gaussian(covariance, name="cosine"):
    return GaussianDenoiser(schedule(name), torch.zeros(len(covariance), dtype=torch.float64), covariance)


def times(d, steps=40):
    return make(GRIDS, "log-snr")(d.schedule, steps)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++3m"])
def test_one_window_that_covers_all_is_plain_sampling(sampler):
    d, noise = gaussian(stationary(SIZE)), CheapNoise((4, SIZE))
    plain = sample(d, make(SAMPLERS, sampler), times(d), noise)
    windowed = sample(Windows(d, -1, SIZE, 5), make(SAMPLERS, sampler), times(d), noise)
    torch.testing.assert_close(windowed, plain, rtol=0, atol=1e-12)


def test_windows_make_a_longer_sequence_of_nearly_the_same_law():
    d, length = gaussian(stationary(SIZE)), 5 * SIZE
    x = sample(Windows(d, -1, SIZE, SIZE // 2), make(SAMPLERS, "dpm++2m"), times(d), CheapNoise((COUNT, length)))
    covariance = x.T.cov()
    near = torch.cat([covariance.diagonal(k)[:, None].mean(0) for k in range(4)])
    assert float((near - stationary(length)[0, :4]).abs().max()) < WINDOWS_ERROR
    assert float(covariance.diagonal().min()) > 0.75
    assert float((covariance - stationary(length)).abs().max()) < 0.25


WINDOWS_ERROR = 0.05


def jumps(x):
    """Root mean square step across the seam, and between neighbours elsewhere."""
    return float((x[..., 0] - x[..., -1]).square().mean().sqrt()), float(x.diff(dim=-1).square().mean().sqrt())


@pytest.mark.parametrize("name", ["cosine", "flow"])
@pytest.mark.parametrize("kind", ["roll", "windows"])
def test_a_loop_has_no_seam(kind, name):
    d, noise, sampler = gaussian(smooth(24), name), CheapNoise((COUNT, 24)), make(SAMPLERS, "dpm++2m")
    seam, inner = jumps(sample(d, sampler, times(d), noise))
    assert seam > 3.5 * inner
    if kind == "roll":
        loop = sample(d, Loop(sampler, -1), times(d), noise)
    else:
        loop = sample(Windows(gaussian(smooth(16), name), -1, 16, 4, circular=True), sampler, times(d), noise)
    seam, inner = jumps(loop)
    assert seam < 1.25 * inner


@pytest.mark.parametrize("kind", ["windows", "loop"])
def test_a_learned_variance_stays_where_it_belongs(kind):
    """v = tanh(x_t) of each element, whatever window it is seen in."""
    d = gaussian(stationary(SIZE))

    class Learned:
        schedule = d.schedule

        def __call__(self, x_t, t, condition=None):
            return Estimate(x_t, torch.tanh(x_t))

    seen = {}

    def sampler(denoiser, state, s, draw, condition=None):
        seen.update(v=denoiser(state.x, state.t, condition).v)
        return state

    x, t = CheapNoise((2, 40))(0), torch.full((2,), 0.5, dtype=torch.float64)
    if kind == "windows":
        v = Windows(Learned(), -1, SIZE, 6)(x, t).v
    else:
        Loop(sampler, -1)(Learned(), State(x, t, 5), t, None)
        v = seen["v"]
    torch.testing.assert_close(v, torch.tanh(x))


def test_known_values_and_masks_move_with_the_window_and_other_conditions_stay():
    seen = []

    class Watching:
        schedule = schedule("flow")

        def __call__(self, x_t, t, condition=None):
            seen.append({k: v.clone() for k, v in condition.items()})
            return Estimate(condition["known"])

    known = torch.arange(12.0).reshape(1, 1, 12).expand(2, 3, 12)
    condition = {"known": known, "mask": torch.ones(2, 1, 12), "tokens": torch.zeros(2, 5, 12)}
    x, t = torch.zeros(2, 3, 12), torch.full((2,), 0.5, dtype=torch.float64)
    x0 = Windows(Watching(), -1, 6, 3)(x, t, condition).x0
    torch.testing.assert_close(x0, known.clone())
    assert seen[-1]["known"].shape == (6, 3, 6)
    assert seen[-1]["mask"].shape == (6, 1, 6)
    assert seen[-1]["tokens"].shape == (6, 5, 12)


def test_windows_work_on_any_axis_and_with_a_time_for_each_element():
    d = gaussian(stationary(4))

    class Frames:
        schedule = d.schedule

        def __call__(self, x_t, t, condition=None):
            assert t.shape == (len(x_t), 1, 4)
            x = x_t.permute(0, 1, 3, 2).reshape(-1, 4)
            x0 = d(x, torch.full((len(x),), 0.5, dtype=torch.float64)).x0
            return Estimate(x0.reshape(len(x_t), 2, 3, 4).permute(0, 1, 3, 2))

    x = CheapNoise((2, 2, 10, 3))(0)
    x0 = Windows(Frames(), -2, 4, 2)(x, torch.full((2, 1, 10), 0.5, dtype=torch.float64)).x0
    assert x0.shape == x.shape
    assert bool(x0.isfinite().all())


def one_after_the_other(known, mask, overlap, circular=False):
    """Windows of SIZE of a Markov process, each completed by MMPS from what is known in it."""
    d = gaussian(stationary(SIZE))
    sampler, grid = make(SAMPLERS, "ddpm"), make(GRIDS, "log-snr", {"start": -4, "end": 4})(d.schedule, 60)

    def complete(number, index, known, mask):
        operator = make(OPERATORS, "masked", {"mask": mask[:1]})
        noise = CheapNoise((COUNT, SIZE), seed=number)
        return sample(MMPS(d, Measurement(operator, operator(known), 0.02)), sampler, grid, noise)

    return sliding(complete, known, mask, SIZE, overlap, circular=circular)


def test_sliding_windows_continue_a_markov_process_by_its_exact_law():
    overlap = 4
    length = SIZE + 2 * (SIZE - overlap)
    first = CheapNoise((COUNT, SIZE))(99) @ torch.linalg.cholesky(stationary(SIZE)).T
    known = torch.cat([first, torch.full((COUNT, length - SIZE), 7.0, dtype=first.dtype)], 1)
    x = one_after_the_other(known, (torch.arange(length) < SIZE)[None], overlap)
    assert x.shape == (COUNT, length)
    assert torch.equal(x[:, :SIZE], first)
    assert float((x.T.cov() - stationary(length)).square().mean().sqrt()) < 0.05


def test_sliding_windows_begin_with_nothing_and_reach_any_length():
    length = 2 * SIZE + 3  # the last window begins where it must end
    x = one_after_the_other(torch.zeros(COUNT, length, dtype=torch.float64), torch.zeros(1, length), 4)
    assert float((x.T.cov() - stationary(length)).square().mean().sqrt()) < 0.05


@pytest.mark.parametrize(
    ("length", "given", "starts"),
    [
        (100, slice(0, 0), [0, 20, 40, 60]),
        (90, slice(0, 0), [0, 20, 40, 50]),
        (100, slice(0, 50), [30, 50, 60]),
        (100, slice(50, 100), [30, 10, 0]),
        (100, slice(40, 60), [20, 0, 40, 60]),
        (40, slice(0, 0), [0]),
    ],
)
def test_sliding_windows_lead_away_from_what_is_given(length, given, starts):
    """No border of the given lies at a window's end: each window there has seen both sides of it."""
    mask, seen = torch.zeros(1, length), []
    mask[:, given] = 1

    def complete(number, index, known, mask):
        assert number == len(seen)
        assert torch.equal(index, index[0] + torch.arange(40))
        seen.append(int(index[0]))
        return torch.full_like(known, 7.0)

    known = torch.arange(float(length))[None]
    x = sliding(complete, known, mask, 40, 20)
    assert seen == starts
    assert torch.equal(x, torch.where(mask.bool(), known, 7.0))


@pytest.mark.parametrize("circular", [False, True])
def test_what_lies_between_two_that_are_given_is_made_of_both(circular):
    """Every other element is given: none is made in a window at whose end it stands alone."""
    length, seen = 31, []
    mask = (torch.arange(length) % 2 == 0).float()[None]

    def complete(number, index, known, mask):
        seen.append(index.tolist())
        return torch.full_like(known, 10.0 + number)

    x = sliding(complete, torch.ones(1, length), mask, 8, 4, circular=circular)
    for i in range(1, length, 2):
        window = seen[int(x[0, i]) - 10]
        assert i in window[1:-1], f"{i} in {window}"
    assert len(seen) <= 8


def test_sliding_windows_that_go_round_leave_no_seam():
    length = 4 * SIZE
    x = one_after_the_other(torch.zeros(COUNT, length, dtype=torch.float64), torch.zeros(1, length), 4, circular=True)
    for apart in (1, 2):
        related = torch.stack([torch.stack([x[:, i], x[:, i - apart]]).corrcoef()[0, 1] for i in range(length)])
        assert float((related - 0.7**apart).abs().max()) < 0.12, "across the seam, where i < apart, as elsewhere"


@pytest.mark.parametrize(
    ("length", "given", "starts"),
    [
        (100, slice(0, 0), [0, 20, 40, 70]),  # the last has ten on either side: 90 to 100, and 0 to 10
        (90, slice(0, 0), [0, 20, 40, 65]),
        (100, slice(40, 60), [40, 60, 80, 10]),
        (100, slice(90, 100), [80, 0, 20, 50]),
        (40, slice(0, 0), [0]),
    ],
)
def test_sliding_windows_go_round(length, given, starts):
    mask, seen = torch.zeros(1, length), []
    mask[:, given] = 1

    def complete(number, index, known, mask):
        assert torch.equal(index, (index[0] + torch.arange(40)) % length)
        seen.append(int(index[0]))
        return torch.full_like(known, 7.0)

    known = torch.arange(float(length))[None]
    x = sliding(complete, known, mask, 40, 20, circular=True)
    assert seen == starts
    assert torch.equal(x, torch.where(mask.bool(), known, 7.0))


@pytest.mark.parametrize(
    ("size", "stride", "axis", "word"), [(4, 5, -1, "stride"), (4, 0, -1, "stride"), (4, 2, 1, "axis")]
)
def test_windows_that_cannot_be_are_refused(size, stride, axis, word):
    with pytest.raises(ValueError, match=word):
        Windows(gaussian(stationary(4)), axis, size, stride)


def test_an_event_shorter_than_a_window_and_a_full_overlap_are_refused():
    with pytest.raises(ValueError, match="window"):
        Windows(gaussian(stationary(4)), -1, 4, 2)(torch.zeros(1, 3), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="overlap"):
        sliding(lambda number, index, known, mask: known, torch.zeros(1, 8), torch.zeros(1, 8), 4, 4)
    with pytest.raises(ValueError, match="window"):
        sliding(lambda number, index, known, mask: known, torch.zeros(1, 3), torch.zeros(1, 3), 4, 2)


def test_a_mediums_own_condition_lies_along_the_event_where_it_has_its_axes():
    """A key the core has never heard of is cut with the window; the prompt and what is said of the whole are not."""
    x, index = torch.zeros(1, 3, 8), torch.tensor([2, 3])
    told = {"own": torch.arange(8.0).expand(1, 5, 8), "tokens": torch.zeros(1, 8, 8), "seconds": torch.zeros(1, 8)}
    cut = local(told, x, -1, index)
    assert cut["own"].tolist() == [[[2.0, 3.0]] * 5]
    assert cut["tokens"].shape == (1, 8, 8)
    assert cut["seconds"].shape == (1, 8)
