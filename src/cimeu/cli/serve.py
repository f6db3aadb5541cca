"""`cimeu serve`: the viewer in the browser, and the service behind it."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.predict import SETTING_SUCH_AS, STARTER_LINE, WEIGHTS_SUCH_AS, Setting, Weights
from cimeu.cli.terminal import Device, pairs, say
from cimeu.errors import RecipeError


def serve(
    model: Annotated[
        str | None,
        typer.Option(help="Run folder, bundle (.zip), or name of a model found here. [default: the voice that ships]"),
    ] = None,
    setting: Setting = None,
    weights: Weights = None,
    device: Device = "auto",
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="0 takes any free one.")] = 8000,
    token: Annotated[str, typer.Option(envvar="CIMEU_TOKEN", help="Secret that requests must bring.")] = "",
    max_size_mb: Annotated[float, typer.Option(help="Largest recording.")] = 2000,
    max_duration_s: Annotated[float, typer.Option(help="Longest recording.")] = 7200,
    keep_minutes: Annotated[float, typer.Option(help="Everything is deleted so long after it is finished.")] = 240,
    max_connections_per_client: Annotated[
        int, typer.Option(help="Connections of one address; raise it behind a proxy, which is the address of all.")
    ] = 64,
    min_upload_kb_s: Annotated[float, typer.Option(help="Slower uploads are ended.")] = 20,
    max_memory_gb: Annotated[float, typer.Option(help="Memory for one recording, beyond the model's.")] = 4,
    folder: Annotated[
        Path | None,
        typer.Option(help="Recordings, results and corrections stay here over restarts. [default: deleted at the end]"),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="The page may also listen and look through microphone and camera.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page.")] = False,
) -> None:
    """Open the viewer: drop a recording in the browser, see and correct its timeline. Also a service with an API."""
    try:
        from cimeu.server.settings import ServerSettings
        from cimeu.server.start import serve as answer
        from cimeu.timeline.settings import TimelineSettings
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cimeu"):
            raise
        raise RecipeError(f"the server needs `{error.name}`\n\nhint: pip install 'cimeu[server]'") from None

    settings = ServerSettings(
        host=host,
        port=port,
        token=token,
        max_size_mb=max_size_mb,
        max_duration_s=max_duration_s,
        keep_minutes=keep_minutes,
        max_connections_per_client=max_connections_per_client,
        min_upload_kb_s=min_upload_kb_s,
        max_memory_gb=max_memory_gb,
        folder=folder,
        live=live,
        timeline=TimelineSettings().changed(pairs(setting or (), SETTING_SUCH_AS)),
    )
    from cimeu.inference.model_store import model_named

    if model is None:
        say(STARTER_LINE)
    files = pairs(weights or (), WEIGHTS_SUCH_AS)
    answer(model_named(model), settings, weights=files, device=device, open_browser=not no_browser, say=say)
