"""A release as one file: the same bytes each time, and whatever is wrong with it is found without unpacking it."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from typer.testing import CliRunner

from edgepress.compress.bundle.archive import LEVEL, header, read_archive, write_archive
from edgepress.compress.bundle.contents import read_folder
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.bundle.part import archive_release, check_archive_name
from edgepress.compress.bundle.verify import verify
from edgepress.compress.cli.app import app
from edgepress.targets.errors import BundleError, EdgepressError
from edgepress.targets.records import FileEntry
from tests.benchmarks.tiny_release import TARGET
from tests.compress.bundles import MISSED, OTHER, flip, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "release")


@pytest.fixture
def archive(bundle: Path, tmp_path: Path) -> Path:
    write_archive(bundle, tmp_path / "tiny.tar.zst")
    return tmp_path / "tiny.tar.zst"


def edgepress(*arguments: object) -> tuple[int, str]:
    told = CliRunner().invoke(app, [str(word) for word in arguments], env={"COLUMNS": "200"})
    return told.exit_code, told.output


def faults(archive: Path) -> tuple[str, ...]:
    return verify(read_archive(archive)).faults


def unpacked(archive: Path) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(archive.open("rb")) as reader:
        return reader.read()


def packed(content: bytes, place: Path) -> Path:
    place.write_bytes(zstandard.ZstdCompressor(LEVEL).compress(content))
    return place


def members(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(unpacked(archive))) as tar:
        return [(one, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]


def rebuilt(parts: list[tuple[tarfile.TarInfo, bytes]], place: Path) -> Path:
    """An archive of these members, as Python's own library writes it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for about, content in parts:
            tar.addfile(about, io.BytesIO(content) if about.isreg() else None)
    text = made.getvalue()
    return packed(text[: len(text.rstrip(b"\0")) + 511 & ~511] + bytes(1024), place)


def test_an_archive_verifies_and_holds_what_the_folder_holds(bundle: Path, archive: Path) -> None:
    found, folder = read_archive(archive), read_folder(bundle)
    assert (found.files, found.records, verify(found).faults) == (folder.files, folder.records, ())
    code, told = edgepress("verify", archive)
    assert code == 0 and f"{archive.name} is tiny as released" in told


def test_any_tar_reads_it_and_gives_the_folder_back(bundle: Path, archive: Path, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(unpacked(archive))) as tar:
        tar.extractall(tmp_path, filter="data")
    assert verify(read_folder(tmp_path / "tiny")).faults == ()
    assert read_folder(tmp_path / "tiny").files == read_folder(bundle).files


def test_the_same_files_give_the_same_bytes(bundle: Path, archive: Path, tmp_path: Path) -> None:
    """Whatever the folder is called, and in which order, when and with which rights its files were written."""
    copy = tmp_path / "other"
    for path in sorted((path for path in bundle.rglob("*") if path.is_file()), reverse=True):
        place = copy / path.relative_to(bundle)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        place.chmod(0o600)
        os.utime(place, (1, 1))
    write_archive(copy, tmp_path / "again.tar.zst")
    assert (tmp_path / "again.tar.zst").read_bytes() == archive.read_bytes()


def test_one_target_is_a_release_of_its_own(tmp_path: Path) -> None:
    gates = [MISSED.model_copy(update={"target": OTHER}), MISSED.model_copy(update={"passed": True})]
    bundle, place = tiny_bundle(tmp_path / "release", gates), tmp_path / "part.tar.zst"
    archive_release(bundle, Manifest.read(bundle / "manifest.json"), place, TARGET, None)
    found = verify(read_archive(place))
    assert found.faults == () and found.manifest is not None
    assert (found.manifest.artifacts, found.manifest.left_out) == ({TARGET: "fp32"}, (OTHER,))
    assert [gate.target for gate in found.manifest.gates] == [TARGET]
    assert not any(path.startswith(OTHER) for path in read_archive(place).files)
    assert edgepress("verify", place)[0] == 0 and edgepress("verify", bundle)[0] == 4
    with pytest.raises(BundleError, match=r"unknown target 'gpu'; .*release has onnxruntime-cpu, xla-tpu"):
        archive_release(bundle, Manifest.read(bundle / "manifest.json"), place, "gpu", None)


def test_a_flipped_bit_is_found_or_changes_no_file(archive: Path, request: pytest.FixtureRequest) -> None:
    """zstd's own header has bits that do not matter: then every file is still the released one."""
    numbers, before, good = np.random.default_rng(0), archive.read_bytes(), read_archive(archive).files
    found = 0
    for _ in range(int(request.config.getoption("--tamper"))):
        flip(archive, int(numbers.integers(len(before) * 8)))
        contents = read_archive(archive)
        found += bool(told := verify(contents).faults)
        assert told or contents.files == good
        archive.write_bytes(before)
    assert found >= 0.99 * int(request.config.getoption("--tamper"))


