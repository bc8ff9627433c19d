"""A release to a repository on the Hugging Face hub: exactly the files that were verified, in one commit."""

from __future__ import annotations

import re
from pathlib import Path

from edgepress.compress.bundle.contents import Contents
from edgepress.targets.errors import EdgepressError, told
from edgepress.targets.files import within

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
KEPT = (".gitattributes",)
"""Files of a repository that the hub itself makes."""


def push_release(release: Path, contents: Contents, name: str, repository: str, private: bool, replace: bool) -> str:
    """Commit a release to `repository`, which is made where it is not there; the address of the commit.

    Args:
        release: its folder.
        contents: what was verified there.
        name: of the release, for the commit's message.
        repository: `owner/name`.
        private: whether a repository that is made now is for its owner alone.
        replace: remove what else lies there, so that the repository is the release.

    Raises:
        EdgepressError: the name is none, or the hub refuses or cannot be reached.
    """
    if not REPOSITORY.fullmatch(repository):
        raise EdgepressError(f"{repository!r} is no repository of the hub. Write it as owner/name")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HTTPError  # of the HTTP client that this version of it has
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # of this process, which pushes and ends
    api = HfApi()
    added = [CommitOperationAdd(path, within(release, path)) for path in sorted(contents.files)]
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        others = set(api.list_repo_files(repository)) - set(contents.files) - set(KEPT) if replace else set()
        operations = [*added, *(CommitOperationDelete(path) for path in sorted(others))]
        done = api.create_commit(repository, operations, commit_message=f"Release {name}")
    except (OSError, ValueError, HTTPError) as fault:
        raise EdgepressError(
            f"{release} was not pushed to {repository}: {told(fault)}. Check the name and the network, and log in with "
            f"`hf auth login` or HF_TOKEN"
        ) from None
    return str(done.commit_url)
