"""What servers do to a download: each ends in the right bytes, or in one line that says what is wrong."""

import contextlib
import errno
import gzip
import hashlib
import os

import pytest
from support import disks
from support.served import CONTENT, EXPECTED, PAGE, refused

from reweigh.data import manifest, transfer
from reweigh.data.download import shown
from reweigh.data.transfer import Expected
from reweigh.errors import DataError

# --- packed answers --------------------------------------------------------------------------------------------------

GZIPPED = {"Content-Encoding": "gzip"}


def test_what_a_server_packs_unasked_is_unpacked(get):
    assert get((200, GZIPPED, gzip.compress(CONTENT))) == CONTENT
    assert [path.name for path in get.place.parent.iterdir()] == [".part-a.bin"]


def test_a_gz_that_a_server_calls_packed_stays_as_it_is(get):
    packed = gzip.compress(CONTENT)
    expected = Expected(len(packed), hashlib.sha256(packed).hexdigest())
    assert get((200, GZIPPED, packed), expected=expected, name="a.bin.gz") == packed


def test_a_packed_answer_with_other_content_is_refused(get):
    assert "sha256 is" in refused(get, (200, GZIPPED, gzip.compress(b"y" + CONTENT[1:])))
    assert "which it is not" in refused(get, (200, GZIPPED, CONTENT[:-1]))
    assert list(get.place.parent.iterdir()) == []


# --- resuming --------------------------------------------------------------------------------------------------------


def test_another_version_of_the_file_is_not_joined_to_the_first(get):
    """The part is asked for by its tag; the server, which has another file by now, sends all of it."""
    first, second = {"ETag": '"one"'}, {"ETag": '"two"'}
    assert get((200, first, b"x" * len(CONTENT), 50_000), (200, second, CONTENT)) == CONTENT
    assert get.asked[1]["If-Range"] == '"one"' and get.asked[1]["Range"].startswith("bytes=")


def test_a_file_that_became_shorter_is_asked_for_from_its_beginning(get):
    get.place.parent.mkdir()
    get.place.write_bytes(b"x" * 99)
    assert get((416, {}, b""), (200, {}, CONTENT)) == CONTENT
    assert "Range" in get.asked[0] and "Range" not in get.asked[1]


def test_bodies_that_end_early_are_said_so(get):
    text = refused(get, (200, {"Content-Length": str(len(CONTENT))}, CONTENT[:70_000]), (416, {}, b""))
    assert "no more than" in text or "bytes" in text


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_is_asked_again_then(get, status):
    assert get((status, {"Retry-After": "7"}, b""), (200, {}, CONTENT)) == CONTENT
    assert get.pauses == [0, 7.0]


def test_nobody_waits_for_hours(get):
    text = refused(get, (429, {"Retry-After": "7200"}, b""))
    assert "come again in 7200 s" in text and len(get.asked) == 1
    assert "429" in refused(get, (429, {"Retry-After": "soon"}, b""))
    assert len(get.asked) == 3


def test_redirects_that_lead_in_a_circle(get):
    text = refused(get, (302, {"Location": "/a.bin"}, b""))
    assert "redirects" in text and len(get.asked) < 40


def test_the_page_of_a_network_that_wants_a_login(get):
    for page in (PAGE, PAGE + bytes(len(CONTENT))):
        text = refused(get, (200, {"Content-Type": "text/html; charset=utf-8"}, page))
        assert "a web page" in text and "log in" in text and len(get.asked) == 1
        assert list(get.place.parent.iterdir()) == []


# --- mirrors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("HTTP://Host/Data", "http://Host/Data/"),
        ("https://host/data//", "https://host/data/"),
        ("file:///a%20b/c", "/a b/c"),
        ("FILE://localhost/a", "/a"),
        ("file:/a/", "/a"),
        ("~/data", "HOME/data"),
        ("file://~/data", "HOME/data"),
        ("/a%20b", "/a%20b"),
        ("  ", "None"),
    ],
)
def test_addresses_of_mirrors(said, place, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(manifest.mirror_of(said)) == place.replace("HOME", "/home/me")


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://me:secret@host/a@2.gz", "https://***@host/a@2.gz"),
        ("404 for url: http://me:p@ss@host:80/x", "404 for url: http://***@host:80/x"),
        ("https://host/a@b", "https://host/a@b"),
        ("/folder/me@host", "/folder/me@host"),
    ],
)
def test_no_password_is_shown(url, seen):
    assert shown(url) == seen


# --- full disks ------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """A disk that is full where files get their content."""

    def write(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextlib.contextmanager
    def atomic(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield type("Full", (), {"write": write})()

    monkeypatch.setattr(transfer, "atomic_file", atomic)


def test_a_full_disk_is_no_fault_of_a_source(full, tmp_path):
    packed = tmp_path / "a.bin.gz"
    packed.write_bytes(gzip.compress(CONTENT))
    with pytest.raises(OSError, match="No space left"):
        transfer.place(packed, tmp_path / "a.bin", EXPECTED)


def test_a_fetch_on_a_full_disk_stops_at_the_first_source(small_disk, caplog):
    """It blames no mirror, tries no other, and leaves nothing half written."""
    root = small_disk / "data"
    (root / "embedded").mkdir(parents=True)
    (root / "embedded" / "a.bin.gz").write_bytes(gzip.compress(CONTENT))
    file = {"name": "a.bin", "bytes": EXPECTED.bytes, "sha256": EXPECTED.sha256, "embedded": "a.bin.gz", "mirror": "a"}
    entry = {"title": "Toy", "papers": [], "licence": "none", "citation": "none", "homepage": "http://toy"}
    entry |= {"click_through": False, "editions": {"official": {"files": [file]}}}
    (root / "manifest.yaml").write_text(str({"datasets": {"toy": entry}}), encoding="utf-8")
    (root / "raw" / "toy").mkdir(parents=True)
    disks.fill(small_disk)
    with pytest.raises(DataError, match=r"a\.bin: the disk is full; free some space"):
        manifest.ensure("toy", root / "raw", "", root / "manifest.yaml")
    assert caplog.text == ""
    assert [path.name for path in (root / "raw" / "toy").iterdir()] == [".lock"]
