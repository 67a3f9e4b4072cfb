"""Every method of the core is reached from a model by its name in the literature, on every medium."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from multidiff import registry
from multidiff.core import COMPLETIONS, EDITINGS, GUIDANCE, POSTERIORS, SCHEDULES
from multidiff.errors import InputError, ModelError
from multidiff.model import Model
from multidiff.points.media import PointCloud
from tests.tiny import RECIPES, TASKS, Words, given, tiny_model, values

pytestmark = pytest.mark.usefixtures("untrained_may_be_far")

ASKED = {
    "classifier-free": "classifier-free:rescale=0.5,start=-3,end=3",
    "apg": "apg:eta=0.5,radius=2",
    "composed": "composed:prompts={rain: 0.5, wind: -0.5}",
    "autoguidance": "autoguidance:weak=weaker",
}
UNSERVED = {"classifier"}
"""Needs a trained classifier: tests/train/test_classifier.py."""
STEPS = 3


@cache
def build(codec: Path, medium: str) -> Model:
    model = tiny_model(medium, codec)
    model.text = Words()
    weaker = tiny_model(medium, codec, "train.seed=1")
    for parameter in weaker.network.parameters():
        parameter.data.mul_(0.5)
    model.others = {"weaker": weaker, "other": tiny_model(medium, codec, "diffusion.schedule=flow")}.__getitem__
    return model


def sampled(model: Model, method: str, scale: float = 0.5) -> np.ndarray:
    (made,) = model.sample("a dog", steps=STEPS, guidance=scale, guidance_method=method)
    return values(made)


@pytest.mark.parametrize("medium", RECIPES)
def test_every_guidance_changes_what_is_sampled(tiny_codec: Path, medium: str) -> None:
    model = build(tiny_codec, medium)
    plain = sampled(model, "classifier-free", 1.0)
    seen = [plain]
    for name in GUIDANCE.keys() - UNSERVED:
        made = sampled(model, ASKED.get(name, name))
        assert np.isfinite(made).all(), name
        assert not any(np.array_equal(made, other) for other in seen), name
        seen.append(made)


@pytest.mark.parametrize(
    ("method", "scale", "fault"),
    [
        ("apgg", 2.0, "did you mean 'apg'"),
        ("apg:etaa=1", 2.0, "unknown option 'etaa', did you mean 'eta'"),
        ("apg:eta", 2.0, "name:option=value"),
        ("apg:eta=[1", 2.0, "name:option=value"),
        ("cfg++", 2.0, "between 0 and 1"),
        ("composed", 2.0, "composed: needs the option 'prompts', as in composed:prompts="),
        ("composed:prompts=rain", 2.0, "composed: prompts: .* dictionary"),
        ("composed:prompts={rain: x}", 2.0, "composed: prompts: .* number"),
        ("apg:eta=hello", 2.0, "apg: eta: .* number .*hello"),
        ("apg:eta=.nan", 2.0, "eta.*finite"),
        ("autoguidance:weak=other", 2.0, "another schedule"),
        ("classifier:model=weaker", 2.0, "holds no classifier"),
    ],
)
def test_impossible_guidance_is_one_clear_error(tiny_codec: Path, method: str, scale: float, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        sampled(build(tiny_codec, "points"), method, scale)


def test_a_model_that_knows_no_others_cannot_be_guided_by_one(tiny_codec: Path) -> None:
    model = tiny_model("points", tiny_codec)
    model.text = Words()
    with pytest.raises(ModelError, match="knows no other models"):
        sampled(model, "autoguidance:weak=weaker")


@pytest.mark.parametrize("medium", RECIPES)
def test_a_model_samples_under_another_schedule_than_its_own(tiny_codec: Path, medium: str) -> None:
    model = build(tiny_codec, medium)
    for name in SCHEDULES:
        (made,) = model.sample("a dog", steps=STEPS, guidance=0.5, guidance_method="cfg++", schedule=name)
        assert np.isfinite(values(made)).all(), name


def test_on_one_grid_of_log_snr_the_schedule_changes_nothing(tiny_codec: Path) -> None:
    model = build(tiny_codec, "points")
    asked = {"steps": 8, "guidance": 1.5, "sampler": "dpm++2m", "grid": "log-snr:start=-4,end=5"}
    own, other = (values(model.sample("a dog", schedule=name, **asked)[0]) for name in (None, "sigmoid"))
    # Their first step, out of t = 1, begins at levels of their own.
    np.testing.assert_allclose(own, other, atol=0.05)


@pytest.mark.parametrize(
    ("medium", "task"), [(medium, task) for medium in RECIPES for task in TASKS[medium] if task != "denoise"]
)
def test_every_completion_keeps_what_is_given(tiny_codec: Path, medium: str, task: str) -> None:
    model, whole = build(tiny_codec, medium), given(medium)
    seen: list[np.ndarray] = []
    for name in COMPLETIONS:
        asked = {"steps": STEPS, "guidance": 1.5, "completion": name, **TASKS[medium][task]}
        made = values(model.complete(whole, task, prompt="a dog", **asked)[0])
        assert np.isfinite(made).all(), name
        assert not any(np.array_equal(made, other) for other in seen), name
        kept = {"audio": (slice(None), slice(0, 1700)), "video": slice(0, 1), "points": slice(0, 40)}[medium]
        if task == "region":
            np.testing.assert_array_equal(made[made[:, 0] < 0], whole.points[whole.points[:, 0] < 0], err_msg=name)
        else:
            np.testing.assert_array_equal(made[kept], values(whole)[kept], err_msg=name)
        seen.append(made)


def test_a_loop_is_edited_as_one(tiny_codec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes round in whole latent frames, the nearest; otherwise silence pads it to the next."""
    model, shapes = tiny_model("audio", tiny_codec), []
    decode = Model._decode
    monkeypatch.setattr(Model, "_decode", lambda self, x, *rest: [shapes.append(x.shape), *decode(self, x, *rest)][1:])
    whole = given("audio")
    whole = whole.cut(0, 4.1 * model.codec.stride / model.codec.rate)
    edited = [model.edit(whole, "", steps=2, loop=loop)[0] for loop in (True, False)]
    assert [shape[-1] for shape in shapes] == [4, 5]
    assert {sound.samples.shape for sound in edited} == {whole.resample(model.codec.rate).samples.shape}


