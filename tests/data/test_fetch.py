"""Fetching: the right source, checked bytes, nothing overwritten, cut downloads continued. The only server is local."""

import datetime
import functools
import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import re
import socket
import tarfile
import threading
import time

import numpy as np
import pytest
import yaml

from reweigh import canonical_json
from reweigh.data import download, manifest
from reweigh.errors import DataError

CONTENT = np.random.default_rng(7).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files`; `cut` bytes into a reply it may drop the connection, once for every number in `cuts`."""

    def __init__(self, state, *args):
        self.state = state
        super().__init__(*args)

    def log_message(self, *args):
        pass

    def do_GET(self):
        begin, state = 0, self.state
        wanted = self.headers.get("Range")
        state["requests"].append((self.path, wanted))
        body = state["files"].get(self.path)
        if body is None:
            self.send_error(404)
            return
        if wanted and state["ranges"]:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        end = begin + state["cuts"].pop(0) if state["cuts"] else len(body)
        self.wfile.write(body[begin:end])
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    """A running server: its `url`, the `files` it has, the `cuts` it will make, the `requests` it got."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    state = {"files": {}, "cuts": [], "requests": [], "ranges": True}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, state)) as running:
        try:
            socket.create_connection(running.server_address, timeout=10).close()
        except OSError:
            pytest.skip("wants a network to itself (127.0.0.1)")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state | {"url": f"http://127.0.0.1:{running.server_port}", "state": state}
        running.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path):
    """A project with a data set `toy` of one file; call it with other manifest entries, or with another edition."""

    class Project:
        home = tmp_path / "data" / "raw" / "toy"
        target = home / "a.bin"
        embedded = tmp_path / "data" / "embedded"
        mirror = tmp_path / "mirror"

        def write(self, editions=None, **file):
            file = {"name": "a.bin", "bytes": len(CONTENT), "sha256": SHA256} | file
            entry = {"title": "Toy", "papers": [], "licence": "none", "citation": "none", "homepage": "http://toy"}
            entry |= {"click_through": False, "editions": editions or {"official": {"files": [file]}}}
            (tmp_path / "data").mkdir(exist_ok=True)
            (tmp_path / "data" / "manifest.yaml").write_text(yaml.safe_dump({"datasets": {"toy": entry}}))
            return self

        def put(self, place, content):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            return self

        def ensure(self, mirror=None):
            mirror = str(self.mirror) if mirror is None else mirror
            return manifest.ensure("toy", tmp_path / "data" / "raw", mirror, tmp_path / "data" / "manifest.yaml")

        def lies(self):
            """The files in data/raw/toy, without the lock."""
            return (
                sorted(path.name for path in self.home.iterdir() if path.name != ".lock") if self.home.exists() else []
            )

    return Project()


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_nearest_source_wins(project, server):
    server["files"]["/a.bin"] = CONTENT
    project.write(embedded="toy/a.bin.xz", mirror="toy/a.bin.gz", urls=[f"{server['url']}/a.bin"])
    project.put(project.mirror / "toy" / "a.bin.gz", gzip.compress(CONTENT))
    project.put(project.embedded / "toy" / "a.bin.xz", lzma.compress(CONTENT))

    def source():
        project.target.unlink(missing_ok=True)
        (project.home / "SOURCE.json").unlink(missing_ok=True)
        return project.ensure()["files"][0]["source"]

    assert source() == "embedded"
    (project.embedded / "toy" / "a.bin.xz").unlink()
    assert source() == "mirror"
    (project.mirror / "toy" / "a.bin.gz").unlink()
    assert source() == "official"
    assert project.target.read_bytes() == CONTENT
    assert len(server["requests"]) == 1
    (project.home / "SOURCE.json").unlink()
    assert project.ensure()["files"][0]["source"] == "present"


def test_the_source_file_says_where_from_and_stays(project):
    project.write(mirror="a.bin", urls=["https://toy.org/a.bin"]).put(project.mirror / "a.bin", CONTENT)
    source = project.ensure()
    assert source == json.loads((project.home / "SOURCE.json").read_text())
    assert (source["dataset"], source["edition"]) == ("toy", "official")
    expected = {"name": "a.bin", "bytes": len(CONTENT), "sha256": SHA256, "source": "mirror"}
    assert source["files"] == [expected | {"url": "https://toy.org/a.bin"}]
    stamp = (project.home / "SOURCE.json").stat().st_mtime_ns
    (project.mirror / "a.bin").unlink()
    assert project.ensure() == source
    assert (project.home / "SOURCE.json").stat().st_mtime_ns == stamp
    assert project.lies() == ["SOURCE.json", "a.bin"]


@pytest.mark.parametrize(
    ("old", "new", "source"),
    [
        ("https://toy.org/a", "https://t0y.org/a", "mirror"),
        ('"mirror"', '"mirroR"', "present"),
        ('"source"', '"sourcf"', "present"),
        ('"name"', '"nane"', "present"),
        ('"fetched": "2', '"fetched": "x', "mirror"),
        ('"files"', '"fil"', "present"),
    ],
)
def test_a_source_file_that_says_what_cannot_be_is_made_again(old, new, source, project):
    project.write(mirror="a.bin", urls=["https://toy.org/a.bin"]).put(project.mirror / "a.bin", CONTENT)
    before = project.ensure()
    text = (project.home / "SOURCE.json").read_text()
    assert old in text
    (project.home / "SOURCE.json").write_text(text.replace(old, new, 1))
    (file,) = before["files"]
    after = project.ensure()
    assert after["files"] == [{**file, "source": source}] and after == json.loads(
        (project.home / "SOURCE.json").read_text()
    )
    assert datetime.datetime.fromisoformat(after["fetched"])


def test_a_wrong_file_in_raw_is_refused_and_kept(project):
    project.write(mirror="a.bin").put(project.mirror / "a.bin", CONTENT)
    wrong = b"x" + CONTENT[1:]
    project.put(project.target, wrong)
    with pytest.raises(DataError) as caught:
        project.ensure()
    text = one_line(caught)
    assert all(word in text for word in (SHA256, hashlib.sha256(wrong).hexdigest(), "delete it"))
    assert project.target.read_bytes() == wrong
    project.target.unlink()
    assert project.ensure()["files"][0]["source"] == "mirror"


@pytest.mark.parametrize("bad", ["other content", "altered byte", "cut archive", "no archive"])
def test_a_bad_mirror_is_skipped_with_a_warning(project, server, caplog, bad):
    packed = gzip.compress(CONTENT)
    project.write(mirror="a.bin.gz", urls=[f"{server['url']}/a.bin"])
    broken = packed[:1000] + bytes([packed[1000] ^ 1]) + packed[1001:]
    contents = {"other content": gzip.compress(b"other"), "altered byte": broken}
    contents |= {"cut archive": packed[: len(packed) // 2], "no archive": b"<html>log in</html>"}
    project.put(project.mirror / "a.bin.gz", contents[bad])
    server["files"]["/a.bin"] = CONTENT
    assert project.ensure()["files"][0]["source"] == "official"
    assert re.search(r"a\.bin\.gz.*trying the next source", caplog.text)
    assert project.target.read_bytes() == CONTENT
    assert project.lies() == ["SOURCE.json", "a.bin"]


def test_nothing_works_is_one_line_that_says_what_would(project, server):
    server["files"]["/a.bin"] = b"y" + CONTENT[1:]
    project.write(mirror="toy/a.bin.gz", urls=[f"{server['url']}/gone", f"{server['url']}/a.bin"])
    project.put(project.mirror / "toy" / "a.bin.gz", b"nonsense")
    with pytest.raises(DataError) as caught:
        project.ensure()
    text = one_line(caught)
    assert all(word in text for word in ("404", SHA256, "REWEIGH_MIRROR", "reweigh fetch toy"))
    assert project.lies() == []
    with pytest.raises(DataError, match="nowhere is neither a folder nor an http address"):
        project.ensure(mirror=str(project.mirror / "nowhere"))


def test_without_a_network_the_error_says_so(project, monkeypatch):
    project.write(mirror="a.bin", urls=["http://127.0.0.1:9/a.bin"])
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    with pytest.raises(DataError) as caught:
        project.ensure()
    assert "with a network connection" in one_line(caught)


def test_a_cut_download_goes_on_where_it_stopped(project, server):
    server["files"]["/a.bin"] = CONTENT
    server["cuts"].extend([100_000, 50_000])
    project.write(urls=[f"{server['url']}/a.bin"])
    assert project.ensure()["files"][0]["sha256"] == SHA256
    begins = [int(wanted[6:-1]) if wanted else 0 for _, wanted in server["requests"]]
    assert begins[0] < 80_000 < begins[1] <= 100_000 < begins[2] <= 150_000
    assert project.lies() == ["SOURCE.json", "a.bin"]


def test_what_was_received_waits_for_the_next_time(project, server):
    server["files"]["/a.bin"] = CONTENT
    server["cuts"].extend([100_000, 50_000, 7])
    project.write(urls=[f"{server['url']}/a.bin"])
    with pytest.raises(DataError):
        project.ensure()
    (partial,) = project.home.glob(".part-*")
    received = partial.read_bytes()
    assert len(received) > 100_000
    assert CONTENT.startswith(received)
    project.ensure()
    assert server["requests"][-1][1] == f"bytes={len(received)}-"
    assert project.lies() == ["SOURCE.json", "a.bin"]


def test_a_server_that_cannot_resume_sends_the_whole_again(project, server):
    server["files"]["/a.bin"] = CONTENT
    server["state"]["ranges"] = False
    server["cuts"].append(100_000)
    project.write(urls=[f"{server['url']}/a.bin"])
    assert project.ensure()["files"][0]["sha256"] == SHA256
    assert project.target.read_bytes() == CONTENT


def test_a_leftover_of_another_file_is_thrown_away(project, server):
    server["files"]["/a.bin"] = CONTENT
    server["cuts"].extend([50_000, 0, 0])
    project.write(urls=[f"{server['url']}/a.bin"])
    with pytest.raises(DataError):
        project.ensure()
    (partial,) = project.home.glob(".part-*")
    partial.write_bytes(bytes(2000))
    assert project.ensure()["files"][0]["sha256"] == SHA256


def test_a_packed_download_is_checked_by_its_content(project, server):
    packed = gzip.compress(CONTENT)
    server["files"]["/mirror/toy/a.bin.gz"] = packed
    project.write(mirror="toy/a.bin.gz", download={"bytes": 12, "md5": 32 * "0"})
    assert project.ensure(mirror=f"{server['url']}/mirror")["files"][0]["source"] == "mirror"
    project.target.unlink()
    project.write(urls=[f"{server['url']}/mirror/toy/a.bin.gz"], download={"bytes": len(packed), "md5": 32 * "0"})
    with pytest.raises(DataError, match=r"md5 is .* expected 0000"):
        project.ensure()


@pytest.mark.parametrize("where", ["mirror", "official"])
def test_members_come_out_of_an_archive_that_is_fetched_once(project, server, where):
    stream = io.BytesIO()
    names = ("one", "two")
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(f"toy-batches/{name}")
            entry.size = len(CONTENT)
            archive.addfile(entry, io.BytesIO(CONTENT))
    packed = stream.getvalue()
    archive = {"name": "toy.tar.gz", "bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest()}
    archive |= {"mirror": "toy.tar.gz", "urls": [f"{server['url']}/toy.tar.gz"]}
    md5 = hashlib.md5(CONTENT).hexdigest()
    files = [{"name": n, "md5": md5, "archive": "toy.tar.gz", "member": f"toy-batches/{n}"} for n in names]
    project.write(editions={"official": {"archives": [archive], "files": files}})
    if where == "mirror":
        project.put(project.mirror / "toy.tar.gz", packed)
    else:
        server["files"]["/toy.tar.gz"] = packed
    source = project.ensure()
    assert [file["source"] for file in source["files"]] == [where, where]
    assert [file["url"] for file in source["files"]] == [f"{server['url']}/toy.tar.gz"] * 2
    assert project.lies() == ["SOURCE.json", "one", "two"]
    assert len(server["requests"]) == (0 if where == "mirror" else 1)
    files[0]["member"] = "toy-batches/three"
    project.write(editions={"official": {"archives": [archive], "files": files}})
    (project.home / "one").unlink()
    with pytest.raises(DataError, match="contains no toy-batches/three"):
        project.ensure()


def test_an_edition_nearby_is_taken_before_one_far_away(project, server):
    far = {"name": "a.bin", "sha256": SHA256, "urls": [f"{server['url']}/a.bin"]}
    near = {"name": "b.bin", "sha256": SHA256, "mirror": "b.bin"}
    server["files"]["/a.bin"] = CONTENT
    project.write(editions={"official": {"files": [far]}, "reconstruction": {"files": [near]}})
    project.put(project.mirror / "b.bin", CONTENT)
    assert project.ensure()["edition"] == "reconstruction"
    assert server["requests"] == []
    project.put(project.target, CONTENT)
    assert project.ensure()["edition"] == "official"


def test_half_an_edition_is_not_begun(project):
    files = [{"name": "a.bin", "sha256": SHA256, "mirror": "a.bin"}, {"name": "b.bin", "sha256": SHA256, "mirror": "b"}]
    project.write(editions={"official": {"files": files}}).put(project.mirror / "a.bin", CONTENT)
    with pytest.raises(DataError):
        project.ensure()
    assert project.lies() == []


def test_a_file_without_a_published_digest_must_stay_what_it_was(project, caplog):
    project.write(bytes=None, sha256=None, mirror="a.bin").put(project.mirror / "a.bin", CONTENT)
    assert project.ensure()["files"][0]["sha256"] == SHA256
    assert "no digest of it was published" in caplog.text
    project.target.write_bytes(b"changed")
    with pytest.raises(DataError, match=f"expected {SHA256}"):
        project.ensure()


def test_leftovers_of_killed_processes_are_swept(project):
    project.write(mirror="a.bin").put(project.mirror / "a.bin", CONTENT)
    project.put(project.home / ".a.bin.123.tmp", CONTENT[:10]).put(project.home / ".part-0-a.bin", b"")
    for leftover in project.home.iterdir():
        os.utime(leftover, (time.time() - 4000,) * 2)
    project.put(project.home / ".part-1-a.bin", b"")  # that of a process on another machine
    project.ensure()
    assert project.lies() == [".part-1-a.bin", "SOURCE.json", "a.bin"]


def test_processes_that_fetch_at_once_get_the_same(project, monkeypatch):
    """Also one that finds the files there before the first has written where they are from."""
    project.write(mirror="a.bin.gz").put(project.mirror / "a.bin.gz", gzip.compress(CONTENT))
    write = canonical_json.write

    def late(*arguments):
        time.sleep(0.2)
        return write(*arguments)

    monkeypatch.setattr(canonical_json, "write", late)
    sources = []
    threads = [threading.Thread(target=lambda: sources.append(project.ensure())) for _ in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert len(sources) == 4
    assert all(source["files"] == sources[0]["files"] for source in sources)
    assert sources[0]["files"][0]["source"] == "mirror"
    assert project.lies() == ["SOURCE.json", "a.bin"]
