"""What is exported makes the same of the same, without multidiff."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from multidiff import weights
from tests.cli.conftest import Run


def run_torchscript(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    module = torch.jit.load(path)
    return lambda x: module(torch.from_numpy(x)).detach().numpy()


def run_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["wave"], {"log_mel": x})[0]


@pytest.mark.parametrize(
    ("form", "suffix", "open_with"), [("torchscript", "pt", run_torchscript), ("onnx", "onnx", run_onnx)]
)
def test_an_exported_vocoder_gives_the_same_waveforms_of_any_number_at_any_length(
    run: Run, form: str, suffix: str, open_with: Callable[[Path], Callable[[np.ndarray], np.ndarray]]
) -> None:
    made = run("export", "sfx", "--format", form, "-o", "parts")
    assert (made.code, made.out, made.err) == (0, f"parts/sfx-vocoder.{suffix}\n", "")
    exported, vocoder = open_with(made.paths[0]), weights.load("sfx", "cpu").codec.vocoder
    for shape in ((1, 64, 100), (3, 64, 7), (1, 64, 1)):
        log_mel = torch.randn(shape, generator=torch.Generator().manual_seed(0)) - 5
        with torch.no_grad():
            np.testing.assert_allclose(exported(log_mel.numpy()), vocoder(log_mel).numpy(), rtol=0, atol=1e-4)


def test_onnx_without_its_packages_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert run("export", "sfx", "--format", "onnx").is_refused(2, "pip install 'multidiff[export]'")


def test_a_medium_without_parts_is_refused(run: Run) -> None:
    assert run("export", "shapes").is_refused(2, "has no part that is of use by itself")
