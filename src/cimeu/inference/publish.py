"""A trained model for others, on the hub of Hugging Face.

    README.md               the model card, under the few lines that the hub reads
    forward/ backward/ ensemble.json familiarity.safetensors    as in a run folder
    LICENCES.md requirements.txt
    digests.json            size and SHA-256 of every other file, compared whenever the model is opened

Nothing of single training clips is published: no names, predictions or embeddings of them. Weights of frozen encoders
have publishers of their own and are fetched from those.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from cimeu.atomic import STATE, write_whole
from cimeu.corpora.licences import restricted
from cimeu.encoders.weights import weights_keys
from cimeu.errors import CheckpointError, OutputError, first_line
from cimeu.inference.bundle import licences_text, requirements
from cimeu.inference.model_folder import model_files, open_model_folder
from cimeu.inference.neighbours import FILE as TRAINING_CLIPS
from cimeu.model.checkpoint import Specifications
from cimeu.sealed import seal

CARD = "MODEL_CARD.md"


def write_model(run: Path | str, folder: Path | str, *, terms_read: bool = False) -> Path:
    """Write what would be published into a folder that is empty or absent.

    Args:
        run: folder that `cimeu train` wrote.
        folder: becomes the content of the repository.
        terms_read: whether somebody has made sure that the terms of the training corpora allow it.

    Raises:
        CheckpointError: the run is not finished or damaged, or was trained on corpora whose terms do not say that a
            model may be given away.
        OutputError: the folder holds anything.
    """
    run, folder = Path(run), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"`{folder}` is not an empty folder\n\nhint: name one that is empty or not there yet")
    opened = open_model_folder(run)
    specifications = opened.classifier.specifications
    if not terms_read:
        check_terms(specifications.corpora)
    for name in model_files(opened.ensemble):
        if name != TRAINING_CLIPS and (run / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / name, folder / name)
    card = (run / CARD).read_text(encoding="utf-8") if (run / CARD).is_file() else f"# {run.name}\n"
    encoders = weights_keys((specifications.first_encoder, specifications.second_encoder))
    texts = {
        "README.md": _front_matter(specifications) + card,
        "LICENCES.md": licences_text(specifications.corpora, encoders),
        "requirements.txt": requirements(),
    }
    for name, text in texts.items():
        write_whole(folder / name, text, STATE)
    seal(folder)
    return folder


def check_terms(corpora: Iterable[str]) -> None:
    """Refuse to give away a model of corpora whose terms do not say that this is allowed.

    Raises:
        CheckpointError: there are such corpora, each named with its terms.
    """
    if reasons := [f"`{corpus}` ({terms})" for corpus, terms in restricted(corpora).items()]:
        raise CheckpointError(
            f"the model was trained on {', '.join(reasons)}\n\n"
            "hint: ask the publishers of these corpora; where they agree, say so with --terms-read"
        )


def upload(folder: Path, repository: str, *, private: bool = False) -> str:
    """Put the content of a folder into a repository of the hub, which is made if it is not there.

    Returns:
        Address of what was uploaded.

    Raises:
        CheckpointError: no such name, no permission, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    hub = HfApi()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Published with CiMEU"))
    except HFValidationError as error:
        raise CheckpointError(
            f"`{repository}` cannot be the name of a repository\n\nhint: USER/NAME, as on {hub.endpoint}"
        ) from error
    except Exception as error:  # the errors of the HTTP client, which changes with the version of the hub's package
        reason = first_line(error)
        raise CheckpointError(
            f"nothing was published as `{repository}`: {hub.endpoint} refuses or cannot be reached ({reason})\n\n"
            "hint: `hf auth login` with a token that may write; without a network, --dry-run FOLDER writes what is to "
            "be uploaded"
        ) from error


def _front_matter(specifications: Specifications) -> str:
    """What the hub reads at the top of a card. Terms are several, so they are named `other` and stand in a file."""
    lines = [
        "library_name: cimeu",
        "license: other",
        "license_name: several",
        "license_link: LICENCES.md",
        "tags: [emotion-recognition, safetensors]",
        *([f"datasets: [{', '.join(specifications.corpora)}]"] if specifications.corpora else []),
    ]
    return "---\n" + "\n".join(lines) + "\n---\n\n"
