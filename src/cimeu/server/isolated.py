"""Work in a process of its own: whatever a hostile file breaks costs one answer, not the server.

A child holds what is expensive to load (a model), answers one call at a time, and is started again when it was lost.
Its memory is bounded, a crash of a decoder costs one recording, and work under way can be stopped.
"""

import logging
import multiprocessing
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cimeu.errors import CimeuError, MediaError
from cimeu.progress import Progress, silent

logger = logging.getLogger(__name__)

Functions = Mapping[str, Callable[..., Any]]
"""Each is called with the arguments of the call and `progress`."""
START_S = 600.0
"""A child that is not ready after this time is given up."""
EXIT_S = 5.0
"""A child that closed its pipe has ended after this time."""


class Lost(MediaError):
    """The child ended, or was stopped, before it answered."""


class Isolated:
    """A child process that answers calls by name; one at a time, others wait."""

    def __init__(self, build: Callable[[], Functions]) -> None:
        """`build` runs in the child, once; it and all arguments and results must be picklable."""
        self._build = build
        self._turn = threading.Lock()
        self._arguments: tuple[Any, ...] = ()  # of the call under way
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def __call__(
        self, name: str, *arguments: Any, progress: Progress = silent, silence_s: float | int, turn_s: float | int = -1
    ) -> Any:
        """The result of one call.

        Args:
            name: of the function.
            arguments: for it.
            progress: receives what the function reports.
            silence_s: a child that neither reports nor answers for so long is stopped.
            turn_s: longest wait for calls before this one; -1 for any.

        Raises:
            CimeuError: what the function raised on purpose.
            Lost: the child ended early, was stopped, made no progress, or needed too much memory; or `name` failed in
                an unforeseen way.
            TimeoutError: it was not this call's turn in time.
        """
        if not self._turn.acquire(timeout=turn_s):
            raise TimeoutError
        try:
            pipe = self._ready()
            self._arguments = arguments
            pipe.send((name, arguments))
            kind, value = self._answer(pipe, progress, silence_s)
        except (EOFError, OSError) as error:
            raise Lost(
                f"the process that reads recordings ended early{self._reason(error)}\n\n"
                "hint: the file may be damaged, or too large for this machine"
            ) from None
        finally:
            self._arguments = ()
            self._turn.release()
        if kind == "raised":
            raise value
        if kind == "memory":
            self.close()  # what was allocated so far may be scattered: the next call finds a new process
            raise Lost(f"reading it needs more memory than {value}\n\nhint: cut it, or save it with smaller frames")
        if kind == "unforeseen":
            raise Lost(f"unexpected {value}\n\nhint: this is a bug; the server's log has the details")
        return value

    def start(self) -> None:
        """Start the child now, so that an error shows at once.

        Raises:
            CimeuError: what `build` raised on purpose.
            Lost: the child ended before it was ready.
        """
        with self._turn:
            try:
                self._ready()
            except (EOFError, OSError):
                raise Lost("a process of the server ended before it was ready\n\nhint: its log says why") from None

    def interrupt(self, argument: Any) -> None:
        """Stop the call under way if this is one of its arguments; the next one starts a new child."""
        if argument in self._arguments:
            self.close()

    def close(self) -> None:
        """End the child, and with it any call under way."""
        process = self._process
        if process is not None:
            process.kill()
            process.join()

    def _ready(self) -> Connection:
        if self._process is not None and self._process.is_alive() and self._pipe is not None:
            return self._pipe
        if self._pipe is not None:
            self._pipe.close()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_answer_calls, args=(theirs, self._build), daemon=True)
        self._process.start()
        theirs.close()
        kind, value = self._answer(self._pipe, silent, START_S)
        if kind == "raised":
            raise value
        assert kind == "ready", value
        return self._pipe

    def _answer(self, pipe: Connection, progress: Progress, silence_s: float | int) -> tuple[str, Any]:
        while pipe.poll(silence_s):
            kind, value = pipe.recv()
            if kind != "progress":
                return kind, value
            progress(*value)
        raise TimeoutError

    def _reason(self, error: Exception) -> str:
        """How the child ended, in parentheses; it has ended afterwards."""
        process = self._process
        assert process is not None
        if not isinstance(error, TimeoutError):
            process.join(EXIT_S)
        ended = process.exitcode
        self.close()
        if ended is None:
            return " (it made no progress)" if isinstance(error, TimeoutError) else ""
        return f" ({signal.Signals(-ended).name})" if ended < 0 else f" (status {ended})"


def bound_memory(bytes_beyond: int) -> None:
    """Let this process take so much memory beyond what it holds now; more is a `MemoryError`.

    Counted is private writable memory (Linux: RLIMIT_DATA), so that mapped weights are not; where CUDA is in use
    nothing is bounded, because its driver maps far more than it uses. Elsewhere than on Linux this does nothing.
    """
    torch = sys.modules.get("torch")
    if not sys.platform.startswith("linux") or (torch is not None and torch.cuda.is_initialized()):
        return
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held_bytes = int(status["VmData"].split()[0]) * 1024
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = held_bytes + bytes_beyond
    resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _answer_calls(pipe: Connection, build: Callable[[], Functions]) -> None:
    """Life of a child: ends with the parent's side of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    try:
        functions = build()
    except CimeuError as error:
        pipe.send(("raised", error))
        return
    pipe.send(("ready", None))

    def report(step: str, completed: int, total: int) -> None:
        pipe.send(("progress", (step, completed, total)))

    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = "done", functions[name](*arguments, progress=report)
        except CimeuError as error:
            answer = "raised", error
        except Exception as error:
            if _is_lack_of_memory(error):
                answer = "memory", _memory_limit()
            else:
                logger.exception("`%s` failed", name)
                answer = "unforeseen", f"{type(error).__name__}: {error}"
        pipe.send(answer)


def _is_lack_of_memory(error: Exception) -> bool:
    """PyTorch's allocator raises a plain RuntimeError."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def _memory_limit() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return "there is" if limit == resource.RLIM_INFINITY else f"it may take ({limit / 2**30:.1f} GiB with the model)"
