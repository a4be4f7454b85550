"""The one exception for mistakes a user can put right, and the question about names that a user got wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Report a mistake in the user's input.

    The message names the file, the key and the value, and says what to do. The command line prints it without a
    traceback.
    """

    def __init__(self, message: str) -> None:
        # A loader's worker hands on its whole traceback as the message; the last line is what was said.
        super().__init__(message.rpartition(f"{__name__}.{type(self).__name__}: ")[2].rstrip())


class MissingTargetsError(UserError):
    """Report a head whose targets cannot be made from the annotations. Another data set may have them."""


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """End a message that lists the right names with a question about the nearest one, if there is one.

    Example:
        >>> f"it can be iou, giou{did_you_mean('gio', ['iou', 'giou'])}"
        'it can be iou, giou. Did you mean `giou`?'
    """
    near = get_close_matches(str(name), list(names), n=1)
    return f". Did you mean `{near[0]}`?" if near else ""
