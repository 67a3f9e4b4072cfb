"""The one door to torchaudio.

The package index's wheel links CUDA libraries; beside a CPU-only torch its import fails, and with it that of
every library that probes for it (diffusers, transformers). Its transforms are pure PyTorch.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType

from multidiff.errors import MultidiffError

_EXTENSION = "torchaudio._extension"


def torchaudio_state() -> str:
    """For `multidiff doctor`: "missing", "whole", or "pure" (compiled extension replaced by a stand-in)."""
    if find_spec("torchaudio") is None:
        return "missing"
    import_torchaudio()
    return "pure" if getattr(sys.modules[_EXTENSION], "stand_in", False) else "whole"


def import_torchaudio() -> ModuleType:
    """torchaudio, also where its compiled extension cannot load.

    The wheel of the package index links CUDA libraries that a CPU-only torch does not bring. The extension is
    used by none of the transforms, but torchaudio imports it first of all; where that fails, a stand-in
    takes its place in `sys.modules` for this process. Raises MultidiffError where torchaudio is not installed.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        raise MultidiffError("torchaudio is not installed; run `make`, or `pip install --no-deps torchaudio`") from None
    except (OSError, ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules[_EXTENSION] = _stand_in()
        return importlib.import_module("torchaudio")


def _stand_in() -> ModuleType:
    """What torchaudio asks of its extension, saying that nothing compiled is there.

    It has a spec, because `importlib.util.find_spec`, which other packages call, refuses modules without one.
    """
    module = module_from_spec(ModuleSpec(_EXTENSION, loader=None))
    vars(module).update(
        stand_in=True,
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        _load_lib=lambda name: False,
        fail_if_no_align=lambda function: function,
    )
    return module
