"""The parts of AudioLDM-S (Liu et al. 2023, 2301.12503) as diffusers and transformers build them, weights random.

Sizes are those of the published `audioldm-s-full-v2`, as in the configuration of diffusers' script
`convert_original_audioldm_to_diffusers.py`: 16 kHz, a hop of 160, 64 mel bins, latents of 8 channels that are 4 times
coarser in time and in frequency. The libraries are imported where they are needed, so that what is not installed can
be left out.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from multidiff.bench.meter import Built
from multidiff.errors import MultidiffError
from multidiff.torchaudio_door import import_torchaudio

with suppress(MultidiffError):  # both libraries probe for torchaudio, and fail where it is installed but cannot load
    import_torchaudio()

RATE, HOP, BINS, CHANNELS, COARSER = 16000, 160, 64, 8, 4
WIDTHS = 128, 256, 384, 640
"""Of the U-Net, and of its cross-attention, which attends to the same states as its self-attention."""
PROJECTION, TOKENS = 512, 512
"""Width of the prompt's embedding, and the length to which AudioLDMPipeline pads every prompt."""


def _latent(batch: int, seconds: float) -> Tensor:
    return torch.randn(batch, CHANNELS, round(seconds * RATE / HOP / COARSER), BINS // COARSER)


def _mel(seconds: float) -> Tensor:
    return torch.randn(1, 1, round(seconds * RATE / HOP), BINS)


def features(seconds: float) -> Built:
    """Waveform -> log-mel, by the extractor that belongs to SpeechT5HifiGan."""
    from transformers import SpeechT5FeatureExtractor

    extractor = SpeechT5FeatureExtractor(
        num_mel_bins=BINS, sampling_rate=RATE, hop_length=1000 * HOP // RATE, win_length=64, fmin=0, fmax=RATE // 2
    )
    wave = torch.randn(round(seconds * RATE)).numpy()
    return Built(partial(extractor, audio_target=wave, sampling_rate=RATE))


def prompt() -> Built:
    """CLAP's text encoder on a prompt and the empty one, six tokens among padding."""
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    encoder = ClapTextModelWithProjection(ClapTextConfig(projection_dim=PROJECTION))
    tokens, mask = torch.randint(3, 50000, (2, TOKENS)), torch.zeros(2, TOKENS, dtype=torch.long)
    mask[:, :6] = 1
    return Built.of(partial(encoder, tokens, attention_mask=mask), encoder)


def autoencoder(direction: Literal["encode", "decode"], seconds: float) -> Built:
    from diffusers import AutoencoderKL

    vae: Any = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(128, 256, 512),
        layers_per_block=2,
        latent_channels=CHANNELS,
    )
    if direction == "encode":
        return Built.of(partial(vae.encode, _mel(seconds)), vae.encoder, vae.quant_conv)
    return Built.of(partial(vae.decode, _latent(1, seconds)), vae.decoder, vae.post_quant_conv)


def denoiser(seconds: float) -> Built:
    """The U-Net with the batch of two that guidance takes."""
    from diffusers import UNet2DConditionModel

    unet: Any = UNet2DConditionModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
        up_block_types=(*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
        block_out_channels=WIDTHS,
        layers_per_block=2,
        cross_attention_dim=WIDTHS,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=PROJECTION,
        class_embeddings_concat=True,
    )
    told = torch.randn(2, PROJECTION)
    return Built.of(partial(unet, _latent(2, seconds), 500, encoder_hidden_states=None, class_labels=told), unet)


def vocoder(seconds: float) -> Built:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(
        model_in_dim=BINS,
        sampling_rate=RATE,
        upsample_initial_channel=1024,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        normalize_before=False,
    )
    hifigan = SpeechT5HifiGan(config)
    return Built.of(partial(hifigan, _mel(seconds)[0]), hifigan)
