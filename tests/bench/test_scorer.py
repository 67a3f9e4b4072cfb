from types import SimpleNamespace

import pytest
import torch

from multidiff.bench import scorer
from multidiff.bench.scorer import retrieval
from multidiff.modality import Example
from multidiff.model import CANDIDATE

EXAMPLES = [Example("bark", "a dog"), Example("woof", "a dog"), Example("meow", "a cat")]
COSINES = {"a dog": (0.9, 0.1, 0.3), "a cat": (0.2, 0.5, 0.4), "a bird": (0.1, 0.0, 0.6)}


class Scorer:
    def similarity(self, media, prompts):
        heard = [example.media for example in EXAMPLES]
        return torch.tensor([[COSINES[prompt][heard.index(each)] for prompt in prompts] for each in media])


def test_recall_counts_items_and_captions_whose_best_match_is_their_own():
    assert retrieval(Scorer(), EXAMPLES, ["a cat", "a dog"]) == pytest.approx((2 / 3, 1 / 2))
    assert retrieval(Scorer(), EXAMPLES, ["a bird", "a cat", "a dog"]) == pytest.approx((1 / 3, 1 / 2))


def test_choosing_is_told_by_the_judge_beside_no_choosing():
    """Of the candidates, in their order a bark, a woof and a meow, the scorer finds the last likest to a bird."""
    candidates = ("bark", "woof", "meow")
    model = SimpleNamespace(sample=lambda prompt, seed, steps: [candidates[seed // CANDIDATE]])

    def judged(real, made):
        return {"class_accuracy": sum(each.media == "meow" for each in made) / len(real)}

    found = scorer.choosing(model, Scorer(), judged, [Example("tweet", "a bird")], (1, 2, 3), steps=2)
    names, told, cosines = zip(
        *((r.name, r.metrics["class_accuracy"], r.metrics["similarity"]) for r in found), strict=True
    )
    assert names == ("best of 1", "best of 2", "best of 3")
    assert told == (0, 0, 1)
    assert cosines == pytest.approx((0.1, 0.1, 0.6))
