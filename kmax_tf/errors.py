"""Errors that a user can fix: shown as one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Says in a sentence what is wrong with what the user gave, and what to do about it."""


class ConfigError(UserError, ValueError):
    """Says what is wrong with an experiment, and where (file and line, or override)."""


class BadExampleError(UserError):
    """Says which file cannot be used, why, and what to do about it."""


class OutputError(UserError, OSError):
    """Says that a file or folder cannot be written, and why."""

    def __str__(self) -> str:
        # OSError would format (errno, strerror) pairs; this is a sentence.
        return str(self.args[0]) if self.args else ""


def error_line(program: str, error: Exception) -> str:
    """Returns the line that tells a user's error."""
    # Libraries on the way may have added a context of their own to what str() gives.
    return f"{program}: error: {error.args[0] if error.args else error}"
