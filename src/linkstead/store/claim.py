"""Which server uses a database file: a lock on a file beside it, kept by the system only while its process lives."""

import os
import sys
from pathlib import Path

from linkstead.clock import Clock

if sys.platform != "win32":
    import fcntl

FILE_SUFFIX = "-lock"
"""Of a file of its own: whoever closes the database file loses the locks that SQLite has on it, however they were
opened [POSIX fcntl]. It stays when the server has ended: a file that is removed can be locked by two."""

FILE_MODE = 0o600
WAIT_S = 10.0
"""For the workers of a supervisor that was killed: they finish the calls under way, and have its lock meanwhile."""

TRY_EVERY_S = 0.1
PID_BYTES_MAX = 20


class FileClaim:
    """The claim of one server on a database file.

    A server that knows of no other has the file alone, nodes of a cluster share it; commands do not ask. Not known on
    Windows.

    Args:
        database: the file; in a folder that is there.
        clock: waits.
    """

    def __init__(self, database: Path, clock: Clock) -> None:
        self._path = Path(f"{database.resolve()}{FILE_SUFFIX}")
        self._clock = clock
        self.descriptor: int | None = None
        """Of the file that is locked. A child that inherits it keeps the claim until it ends."""

        self.rival_pid: int | None = None
        """Who has what was not got: the process that took it last, where it runs still."""

    async def take(self, *, is_alone: bool) -> bool:
        """Claim the file, again or for the first time: alone, or with others that do not need it alone.

        It is waited for only where the process that claimed it is gone and its children are just ending. Returns False
        where another has it. Raises OSError.
        """
        if sys.platform == "win32" or self.descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            kind = fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH
            tries = round(WAIT_S / TRY_EVERY_S)
            while not _is_locked(descriptor, kind):
                self.rival_pid = _read_pid(descriptor)
                tries -= 1
                if self.rival_pid is not None or not tries:
                    return False
                await self._clock.sleep(TRY_EVERY_S)
            _write_pid(descriptor)
            self.descriptor, descriptor = descriptor, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return True

    def give_up(self) -> None:
        """Undo `take`; harmless when that is done."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _is_locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_pid(descriptor: int) -> None:
    """Say whose it is, for others to tell their users; on a full disk it goes unsaid."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except OSError:
        pass


def _read_pid(descriptor: int) -> int | None:
    """Who said that it is his, if he still runs."""
    try:
        pid = int(os.pread(descriptor, PID_BYTES_MAX, 0))
    except ValueError:
        return None
    if pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return pid
    except (OverflowError, ProcessLookupError):
        return None
    return pid
