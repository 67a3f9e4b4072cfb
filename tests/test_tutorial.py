"""The tutorial runs from end to end; its own assertions compare what it shows with the exact law."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_tutorial_runs_and_draws_its_pictures(tmp_path: Path) -> None:
    script = ROOT / "recipes" / "tutorial" / "tutorial.py"
    done = subprocess.run([sys.executable, script, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.png"))) == 5
