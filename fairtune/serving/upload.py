"""Send an exported folder to the Hugging Face Hub, once somebody has seen what would be sent."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.utils._validators import validate_repo_id

from fairtune.core.disk import chain
from fairtune.core.errors import UserError
from fairtune.core.sources import OFFLINE_ERRORS, reason
from fairtune.core.units import MIB

# What the Hub answers somebody whom it does not know, or who may not write there.
REFUSED = {401, 403}


def check_name(repository: str) -> None:
    """Refuse what cannot name a repository of somebody.

    Raises:
        UserError: it cannot.
    """
    try:
        validate_repo_id(repository)
        owned = repository.count("/") == 1
    except ValueError:  # the library's own kind of it
        owned = False
    if not owned:
        raise UserError(f"--hub: '{repository}' is not right; give USER/NAME")


def check_online() -> None:
    """Refuse to send anything where the Hub is not to be asked.

    Raises:
        UserError: `HF_HUB_OFFLINE` is set.
    """
    if constants.HF_HUB_OFFLINE:
        raise UserError("--send: HF_HUB_OFFLINE is set; unset it to send something")


def listing(folder: Path) -> list[str]:
    """Return the files that would be sent, a line each, with their sizes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        f"{path.stat().st_size / MIB:10.3f} MiB  {path.relative_to(folder).as_posix()}"
        for path in files
    ]


def send(folder: Path, repository: str) -> str:
    """Send a folder to a repository, which is made, private, where there is none; return its page.

    Raises:
        UserError: the Hub cannot be reached, or does not let this user write there.
    """
    api = HfApi()
    try:
        page = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(
            folder_path=folder, repo_id=repository, commit_message="Add a model trained by fairtune"
        )
    except Exception as error:
        raise UserError(f"--send: '{repository}' {_explain(error)}") from error
    return str(page)


def _explain(error: Exception) -> str:
    links = list(chain(error))
    if {type(link).__name__ for link in links} & OFFLINE_ERRORS:
        return "cannot be reached: the Hugging Face Hub does not answer"
    answers = [getattr(getattr(link, "response", None), "status_code", None) for link in links]
    if REFUSED & set(answers) or type(error).__name__ == "LocalTokenNotFoundError":
        return "does not take files from this user: `hf auth login` with a token that may write"
    return f"could not be written: {reason(error)}"
