"""Key pairs that sign releases: ECDSA on the curves that model signing knows, as PEM files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.targets.bundle.keys import check_cryptography, key_bytes, pem_of, public_key
from edgepress.targets.errors import EdgepressError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

PASSPHRASE = "EDGEPRESS_KEY_PASSPHRASE"
"""The variable that holds the passphrase of a private key; without it keys are written and read in the clear."""
CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


def make_keys(name: Path) -> tuple[Path, Path]:
    """Write a new key pair (ECDSA P-256): `NAME.pem`, which only this user may read, and `NAME.pub.pem`.

    Raises:
        EdgepressError: one of the files is there already or cannot be written, or cryptography is missing.
    """
    check_cryptography()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    private, public = name.with_name(f"{name.name}.pem"), name.with_name(f"{name.name}.pub.pem")
    for path in (private, public):
        if os.path.lexists(path):
            raise EdgepressError(f"{path} exists already, and keys are never overwritten. Give another name")
    key = ec.generate_private_key(ec.SECP256R1())
    secret = _passphrase()
    how = form.BestAvailableEncryption(secret) if secret else form.NoEncryption()
    content = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how)
    try:
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        public.write_bytes(pem_of(key.public_key()))
    except OSError as fault:
        raise EdgepressError(f"{private} cannot be written ({fault.strerror}). Give another name") from None
    return private, public


def read_private(path: Path) -> EllipticCurvePrivateKey:
    """The private key in a PEM file. Raises EdgepressError where it is none, or its passphrase is missing or wrong."""
    content = key_bytes(path)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    secret = _passphrase() if b"ENCRYPTED" in content else None  # one that a key does not need is an error there
    try:
        key = load_pem_private_key(content, secret)
    except TypeError:
        raise EdgepressError(f"{path} is encrypted. Put its passphrase into the variable {PASSPHRASE}") from None
    except (ValueError, UnsupportedAlgorithm):
        wrong = f", or {PASSPHRASE} is not its passphrase" if secret else ""
        raise EdgepressError(f"{path} is no private key in PEM{wrong}. Make one with `edgepress keygen`") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EdgepressError(_other_kind(path))
    _check_curve(path, key.public_key())
    return key


def read_public(path: Path) -> EllipticCurvePublicKey:
    """The public key in a PEM file. Raises EdgepressError where it is none, or of another kind."""
    key = public_key(key_bytes(path), path, "who released it")
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise EdgepressError(_other_kind(path))
    _check_curve(path, key)
    return key


def digest_of(key: EllipticCurvePublicKey) -> HashAlgorithm:
    """The hash function that goes with a key's curve."""
    from cryptography.hazmat.primitives import hashes

    found: Any = getattr(hashes, CURVES[key.curve.name])
    algorithm: HashAlgorithm = found()
    return algorithm


def _check_curve(path: Path, key: EllipticCurvePublicKey) -> None:
    if key.curve.name not in CURVES:
        raise EdgepressError(_other_kind(path))


def _other_kind(path: Path) -> str:
    return f"{path} is a key of another kind, not ECDSA on {', '.join(CURVES)}. Make one with `edgepress keygen`"


def _passphrase() -> bytes | None:
    return os.environ.get(PASSPHRASE, "").encode() or None
