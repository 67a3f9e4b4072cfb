"""Tables of methods by the names the literature uses, and the one way to build from them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


@dataclass(frozen=True)
class Method:
    """One row of a table: `make(**options)` builds it; summary and paper are for people."""

    make: Callable[..., Any]
    summary: str
    paper: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """Option names and their defaults (`inspect.Parameter.empty` where there is none)."""
        return {name: p.default for name, p in inspect.signature(self.make).parameters.items()}


def _nearest(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f", did you mean '{near[0]}'?" if near else f"; known: {', '.join(known) or 'none'}"


def make(table: Mapping[str, Method], name: str, options: Mapping[str, Any] | None = None) -> Any:
    """Build the method `name` of a table with its options.

    Raises ValueError naming the nearest known method or option, or the value that does not fit.
    """
    if name not in table:
        raise ValueError(f"unknown method '{name}'{_nearest(name, list(table))}")
    method = table[name]
    for option in options or {}:
        if option not in method.options:
            raise ValueError(f"{name}: unknown option '{option}'{_nearest(option, list(method.options))}")
    for option, default in method.options.items():
        if default is inspect.Parameter.empty and option not in (options or {}):
            raise ValueError(f"{name}: needs the option '{option}', as in {name}:{option}=...")
    try:
        return method.make(**(options or {}))
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{name}: {error}") from None
