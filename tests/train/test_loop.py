from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from multidiff.errors import InputError, MultidiffError
from multidiff.recipe import Recipe
from multidiff.specs import TrainSpec
from multidiff.train import run
from multidiff.train.loop import Training, accelerator_for, items, learning_rate
from multidiff.train.pack import Rows
from tests.train.toy import Adversary

Make = Callable[..., Recipe]


class Line:
    """Fit y = w x + b."""

    def __init__(self, target: float = 2.0, width: int = 1) -> None:
        torch.manual_seed(0)
        self.line, self.target = nn.Linear(width, width), target
        self.groups = {"line": self.line}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        yield "line", (self.line(rows["x"]) - self.target * rows["x"]).square().mean()

    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        return {"weight": float(self.line.weight), "noise": float(torch.rand((), generator=generator))}


def training(objective: object, **spec: object) -> Training:
    return Training(objective, TrainSpec(**{"warmup": 0, **spec}), accelerator_for("cpu", "fp32"))  # type: ignore[arg-type]


X = Rows({"x": torch.linspace(-1, 1, 12)[:, None]})


def test_every_item_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    drawn = torch.cat([items(step, batch=5, count=12, seed=3) for step in range(12)]).reshape(5, 12)
    assert torch.equal(drawn.sort(dim=1).values, torch.arange(12).expand(5, 12))
    assert len({tuple(epoch.tolist()) for epoch in drawn}) == 5
    assert not torch.equal(items(0, 5, 12, seed=3), items(0, 5, 12, seed=4))
    assert items(0, batch=8, count=3, seed=0).unique().tolist() == [0, 1, 2]


def test_learning_rate_rises_stays_and_falls() -> None:
    spec = TrainSpec(steps=100, lr=1.0, warmup=10, decay=0.2)
    rates = [learning_rate(step, spec) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == [1.0] * 72
    assert rates[-1] == pytest.approx(0.05)
    assert rates[80:] == sorted(rates[80:], reverse=True)


def test_accumulation_takes_the_step_of_one_large_batch() -> None:
    large = training(Line(), batch=12, steps=5)
    parts = training(Line(), batch=4, accumulate=3, steps=5)
    for one, other in zip(large.steps(X), parts.steps(X), strict=True):
        assert one.losses["line"] == pytest.approx(other.losses["line"], rel=1e-5)
        assert one.grad_norms["line"] == pytest.approx(other.grad_norms["line"], rel=1e-5)


def test_a_loss_moves_its_own_group_only() -> None:
    class Lopsided(Adversary):
        def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
            for group, loss in super().losses(rows, generator):
                if group == "generator":
                    self.before = [p.detach().clone() for p in self.discriminator.parameters()]
                yield group, loss

    objective = Lopsided()
    state = training(objective, steps=3, batch=4)
    for record in state.steps(Rows({"at": torch.randn(12, 2)})):
        assert list(record.losses) == ["discriminator", "generator"]
        assert all(
            torch.equal(a, b) for a, b in zip(objective.before, objective.discriminator.parameters(), strict=True)
        )


def test_gradients_are_clipped_and_reported_before() -> None:
    state = training(Line(target=1000.0), steps=1, batch=12, clip=0.5, lr=1.0)
    record = next(state.steps(X))
    assert record.grad_norms["line"] > 100
    assert state.groups["line"].weight.grad.norm() <= 0.5 + 1e-4


def test_validation_uses_averaged_weights_and_the_same_noise_and_leaves_training_alone() -> None:
    state = training(Line(), steps=30, batch=4, lr=0.1, ema=0.99)
    for _ in state.steps(X):
        pass
    raw = state.groups["line"].weight.detach().clone()
    first, second = state.validate(X), state.validate(X)
    assert first == second
    assert first["weight"] == pytest.approx(float(state.ema["line"].averages["weight"]))
    assert first["weight"] != pytest.approx(float(raw))
    assert torch.equal(state.groups["line"].weight, raw)
    assert state.groups["line"].training


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    state = training(Line(target=float("inf")), steps=3, batch=4)
    with pytest.raises(MultidiffError, match=r"step 1: the loss is .*lower train.lr"):
        list(state.steps(X))


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="not on this machine"):
        accelerator_for("cuda:7", "auto")


def test_the_loop_adds_a_few_milliseconds_to_a_step() -> None:
    """CPU time of a step beside that of forward, backward and optimiser alone."""

    class Deep(Line):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Sequential(*[nn.Linear(256, 256) for _ in range(16)])  # type: ignore[assignment]
            self.groups = {"line": self.line}

    objective, rows = Deep(), Rows({"x": torch.randn(8192, 256)})
    batch = rows.take(torch.arange(512))
    steps = training(objective, steps=100, batch=512).steps(rows)
    optimizer = torch.optim.AdamW(objective.line.parameters(), fused=True)

    def bare() -> None:
        optimizer.zero_grad()
        next(objective.losses(batch, torch.Generator()))[1].backward()
        optimizer.step()

    def seconds(work: Callable[[], object]) -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    pairs = [(seconds(bare), seconds(lambda: next(steps))) for _ in range(20)]
    alone, whole = (min(times) for times in zip(*pairs, strict=True))
    assert whole - alone < 0.008  # 0.003 measured


@pytest.mark.slow
def test_two_processes_train_as_one(make_recipe: Make, tmp_path: Path) -> None:
    """torchrun with gloo: both end with the same weights, and a run resumes on one process."""
    script = tmp_path / "job.py"
    script.write_text(
        "from multidiff import registry\n"
        "registry.MODALITIES['toy'] = 'tests.train.toy:TOY'\n"
        "from tests.train.conftest import toy_recipe\n"
        "from multidiff.train import run\n"
        "run.train(toy_recipe(steps=20), 'two', device='cpu')\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert run.train(make_recipe(steps=40), "two", resume=True, device="cpu")
    assert len((tmp_path / "two" / "log.csv").read_text().splitlines()) == 41
