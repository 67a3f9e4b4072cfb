"""Waiting threads sleep, unless the user says otherwise: where they spin, work beside other work takes far longer."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "found"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_waiting_threads_sleep_before_torch_is_loaded(given: dict[str, str], found: str) -> None:
    program = "import os, sys, multidiff.cli; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    env = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"} | given
    out = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    assert out.split() == [found, "False"]
