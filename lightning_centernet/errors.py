"""The one exception for mistakes a user can put right."""

from __future__ import annotations


class UserError(ValueError):
    """Report a mistake in the user's input.

    The message names the file, the key and the value, and says what to do. The command line prints it without a
    traceback.
    """
