"""diffusion.noise: what a recipe asks for is drawn in training and in sampling alike."""

from pathlib import Path

import pytest
import torch

from multidiff import measure, recipe
from multidiff.errors import InputError, RecipeError
from multidiff.train import pack
from multidiff.train.objective import DenoiserObjective
from tests.tiny import given, tiny_model, tiny_recipe, values

NOISE = ("diffusion.noise=mixed:alpha=2", "text.encoder=none")
SHARED = 0.8


def correlation(noise: torch.Tensor) -> torch.Tensor:
    """(T, T), of the frames of noise (B, C, T, H, W)."""
    return torch.corrcoef(noise.movedim(2, 0).flatten(1))


def is_mixed(noise: torch.Tensor) -> bool:
    found = correlation(noise)
    return bool((found - SHARED - (1 - SHARED) * torch.eye(len(found))).abs().max() < 0.1)


def test_sampling_and_training_draw_the_same_noise(
    tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
    model = tiny_model("video", tiny_codec, *NOISE)
    noise = model.noise(range(20), (48, 4, 2, 2))
    assert is_mixed(noise(0))
    assert is_mixed(noise(3, stream=1))
    objective = DenoiserObjective(model, pack.load(model.recipe, model.codec))
    drawn = objective.noise(torch.zeros(20, 48, 4, 2, 2), torch.Generator().manual_seed(0))
    assert is_mixed(drawn)
    assert not is_mixed(tiny_model("video", tiny_codec, "text.encoder=none").noise(range(20), (48, 4, 2, 2))(0))


def test_what_is_sampled_depends_on_the_noise_and_its_seed_alone(tiny_codec: Path) -> None:
    mixed = tiny_model("video", tiny_codec, *NOISE)
    white = tiny_model("video", tiny_codec, "text.encoder=none")
    asked = {"steps": 3, "sampler": "ddpm"}
    several = [values(media) for media in mixed.sample(count=3, seed=4, **asked)]
    alone = values(mixed.sample(seed=5, **asked)[0])
    assert (several[1] == alone).all()
    assert (values(white.sample(seed=5, **asked)[0]) != alone).any()


def test_a_medium_without_time_and_a_score_refuse_it(tiny_codec: Path) -> None:
    with pytest.raises(RecipeError, match=r"diffusion\.noise: points have no time for progressive noise"):
        tiny_recipe("points", tiny_codec, "diffusion.noise=progressive")
    with pytest.raises(InputError, match=r"correlated noise \(diffusion\.noise\)"):
        measure.score(tiny_model("video", tiny_codec, *NOISE), given("video"))


def test_models_of_other_noise_are_apart(tiny_codec: Path) -> None:
    assert tiny_recipe("video", tiny_codec, *NOISE).apart(tiny_recipe("video", tiny_codec, NOISE[1])) == "noise"


def test_an_unknown_noise_is_one_clear_error() -> None:
    with pytest.raises(RecipeError, match=r"diffusion\.noise: unknown method 'mixd', did you mean 'mixed'"):
        recipe.load("clips", ["diffusion.noise=mixd"])
