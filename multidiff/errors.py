"""The few exceptions people see.

Each message names the thing, the place and the cure in one line; the command line prints it without a
traceback and ends with the class's `exit_code`.
"""

from collections.abc import Sequence
from difflib import get_close_matches


class MultidiffError(Exception):
    """Something failed that is not the input's fault (a full disk, a read-only folder)."""

    exit_code = 1


class InputError(MultidiffError):
    """The user's input cannot be used: a wrong option, prompt, task or combination."""

    exit_code = 2


class MediaError(InputError):
    """A media file or value is missing, empty, broken, of the wrong type or absurdly large."""


class RecipeError(InputError):
    """A recipe or an override is wrong; the message lists every problem found."""


class ModelError(InputError):
    """A model, run folder or checkpoint is missing, foreign or does not fit its recipe."""


class Notice(UserWarning):
    """Something was done to the user's input that should be known; the command line prints it on stderr."""


def did_you_mean(word: str, known: Sequence[str], shown: Sequence[str] | None = None) -> str:
    """`, did you mean 'x'?` for the nearest known word, else `; known: a, b, c` (of those that are to be `shown`)."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else f"; known: {', '.join(known if shown is None else shown)}"
