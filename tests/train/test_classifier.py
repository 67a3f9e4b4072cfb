"""A classifier of noisy media: it learns, tells prompts apart, and guides."""

import csv
from pathlib import Path

import pytest
import torch

from multidiff import weights
from multidiff.classifier import PromptClassifier, features
from multidiff.core import NetworkDenoiser
from multidiff.errors import InputError, ModelError
from multidiff.recipe import Recipe
from multidiff.train import run
from tests.tiny import RECIPES, given, tiny_model, tiny_recipe, values

LEARN = ("data=synth", "train.objective=classifier", "train.batch=8", "train.lr=3e-3", "train.ema=0.9")


def small(medium: str, codec: Path, *overrides: str) -> Recipe:
    return tiny_recipe(medium, codec, "data.limit=24", *LEARN, "train.steps=2", *overrides)


@pytest.mark.parametrize("medium", RECIPES)
def test_every_medium_trains_a_classifier_that_guides_its_model(medium: str, tiny_codec: Path, tmp_path: Path) -> None:
    folder = run.train(small(medium, tiny_codec), tmp_path / "classifier", device="cpu")
    told = weights.load(folder, "cpu")
    assert told.classifier is not None
    with pytest.raises(ModelError, match="holds no denoiser to sample from"):
        told.sample("a dog")
    model = tiny_model(medium, tiny_codec)
    model.others = lambda name: weights.load(name, "cpu")
    model.recipe = model.recipe.override(["codec.weights="]) if medium == "audio" else model.recipe
    guide = f"classifier:model={folder}"
    asked = {"steps": 3, "guidance_method": guide}
    plain, guided = (values(model.sample("a dog", guidance=scale, **asked)[0]) for scale in (0.0, 1.0))
    assert plain.shape == guided.shape
    assert (plain != guided).any()
    x0, condition = model.encode(given(medium), "a dog")
    t = torch.full((1,), 0.5, dtype=torch.float64)
    one = model._classifier(str(folder))(x0, t, condition)
    other = model._classifier(str(folder))(x0, t, model.encode(given(medium), "rain")[1])
    assert one.shape == (1,)
    assert float(one) != float(other)


def test_it_learns_to_tell_what_noise_has_not_hidden(tiny_codec: Path, tmp_path: Path) -> None:
    network = ("network.dim=32", "network.latent_dim=32", "data.drawn=128", "data.count=64")
    recipe = small("points", tiny_codec, *network, "train.steps=80", "train.validate_every=80", "data.limit=64")
    folder = run.train(recipe, tmp_path / "classifier", device="cpu")
    with (folder / "val.csv").open() as stream:
        first, *_, last = csv.DictReader(stream)
    assert float(last["loss"]) < float(first["loss"]) - 0.1


def test_probabilities_of_the_captions_sum_to_one_and_a_prompt_among_them_has_its_own() -> None:
    head = PromptClassifier(5, torch.randn(7, 4))
    pooled = torch.randn(3, 5)
    each = torch.stack([head.log_probability(pooled, caption.expand(3, 4)) for caption in head.captions], dim=1)
    torch.testing.assert_close(each.exp().sum(1), torch.ones(3))
    torch.testing.assert_close(each, head.logits(pooled).log_softmax(1))


def test_a_classifier_does_not_see_the_prompt(tiny_codec: Path) -> None:
    model = tiny_model("points", tiny_codec)
    denoiser = model.denoiser()
    assert isinstance(denoiser, NetworkDenoiser)
    x, t = torch.randn(2, 24, 3), torch.full((2,), 0.5, dtype=torch.float64)
    told = {"tokens": torch.randn(2, 3, 384), "tokens_mask": torch.ones(2, 3, dtype=torch.bool)}
    assert torch.equal(features(denoiser, x, t, told), features(denoiser, x, t, {}))


def test_items_of_one_caption_cannot_be_told_apart(tiny_codec: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two captions"):
        run.train(small("points", tiny_codec, "text.encoder=none"), tmp_path / "classifier", device="cpu")


def test_a_model_without_a_classifier_is_named(tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model("points", tiny_codec)
    model.save(tmp_path / "plain")
    model.others = lambda name: weights.load(name, "cpu")
    with pytest.raises(ModelError, match=r"holds no classifier; train one with train\.objective=classifier"):
        model.sample("a dog", steps=2, guidance_method=f"classifier:model={tmp_path / 'plain'}")
