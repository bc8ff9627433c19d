"""Signatures of releases: made with a private key, found bad by whoever has the public one."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from typer.testing import CliRunner

from edgepress.benchmarks.records.report import Report
from edgepress.compress.bundle import keys
from edgepress.compress.bundle.contents import read_folder
from edgepress.compress.bundle.keys import PASSPHRASE, make_keys, read_private, read_public
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.bundle.part import archive_release
from edgepress.compress.bundle.signature import (
    Signer,
    check_contents,
    digests,
    encoded,
    root_digest,
    signed_files,
    statement,
    wrapped,
)
from edgepress.compress.cli.app import app
from edgepress.targets.bundle.keys import key_hint
from edgepress.targets.errors import BundleError, EdgepressError, UnsignedError
from tests.benchmarks.tiny_release import TARGET
from tests.compress.bundles import flip, seal_as, tiny_bundle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two key pairs, `key` and `other`, and a signed bundle; not to be changed."""
    place = tmp_path_factory.mktemp("signed")
    for name in ("key", "other"):
        make_keys(place / name)
    tiny_bundle(place / "release")
    Signer(read_private(place / "key.pem")).sign(place / "release", "tiny")
    return place


@pytest.fixture
def bundle(place: Path, tmp_path: Path) -> Path:
    return shutil.copytree(place / "release", tmp_path / "release")


def edgepress(*arguments: object) -> tuple[int, str]:
    told = CliRunner().invoke(app, [str(word) for word in arguments], env={"COLUMNS": "200"})
    return told.exit_code, told.output


def test_a_signed_bundle_verifies_with_its_key(place: Path, bundle: Path) -> None:
    code, told = edgepress("verify", bundle, "--key", place / "key.pub.pem")
    assert code == 0 and f"Signature: of these very files, by the key of {place / 'key.pub.pem'}\n" in told
    code, told = edgepress("verify", bundle)
    assert code == 0 and "Signature: there is one, and it was not looked at. Give the public key with --key" in told


def remove(bundle: Path, place: Path) -> None:
    (bundle / "model.sig").unlink()


def seal_anew(bundle: Path, place: Path) -> None:
    """What a forger does: another model, and every record in accord with it."""
    report = Report.read(bundle / "report.json")
    signature = (bundle / "model.sig").read_bytes()
    changed = report.model_copy(update={"task": "forged"})
    (bundle / "report.json").write_text(changed.model_dump_json())
    seal_as(bundle, changed)
    (bundle / "model.sig").write_bytes(signature)


def sign_with_another(bundle: Path, place: Path) -> None:
    Signer(read_private(place / "other.pem")).sign(bundle, "tiny")


def claim_the_key(bundle: Path, place: Path) -> None:
    """Signed by another key, and the hint says that it was this one."""
    sign_with_another(bundle, place)
    content = json.loads((bundle / "model.sig").read_text())
    content["verificationMaterial"]["publicKey"]["hint"] = key_hint(read_public(place / "key.pub.pem"))
    (bundle / "model.sig").write_text(json.dumps(content))


def sign_less(bundle: Path, place: Path) -> None:
    forged(
        bundle, place, lambda files: {path: digest for path, digest in files.items() if path != f"{TARGET}/model.onnx"}
    )


def sign_more(bundle: Path, place: Path) -> None:
    forged(bundle, place, lambda files: files | {"more": "0" * 64})


