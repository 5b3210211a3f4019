"""Which mistakes can a user make here? The root of every domain error, and those of this room."""


class ReadrankError(Exception):
    """A mistake a user can mend; its message says what was wanted, what came and what to do.

    Every room derives its own small tree from it. The command line prints the message as one line and exits with 2;
    the service answers with a status and the same sentence.
    """


class SettingsError(ReadrankError):
    """`readrank.toml` is missing, is not TOML, or holds a key or value that nothing reads."""


class WorkspaceError(ReadrankError):
    """Something else lies where a file or a folder of the workspace should."""


class InputFileError(ReadrankError):
    """A file cannot be read as what its name says, or lacks columns."""


class StoreError(ReadrankError):
    """The store cannot be opened, is locked by another job, is damaged, or the disk is full."""


class HeldStoreError(StoreError):
    """Another job has the store open."""


class OutboxError(ReadrankError):
    """`online.sqlite` cannot be opened or written."""


class ErasureError(ReadrankError):
    """A person cannot be forgotten or searched for as asked."""


def first_line(error: BaseException) -> str:
    """Return what an error of a library says at first, its kind when it says nothing: our messages are one line.

    >>> first_line(ValueError("no such table\\nLINE 1: SELECT")), first_line(TimeoutError())
    ('no such table', 'TimeoutError')
    """
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
