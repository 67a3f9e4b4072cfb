"""What trains the scorer: sounds and their captions told from those of the other items of a batch (`scorer`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.audio.augment import varied
from multidiff.audio.batch import sides
from multidiff.audio.scorer import Scorer
from multidiff.errors import InputError


class ScorerObjective:
    """InfoNCE between varied crops of sounds and their captions, within the batch."""

    def __init__(self, scorer: Scorer, captions: Tensor) -> None:
        """`captions` (U, D): mean token states of the data's distinct captions. Raises InputError where they cannot
        be learned from."""
        if len(captions) < 3 or captions.shape[1] != scorer.spec.text_dim:
            raise InputError(
                f"train.objective: a scorer needs items of at least two captions (there are {len(captions) - 1}) and a "
                f"text encoder whose states are as wide as codec.text_dim ({captions.shape[1]}, not "
                f"{scorer.spec.text_dim})"
            )
        self.scorer = scorer
        self.groups: Mapping[str, nn.Module] = {"scorer": scorer}
        self.captions = captions.to(scorer.log_mel.window.device)

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        rows = sides(rows)
        sound, share = varied(rows, self.scorer, generator)
        alike = same(rows["caption"])
        match = torch.lerp(alike, alike.roll(1, 0), share[:, None])
        yield "scorer", info_nce(self.scorer(sound, self.captions[rows["caption"]]), match)

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """The loss on whole clips; `recall@1[caption]`, the share of them whose caption, of all that the data have, is
        found the likest; `recall@1[sound]`, the share of their captions for which one of their clips is."""
        rows = sides(rows)
        logits, caption = self.scorer(rows["mel"].float(), self.captions), rows["caption"]
        own = caption.unique()
        return {
            "loss": float(info_nce(logits[:, caption], same(caption))),
            "recall@1[caption]": float((logits.argmax(dim=1) == caption).float().mean()),
            "recall@1[sound]": float((caption[logits[:, own].argmax(dim=0)] == own).float().mean()),
        }


def same(caption: Tensor) -> Tensor:
    """(B, B): 1 where two of the items' captions (B,) are equal, else 0."""
    return (caption[:, None] == caption).float()


def info_nce(logits: Tensor, match: Tensor) -> Tensor:
    """Cross-entropy () of logits (B, B) of sounds (rows) and captions (columns), the mean of both directions.

    CLIP's loss (Radford et al. 2021, 2103.00020, figure 3) with `match` (B, B), how far each caption tells of each
    sound, in place of the diagonal: equal captions are no negatives of each other (UniCL: Yang et al. 2022, 2204.03610,
    section 3.2), and a mixed sound has two. Each row and each column of `match` counts as a distribution.
    """
    by_sound = F.cross_entropy(logits, match / match.sum(dim=1, keepdim=True))
    by_caption = F.cross_entropy(logits.T, (match / match.sum(dim=0)).T)
    return (by_sound + by_caption) / 2
