"""Which kinds of operators take the time of a run: shares of the operators' own time, by torch's profiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch.profiler import ProfilerActivity, profile

KINDS: dict[str, tuple[str, ...]] = {
    "convolution": ("convolution",),
    "matrix products": ("aten::mm", "addmm", "bmm", "scaled_dot_product", "baddbmm"),
    "normalisation": ("norm", "rsqrt", "aten::pow", "aten::mean"),
    "element-wise": ("silu", "gelu", "aten::add", "aten::mul", "aten::sub", "aten::div", "aten::neg", "softmax"),
    "copies": ("copy_", "aten::cat", "clone", "contiguous", "aten::fill_", "zero_", "constant_pad", "slice_backward"),
}
"""An operator belongs to the first kind of which a part of a name is in its own; else to OTHER."""
OTHER = "other"


def kind_of(operator: str) -> str:
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), OTHER)


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Share of each kind in a second run."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        run()
    spent = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in measured.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total
    whole = sum(spent.values())
    return {kind: each / whole for kind, each in spent.items()}


def markdown(runs: Mapping[str, Callable[[], object]]) -> Iterator[str]:
    """A line for each run."""
    yield "| share of the time, % | " + " | ".join([*KINDS, OTHER]) + " |"
    yield "| --- |" + " ---: |" * (len(KINDS) + 1)
    for name, run in runs.items():
        yield f"| {name} | " + " | ".join(f"{100 * share:.0f}" for share in shares(run).values()) + " |"
