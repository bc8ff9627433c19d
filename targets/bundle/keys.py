"""Keys in PEM files, those of releases and of devices: read within bounds, told by the sha256 of the public one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.targets.errors import EdgepressError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

MOST_KEY_BYTES = 64 << 10


def check_cryptography() -> None:
    """Raises EdgepressError where the library is not here; says what to install."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ec  # noqa: F401
    except ImportError:
        raise EdgepressError(
            "signatures need the package cryptography. Install it: pip install 'edgepress[sign]'"
        ) from None


def key_bytes(path: Path) -> bytes:
    """The file's content. Raises EdgepressError where it cannot be read, or cryptography is missing."""
    check_cryptography()
    try:
        with path.open("rb") as file:
            return file.read(MOST_KEY_BYTES)
    except OSError as fault:
        raise EdgepressError(f"the key {path} cannot be read ({fault.strerror}). Give its PEM file") from None


def public_key(content: bytes, path: Path, whose: str) -> Any:
    """The public key in PEM, of whatever kind.

    Args:
        content: of the file.
        path: the file, for the message.
        whose: it should be, likewise.

    Raises:
        EdgepressError: it holds none.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise EdgepressError(f"{path} is no public key in PEM. Give the file NAME.pub.pem of {whose}") from None


def pem_of(key: EllipticCurvePublicKey) -> bytes:
    """The public key as a PEM file holds it."""
    from cryptography.hazmat.primitives import serialization as form

    return key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)


def key_hint(key: EllipticCurvePublicKey) -> str:
    """What a key is known by: the sha256 of its PEM."""
    return hashlib.sha256(pem_of(key)).hexdigest()
