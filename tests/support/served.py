"""A server of one file that answers as it is told to, and a download from it."""

import contextlib
import hashlib
import http.server
import threading
from typing import ClassVar

import pytest

from reweigh.data import download as module
from reweigh.data.download import download
from reweigh.data.transfer import Expected
from reweigh.errors import DataError

CONTENT = bytes(range(256)) * 400
EXPECTED = Expected(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
PAGE = b"<html>log in</html>"


class Answers(http.server.BaseHTTPRequestHandler):
    """Gives one answer of a list after the other, the last one for ever: status, headers, body, bytes sent of it."""

    given: ClassVar[list] = []
    asked: ClassVar[list] = []

    def log_message(self, *args):
        pass

    def do_GET(self):
        status, headers, body, sent = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        self.asked.append(dict(self.headers))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has enough goes away
            self.wfile.write(body[:sent])
        self.close_connection = True


def getter(tmp_path, monkeypatch):
    """Download from a server that gives these answers: the bytes on disk.

    `get.pauses`, `get.asked`, `get.place`, and `get.most`: the most bytes that were on the disk, packed or not.
    """
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    measure = module.measure

    def measured(path, expected):
        fetched.most = max(fetched.most, path.stat().st_size)
        return measure(path, expected)

    monkeypatch.setattr(module, "measure", measured)

    def fetched(*answers, expected=EXPECTED, name="a.bin"):
        Answers.given, Answers.asked = [(*one, None) if len(one) == 3 else one for one in answers], []
        fetched.asked, fetched.most = Answers.asked, 0
        fetched.place.parent.mkdir(exist_ok=True)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                url = f"http://me:secret@127.0.0.1:{server.server_port}/{name}"
                return download(url, fetched.place, expected).read_bytes()
            finally:
                server.shutdown()
                thread.join()

    fetched.pauses, fetched.place = pauses, tmp_path / "home" / ".part-a.bin"
    return fetched


def refused(get, *answers, **options):
    with pytest.raises(DataError) as caught:
        get(*answers, **options)
    text = str(caught.value)
    assert "\n" not in text and "secret" not in text and "me:" not in text
    return text
