"""The C library's memory, kept between the steps of a training.

A step frees gigabytes, which glibc hands back to the system; getting them again costs a page fault per 4 KiB, a sixth
of the time of a step of the edge nets on two cores.
"""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # of mallopt, see malloc.h
NEVER = -1


def keep_memory() -> bool:
    """Make this process keep what it frees; False where the C library is not glibc."""
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return False
    settings = ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (TOP_PAD, 64 << 20))
    return all(library.mallopt(name, value) == 1 for name, value in settings)
