"""Start one guest process so that it dies with the hypervisor; standard library only.

Run as ``python3 -I -S launch.py <parent pid> <argv…>``. A launcher instead of ``preexec_fn``,
because running Python between fork and exec in a threaded parent can deadlock.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, drop core dumps, then become ``argv``."""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the hypervisor died before the signal was armed
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    try:
        os.execvpe(argv[0], argv, os.environ)  # noqa: S606  (no shell is what we want)
    except OSError as exc:
        sys.stderr.write(f"cannot run {argv[0]}: {exc.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main()
