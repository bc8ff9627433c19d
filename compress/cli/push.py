"""`edgepress push`: a release to a repository on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgepress.compress.cli.common import JsonOption, errors_told


def push(
    release: Annotated[Path, typer.Argument(help="The folder of a packaged release: runs/<name>/release.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository; it is made where needed.")],
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository for everybody, and not for its owner alone.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what else lies in the repository, in the same commit.")
    ] = False,
    allow_failed_gates: Annotated[
        bool, typer.Option("--allow-failed-gates", help="Push a release of a run that missed a gate, too.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Verify a release and commit its files, and no others, to a repository on the Hugging Face hub.

    Its README is the model card there. A repository that is there already stays public or private as it is. The token
    is that of `hf auth login`, or HF_TOKEN; it needs the right to write. HF_ENDPOINT names another hub.
    """
    with errors_told(json) as console:
        from edgepress.compress.bundle.checked import verified_folder
        from edgepress.compress.release.push import push_release

        contents, manifest = verified_folder(release, allow_failed_gates)
        commit = push_release(release, contents, manifest.name, repository, not public, replace)
        console.line(f"Pushed: {len(contents.files)} files of {manifest.name} to {commit}")
