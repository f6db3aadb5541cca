"""One thread for small work.

The detector, the matrix products of crops and each operation of a CiMEU network are over in a millisecond or two. Their
threads spin while they wait for each other, so on a machine that is busy (or runs one worker per core) two of them are
ten times as slow as one.
"""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """Within it, BLAS and OpenMP libraries loaded so far, torch's too, compute on the calling thread."""
    return _controller().limit(limits=1)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
