"""What one would take instead for points: Point-E's transformer, torch.cdist and POT.

The transformer is written from its description (Nichol et al. 2022, "Point-E", 2212.08751, section 4.2 and figure 3): a
token for each point by one linear layer, no positional encoding, so that points have no order; the noise level through
an MLP and the condition through a linear layer are tokens besides; blocks of self-attention and feed-forward of four
times the width, each behind a layer norm; the points' tokens alone go to an output that starts as zero.
`nn.transformer` is another: it has rotary positions, and adaLN instead of tokens.

Attention is torch's fused one, which never holds the N x N weights: kinder to it than the published code, which does.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from multidiff.bench.steps import TEXT_DIM
from multidiff.errors import MultidiffError
from multidiff.nn.embedding import LogSNREmbedding
from multidiff.points.sampling import Array

POT = "POT"
SIMPLEX = 10**7
"""Iterations of POT's network simplex at most: its default of 10^5 is too few for 2048 points."""


class PlainTransformer(nn.Module):
    """forward(x (B, N, 3), log_snr (B,), tokens (B, L, TEXT_DIM)) -> (B, N, 3), permutation-equivariant in the points.

    dim: width of a token; depth: blocks; heads: of the attention.
    """

    def __init__(self, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.points = nn.Linear(3, dim)
        self.level = LogSNREmbedding(dim)
        self.prompt = nn.Linear(TEXT_DIM, dim)
        self.before = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.after = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, 3)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, log_snr: Tensor, tokens: Tensor) -> Tensor:
        h = torch.cat([self.level(log_snr)[:, None], self.prompt(tokens), self.points(x)], dim=1)
        h = self.before(h)
        for block in self.blocks:
            h = block(h)
        found: Tensor = self.output(self.after(h[:, -x.shape[1] :]))
        return found


def missing(peer: str) -> str:
    """What is said of a peer that is not installed; empty where it is."""
    absent = peer == POT and find_spec("ot") is None
    return f"{POT} is not installed; run `pip install 'multidiff[transport]'`" if absent else ""


def cdist_chamfer(a: Array, b: Array) -> float:
    """`chamfer_l2` of float32 clouds (N, 3) and (M, 3) by all their distances, as most codes without extensions."""
    x, y = (torch.from_numpy(np.asarray(points, np.float32)) for points in (a, b))
    between = torch.cdist(x, y).square()
    return float(between.amin(1).mean() + between.amin(0).mean())


def pot_emd(a: Array, b: Array) -> float:
    """Earth mover's distance of clouds (N, 3) and (M, 3) with equal weights, exact by POT's network simplex (Flamary et
    al. 2021, "POT: Python Optimal Transport"; Bonneel et al. 2011). Raises MultidiffError where POT is not installed.
    """
    if absent := missing(POT):
        raise MultidiffError(absent)
    import ot

    cost = ot.dist(a.astype(np.float64), b.astype(np.float64), metric="euclidean")
    return float(ot.emd2([], [], cost, numItermax=SIMPLEX))
