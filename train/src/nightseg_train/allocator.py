"""The C library's memory, kept between the steps of a training.

A step frees gigabytes, which glibc hands back to the system; getting them again costs a page fault per 4 KiB, a sixth
of the time of a step of the edge nets on two cores.
"""

from __future__ import annotations

import os
import sys

NAME = "GLIBC_TUNABLES"  # read by glibc when a process starts; other C libraries do not know it
KEPT = "glibc.malloc.mmap_threshold=2147483648:glibc.malloc.trim_threshold=17179869184"


def keep_memory() -> None:
    """Start this program once more, with the same arguments, so that it keeps what it frees.

    Nothing happens where the variable is set already, or on other systems than Linux.
    """
    if sys.platform == "linux" and NAME not in os.environ:
        os.environ[NAME] = KEPT
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
