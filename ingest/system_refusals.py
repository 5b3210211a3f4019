"""What does one do where the system refuses? Free space on a full disk, or allow what it forbids."""

import errno
import re
from typing import Final

_DISK_FULL: Final = re.compile(
    r"No space left on device|\d+ requested and \d+ written|inline_container.*unexpected pos|wrote \d+ of \d+ bytes"
)
"""What the system, NumPy, torch and LightGBM say where a disk is full."""


def system_refusal(error: BaseException) -> str | None:
    """Return one sentence where the disk is full or one may not read or write; None for any other error.

    >>> system_refusal(OSError("1000000 requested and 8176 written"))
    'the disk is full (1000000 requested and 8176 written); free space and run it again'
    >>> system_refusal(ValueError("no number"))
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or _DISK_FULL.search(str(error)):
        return f"the disk is full ({error}); free space and run it again"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the system does not allow it ({error}); allow it, or name another folder"
    return None