def forged(bundle: Path, place: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Signed with the right key, over a list of other files."""
    key = read_private(place / "key.pem")
    payload = statement(change(digests(bundle)), "tiny")
    write_signed(bundle, key, payload)


def write_signed(bundle: Path, key: ec.EllipticCurvePrivateKey, payload: bytes) -> None:
    signature = key.sign(encoded(payload), ec.ECDSA(keys.digest_of(key.public_key())))
    (bundle / "model.sig").write_text(json.dumps(wrapped(payload, signature, key_hint(key.public_key()))))


def not_json(bundle: Path, place: Path) -> None:
    (bundle / "model.sig").write_text("[" * 100_000)


HARMS: list[tuple[Callable[[Path, Path], object], str]] = [
    (remove, "it is not signed: model.sig is missing"),
    (seal_anew, "the signature is of other files: 'SHA256SUMS' is another one"),
    (sign_with_another, "model.sig was made with another key"),
    (claim_the_key, "model.sig is not the signature of its content by this key"),
    (sign_less, f"the signature is of other files: '{TARGET}/model.onnx' is not among them"),
    (sign_more, "the signature is of other files: 'more' is missing"),
    (not_json, "model.sig is damaged or of another form"),
]


@pytest.mark.parametrize(("harm", "words"), HARMS, ids=[harm.__name__ for harm, _ in HARMS])
def test_a_bad_signature_has_an_exit_code_of_its_own(
    place: Path, bundle: Path, harm: Callable[[Path, Path], object], words: str
) -> None:
    harm(bundle, place)
    code, told = edgepress("verify", bundle, "--key", place / "key.pub.pem")
    assert code == 3 and told.startswith(f"error: {bundle}: {words}") and told.count("\n") == 1, told
    assert told.endswith("Ask who released it for another copy, or their key\n")


def test_changed_content_is_told_as_such_although_it_was_signed(place: Path, bundle: Path) -> None:
    flip(bundle / TARGET / "model.onnx", 7)
    code, told = edgepress("verify", bundle, "--key", place / "key.pub.pem")
    assert code == 1 and "model.onnx is not the released file" in told


def test_every_flipped_bit_of_a_signature_is_found(place: Path, bundle: Path, request: pytest.FixtureRequest) -> None:
    path, key, numbers = bundle / "model.sig", read_public(place / "key.pub.pem"), np.random.default_rng(1)
    before = path.read_bytes()
    for _ in range(int(request.config.getoption("--tamper"))):
        flip(path, bit := int(numbers.integers(len(before) * 8)))
        with pytest.raises(UnsignedError):
            check_contents(read_folder(bundle), key)
            raise AssertionError(f"bit {bit}")
        path.write_bytes(before)


def test_files_under_git_are_signed_as_all_others(place: Path, bundle: Path) -> None:
    (bundle / ".git").mkdir()
    (bundle / ".git/config").write_text("[core]")
    assert ".git/config" in digests(bundle)
    with pytest.raises(UnsignedError, match=r"the signature is of other files: '\.git/config' is not among them"):
        check_contents(read_folder(bundle), read_public(place / "key.pub.pem"))


def test_links_are_not_signed(place: Path, bundle: Path) -> None:
    (bundle / "link").symlink_to("manifest.json")
    with pytest.raises(BundleError, match=r"link is a link\. Only plain files are signed; take it away"):
        Signer(read_private(place / "key.pem")).sign(bundle, "tiny")


def test_the_same_files_are_signed_with_the_same_bytes(place: Path, bundle: Path) -> None:
    Signer(read_private(place / "key.pem")).sign(bundle, "tiny")
    assert (bundle / "model.sig").read_bytes() == (place / "release/model.sig").read_bytes()


def test_an_archive_of_one_target_has_a_signature_of_its_own(place: Path, bundle: Path, tmp_path: Path) -> None:
    signer, archive = Signer(read_private(place / "key.pem")), tmp_path / "part.tar.zst"
    archive_release(bundle, Manifest.read(bundle / "manifest.json"), archive, TARGET, signer)
    assert edgepress("verify", archive, "--key", place / "key.pub.pem")[0] == 0
    code, told = edgepress("verify", archive, "--key", place / "other.pub.pem")
    assert code == 3 and "model.sig was made with another key" in told


def test_the_statement_is_what_the_format_says() -> None:
    """Hand-made: the digest over all is the sha256 of their bytes, in the order of the paths' parts."""
    files = {"ab.c": "22" * 32, "ab/c": "11" * 32, "a": "00" * 32}
    content = json.loads(statement(files, "m"))
    assert [one["name"] for one in content["predicate"]["resources"]] == ["a", "ab/c", "ab.c"]
    assert content["subject"][0]["digest"]["sha256"] == root_digest(["00" * 32, "11" * 32, "22" * 32])
    assert signed_files(json.dumps(content).encode()) == files


def changed(content: dict[str, object], path: str, value: object) -> bytes:
    *before, last = path.split(".")
    place: dict[str, object] = content
    for part in before:
        place = place[part]  # type: ignore[assignment]
    place[last] = value
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1", "it is of another type"),
        ("predicateType", "https://slsa.dev/provenance/v1", "it is of another type"),
        ("predicate.serialization.hash_type", "blake3", "its files were read by other rules"),
        ("predicate.serialization.method", "shards", "its files were read by other rules"),
        ("predicate.serialization.allow_symlinks", True, "its files were read by other rules"),
        ("predicate.serialization.ignore_paths", ["model.sig", "onnxruntime-cpu"], "it leaves out 'onnxruntime-cpu'"),
        ("predicate.resources", [], "its digests contradict one another"),
        ("subject", [], "it is damaged"),
        ("subject", None, "it is damaged"),
    ],
)
def test_a_statement_of_another_kind_is_refused(path: str, value: object, words: str) -> None:
    content = json.loads(statement({"a": "00" * 32}, "m"))
    with pytest.raises(UnsignedError, match=f"what was signed is no statement of model signing: {words}"):
        signed_files(changed(content, path, value))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_the_other_curves_of_the_format_sign_too(bundle: Path, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    Signer(key).sign(bundle, "tiny")
    check_contents(read_folder(bundle), key.public_key())


def pem(key: object) -> bytes:
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "secp256k1"])
def test_a_key_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    made = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    }[kind]()
    (tmp_path / "k.pem").write_bytes(pem(made))
    with pytest.raises(EdgepressError, match=r"k\.pem is a key of another kind, not ECDSA on secp256r1, secp384r1"):
        read_private(tmp_path / "k.pem")


