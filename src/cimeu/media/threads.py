"""One thread for small work.

The detector and each operation of a CiMEU network are over in a millisecond or two. Their threads spin while they wait
for each other, so on a machine that is busy (or runs one worker per core) two of them are ten times as slow as one.
"""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """Within it, BLAS and OpenMP libraries loaded so far, torch's too, compute on the calling thread.

    BLAS is limited for the whole process, so two threads must not be within it at once.
    """
    return _controller().limit(limits=1)


def one_openmp_thread() -> AbstractContextManager[object]:
    """The same for OpenMP alone, which counts threads for each calling thread by itself: any thread may enter it."""
    return _controller().limit(limits=1, user_api="openmp")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
