"""How is the store's file copied without losing DuckDB's lock on it? By a process of its own, which runs this file.

A process that closes a file drops every lock that it holds on it (POSIX), so the one that holds the store must not open
and close it a second time.
"""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

_STEP = 64 << 20
_SHARE_BLOCKS = 0x40049409  # FICLONE, of Linux: btrfs and XFS give both files the same blocks, at once
_NO_SUCH_WAY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def copy_apart(source: Path, target: Path) -> None:
    """Copy `source` to the new file `target`, durably and for reading only; OSError says why not, nothing is left then.

    Where the file system can share blocks, it takes no time and no space. Elsewhere the copy does not begin when it
    cannot fit: a disk filled to the brim would stop the jobs as well.
    """
    done = subprocess.run([sys.executable, "-I", __file__, str(source), str(target)], check=False)
    if done.returncode:
        target.unlink(missing_ok=True)
        raise OSError(
            done.returncode, os.strerror(done.returncode) if done.returncode > 0 else "the copying was killed"
        )


def _copy(source: Path, target: Path, parent: int) -> None:
    with source.open("rb", buffering=0) as read, target.open("xb", buffering=0) as write:
        if not _shares_blocks(read.fileno(), write.fileno()):
            if shutil.disk_usage(target.parent).free < os.fstat(read.fileno()).st_size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            while _copy_some(read.fileno(), write.fileno()):
                if os.getppid() != parent:  # killed: nobody will give the copy its name
                    raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
            if os.fstat(write.fileno()).st_size != os.fstat(read.fileno()).st_size:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        # A client that opens it for writing by mistake would lock out the others and leave a log beside it.
        os.fchmod(write.fileno(), os.fstat(write.fileno()).st_mode & 0o444)
        os.fsync(write.fileno())


def _shares_blocks(read: int, write: int) -> bool:
    try:
        fcntl.ioctl(write, _SHARE_BLOCKS, read)
    except OSError:
        return False
    return True


def _copy_some(read: int, write: int) -> int:
    """Copy the next bytes and return how many, 0 at the end; inside the kernel where it can."""
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(read, write, _STEP)
        except OSError as error:
            if error.errno not in _NO_SUCH_WAY:
                raise
    block = memoryview(os.read(read, _STEP))
    written = 0
    while written < len(block):
        written += os.write(write, block[written:])
    return written


def _main(source: Path, target: Path) -> int:
    try:
        _copy(source, target, os.getppid())
    except OSError as error:
        target.unlink(missing_ok=True)
        return error.errno or errno.EIO
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), Path(sys.argv[2])))