def test_an_archive_that_verified_is_unpacked(bundle: Path, archive: Path, tmp_path: Path) -> None:
    place = tmp_path / "here"
    assert edgepress("verify", archive, "--extract", place)[0] == 0
    assert read_folder(place).files == read_folder(bundle).files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "tiny.tar.zst"]
    code, told = edgepress("verify", archive, "--extract", place)
    assert (code, told) == (2, f"error: {place} exists already. --extract unpacks an archive into a new folder\n")
    code, told = edgepress("verify", place, "--extract", tmp_path / "there")
    assert (code, told) == (2, f"error: {place} is no archive. --extract unpacks an archive into a new folder\n")
    code, told = edgepress("verify", archive, "--extract", tmp_path / "gone/there")
    assert code == 2 and "gone/there cannot be written (No such file or directory). Name another one with" in told


def test_of_an_archive_that_does_not_verify_nothing_is_left(archive: Path, tmp_path: Path) -> None:
    parts = members(archive)
    parts[-1] = (parts[-1][0], parts[-1][1][::-1])
    code, told = edgepress("verify", rebuilt(parts, archive), "--extract", tmp_path / "here")
    assert code == 1 and "is not the released file" in told
    write_archive(tiny_bundle(tmp_path / "missed", [MISSED]), archive)
    assert edgepress("verify", archive, "--extract", tmp_path / "here")[0] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["missed", "tiny.tar.zst"]


@pytest.mark.parametrize("field", ["mode", "mtime", "uid", "uname"])
def test_headers_hold_nothing_but_name_and_size(archive: Path, tmp_path: Path, field: str) -> None:
    parts = members(archive)
    assert [name for name in rebuilt(parts, tmp_path / "same.tar.zst").parent.iterdir() if name.suffix == ".part"] == []
    assert faults(tmp_path / "same.tar.zst") == ()
    setattr(parts[3][0], field, "root" if field == "uname" else 0o755)
    assert faults(rebuilt(parts, tmp_path / "new.tar.zst"))[0].endswith("it is of another size, place or kind")


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    about = tarfile.TarInfo(name)
    about.type = kind
    for field, value in fields.items():
        setattr(about, field, value)
    return about, b""


Parts = list[tuple[tarfile.TarInfo, bytes]]
REBUILT: list[tuple[str, Callable[[Parts], Parts]]] = [
    ("an extra file", lambda parts: [*parts, member("tiny/extra")]),
    ("a file elsewhere", lambda parts: [*parts, member("../../etc/cron.d/x")]),
    ("an absolute path", lambda parts: [*parts, member("/etc/passwd")]),
    ("a link", lambda parts: [*parts, member("tiny/x", tarfile.SYMTYPE, linkname="/etc/passwd")]),
    ("a hard link", lambda parts: [*parts, member("tiny/x", tarfile.LNKTYPE, linkname="tiny/manifest.json")]),
    ("a device", lambda parts: [*parts, member("tiny/x", tarfile.CHRTYPE)]),
    ("a pipe", lambda parts: [*parts, member("tiny/x", tarfile.FIFOTYPE)]),
    ("a folder", lambda parts: [member("tiny", tarfile.DIRTYPE), *parts]),
    ("a file twice", lambda parts: [*parts, parts[-1]]),
    ("a file less", lambda parts: parts[:-1]),
    ("no manifest", lambda parts: [parts[0], *parts[2:]]),
    ("no SHA256SUMS", lambda parts: parts[1:]),
    ("another order", lambda parts: [*parts[:2], *parts[:1:-1]]),
    ("swapped content", lambda parts: [*parts[:-1], (parts[-1][0], parts[-1][1][::-1])]),
    (
        "a link in place",
        lambda parts: [*parts[:-1], member(parts[-1][0].name, tarfile.SYMTYPE, linkname="/etc/passwd")],
    ),
    ("nothing", lambda parts: []),
]


@pytest.mark.parametrize(("what", "change"), REBUILT, ids=[what.replace(" ", "-") for what, _ in REBUILT])
def test_an_archive_that_was_built_anew_is_found(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, change: Callable[[Parts], Parts]
) -> None:
    new = rebuilt(change(members(archive)), tmp_path / "new.tar.zst")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    code, told = edgepress("verify", new)
    assert code == 1 and told.startswith(f"error: {new} is not as it was released: ") and told.count("\n") == 1
    assert list(tmp_path.glob("empty/*")) == []


