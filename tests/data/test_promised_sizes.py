"""Nothing is unpacked, copied or received beyond what was promised: a source that has more is left at one byte more."""

import gzip
import hashlib
import io
import lzma
import re
import tarfile
import zipfile

import numpy as np
import pytest
from support.served import CONTENT, EXPECTED, PAGE, refused

from reweigh import array_files
from reweigh.data import image_codec, mosaic, obtain, transfer
from reweigh.data.transfer import Expected
from reweigh.digest import file_digest
from reweigh.errors import DataError, RecordError
from reweigh.records import record

MIB = 1 << 20


@pytest.fixture
def unpacked(monkeypatch):
    """How many bytes were read of what is unpacked."""
    read, counted = transfer._read, []

    def counting(*given):
        counted.append(len(chunk := read(*given)))
        return chunk

    monkeypatch.setattr(transfer, "_read", counting)
    return counted


def bomb(kind: str) -> bytes:
    """Zeros, packed: as many as `kind` packs in a moment, and far more than is promised below."""
    zeros, stream = bytes(64 * MIB), io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("a.bin", zeros)
    elif kind == "tar.gz":
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
            member = tarfile.TarInfo("a.bin")
            member.size = len(zeros)
            archive.addfile(member, io.BytesIO(zeros))
    else:
        stream.write(gzip.compress(zeros, 1) if kind == "gz" else lzma.compress(zeros, preset=0))
    return stream.getvalue()


def unpack(source, kept):
    if source.suffix in (".gz", ".xz") and ".tar" not in source.suffixes:
        transfer.place(source, kept, Expected(99, "0" * 64))
        return
    with transfer.opened_member(source, "a.bin") as stream:
        transfer.write(stream, kept, Expected(99, "0" * 64), str(source))


@pytest.mark.parametrize("kind", ["gz", "xz", "zip", "tar.gz"])
def test_what_unpacks_to_more_is_left_at_the_first_byte_too_many(tmp_path, unpacked, kind):
    source, kept = tmp_path / f"a.bin.{kind}", tmp_path / "home" / "a.bin"
    source.write_bytes(bomb(kind))
    kept.parent.mkdir()
    kept.write_bytes(CONTENT)
    with pytest.raises(DataError, match=rf"^[^\n]*{re.escape(source.name)}[^\n]* more than the 99 bytes[^\n]*$"):
        unpack(source, kept)
    assert sum(unpacked) == 100
    assert kept.read_bytes() == CONTENT and list(kept.parent.iterdir()) == [kept]


def test_a_zip_that_says_less_than_it_holds_is_refused(tmp_path):
    source = tmp_path / "a.zip"
    content = bytearray(bomb("zip"))
    size = (64 * MIB).to_bytes(4, "little")
    for _ in range(2):  # in the entry's own header and in the directory
        at = content.index(size)
        content[at : at + 4] = (99).to_bytes(4, "little")
    source.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"), transfer.opened_member(source, "a.bin") as stream:
        transfer.write(stream, tmp_path / "a.bin", Expected(99, None), str(source))
    assert list(tmp_path.iterdir()) == [source]


def test_a_file_that_is_too_long_is_not_read(tmp_path, unpacked):
    path = tmp_path / "a.bin"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # a hole: hashing it would take an hour
    found = transfer.measure(path, EXPECTED)
    assert transfer.fault(found, EXPECTED) == f"bytes is {1 << 40}, expected {len(CONTENT)}" and not unpacked


def test_a_mosaic_of_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image", reason="wants Pillow")
    source = tmp_path / "a.npy.webp"
    image.new("RGB", (4096, 4096)).save(source, "WEBP", lossless=True)
    monkeypatch.setattr(mosaic.np, "asarray", lambda *given: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=f"{3 << 24} bytes of pixels, which should be 99 at most"):
        transfer.place(source, tmp_path / "a.npy", Expected(99, "0" * 64))
    assert list(tmp_path.iterdir()) == [source]


# --- downloads -------------------------------------------------------------------------------------------------------

GZIPPED = {"Content-Encoding": "gzip"}


def test_a_server_that_sends_more_is_left_there(get):
    """629 MB for a promised 4 MB."""
    text = refused(get, (200, {"Content-Length": str(1 << 40)}, CONTENT + bytes(8 * MIB)))
    assert f"more than the {len(CONTENT)} bytes" in text and len(get.asked) == 1
    assert get.most == len(CONTENT) + 1 and list(get.place.parent.iterdir()) == []


