"""Whether a record was signed by a device's key: ECDSA on P-256 over its canonical JSON."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.targets.bundle.keys import key_bytes, key_hint, public_key
from edgepress.targets.bundle.signing import P256, signed_bytes
from edgepress.targets.errors import EdgepressError, UnsignedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey


class DeviceKey:
    """A public key, and what it is known by: the sha256 of its PEM."""

    def __init__(self, key: EllipticCurvePublicKey) -> None:
        self._key, self.hint = key, key_hint(key)

    def check(self, path: Path, content: dict[str, Any]) -> None:
        """Raises UnsignedError for a record that this key has not signed as it is."""
        if (fault := self._fault(content)) is not None:
            raise UnsignedError(f"{path} {fault}. Take it from the device itself, with the key that it signs by.")

    def _fault(self, content: dict[str, Any]) -> str | None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        signature = content.get("signature")
        if not isinstance(signature, dict):
            return "is not signed"
        if signature.get("key") != self.hint:
            return f"was signed by another key, {str(signature.get('key'))[:16]}…, not {self.hint[:16]}…"
        try:
            raw = base64.b64decode(str(signature.get("ecdsa_p256_sha256")), validate=True)
            self._key.verify(raw, signed_bytes(content), ec.ECDSA(hashes.SHA256()))
        except (ValueError, InvalidSignature):
            return "has a signature that is not of its content"
        return None


def read_device_key(path: Path) -> DeviceKey:
    """The public key of a device, as `edgepress keygen` writes it.

    Raises:
        EdgepressError: it cannot be read or is of another kind, or cryptography is not here.
    """
    content = key_bytes(path)
    key = public_key(content, path, "the device")
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key, ec.EllipticCurvePublicKey) or not content.lstrip().startswith(P256):
        raise EdgepressError(f"{path} is a key of another kind, not ECDSA on P-256. Make one with `edgepress keygen`")
    return DeviceKey(key)
