"""Which DVC remote is asked for, and what of its configuration a task may know."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from dvc.config import ConfigError
from dvc.exceptions import DvcException
from dvc.fs import get_fs_config
from dvc.repo import Repo

from fairtune.cluster.remote import Remote
from fairtune.core.errors import UserError, did_you_mean, one_line

SECRET = re.compile("password|passphrase|secret|token|key|credential|connection_string|auth_header")
"""In the names of options that never leave the driver."""


def find(name: str | None) -> Remote:
    """Return a remote of DVC's configuration; None asks for its default one.

    Raises:
        UserError: there is none, or files cannot be exchanged through it.
    """
    try:
        with Repo() as repo:
            return _found(repo, name)
    except (DvcException, ImportError) as error:
        raise UserError(f"--remote: {one_line(error)}") from error


def _found(repo: Repo, name: str | None) -> Remote:
    known = list(repo.config["remote"])
    name = name or repo.config["core"].get("remote")
    if not name:
        raise UserError(
            "--remote: DVC's configuration has no default remote; make one: `dvc remote add "
            f"--default storage URL`, or name one (known: {', '.join(known) or 'none'})"
        )
    # DVC keeps the names in small letters.
    name = name.lower()
    if name not in known:
        raise UserError(f"--remote: '{name}' is no remote of DVC's configuration; "
                        f"{did_you_mean(name, known)}")  # fmt: skip
    # DVC refuses what it has no package for, and storage that keeps versions instead of hashes.
    repo.cloud.get_remote_odb(name, "push")
    return Remote(name=name, settings=_public(repo, name))


def _public(repo: Repo, name: str) -> dict[str, Any]:
    """Return what others may know of a remote: its URL, and what Git keeps, without secrets.

    Raises:
        UserError: a password is part of the URL.
    """
    url = str(get_fs_config(repo.config, name=name)["url"])
    if urlsplit(url).password:
        raise UserError(f"--remote: '{name}': its url holds a password, which would be sent to "
                        "the nodes; take it out, and give it to each of them")  # fmt: skip
    try:
        shown = get_fs_config(repo.config.load_one("repo"), name=name)
    except (KeyError, ConfigError):
        # Only this host's own configuration knows it.
        shown = {}
    kept = {key: value for key, value in shown.items() if not SECRET.search(key)}
    return {**kept, "url": url}
