"""Files of a repository on the hub beside a model or data set, and the commit that they were read at."""

from __future__ import annotations

from pathlib import Path

from edgepress.compress.licences.beside import Finder
from edgepress.compress.recipe.paths import pinned

HEADS = ("config.json", "README.md")
"""Files by which a repository in the cache is known: that of a model, that of any."""


def hub_finder(repository: str, kind: str) -> Finder:
    """Gives files of a repository: from the cache, else from the hub where it may be asked; None where it has none.

    Args:
        repository: its id; `owner/name@revision` where it is pinned.
        kind: model or dataset.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    repository, revision = pinned(repository)

    def find(name: str) -> Path | None:
        kept = try_to_load_from_cache(repository, name, revision=revision, repo_type=kind)
        if isinstance(kept, str):
            return Path(kept)
        if kept is not None:  # known not to be there
            return None
        try:
            return Path(hf_hub_download(repository, name, revision=revision, repo_type=kind))
        except (OSError, ValueError):  # not there, or no network
            return None

    return find


def hub_revision(repository: str, kind: str) -> tuple[str, Path | None]:
    """The commit that the cache holds of a repository (main's, or the pinned one), its folder; empty without one."""
    from huggingface_hub import try_to_load_from_cache

    repository, revision = pinned(repository)
    for name in HEADS:
        path = try_to_load_from_cache(repository, name, revision=revision, repo_type=kind)
        if isinstance(path, str):
            return Path(path).parent.name, Path(path).parent
    return "", None