def test_the_rest_of_a_longer_file_is_thrown_away_and_asked_for_again(get):
    get.place.parent.mkdir()
    get.place.write_bytes(b"x" * 99)
    assert get((206, {}, CONTENT * 2), (200, {}, CONTENT)) == CONTENT


def test_an_answer_that_unpacks_to_more_is_refused(get):
    for body in (gzip.compress(bytes(8 * MIB)), CONTENT * 99):  # as it unpacks, and before
        text = refused(get, (200, GZIPPED, body))
        assert f"more than the {len(CONTENT)} bytes" in text
        assert get.most <= EXPECTED.packed.limit + 1 and list(get.place.parent.iterdir()) == []


def test_a_packed_file_of_unknown_length_is_no_longer_than_its_content(get):
    """A mirror keeps a .gz, of which no length is known, of a file of which one is."""
    expected = EXPECTED.packed
    assert get((200, {}, gzip.compress(CONTENT)), expected=expected, name="a.gz") == gzip.compress(CONTENT)
    get.place.unlink()
    assert "more than the" in refused(get, (200, {}, bytes(8 * MIB)), expected=expected, name="a.gz")
    assert get.most == expected.limit + 1 and list(get.place.parent.iterdir()) == []


def test_a_long_page_of_a_network_that_wants_a_login(get):
    text = refused(get, (200, {"Content-Type": "text/html"}, PAGE + bytes(8 * MIB)))
    assert "a web page" in text and list(get.place.parent.iterdir()) == []


def test_nothing_is_promised_of_a_file_without_a_length(get):
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert get((200, {}, CONTENT), expected=Expected(sha256=sha256)) == CONTENT


# --- arrays ----------------------------------------------------------------------------------------------------------


def npz(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members:
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(count: int, content: bytes, kind: str = "<i8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": (count,)})
    return stream.getvalue() + content


LIES = {
    "more values than there are": npz(("a", npy(10**12, bytes(8)))),
    "fewer values than there are": npz(("a", npy(1, bytes(16)))),
    "zeros without end": npz(("a", npy(MIB, bytes(8 * MIB)))),
    "objects": npz(("a", npy(1, bytes(8), "|O"))),
    "no array": npz(("a", b"text")),
}


@pytest.mark.parametrize("lie", LIES)
def test_arrays_that_lie_about_their_size_are_not_read(lie, tmp_path):
    with pytest.raises(ValueError, match=r"."):
        array_files.check(LIES[lie], array_files.room_of({"a": [9]}))
    array_files.check(npz(("a", npy(9, bytes(72)))), array_files.room_of({"a": [9]}))
    trace = tmp_path / "seed0.npz"
    trace.write_bytes(LIES[lie])
    body = {"trace": {"file": trace.name, "sha256": file_digest(trace), "arrays": {"a": [9]}}}
    with pytest.raises(RecordError, match=rf"^[^\n]*{re.escape(str(trace))}: not the arrays[^\n]*$"):
        record.trace_path(tmp_path / "seed0.json", body)


@pytest.mark.parametrize("name", ["../seed0.npz", "/etc/passwd", "", None, 5])
def test_a_record_names_no_arrays_elsewhere(name, tmp_path):
    with pytest.raises(RecordError, match="names no file of arrays"):
        record.trace_path(tmp_path / "seed0.json", {"trace": {"file": name, "sha256": "", "arrays": {}}})


@pytest.mark.parametrize("lie", LIES)
def test_a_split_that_lies_about_its_size_is_none(lie, tmp_path, monkeypatch):
    path = tmp_path / "seed0.npz"
    path.write_bytes(LIES[lie])
    described = {"class_names": ["a", "b"], "group_names": [], "sizes": {"train": [5, 4], "test": [1, 0]}}
    monkeypatch.setattr(obtain.Split, "from_bytes", lambda content: pytest.fail("it was unpacked"))
    assert obtain._read(path, described) is None


def test_packed_images_unpack_to_no_more_than_their_shape():
    images = np.zeros((2, 3, 8, 8), np.uint8)
    assert (image_codec.decode(image_codec.encode(images), images.shape) == images).all()
    more = image_codec.lzma.compress(bytes(64 * MIB), format=lzma.FORMAT_RAW, filters=image_codec.FILTERS)
    with pytest.raises(DataError, match="more than the 384 values"):
        image_codec.decode(more, images.shape)
