"""The one exception for mistakes a user can put right."""

from __future__ import annotations


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