def test_keys_are_for_their_owner_and_never_overwritten(tmp_path: Path) -> None:
    code, told = edgepress("keygen", tmp_path / "k")
    assert code == 0 and "k.pem (keep it to yourself)" in told
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
    code, told = edgepress("keygen", tmp_path / "k")
    assert (code, told) == (
        2,
        f"error: {tmp_path / 'k.pem'} exists already, and keys are never overwritten. Give another name\n",
    )
    assert edgepress("keygen", tmp_path / "gone/k")[0] == 2


def test_a_private_key_may_be_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "secret")
    private, public = make_keys(tmp_path / "k")
    assert key_hint(read_private(private).public_key()) == key_hint(read_public(public))
    monkeypatch.setenv(PASSPHRASE, "wrong")
    with pytest.raises(EdgepressError, match=f"no private key in PEM, or {PASSPHRASE} is not its passphrase"):
        read_private(private)
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(EdgepressError, match=f"is encrypted. Put its passphrase into the variable {PASSPHRASE}"):
        read_private(private)


def test_a_key_that_is_none_is_wrong_usage(place: Path, bundle: Path, tmp_path: Path) -> None:
    assert edgepress("verify", bundle, "--key", tmp_path / "gone.pem") == (
        2,
        f"error: the key {tmp_path / 'gone.pem'} cannot be read (No such file or directory). Give its PEM file\n",
    )
    code, told = edgepress("verify", bundle, "--key", place / "key.pem")
    assert code == 2 and "key.pem is no public key in PEM. Give the file NAME.pub.pem of who released it" in told
    code, told = edgepress("package", tmp_path, "--sign", place / "key.pub.pem")
    assert code == 2 and "key.pub.pem is no private key in PEM. Make one with `edgepress keygen`" in told


def test_without_cryptography_it_is_said_what_to_install(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.asymmetric.ec", None)
    code, told = edgepress("verify", bundle, "--key", os.devnull)
    assert code == 2
    assert told == "error: signatures need the package cryptography. Install it: pip install 'edgepress[sign]'\n"


@pytest.fixture(scope="module")
def model_signing(root: Path) -> Path:
    """OpenSSF's own tool, in an environment of its own."""
    tool = root / os.environ.get("EDGEPRESS_MODEL_SIGNING", ".venv-signing/bin/model_signing")
    if not tool.is_file():
        pytest.skip(f"{tool} is missing: `make signing` installs model-signing there")
    return tool


def call(*words: object) -> tuple[int, str]:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_model_signing_verifies_what_we_signed_and_we_what_it_signed(
    model_signing: Path, place: Path, bundle: Path
) -> None:
    signature, private, public = bundle / "model.sig", place / "key.pem", place / "key.pub.pem"
    check = ("verify", "key", bundle, "--signature", signature, "--public_key", public, "--no-ignore-git-paths")
    assert call(model_signing, *check)[0] == 0
    ours = json.loads(signature.read_text())
    signature.unlink()
    code, told = call(model_signing, "sign", "key", bundle, "--private_key", private, "--signature", signature)
    assert code == 0, told
    check_contents(read_folder(bundle), read_public(public))
    assert edgepress("verify", bundle, "--key", public)[0] == 0
    theirs = json.loads(signature.read_text())
    assert signed_files(payload_of(theirs)) == signed_files(payload_of(ours))
    flip(bundle / TARGET / "model.onnx", 3)
    code, told = call(model_signing, *check)
    assert code != 0 and "model.onnx" in told
    with pytest.raises(UnsignedError, match=r"model\.onnx' is another one"):
        check_contents(read_folder(bundle), read_public(public))


def payload_of(signature: dict[str, Any]) -> bytes:
    return base64.b64decode(signature["dsseEnvelope"]["payload"])
