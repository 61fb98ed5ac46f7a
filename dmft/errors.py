"""The package's exceptions, each with the exit status the command line gives it."""

from __future__ import annotations


class DmftError(Exception):
    """Base class of every error raised on purpose; its text is one line for a user."""

    exit_code = 1


class InputError(DmftError, ValueError):
    """Input that cannot be used: says what was given, what is allowed and where.

    Parameters
    ----------
    message : what was given and what is allowed.
    location : dotted path of the offending setting, or the file, if there is one.
    """

    exit_code = 2

    def __init__(self, message: str, location: str = "") -> None:
        self.message = message
        self.location = location
        super().__init__(f"{location}: {message}" if location else message)

    def within(self, path: object) -> InputError:
        """The same error with the file named in which the location is."""
        known = not self.location or str(path) in self.location
        where = (self.location or str(path)) if known else f"{path}: {self.location}"
        return InputError(self.message, where)


class Interrupted(DmftError):
    """The user or the scheduler asked the program to stop; what was computed is saved."""

    exit_code = 130


class NotConverged(DmftError):
    """A computation could not reach anything worth returning."""

    exit_code = 3
