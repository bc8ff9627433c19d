"""Records that a device signs by its own key: made by openssl there, checked by cryptography here."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepress.benchmarks.devices.merge import add_records
from edgepress.benchmarks.devices.record import Devices, read_record
from edgepress.benchmarks.devices.signed import read_device_key
from edgepress.compress.bundle.keys import PASSPHRASE, make_keys
from edgepress.targets.bundle.signing import sign
from edgepress.targets.errors import BenchmarkError, EdgepressError, UnsignedError
from tests.benchmarks.tiny_release import run_bare, tiny_record, tiny_release, write_sealed

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing (apt install openssl)")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys") / "board")


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    return tiny_record(tiny_release(tmp_path / "run/release"), open_ms=0.1 + 0.2)


def test_a_runner_signs_and_the_record_is_taken_by_that_key_alone(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    release = tiny_release(tmp_path / "run/release")
    done = run_bare(release, "--samples", "11", "--sign", str(private), "--out", str(tmp_path / "one.json"))
    assert (done.returncode, done.stderr) == (0, "")
    add_records(tmp_path / "run", [tmp_path / "one.json"], read_device_key(public))
    (kept,) = Devices.read(tmp_path / "run/devices/devices.json").records
    assert kept.signature is not None and kept.signature.key == read_device_key(public).hint
    other = read_device_key(make_keys(tmp_path / "other")[1])
    with pytest.raises(UnsignedError, match=r"one\.json was signed by another key, \w{16}…, not \w{16}…\. Take it"):
        read_record(tmp_path / "one.json", other)


FORGED: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
    lambda r: {**r, "cold_start_ms": 1.0},
    lambda r: {**r, "device": "other"},
    lambda r: {**r, "latency": [{**r["latency"][0], "energy_uj": 1}]},
    lambda r: {**r, "signature": {**r["signature"], "ecdsa_p256_sha256": "A" * 96}},
    lambda r: {**r, "signature": {**r["signature"], "ecdsa_p256_sha256": "é"}},
    lambda r: {**r, "signature": {**r["signature"], "ecdsa_p256_sha256": None}},
]


@pytest.mark.parametrize("forge", FORGED)
def test_what_is_forged_after_it_was_signed_is_refused(
    record: dict[str, Any], keys: tuple[Path, Path], tmp_path: Path, forge: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    key = read_device_key(keys[1])
    sound = {**record, "signature": sign(record, str(keys[0]))}
    assert read_record(write_sealed(tmp_path / "sound.json", sound), key).open_ms == 0.1 + 0.2
    with pytest.raises(UnsignedError, match=r"forged\.json has a signature that is not of its content\. Take it from"):
        read_record(write_sealed(tmp_path / "forged.json", forge(sound)), key)


@pytest.mark.parametrize("told", [None, "x", [], 7])
def test_what_is_not_signed_is_refused_where_a_key_is_given(
    record: dict[str, Any], keys: tuple[Path, Path], tmp_path: Path, told: Any
) -> None:
    path = write_sealed(tmp_path / "one.json", {**record, "signature": told} if told else record)
    with pytest.raises(UnsignedError, match=r"one\.json is not signed\.") as fault:
        add_records(tmp_path / "run", [path], read_device_key(keys[1]))
    assert fault.value.exit_code == 3 and not (tmp_path / "run/devices").exists()


def test_keys_that_cannot_sign_are_told_before_anything_is_measured(
    record: dict[str, Any], keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519

    plain = (form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (tmp_path / "ed.pem").write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(*plain))
    for name, words in (("gone.pem", "cannot be read by openssl"), ("ed.pem", "is no ECDSA key on P-256")):
        with pytest.raises(BenchmarkError, match=rf"{name} {words}"):
            sign(record, str(tmp_path / name))
    monkeypatch.setenv(PASSPHRASE, "secret")
    private, public = make_keys(tmp_path / "locked")
    signed = write_sealed(tmp_path / "one.json", {**record, "signature": sign(record, str(private))})
    assert read_record(signed, read_device_key(public)).device == "board"
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(BenchmarkError, match=f"and the passphrase of an encrypted one in {PASSPHRASE}"):
        sign(record, str(private))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match=r"signing needs the program openssl\. Install it, or measure without"):
        sign(record, str(private))


def test_public_keys_that_are_none_are_told(keys: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("x")
    der = base64.b64decode("".join(keys[1].read_text().splitlines()[1:-1]))
    unknown = base64.b64encode(der.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030163")))
    (tmp_path / "curve.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\n%b\n-----END PUBLIC KEY-----\n" % unknown)
    for path, words in (
        (tmp_path / "gone.pem", r"cannot be read \(No such file"),
        (tmp_path / "none.pem", "is no public key in PEM"),
        (tmp_path / "curve.pem", r"curve\.pem is no public key in PEM\. Give the file NAME\.pub\.pem of the device"),
        (keys[0], "is no public key in PEM"),
    ):
        with pytest.raises(EdgepressError, match=words):
            read_device_key(path)


def test_an_unsigned_record_has_no_such_entry(record: dict[str, Any], tmp_path: Path) -> None:
    path = write_sealed(tmp_path / "one.json", record)
    assert "signature" not in json.loads(path.read_text()) and read_record(path).signature is None