BYTES: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda whole: whole[:-1], "the archive is cut off|holds more than"),
    (lambda whole: whole[: len(whole) // 2], "the archive is cut off"),
    (lambda whole: whole + b"\0", "the archive holds more than its manifest names"),
    (lambda whole: whole + zstandard.compress(b"more"), "the archive holds more than its manifest names"),
    (lambda whole: whole + b"\x50\x2a\x4d\x18\x04\0\0\0more", "the archive holds more than its manifest names"),
    (lambda whole: b"", "the archive is cut off"),
    (lambda whole: b"PK\x03\x04" + whole, "it is no zstd archive, or damaged"),
    (lambda whole: b"\x1f\x8b\x08\0" + whole, "it is no zstd archive, or damaged"),
]


@pytest.mark.parametrize(("change", "words"), BYTES)
def test_a_file_that_is_no_whole_archive_is_found(archive: Path, change: Callable[[bytes], bytes], words: str) -> None:
    archive.write_bytes(change(archive.read_bytes()))
    (told,) = [fault for fault in faults(archive) if "missing" not in fault][:1]
    assert any(part in told for part in words.split("|")), told


def zeros(before: bytes, gigabytes: int, place: Path) -> Path:
    """`before`, and then so many bytes of nothing."""
    with place.open("wb") as file, zstandard.ZstdCompressor(1).stream_writer(file) as writer:
        writer.write(before)
        for _ in range(gigabytes << 5):
            writer.write(bytes(1 << 25))
    return place


def declared(bundle: Path, place: Path, size: int) -> bytes:
    """The beginning of an archive whose manifest names one file of `size` zeros."""
    manifest = Manifest.read(bundle / "manifest.json")
    entry = FileEntry(path="big", bytes=size, sha256="0" * 64)
    text = manifest.model_copy(update={"files": (entry,)}).model_dump_json().encode()
    sums = b"0" * 64 + b"  big\n"
    found = b""
    for path, content in (("SHA256SUMS", sums), ("manifest.json", text)):
        found += header(f"tiny/{path}", len(content)) + content + bytes(-len(content) % 512)
    return found + (header("tiny/big", size) if size < 8 << 30 else b"")


def test_a_bomb_is_refused_before_it_grows(bundle: Path, tmp_path: Path) -> None:
    bombs = {
        "it grows to more than 300 times its size": zeros(
            declared(bundle, tmp_path, 1 << 30), 1, tmp_path / "a.tar.zst"
        ),
        "it holds more than 64 GiB": packed(declared(bundle, tmp_path, 65 << 30), tmp_path / "b.tar.zst"),
        "it is no archive of a release, or damaged": zeros(b"", 1, tmp_path / "c.tar.zst"),
        "SHA256SUMS as it was packed": zeros(header("tiny/SHA256SUMS", 1 << 30), 1, tmp_path / "d.tar.zst"),
    }
    for words, place in bombs.items():
        assert place.stat().st_size < 200_000
        tracemalloc.start()
        found = read_archive(place)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert words in found.faults[0], found.faults
        assert peak < 100 << 20, (words, peak)


def test_a_window_of_gigabytes_is_not_allocated(tmp_path: Path) -> None:
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3])  # a window of 2 GiB
    (tmp_path / "w.tar.zst").write_bytes(frame + b"\x01\0\0")
    assert "it is no zstd archive, or damaged" in read_archive(tmp_path / "w.tar.zst").faults[0]


def test_a_name_that_fits_into_no_archive_is_told(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"^tiny/x{200} does not fit into an archive \(ValueError: name is too long\)\. Give it"
    ):
        header("tiny/" + "x" * 200, 1)


def test_an_archive_is_called_what_it_is_and_lies_outside_of_the_release(tmp_path: Path) -> None:
    with pytest.raises(EdgepressError, match=r"an archive is called NAME\.tar\.zst, got a\.zip\. Give another name"):
        check_archive_name(Path("a.zip"), tmp_path)
    with pytest.raises(EdgepressError, match="lies in the release itself"):
        check_archive_name(tmp_path / "x/a.tar.zst", tmp_path)


def test_a_place_that_cannot_be_written_is_told(bundle: Path, tmp_path: Path) -> None:
    place = tmp_path / "gone/a.tar.zst"
    with pytest.raises(EdgepressError, match=r"gone/a\.tar\.zst cannot be written \(No such file or directory\)"):
        archive_release(bundle, Manifest.read(bundle / "manifest.json"), place, None, None)
