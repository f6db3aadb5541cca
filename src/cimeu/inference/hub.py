"""Published models (`cimeu.inference.publish`) by their names on the hub of Hugging Face."""

from functools import partial
from pathlib import Path

from cimeu.errors import WeightsMissing, first_line
from cimeu.sealed import SEAL

PARTS = ["*.json", "*.safetensors", "*.md", "requirements.txt"]
"""What is taken from a repository: nothing that could be run."""


def fetched_model(name: str) -> Path:
    """Folder of a published model, `USER/NAME` or `USER/NAME@REVISION`: from the cache of this machine, else fetched.

    What was fetched once is used again without a network, until another revision is named.

    Raises:
        WeightsMissing: it is not in the cache and cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = name.partition("@")
    fetch = partial(snapshot_download, repository, revision=revision or None, allow_patterns=PARTS)
    try:
        try:
            return _whole(Path(fetch(local_files_only=True)))
        except FileNotFoundError:
            return _whole(Path(fetch()))
    except HFValidationError as error:
        raise WeightsMissing(f"`{name}` is no name of a model\n\nhint: a path, or USER/NAME on the hub") from error
    except OSError as error:  # also what the hub answers
        raise WeightsMissing(
            f"`{name}` is neither on this machine nor can it be fetched ({first_line(error)})\n\n"
            f"hint: check the name; on a machine with a network run `hf download {repository}`, then copy the folder "
            "here and name that with --model"
        ) from error


def _whole(folder: Path) -> Path:
    """Refuse what was fetched in part. Raises FileNotFoundError."""
    if not (folder / SEAL).is_file():
        raise FileNotFoundError(f"{folder} has no {SEAL}")
    return folder
