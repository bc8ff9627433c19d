"""A record signed by the device's own key: ECDSA on P-256 with SHA-256, by the program openssl.

What is signed is DSSE's encoding of the record's canonical JSON, its type with it, without the signature itself.
Whoever has the public key checks it: `edgepress report add --key`. It travels to devices.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from typing import Any

from ..errors import BenchmarkError

PAYLOAD_TYPE = "application/vnd.edgepress.device-record+json"
PASSPHRASE = "EDGEPRESS_KEY_PASSPHRASE"
P256 = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
"""What every public key on P-256 begins with, as PEM."""
OUTSIDE = ("signature", "record_sha256")
LIMIT_S = 60


def signed_bytes(record: dict[str, Any]) -> bytes:
    """What is signed of a record: everything but the signature and the digest that covers it.

    >>> signed_bytes({"a": 1, "signature": None})
    b'DSSEv1 44 application/vnd.edgepress.device-record+json 7 {"a":1}'
    """
    rest = {key: value for key, value in record.items() if key not in OUTSIDE}
    return encoded(PAYLOAD_TYPE, json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())


def encoded(kind: str, payload: bytes) -> bytes:
    """DSSE's encoding of a payload and its type: what is signed of an envelope."""
    return f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload


def sign(record: dict[str, Any], key: str) -> dict[str, str]:
    """The signature of a record: base64 of ECDSA's DER, and the sha256 of the public key's PEM.

    Raises:
        BenchmarkError: openssl is not here, or the key cannot be read or is of another kind.
    """
    check_key(key)
    raw = _openssl(key, ["dgst", "-sha256", "-sign", key], signed_bytes(record))
    return {"key": hashlib.sha256(_public(key)).hexdigest(), "ecdsa_p256_sha256": base64.b64encode(raw).decode()}


def check_key(key: str) -> None:
    """A key that signs nothing is told now, and not after minutes of measuring. Raises BenchmarkError."""
    if not _public(key).startswith(P256):
        raise BenchmarkError(f"{key} is no ECDSA key on P-256. Make one with `edgepress keygen`.")


def _public(key: str) -> bytes:
    return _openssl(key, ["pkey", "-in", key, "-pubout"])


def _openssl(key: str, words: list[str], given: bytes = b"") -> bytes:
    passphrase = ["-passin", f"env:{PASSPHRASE}"] if os.environ.get(PASSPHRASE) else ["-passin", "pass:"]
    try:
        done = subprocess.run(["openssl", *words, *passphrase], input=given, capture_output=True, timeout=LIMIT_S)
    except FileNotFoundError:
        raise BenchmarkError("signing needs the program openssl. Install it, or measure without --sign.") from None
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"openssl gave no answer within {LIMIT_S} s. Measure without --sign.") from None
    if done.returncode != 0:
        raise BenchmarkError(
            f"the key {key} cannot be read by openssl. Give a private key in PEM with --sign, and the passphrase of an "
            f"encrypted one in {PASSPHRASE}."
        )
    return done.stdout
