"""multidiff: audio, video and 3D point clouds from one diffusion core.

    import multidiff as md
    clips = md.load("sfx").sample("a dog barking", count=4, seed=7)
    clips[0].save("bark.wav")

The public names are loaded when they are used, so that `import multidiff` is quick.
"""

from importlib import import_module
from typing import Any

from multidiff import registry

__version__ = "0.1.0"

_PUBLIC = {
    "load": "multidiff.weights:load",
    "Model": "multidiff.model:Model",
    "Recipe": "multidiff.recipe:Recipe",
    **registry.MEDIA,
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'multidiff' has no attribute '{name}'")
    module, attribute = _PUBLIC[name].split(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
