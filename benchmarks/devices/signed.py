"""Whether a record was signed by a device's key: ECDSA on P-256 over its canonical JSON."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.targets.bundle.signing import P256, signed_bytes
from edgepress.targets.errors import EdgepressError, UnsignedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

MOST_KEY_BYTES = 64 << 10


class DeviceKey:
    """A public key, and what it is known by: the sha256 of its PEM."""

    def __init__(self, key: EllipticCurvePublicKey) -> None:
        from cryptography.hazmat.primitives import serialization as form

        pem = key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        self._key, self.hint = key, hashlib.sha256(pem).hexdigest()

    def check(self, path: Path, content: dict[str, Any]) -> None:
        """Raises UnsignedError for a record that this key has not signed as it is."""
        if (fault := self._fault(content)) is not None:
            raise UnsignedError(f"{path} {fault}. Take it from the device itself, with the key that it signs by.")

    def _fault(self, content: dict[str, Any]) -> str | None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        told = content.get("signature")
        if not isinstance(told, dict):
            return "is not signed"
        if told.get("key") != self.hint:
            return f"was signed by another key, {str(told.get('key'))[:16]}…, not {self.hint[:16]}…"
        try:
            raw = base64.b64decode(str(told.get("ecdsa_p256_sha256")), validate=True)
            self._key.verify(raw, signed_bytes(content), ec.ECDSA(hashes.SHA256()))
        except (ValueError, InvalidSignature):
            return "has a signature that is not of its content"
        return None


def read_device_key(path: Path) -> DeviceKey:
    """The public key of a device, as `edgepress keygen` writes it.

    Raises:
        EdgepressError: it cannot be read or is of another kind, or cryptography is not here.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise EdgepressError(
            "signatures need the package cryptography. Install it: pip install 'edgepress[sign]'"
        ) from None
    try:
        with path.open("rb") as file:
            content = file.read(MOST_KEY_BYTES)
        key = load_pem_public_key(content)
    except OSError as fault:
        raise EdgepressError(f"the key {path} cannot be read ({fault.strerror}). Give its PEM file") from None
    except ValueError:
        raise EdgepressError(f"{path} is no public key in PEM. Give the file NAME.pub.pem of the device") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not content.lstrip().startswith(P256):
        raise EdgepressError(f"{path} is a key of another kind, not ECDSA on P-256. Make one with `edgepress keygen`")
    return DeviceKey(key)
