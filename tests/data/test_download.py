import io
import zipfile
from email.message import Message

import pytest

from multipath_gcn.data import download


@pytest.fixture
def answer(monkeypatch):
    def set_answer(content, length=None):
        def urlopen(url, timeout):
            stream = io.BytesIO(content)
            stream.headers = Message()
            stream.headers["Content-Length"] = str(len(content) if length is None else length)
            return stream

        monkeypatch.setattr(download, "urlopen", urlopen)

    return set_answer


def archive(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as content:
        for name, text in files.items():
            content.writestr(name.replace("_", "/"), text)
    return stream.getvalue()


def test_fetch(answer, tmp_path):
    answer(b"hello")
    download.fetch("http://host/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"hello"


def test_fetch_refuses_a_short_answer(answer, tmp_path):
    answer(b"hello", length=9)
    with pytest.raises(OSError, match="http://host/x ended after 5 of 9 bytes"):
        download.fetch("http://host/x", tmp_path / "x")


@pytest.mark.parametrize("top, names", [("", ["arxiv/a", "arxiv/raw/b"]), ("arxiv", ["a", "raw/b"])])
def test_fetch_zip(answer, tmp_path, top, names):
    answer(archive(arxiv_a="1", arxiv_raw_b="2"))
    download.fetch_zip("http://host/x.zip", tmp_path, top=top)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == names


def test_fetch_zip_refuses_a_page(answer, tmp_path):
    answer(b"<html>moved</html>")
    with pytest.raises(OSError, match="did not answer with a zip archive"):
        download.fetch_zip("http://host/x.zip", tmp_path)
