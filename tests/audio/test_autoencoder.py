"""The two autoencoders of log-mels: their lengths, how far they see, and what frequency is to the one over a plane."""

import pytest
import torch
from pydantic import ValidationError

from multidiff.audio.autoencoder import BAND, MelAutoencoder
from multidiff.audio.codec import CodecSpec, MelSpec


def autoencoder(kind: str, compression: int = 4) -> MelAutoencoder:
    torch.manual_seed(0)
    return MelAutoencoder(kind, n_mels=32, channels=8, compression=compression, width=16).eval()


def mel(frames: int) -> torch.Tensor:
    return torch.randn(2, 32, frames, generator=torch.Generator().manual_seed(1)) - 5


@pytest.mark.parametrize("kind", ["1d", "2d"])
@pytest.mark.parametrize("compression", [1, 2, 4, 8])
def test_frames_are_compressed_in_time_rounded_up(kind: str, compression: int) -> None:
    model = autoencoder(kind, compression)
    x = model.encode(mel(21))
    assert x.shape == (2, 8, -(-21 // compression))
    assert model.decode(x).shape == (2, 32, x.shape[-1] * compression)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["1d", "2d"])
@pytest.mark.parametrize("compression", [1, 4])
def test_a_reconstruction_depends_on_latents_within_reach_and_no_further(kind: str, compression: int) -> None:
    model = autoencoder(kind, compression)
    x = torch.randn(1, 8, 60, generator=torch.Generator().manual_seed(2))
    other = x.clone()
    other[..., 30] += 3
    changed = (model.decode(other) - model.decode(x)).abs().amax(dim=(0, 1)).gt(1e-6).nonzero().flatten()
    before, after = 30 * compression - int(changed.min()), int(changed.max()) - (31 * compression - 1)
    assert max(before, after) <= model.reach
    assert max(before, after) > model.reach - 2 * compression, "a reach far too wide would decode too much"


@torch.no_grad()
def test_over_a_plane_a_pattern_a_band_higher_is_the_same_latent_a_band_higher() -> None:
    """What the rows are told of their place is 0 at first; the edges, where rows see the padding, lie far away."""
    torch.manual_seed(0)
    model = MelAutoencoder("2d", 256, channels=64, compression=4, width=16).eval()
    log_mel = torch.full((1, 256, 16), -5.0)
    log_mel[:, 122:126, 4:9] += 4
    low, high = (model.encode(each).unflatten(1, (2, 32)) for each in (log_mel, log_mel.roll(BAND, dims=1)))
    torch.testing.assert_close(high[:, :, 16], low[:, :, 15], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(low[:, :, 15], low[:, :, 16], atol=1e-2)


@pytest.mark.parametrize("wrong", [{"channels": 12}, {"mel": MelSpec(n_mels=60), "channels": 15}, {"width": 33}])
def test_a_latent_that_is_no_whole_number_of_bands_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"even width, mel\.n_mels a multiple of 8 and channels a multiple of"):
        CodecSpec(autoencoder="2d", **wrong)  # type: ignore[arg-type]
