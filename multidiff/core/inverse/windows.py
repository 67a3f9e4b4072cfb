"""Longer than trained, and without a seam: windows (averaged, or one after the other), and rolling along one axis.

Overlapping windows (MultiDiffusion, Bar-Tal et al. 2023, 2302.08113, eq. 5): every window is denoised by itself and
the estimates are averaged where they overlap,

    x0 = sum_w weight_w x0_w / sum_w weight_w

weighted towards each window's middle, so that nothing jumps where a window ends. It is a denoiser, for every
sampler. Windows may go round the end (a loop). Neighbours further apart than a window know of each other only
through the windows between.

Bias (tests/core/test_windows.py): on a first-order autoregression (neighbours correlate 0.7), windows of 16 over 80
elements, stride 8, give variances of 0.92 to 1.04 and correlations 0.69, 0.48, 0.33 where 0.70, 0.49, 0.34 are exact;
at stride 16, without overlap, neighbours across a border are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, Estimate
from multidiff.core.samplers.step import Draw, Sampler, State
from multidiff.core.schedule import NoiseSchedule

PROMPT = ("tokens", "tokens_mask")
"""The keys of a condition that have axes of their own. Others with as many axes as the event lie along its axes."""

GOLDEN = 0.6180339887498949
"""Multiples of it fill [0, 1) evenly, however many there are."""


def _along(v: Tensor, x: Tensor, axis: int, index: Tensor) -> Tensor:
    """v with `index` taken along an axis of x, or as it is where it has no such axis or is constant along it."""
    place = axis % x.ndim
    if v.ndim <= place or v.shape[place] != x.shape[place]:
        return v
    return v.index_select(place, index)


def is_local(key: str, value: Tensor, ndim: int) -> bool:
    """Whether a tensor of a condition lies along the axes of x, which has `ndim` of them."""
    return value.ndim == ndim and key not in PROMPT


def local(condition: Condition, x: Tensor, axis: int, index: Tensor) -> dict[str, Tensor]:
    """The condition of the part of x (B, *event) that `index` picks along its axis."""
    return {k: _along(v, x, axis, index) if is_local(k, v, x.ndim) else v for k, v in (condition or {}).items()}


@dataclass(frozen=True)
class Windows:
    """A denoiser of length `size` applied to a longer event: axis (negative, counted from the end), windows every
    `stride` elements, round the end if `circular`.

    All windows go through the denoiser as one batch. With one window the estimate is the denoiser's own. Raises
    ValueError for an axis shorter than `size`, or a stride that leaves gaps.
    """

    denoiser: Denoiser
    axis: int
    size: int
    stride: int
    circular: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.size:
            raise ValueError(f"stride {self.stride} must lie between 1 and the window's size {self.size}")
        if self.axis >= 0:
            raise ValueError(f"axis {self.axis} must be negative: counted from the end of the event")

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def places(self, length: int) -> Tensor:
        """(windows, size): the elements of each window of an axis of this length."""
        if length < self.size:
            raise ValueError(f"the event has {length} elements along axis {self.axis}, a window {self.size}")
        if self.circular:
            starts = torch.arange(0, length, self.stride)
        else:
            last = length - self.size
            starts = torch.cat([torch.arange(0, last, self.stride), torch.tensor([last])])
        return (starts[:, None] + torch.arange(self.size)) % length

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        places = self.places(x_t.shape[self.axis]).to(x_t.device)
        x = torch.cat([_along(x_t, x_t, self.axis, place) for place in places])
        times = torch.cat([_along(t, x_t, self.axis, place) for place in places])
        each = [local(condition, x_t, self.axis, place) for place in places]
        estimate = self.denoiser(x, times, {key: torch.cat([c[key] for c in each]) for key in each[0]})
        middle = torch.arange(self.size, device=x.device, dtype=x.dtype)
        weight = torch.minimum(middle + 1, self.size - middle)
        total = torch.zeros(x_t.shape[self.axis], device=x.device, dtype=x.dtype)
        total = total.index_add(0, places.flatten(), weight.repeat(len(places)))

        def averaged(v: Tensor) -> Tensor:
            result = torch.zeros_like(x_t).movedim(self.axis, -1)
            for place, part in zip(places, v.chunk(len(places)), strict=True):
                result = result.index_add(-1, place, part.movedim(self.axis, -1) * (weight / total[place]))
            return result.movedim(-1, self.axis)

        return estimate.each(averaged)


@dataclass(frozen=True)
class _Rolled:
    """The denoiser seen through x rolled by `shift` along an axis."""

    denoiser: Denoiser
    axis: int
    shift: int

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        length = x_t.shape[self.axis]
        index = (torch.arange(length, device=x_t.device) - self.shift) % length
        rolled = _along(x_t, x_t, self.axis, index)
        times = _along(t, x_t, self.axis, index)
        estimate = self.denoiser(rolled, times, local(condition, x_t, self.axis, index))
        return estimate.each(lambda v: v.roll(-self.shift, self.axis))


@dataclass(frozen=True)
class Loop:
    """A sampler that makes the event a seamless loop along `axis` (negative): in every step the denoiser sees it
    rolled round by another part of its length, so that the ends meet in the middle of what it knows.

    One evaluation a step, as without it. On a smooth Gaussian process of 24 elements, where the ends of a plain sample
    differ 4.2 times as much as neighbours do, the seam's step is 0.96 of the others'.
    """

    sampler: Sampler
    axis: int

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        shift = round(state.step * GOLDEN % 1 * state.x.shape[self.axis])
        return self.sampler(_Rolled(denoiser, self.axis, shift), state, s, draw, condition)


def sliding(
    complete: Callable[[int, Tensor, Tensor, Tensor], Tensor],
    known: Tensor,
    mask: Tensor,
    size: int,
    overlap: int,
    axis: int = -1,
    circular: bool = False,
) -> Tensor:
    """x of any length, one window after the other, each continued from what lies beside it.

    known (B, *event) and mask (broadcastable to it, 1 where known) say what is given, if anything. Windows of `size`
    elements along `axis` (negative) begin with the last `overlap` of what is there already, or end with the first of
    it where nothing lies before; the last of those that go round (`circular`) has some of it on both sides.
    complete(number, index, known, mask) -> x makes window 0, 1, ..., whose elements are `index` (size,), from its part
    of both, by any completion. What is given stays as it is. Raises ValueError for an overlap not shorter than a
    window, and an axis shorter than one.
    """
    length = known.shape[axis]
    if not 1 <= overlap < size:
        raise ValueError(f"overlap {overlap} must lie between 1 and the window's length {size} - 1")
    if length < size:
        raise ValueError(f"the event has {length} elements along axis {axis}, a window {size}")
    along = list(mask.shape)
    along[axis] = length
    mask = mask.to(known).expand(along)
    x, number = known * mask, 0
    following = _next_round if circular else _next
    while (start := following(there := mask.bool().movedim(axis, -1).flatten(0, -2).all(0), size, overlap)) is not None:
        index = (start + torch.arange(size, device=x.device)) % length
        window, done = x.index_select(axis, index), mask.index_select(axis, index)
        made = torch.where(done.bool(), window, complete(number, index, window, done))
        kept = size - _cut(there, index, size - overlap, circular)
        x = x.index_copy(axis, index[:kept], made.narrow(axis, 0, kept))
        mask = mask.index_fill(axis, index[:kept], 1)
        number += 1
    return x


def _cut(done: Tensor, index: Tensor, most: int, circular: bool) -> int:
    """How many elements at a window's end are left to a later one: a run of at most so many of what is not done, beside
    others in this window, whose other side lies beyond it."""
    inside = done[index].nonzero()
    last = int(inside[-1]) if len(inside) else -1
    run, end = len(index) - 1 - last, int(index[-1]) + 1
    beyond = done.roll(-end) if circular else done[end:]
    if run == 0 or bool(done[index[: last + 1]].all()) or not bool(beyond.any()):
        return 0
    return run if run + int(beyond.int().argmax()) <= most else 0


def _next(done: Tensor, size: int, overlap: int) -> int | None:
    """Where the next window begins, for the first run of what is not done (length,): on from its left end, or back from
    its right one where nothing lies before, or with as much on both sides where that covers it."""
    if bool(done.all()):
        return None
    length, first = len(done), int(done.int().argmin())
    rest = done[first:]
    last = first + int(rest.int().argmax()) if bool(rest.any()) else length
    if last - first <= size - overlap:
        start = (first + last - size) // 2
    else:
        start = first - overlap if first > 0 or last == length else last + overlap - size
    return min(max(start, 0), length - size)


def _next_round(done: Tensor, size: int, overlap: int) -> int | None:
    """The same where the end meets the beginning: any run of what is not done has something before it and after it."""
    if not bool(done.any()):
        return 0
    begins = (done.roll(1) & ~done).nonzero()
    if len(begins) == 0:
        return None
    first = int(begins[0])
    run = int(done.roll(-first).int().argmax())
    return (first - overlap if run > size - overlap else first + (run - size) // 2) % len(done)
