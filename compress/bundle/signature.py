"""`model.sig`: a signature over every file of a release, as OpenSSF model signing writes it.

A Sigstore bundle (v0.3) around a DSSE envelope around an in-toto statement, whose predicate
`https://model_signing/signature/v1.0` has the sha256 of each file; signed with ECDSA by a key pair. Files under `.git`
and the like, which model-signing passes over unless it is told otherwise, count here as all others do.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgepress.compress.bundle.keys import digest_of
from edgepress.targets.bundle import signing
from edgepress.targets.bundle.keys import key_hint
from edgepress.targets.bundle.sums import SIGNATURE, listed
from edgepress.targets.errors import BundleError, UnsignedError
from edgepress.targets.files import sha256_of, write_whole
from edgepress.targets.text import sane_numbers

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

    from edgepress.compress.bundle.contents import Contents

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
OF_GIT = (".git", ".gitattributes", ".github", ".gitignore")
"""What model-signing passes over by itself. A statement that says so is taken where no such file is there."""


class Signer:
    """A private key, ready to sign releases."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, release: Path, name: str) -> None:
        """Write `model.sig` over all other files of the folder `release`; the same files give the same bytes.

        Raises:
            BundleError: there is something else than plain files.
        """
        from cryptography.hazmat.primitives.asymmetric import ec

        payload = statement(digests(release), name)
        # RFC 6979 instead of a random number: the same release signed twice is the same to the byte.
        rule = ec.ECDSA(digest_of(self._key.public_key()), deterministic_signing=True)
        signature = self._key.sign(encoded(payload), rule)
        content = wrapped(payload, signature, key_hint(self._key.public_key()))
        write_whole(release / SIGNATURE, json.dumps(content, separators=(",", ":")) + "\n")


def digests(release: Path) -> dict[str, str]:
    """Path -> sha256 of all files of a folder but the signature. Raises BundleError for links and the like."""
    files, others = listed(release)
    if others:
        raise BundleError(f"{release}: {others[0]}. Only plain files are signed; take it away")
    return {path: sha256_of(release / path) for path in files if path != SIGNATURE}


def wrapped(payload: bytes, signature: bytes, hint: str) -> dict[str, Any]:
    """The Sigstore bundle of a signed payload; `hint` names the key."""
    signatures = [{"sig": base64.b64encode(signature).decode(), "keyid": ""}]
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": signatures,
    }
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    return {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}


def decoded(text: str) -> bytes:
    """What stands behind base64. Raises ValueError or TypeError for other text."""
    return base64.b64decode(text.encode("ascii"), validate=True)


def encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed, the type of the payload with it.

    >>> encoded(b"{}")
    b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
    """
    return signing.encoded(PAYLOAD_TYPE, payload)


def statement(files: Mapping[str, str], name: str) -> bytes:
    """The in-toto statement: the sha256 of each file in the order of their paths, and that over all of them."""
    paths = sorted(files, key=PurePosixPath)
    resources = [{"name": path, "algorithm": "sha256", "digest": files[path]} for path in paths]
    return json.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": root_digest(files[path] for path in paths)}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": [SIGNATURE],
                },
                "resources": resources,
            },
        },
        indent=2,
    ).encode()


def root_digest(hex_digests: Any) -> str:
    """The sha256 over the digests of all files, one behind the other as bytes."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in hex_digests)).hexdigest()


def check_contents(contents: Contents, key: EllipticCurvePublicKey) -> None:
    """The signature of a bundle against its files. Raises UnsignedError."""
    files = {path: found.sha256 for path, found in contents.files.items() if path != SIGNATURE}
    check_signature(contents.records.get(SIGNATURE), files, key)


def check_signature(signature: bytes | None, files: Mapping[str, str], key: EllipticCurvePublicKey) -> None:
    """Whether a signature is of this key and of these files, no more and no fewer.

    Args:
        signature: the content of `model.sig`; None where there is none.
        files: path -> sha256 of all files that are there, without `model.sig`.
        key: the public key of who released it.

    Raises:
        UnsignedError: it is missing, damaged, of another key, or of other files.
    """
    if signature is None:
        raise UnsignedError(f"it is not signed: {SIGNATURE} is missing")
    signed = signed_files(signed_payload(signature, key))
    for path in sorted(set(files) | set(signed), key=lambda path: (path in files, path)):
        if signed.get(path) != files.get(path):
            state = "missing" if path not in files else "not among them" if path not in signed else "another one"
            raise UnsignedError(f"the signature is of other files: {path[:200]!r} is {state}")


def signed_payload(signature: bytes, key: EllipticCurvePublicKey) -> bytes:
    """The payload of an envelope that was signed with this key. Raises UnsignedError where there is none."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        content = json.loads(sane_numbers(signature.decode("utf-8")))
        envelope, material = content["dsseEnvelope"], content["verificationMaterial"]
        (only,) = envelope["signatures"]
        hint = material["publicKey"]["hint"]
        payload, raw = decoded(envelope["payload"]), decoded(only["sig"])
        if content != wrapped(payload, raw, hint):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnsignedError(f"{SIGNATURE} is damaged or of another form") from None
    if hint != key_hint(key):
        raise UnsignedError(f"{SIGNATURE} was made with another key, {str(hint)[:16]}…, not {key_hint(key)[:16]}…")
    try:
        key.verify(raw, encoded(payload), ec.ECDSA(digest_of(key)))
    except InvalidSignature:
        raise UnsignedError(f"{SIGNATURE} is not the signature of its content by this key") from None
    return payload


def signed_files(payload: bytes) -> dict[str, str]:
    """Path -> sha256 that a statement names. Raises UnsignedError for one of another kind, or in itself wrong."""
    try:
        content = json.loads(sane_numbers(payload.decode("utf-8")))
        predicate, (subject,) = content["predicate"], content["subject"]
        found = {one["name"]: one["digest"] for one in predicate["resources"] if one["algorithm"] == "sha256"}
        wrong = _unfit(content, predicate["serialization"])
        if len(found) != len(predicate["resources"]) or root_digest(found.values()) != subject["digest"]["sha256"]:
            wrong = wrong or "its digests contradict one another"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        wrong = "it is damaged"
    if wrong:
        raise UnsignedError(f"what was signed is no statement of model signing: {wrong}")
    return found


def _unfit(content: dict[str, Any], how: dict[str, Any]) -> str:
    """Why a statement is not one of all files by their sha256; empty where it is."""
    if (content["_type"], content["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        return "it is of another type"
    if (how["method"], how["hash_type"], how["allow_symlinks"]) != ("files", "sha256", False):
        return "its files were read by other rules"
    ignored = set(how.get("ignore_paths", ())) - {SIGNATURE, *OF_GIT}
    return f"it leaves out {min(map(str, ignored))[:80]!r}" if ignored else ""
