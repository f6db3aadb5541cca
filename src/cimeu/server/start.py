"""From settings to a running server: a socket, a folder (deleted with it, or kept), two children, and the browser."""

import os
import shutil
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import uvicorn

from cimeu.atomic import locked
from cimeu.errors import RecipeError
from cimeu.server.app import create_app
from cimeu.server.connections import ACCEPT_AT_ONCE, Connections, protocol_of, socket_protocol_of
from cimeu.server.isolated import Isolated
from cimeu.server.kept import kept_folder
from cimeu.server.live import LARGEST_MESSAGE_BYTES, Room
from cimeu.server.live_child import answering_live
from cimeu.server.predictions import Predictions
from cimeu.server.recording import checking, recognising
from cimeu.server.settings import ServerSettings

STOP_S = 3


def serve(
    model: Path,
    settings: ServerSettings,
    *,
    weights: Mapping[str, str],
    device: str = "auto",
    open_browser: bool,
    say: Callable[[str], None],
) -> None:
    """Answer until interrupted.

    Args:
        model: run folder or bundle of a trained ensemble.
        settings: of the server.
        weights: path of the weights of an encoder, by its name, if not in the weights folder.
        device: what computes encoders and models (`cimeu.devices`).
        open_browser: open the page once it can be reached.
        say: receives messages such as the address.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
        RecipeError: the address cannot be listened on.
    """
    with (
        listening(settings) as listener,
        own_folder(Path(tempfile.gettempdir())) if settings.folder is None else kept_folder(settings.folder) as folder,
        closing(Isolated(partial(checking, settings.max_memory_bytes))) as checker,
        closing(Isolated(partial(recognising, model, weights, device, settings.max_memory_bytes))) as recogniser,
        closing(Isolated(partial(answering_live, model, weights, device, settings.max_memory_bytes))) as live_child,
    ):
        say(f"reading the model {model}")
        checker.start()
        recogniser.start()
        if settings.live:
            live_child.start()
        room = Room(live_child, settings) if settings.live else None
        predictions = Predictions(settings, folder, checker=checker, recogniser=recogniser)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        if settings.folder is None:
            say(f"{address}  (Ctrl-C ends it and deletes every recording and result)")
        else:
            say(f"{address}  (Ctrl-C ends it; recordings and results stay in {folder} until they expire)")
        if open_browser:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            server_of(predictions, room).run(sockets=[listener])


def server_of(predictions: Predictions, room: Room | None = None) -> uvicorn.Server:
    """The server that answers for these predictions, and live where there is a room, with its connections bounded."""
    connections = Connections(predictions.settings)
    return uvicorn.Server(
        uvicorn.Config(
            create_app(predictions, connections, room),
            http=protocol_of(connections),
            ws="none" if room is None else socket_protocol_of(connections),
            ws_max_size=LARGEST_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # a small message could unfold to a large one
            backlog=ACCEPT_AT_ONCE,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_S,
        )
    )


@contextmanager
def listening(settings: ServerSettings) -> Iterator[socket.socket]:
    """A socket that listens, so that a browser opened now will be answered.

    Raises:
        RecipeError: the address is taken or not this machine's.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise RecipeError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}\n\n"
            "hint: choose another --port (0 takes any free one) or --host"
        ) from None
    with listener:
        yield listener


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """An empty folder of this server below `parent`, deleted at the end; those of crashed servers are deleted first.

    A lock that ends with its process distinguishes folders in use from those left behind.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows has a folder for temporary files for each user
    shared = parent / f"cimeu-serve-{user}"
    shared.mkdir(mode=0o700, exist_ok=True)
    if shared.is_symlink() or shared.stat().st_uid != user:
        raise RecipeError(f"`{shared}` belongs to somebody else\n\nhint: set TMPDIR to a folder of your own")
    with ExitStack() as held:
        with locked(shared / "lock"):
            for left in shared.iterdir():
                if left.is_dir() and not _in_use(left):
                    shutil.rmtree(left)
            folder = Path(tempfile.mkdtemp(dir=shared))
            held.enter_context(locked(folder / "lock"))
        try:
            (folder / "files").mkdir()
            yield folder / "files"
        finally:
            shutil.rmtree(folder)


def _in_use(folder: Path) -> bool:
    with locked(folder / "lock", wait=False) as free:
        return not free
