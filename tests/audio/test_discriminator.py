from itertools import islice
from pathlib import Path

import pytest
import torch

from multidiff.audio.codec import CodecSpec, MelCodec
from multidiff.audio.discriminator import Discriminators, PeriodDiscriminator, feature_matching, hinge
from multidiff.audio.vocoder_objective import VocoderObjective
from multidiff.modality import Objective
from multidiff.specs import TrainSpec
from multidiff.train import checkpoint
from multidiff.train.loop import Record, Training, accelerator_for
from multidiff.train.pack import Rows

SPEC = TrainSpec(objective="vocoder", batch=2, steps=2, warmup=0, precision="fp32")


def waves(count: int, samples: int = 4096, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(seed))


def objective(width: int = 1) -> VocoderObjective:
    torch.manual_seed(0)
    return VocoderObjective(MelCodec(CodecSpec(vocoder_width=8, vocoder_depth=1, discriminator_width=width)))


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Four sounds of 0.8 s, in two channels each."""
    wave = (waves(8, 17640) * 32767).short().unflatten(0, (4, 2))
    return Rows({"wave": wave, "samples": torch.full((4,), 17640)})


def advanced(training: Training, rows: Rows, steps: int) -> list[Record]:
    return list(islice(training.steps(rows), steps))


def test_the_hinge_loss_is_its_closed_form():
    real, generated = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 0.5])
    assert float(hinge(real)) == pytest.approx((0 + 0.5 + 2) / 3)
    assert float(hinge(-generated)) == pytest.approx((0 + 1 + 1.5) / 3)


def test_feature_matching_is_zero_for_equal_sounds_and_adds_up_over_layers():
    first, second = [torch.zeros(3), torch.zeros(2, 2)], [torch.full((3,), 2.0), torch.full((2, 2), -0.5)]
    assert feature_matching(first, first) == 0
    assert float(feature_matching(first, second)) == pytest.approx(2.5)


def test_discriminators_that_cannot_tell_pay_two_for_every_kind_and_the_vocoder_one():
    torch.manual_seed(0)
    judges, wave = Discriminators(1), waves(2)
    for member in (*judges.periods, *judges.resolutions):
        member.score.parametrizations.weight.original0.data.zero_()
        member.score.bias.data.zero_()
    with torch.no_grad():
        assert float(judges.loss(wave, wave)) == pytest.approx(2.2)
        assert float(judges.vocoder_loss(wave, wave)) == pytest.approx(1.1)


def test_a_discriminator_of_a_period_sees_every_column_by_itself():
    torch.manual_seed(0)
    judge, wave = PeriodDiscriminator(3, 2), waves(1, 300)
    changed = wave.clone()
    changed[:, 1::3] += 0.1
    same = [(a == b).all(dim=(0, 1, 2)).tolist() for a, b in zip(judge(wave), judge(changed), strict=True)]
    assert same == [[True, False, True]] * 6


def test_discriminators_hear_quiet_sounds_as_loud_ones():
    torch.manual_seed(0)
    judges, wave = Discriminators(1), waves(1)
    for loud, quiet in zip(judges(wave), judges(0.1 * wave), strict=True):
        torch.testing.assert_close(loud[-1], quiet[-1])


def test_the_vocoder_learns_without_changing_the_discriminators_gradients():
    torch.manual_seed(0)
    judges, generated = Discriminators(1), waves(2).requires_grad_()
    judges.vocoder_loss(waves(2, seed=1), generated).backward()
    assert generated.grad is not None
    assert generated.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in judges.parameters())


def test_a_step_changes_the_discriminators_and_then_the_vocoder(rows):
    made: Objective = objective()
    training = Training(made, SPEC, accelerator_for("cpu", "fp32"))
    before = {name: [p.clone() for p in module.parameters()] for name, module in made.groups.items()}
    [record] = advanced(training, rows, 1)
    assert list(record.losses) == ["discriminators", "vocoder"]
    for name, module in made.groups.items():
        assert any((p != old).any() for p, old in zip(module.parameters(), before[name], strict=True)), name


def test_adversarial_training_interrupted_and_resumed_repeats_an_uninterrupted_one(rows, tmp_path: Path):
    first = Training(objective(), SPEC, accelerator_for("cpu", "fp32"))
    advanced(first, rows, 1)
    checkpoint.save(tmp_path / "state.safetensors", first, {})
    second = Training(objective(), SPEC, accelerator_for("cpu", "fp32"))
    checkpoint.load(tmp_path / "state.safetensors", second)
    assert advanced(second, rows, 1) == advanced(first, rows, 1)


def test_without_discriminators_the_vocoder_is_all_that_is_trained(rows):
    assert list(objective(0).groups) == ["vocoder"]
    assert [name for name, _ in objective(0).losses(rows.tensors, torch.Generator())] == ["vocoder"]


def test_discriminators_are_no_part_of_the_model():
    with_them, without = objective().codec, objective(0).codec
    assert with_them.state_dict().keys() == without.state_dict().keys()


def test_a_channel_is_an_item_of_its_own(rows):
    stereo = objective(0).validate(rows.tensors, torch.Generator())
    mono = {"wave": rows.tensors["wave"].flatten(0, 1)[:, None], "samples": torch.full((8,), 17640)}
    assert objective(0).validate(mono, torch.Generator()) == pytest.approx(stereo)
