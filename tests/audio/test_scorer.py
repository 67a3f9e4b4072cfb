"""The scorer: its loss in closed form, what it learns, and what the shipped one makes of sounds and of candidates."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from multidiff import weights
from multidiff.audio import synth
from multidiff.audio.codec import CodecSpec
from multidiff.audio.contrastive import ScorerObjective, info_nce, same
from multidiff.audio.data import AudioData
from multidiff.audio.media import Audio
from multidiff.audio.modality import AUDIO
from multidiff.audio.scorer import Scorer
from multidiff.errors import InputError, ModelError
from multidiff.model import CANDIDATE, Model

DATA = AudioData(items=30, seconds=1.0)
SPEC = CodecSpec(width=32, joint=16, text_dim=24)


@pytest.fixture
def scorer() -> Scorer:
    torch.manual_seed(0)
    return Scorer(SPEC).eval()


@cache
def prepared() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Rows of procedural sounds, and an embedding drawn for each distinct caption, the empty one first."""
    examples = list(AUDIO.examples(DATA, "train"))
    captions = ["", *dict.fromkeys(example.text for example in examples)]
    rows = [AUDIO.prepare(example, DATA, Scorer(SPEC)) for example in examples]
    stacked = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    stacked["caption"] = torch.tensor([captions.index(example.text) for example in examples])
    return stacked, torch.randn(len(captions), SPEC.text_dim, generator=torch.Generator().manual_seed(0))


def test_the_loss_of_distinct_captions_is_that_of_clip() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    own = torch.arange(5)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(info_nce(logits, torch.eye(5)), expected)


def test_the_loss_of_equal_captions_in_closed_form() -> None:
    """Items 0 and 1 have one caption; matches have logit a, others 0. Of rows 0 and 1 half the target lies on each
    match, so that their cross-entropy is log(2 e^a + 1) - a; of row 2 it is log(e^a + 2) - a; columns are alike."""
    a = 3.0
    match = same(torch.tensor([7, 7, 4]))
    assert match.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    expected = (2 * (np.log(2 * np.exp(a) + 1) - a) + np.log(np.exp(a) + 2) - a) / 3
    assert float(info_nce(a * match, match)) == pytest.approx(expected, rel=1e-6)


def test_equal_captions_are_no_negatives_of_each_other() -> None:
    """Of two items with one caption the loss is least where neither is preferred, and nothing moves them apart."""
    logits = torch.zeros(2, 2, requires_grad=True)
    info_nce(logits, same(torch.tensor([3, 3]))).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-7


def test_sounds_and_captions_lie_on_the_unit_sphere_of_one_space(scorer: Scorer) -> None:
    sounds = [example.media for example in AUDIO.examples(DATA, "val")]
    captions = torch.randn(4, SPEC.text_dim)
    for embedded in (scorer.encode(sounds), scorer.embed_text(captions)):
        assert embedded.shape[1] == SPEC.joint
        torch.testing.assert_close(embedded.norm(dim=1), torch.ones(len(embedded)))
    cosines = scorer.similarity(sounds, captions)
    assert cosines.shape == (len(sounds), 4)
    torch.testing.assert_close(cosines, scorer.similarity(sounds, 7 * captions))


def test_it_learns_which_caption_belongs_to_a_sound(scorer: Scorer) -> None:
    rows, captions = prepared()
    objective, generator = ScorerObjective(scorer, captions), torch.Generator().manual_seed(0)
    before = objective.validate(rows, generator)
    optimizer = torch.optim.Adam(scorer.train().parameters(), lr=3e-3)
    for _ in range(80):
        for _, loss in objective.losses(rows, generator):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    scorer.eval()
    after = objective.validate(rows, generator)
    assert after["loss"] < 0.75 * before["loss"]
    for recall in ("recall@1[caption]", "recall@1[sound]"):
        assert after[recall] > before[recall] + 0.1


def test_a_loss_is_a_function_of_its_generator(scorer: Scorer) -> None:
    rows, captions = prepared()
    objective = ScorerObjective(scorer, captions)

    def loss(seed: int) -> float:
        return float(next(objective.losses(rows, torch.Generator().manual_seed(seed)))[1].detach())

    assert loss(1) == loss(1) != loss(2)


@pytest.mark.parametrize("captions", [(2, SPEC.text_dim), (9, 0), (9, 8)])
def test_captions_that_cannot_be_learned_from_are_refused(scorer: Scorer, captions: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="at least two captions"):
        ScorerObjective(scorer, torch.zeros(captions))


@cache
def shipped() -> Model:
    return weights.load("scorer", "cpu")


def test_the_shipped_one_is_small_and_makes_no_sounds() -> None:
    assert (Path(weights.locate("scorer")) / "model.safetensors").stat().st_size < 5e5
    with pytest.raises(ModelError, match="no denoiser"):
        shipped().sample("rain")
    with pytest.raises(ModelError, match="a scorer listens to sounds"):
        shipped().codec.decode(torch.zeros(1, 128), None)  # type: ignore[operator]


def test_the_shipped_one_prefers_the_own_prompt_of_procedural_sounds() -> None:
    """Rain, single hits of a kick drum and drum loops, three of each."""
    prompts = {"rain": "rain falling", "drum": "a kick drum hit", "loop": "a drum loop at 120 bpm"}
    for kind, word in (("rain", "rain"), ("drum", "kick"), ("loop", "loop")):
        drawn = (synth.KINDS[kind](np.random.default_rng((seed, 11)), 22050, 3.0) for seed in range(20))
        sounds = [Audio(samples / np.abs(samples).max(), 22050) for samples, caption in drawn if word in caption]
        found = shipped().similarity(sounds[:3], list(prompts.values())).mean(dim=0)
        assert list(prompts)[int(found.argmax())] == kind


def test_only_a_scorer_tells_how_alike_sounds_and_prompts_are() -> None:
    sound = Audio(np.ones(9000), 22050)
    for name in ("sfx", "shapes"):
        with pytest.raises(InputError, match="no scorer"):
            weights.load(name, "cpu").similarity([sound], ["rain"])


def test_the_best_of_several_candidates_is_the_likest_to_the_prompt() -> None:
    model = weights.load("sfx", "cpu")
    asked = {"prompt": "rain falling", "seconds": 1.0, "steps": 2}
    candidates = [model.sample(**asked, seed=3 + k * CANDIDATE)[0] for k in range(3)]
    likest = int(shipped().similarity(candidates, ["rain falling"]).argmax())
    best = model.sample(**asked, count=2, seed=2, best_of=3)[1]
    np.testing.assert_array_equal(best.samples, candidates[likest].samples)
    assert model.fitness("rain falling")(best) == max(map(model.fitness("rain falling"), candidates))


def test_without_a_scorer_or_a_prompt_there_is_nothing_to_rank_by() -> None:
    with pytest.raises(InputError, match="no scorer that could rank"):
        weights.load("shapes", "cpu").sample("a chair", best_of=2)
    with pytest.raises(InputError, match="give one"):
        weights.load("sfx", "cpu").sample(" ", best_of=2)