@pytest.mark.parametrize("medium", RECIPES)
def test_every_editing_starts_from_what_is_given(tiny_codec: Path, medium: str) -> None:
    model, whole = build(tiny_codec, medium), given(medium)
    for name in EDITINGS:
        asked = {"steps": 4, "guidance": 1.0, "sampler": "ddim", "editing": name}
        edits = [values(model.edit(whole, "a dog", strength=s, **asked)[0]) for s in (0.25, 1.0)]
        assert np.isfinite(edits).all(), name
        assert not np.array_equal(*edits), name


def test_an_inversion_under_its_own_prompt_returns_what_was_given(tiny_codec: Path) -> None:
    model, cloud = build(tiny_codec, "points"), given("points")
    asked = {"steps": 60, "guidance": 1.0, "sampler": "ddim", "strength": 0.3}
    (same,) = model.edit(cloud, "a dog", editing="inversion", source="a dog", **asked)
    (other,) = model.edit(cloud, "a dog", editing="inversion", source="rain", **asked)
    assert np.abs(values(same) - values(cloud)).max() < 1e-2 < np.abs(values(other) - values(cloud)).max()


class Ramp(torch.nn.Module):
    """A network whose estimate of x0 rises along the time axis: what it makes has a seam."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: torch.Tensor, log_snr: torch.Tensor, condition: dict[str, torch.Tensor]) -> torch.Tensor:
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return torch.linspace(-1, 1, x.shape[self.axis]).reshape(shape).expand_as(x)


class White(torch.nn.Module):
    """The exact denoiser, predicting data, of independent values of variance 1 under cosine."""

    def forward(self, x: torch.Tensor, log_snr: torch.Tensor, condition: dict[str, torch.Tensor]) -> torch.Tensor:
        return x * torch.sigmoid(2 * log_snr).sqrt().to(x).reshape(-1, *[1] * (x.ndim - 1))


@pytest.mark.parametrize(("medium", "longer"), [("audio", {"seconds": 1.0}), ("video", {"frames": 12})])
def test_windows_and_loops_along_time(
    tiny_codec: Path, medium: str, longer: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(medium, tiny_codec, "diffusion.parameterization=data")
    model.text = Words()
    axis = model.modality.time_axis
    model.network = Ramp(axis)
    size = model.modality.event_shape(model.codec, model.recipe.options)[axis]
    made: list[torch.Tensor] = []
    decode = Model._decode
    monkeypatch.setattr(Model, "_decode", lambda self, x, *rest: [made.append(x), *decode(self, x, *rest)][1:])

    def line(**asked: object) -> torch.Tensor:
        model.sample("", steps=4, guidance=1.0, **asked)
        return made.pop().movedim(axis, -1).flatten(0, -2).mean(0)

    # One window rises once; many have a slope of their own, averaged where they overlap.
    assert line(**longer, windows="").diff().min() > 0
    assert line(**longer, windows="averaged").diff().min() < 0
    torch.testing.assert_close(line(windows="averaged"), line())
    assert len(line(**longer, windows="averaged")) > size
    # One after the other: the first as it is alone, of the next what follows the half that both share.
    slid = line(**longer, windows="sliding")
    torch.testing.assert_close(slid[:size], torch.linspace(-1, 1, size))
    assert slid[-1] == 1
    assert slid[size:].min() > -1
    torch.testing.assert_close(line(windows="sliding"), line())
    # Going round, the last of them follows on at both its ends.
    assert line(**longer, windows="sliding", loop=True)[-1] < 1
    # Rolled round in every step, the last of them by another part than the event's own ends.
    assert line(loop=True).diff().min() < 0
    cloud = tiny_model("points", tiny_codec)
    with pytest.raises(InputError, match="have no time"):
        cloud.sample("", loop=True, steps=2)


class Said(torch.nn.Module):
    """A network whose estimate of x0 is a number that only the prompt decides."""

    def forward(self, x: torch.Tensor, log_snr: torch.Tensor, condition: dict[str, torch.Tensor]) -> torch.Tensor:
        return condition["tokens"].mean((1, 2)).reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)


@pytest.mark.parametrize("windows", ["", "averaged", "sliding"])
@pytest.mark.parametrize(("medium", "longer"), [("audio", {"seconds": 1.0}), ("video", {"frames": 12})])
def test_one_prompt_turns_into_another_over_time(
    tiny_codec: Path, medium: str, longer: dict[str, float], windows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(medium, tiny_codec, "diffusion.parameterization=data")
    model.text, model.network = Words(), Said()
    rain, fire = (0.5 * float(model.text.encode([prompt])[0].mean()) for prompt in ("rain", "fire"))
    made: list[torch.Tensor] = []
    decode = Model._decode
    monkeypatch.setattr(Model, "_decode", lambda self, x, *rest: [made.append(x), *decode(self, x, *rest)][1:])
    asked = {**longer, "steps": 2, "guidance": 0.5, "negative": "", "windows": windows, "into": "fire"}
    nothing = 0.5 * float(model.text.encode([""])[0].mean())

    def line(**own: object) -> torch.Tensor:
        model.sample("rain", **asked, **own)
        return made.pop().movedim(model.modality.time_axis, -1).flatten(0, -2).mean(0) - nothing

    way = (line() - rain) / (fire - rain)
    third = len(way) // 3
    torch.testing.assert_close(way[:third], torch.zeros(third), rtol=0, atol=1e-5)
    torch.testing.assert_close(way[-third:], torch.ones(third), rtol=0, atol=1e-5)
    assert bool((way.diff() > -1e-5).all())
    way = (line(loop=True) - rain) / (fire - rain)
    assert way[[0, -1]].abs().max() < 1e-5
    assert way[len(way) // 2] == pytest.approx(1, abs=1e-5)


def test_without_time_nothing_turns_into_another(tiny_codec: Path) -> None:
    with pytest.raises(InputError, match="have no time: no windows, no loop, no second prompt"):
        tiny_model("points", tiny_codec).sample("a chair", into="a table")


def test_sliding_windows_go_on_from_what_is_given_with_noise_of_their_own(tiny_codec: Path) -> None:
    model, clip = build(tiny_codec, "video"), given("video")
    asked = {"keep": 2, "frames": 14, "steps": STEPS, "guidance": 1.0, "windows": "sliding", "sampler": "ddpm"}
    (longer,) = model.complete(clip, "predict", **asked)
    assert len(longer) > 2 * model.recipe.options.frames
    np.testing.assert_array_equal(longer.frames[: len(clip)], clip.frames)
    assert len({frame.tobytes() for frame in longer.frames[len(clip) :]}) == len(longer) - len(clip)
    asked = {"frames": 10, "steps": STEPS, "windows": "sliding", "sampler": "ddpm"}
    assert len({frame.tobytes() for frame in model.sample("a dog", **asked)[0].frames}) == 10


@pytest.mark.parametrize("windows", ["averaged", "sliding"])
def test_each_window_is_told_of_itself(tiny_codec: Path, monkeypatch: pytest.MonkeyPatch, windows: str) -> None:
    model = build(tiny_codec, "audio")
    seen = set()
    forward = type(model.network).forward

    def spy(
        self: torch.nn.Module, x: torch.Tensor, log_snr: torch.Tensor, condition: dict[str, torch.Tensor]
    ) -> object:
        seen.update(condition["seconds"][:, 1].tolist())
        return forward(self, x, log_snr, condition)

    monkeypatch.setattr(type(model.network), "forward", spy)
    model.complete(given("audio"), extend=1.0, steps=2, windows=windows)
    model.sample("rain", seconds=1.0, steps=2, windows=windows)
    assert seen == {0.25}
    model.sample("rain", seconds=0.2, steps=2, windows=windows)
    assert min(seen) == pytest.approx(0.2)


@pytest.mark.parametrize("medium", RECIPES)
def test_interpolation_leads_from_one_to_the_other(
    tiny_codec: Path, medium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(medium, tiny_codec, "diffusion={schedule: cosine, parameterization: data}")
    model.text, model.network = Words(), White()
    longer = {"audio": {"seconds": 0.4}, "video": {"frames": 6}, "points": {"points": 30}}[medium]
    first, last = model.sample("rain", seed=1)[0], model.sample("a dog", seed=2, **longer)[0]
    ends = [model.encode(each)[0] for each in model.modality.alike(first, last)]
    made: list[torch.Tensor] = []
    decode = Model._decode
    monkeypatch.setattr(Model, "_decode", lambda self, x, *rest: [made.append(x), *decode(self, x, *rest)][1:])
    model.interpolate(first, last, [0, 0.5, 1], steps=20)
    model.interpolate(first, last, [0.5], steps=20)
    torch.testing.assert_close(made[0], ends[0], atol=0.02, rtol=0)
    torch.testing.assert_close(made[2], ends[1], atol=0.02, rtol=0)
    apart = float((ends[0] - ends[1]).square().mean())
    assert min(float((made[1] - end).square().mean()) for end in ends) > 0.05 * apart
    assert torch.equal(made[1], made[3])


def test_points_are_interpolated_each_with_its_match() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    cloud, mixed = PointCloud(points), PointCloud(points[::-1] * 2.0 + 5.0)
    first, last = registry.modality("points").alike(cloud, mixed)
    np.testing.assert_allclose(2 * first.points + 5, last.points, atol=1e-6)


@pytest.mark.parametrize("medium", RECIPES)
def test_every_posterior_restores(tiny_codec: Path, medium: str) -> None:
    model, whole = build(tiny_codec, medium), given(medium)
    seen: list[np.ndarray] = []
    for name in POSTERIORS:
        (made,) = model.restore(whole, "blurred:width=1.5", steps=STEPS, guidance=1.0, posterior=f"{name}:std=0.1")
        assert np.isfinite(values(made)).all(), name
        assert values(made).shape == values(whole).shape
        assert not any(np.array_equal(values(made), other) for other in seen), name
        seen.append(values(made))


def test_what_is_restored_measures_as_what_was_given(tiny_codec: Path) -> None:
    model, cloud = build(tiny_codec, "points"), given("points")
    x, _ = model.encode(cloud)

    def heights(x: torch.Tensor) -> torch.Tensor:
        return x[..., 1]

    asked = {"steps": 30, "guidance": 1.0, "sampler": "ddim", "posterior": "pigdm:std=0.01"}
    (made,) = model.restore(cloud, heights, **asked)
    found, _ = model.encode(made)
    assert float((heights(found) - heights(x)).abs().mean()) < 0.3 * float((found - x)[..., 0].abs().mean())


def test_an_operator_that_does_not_fit_is_one_clear_error(tiny_codec: Path) -> None:
    model, cloud = build(tiny_codec, "points"), given("points")
    for operator, said in (
        ("blured", "did you mean 'blurred'"),
        ("blurred", "needs the option 'width'"),
        ("averaged:factor=7", "factor 7 does not divide"),
    ):
        with pytest.raises(InputError, match=said):
            model.restore(cloud, operator, steps=2)
