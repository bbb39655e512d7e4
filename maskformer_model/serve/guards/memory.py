"""What the machine gives a server: pixels for photos, descriptors for connections, and memory given back."""

from __future__ import annotations

import ctypes
import resource

# Of one photo on its way through the model's process, beyond what the loaded model has.
BYTES_PER_PIXEL = 32
_SHARE_OF_MEMORY = 0.25
_LEAST_PIXELS, _MOST_PIXELS = 1_000_000, 50_000_000
_OTHER_DESCRIPTORS = 96  # Pipes, files of a version that is loaded, sockets that listen.
_M_MMAP_THRESHOLD = -3  # Of glibc's mallopt.


def max_pixels_for_memory(total_bytes: int) -> int:
    """Returns the pixels of the largest photo that a machine with that much memory should take."""
    fits = int(total_bytes * _SHARE_OF_MEMORY) // BYTES_PER_PIXEL
    return max(_LEAST_PIXELS, min(fits, _MOST_PIXELS))


def allow_connections(wanted: int) -> int:
    """Raises this process's limit of descriptors if it may; returns for how many connections that leaves room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_DESCRIPTORS))


def give_back_large_blocks() -> None:
    """Lets glibc return every block above 256 KiB to the system when it is freed.

    By itself it keeps blocks of up to 32 MiB once some of that size were freed: a server that has seen large bodies
    would never get smaller again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 256 << 10)
