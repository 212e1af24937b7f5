"""Downloads from a real server: complete and correct under their name, or absent."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.data.catalogue import Entry, File, Member
from bench.data.downloads import BLOCK, FetchError, Progress, fetch

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Server of files by path; the last bytes of the files in `cut` are withheld."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.requests: list[str] = []

    @property
    def place(self) -> str:
        """Return the base URL of the paths."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    """Answer to one request."""

    server: Server

    def do_GET(self) -> None:
        """Send the file, or 404."""
        path = self.path.removeprefix("/")
        self.server.requests.append(path)
        if path not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) - self.server.cut.get(path, 0)])

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Start a server on this machine, without a proxy."""
    monkeypatch.setenv("no_proxy", "*")
    with Server() as result:
        thread = threading.Thread(target=result.serve_forever, args=(0.01,))
        thread.start()
        yield result
        result.shutdown()
        thread.join()


def file_of(content: bytes, name: str = "a.bin", unpacks: tuple[Member, ...] = ()) -> File:
    return File(name, len(content), hashlib.sha256(content).hexdigest(), unpacks)


def entry(*files: File) -> Entry:
    return Entry("toy", "nobody", "none", (), files)


def silent(file: File) -> Progress:
    return lambda done: None


def names(folder: Path) -> list[str]:
    """Return the names of all files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def refused(toy: Entry, folder: Path, *places: str) -> str:
    """Return the one-line error of a download that fails."""
    with pytest.raises(FetchError) as error:
        fetch(toy, folder, places, silent)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_is_fetched_once(tmp_path: Path, server: Server) -> None:
    server.files = {"a.bin": CONTENT, "b%20c.bin": b"b"}
    message: dict[str, list[int]] = {}

    def tell(file: File) -> Progress:
        return message.setdefault(file.name, []).append

    toy, folder = entry(file_of(CONTENT), file_of(b"b", "b c.bin")), tmp_path / "deep" / "toy"
    assert fetch(toy, folder, (server.place,), tell) == ["a.bin", "b c.bin"]
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert names(folder) == ["a.bin", "b c.bin"]
    assert {name: done[-1] for name, done in message.items()} == {
        "a.bin": len(CONTENT),
        "b c.bin": 1,
    }
    assert message["a.bin"] == sorted(message["a.bin"])
    assert fetch(toy, folder, (server.place,), tell) == []
    (folder / "a.bin").unlink()
    assert fetch(toy, folder, (server.place,), tell) == ["a.bin"]
    assert server.requests == ["a.bin", "b%20c.bin", "a.bin"]


def test_the_next_place_is_tried_after_a_failure(tmp_path: Path, server: Server) -> None:
    wrong = bytes([1]) + CONTENT[1:]
    server.files = {"wrong/a.bin": wrong, "right/a.bin": CONTENT}
    places = tuple(f"{server.place}{x}/" for x in ("none", "wrong", "right", "more"))
    assert fetch(entry(file_of(CONTENT)), tmp_path, places, silent) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.requests == ["none/a.bin", "wrong/a.bin", "right/a.bin"]


@pytest.mark.parametrize(
    ("content", "cut", "message"),
    [
        (None, 0, "the server answers 404 Not Found"),
        (bytes([1]) + CONTENT[1:], 0, "its SHA-256 is "),
        (CONTENT + b"x", 0, "it holds 1,024,001 bytes, must hold 1,024,000"),
        (CONTENT[:-1], 0, "the transfer ended after 1,023,999 of 1,024,000 bytes"),
        (CONTENT, 300_000, "the transfer "),
    ],
    ids=["404", "other", "longer", "shorter", "broken off"],
)
def test_an_incorrect_download_leaves_nothing(
    tmp_path: Path, server: Server, content: bytes | None, cut: int, message: str
) -> None:
    server.files = {} if content is None else {"a.bin": content}
    server.cut = {"a.bin": cut}
    actual = refused(entry(file_of(CONTENT)), tmp_path, server.place)
    assert actual.startswith(f"a.bin could not be downloaded, {server.place}a.bin: {message}")
    assert "no network" not in actual
    assert names(tmp_path) == []


def test_an_endless_download_is_abandoned(tmp_path: Path, server: Server) -> None:
    server.files = {"a.bin": CONTENT * 4}
    message: list[int] = []
    toy = entry(file_of(CONTENT))
    with pytest.raises(FetchError, match=r"must hold 1,024,000"):
        fetch(toy, tmp_path, (server.place,), lambda file: message.append)
    assert len(CONTENT) < message[-1] <= len(CONTENT) + BLOCK


def test_without_a_network_the_message_lists_the_files_to_copy(
    tmp_path: Path, server: Server
) -> None:
    server.files = {"a.bin": CONTENT}
    toy = entry(file_of(CONTENT), file_of(b"b", "b.bin"), file_of(b"c", "c.bin"))
    assert "b.bin could not be downloaded" in refused(toy, tmp_path, server.place)
    unreachable = "http://127.0.0.1:9/"
    actual = refused(toy, tmp_path, unreachable, "http://no-such-host.invalid/")
    assert "there seems to be no network: http://127.0.0.1:9/b.bin: " in actual
    assert "Connection refused; http://no-such-host.invalid/b.bin: " in actual
    assert actual.endswith(f"or copy b.bin, c.bin into {tmp_path} by hand")
    assert names(tmp_path) == ["a.bin"]


def test_an_interrupted_transfer_leaves_nothing(tmp_path: Path, server: Server) -> None:
    server.files = {"a.bin": CONTENT}

    def stopping(file: File) -> Progress:
        def progress(done: int) -> None:
            assert any(name.endswith(".part") for name in names(tmp_path))
            raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        fetch(entry(file_of(CONTENT)), tmp_path, (server.place,), stopping)
    assert names(tmp_path) == []


def test_another_file_of_that_name_is_left_alone(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "a.bin"
    for content, message in (
        (b"mine", "it holds 4 bytes, must hold 1,024,000"),
        (bytes([1]) + CONTENT[1:], "its SHA-256 is "),
    ):
        path.write_bytes(content)
        actual = refused(entry(file_of(CONTENT)), tmp_path, server.place)
        assert actual.startswith(f"{path} is there, but {message}")
        assert actual.endswith(": move it away to fetch it again")
        assert path.read_bytes() == content
    assert server.requests == []


def tarred(members: dict[str, bytes], link: str = "") -> bytes:
    """Return a .tar.gz of these files and, optionally, a link of this name to the password file."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    return result.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a .zip of these files."""
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return result.getvalue()


@pytest.mark.parametrize(("name", "pack"), [("a.tar.gz", tarred), ("a.zip", zipped)])
def test_only_listed_members_are_extracted(
    tmp_path: Path, server: Server, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    inside = {"d/one.bin": b"1", "../evil": b"e", "/abs": b"e", "d/two.bin": b"22", "d/x": b"x"}
    content = pack(inside)
    toy = entry(file_of(content, name, (Member("d/two.bin", 2), Member("d/one.bin"))))
    server.files = {name: content}
    folder = tmp_path / "toy"
    assert fetch(toy, folder, (server.place,), silent) == [name]
    assert names(folder) == ["one.bin", "two.bin"]
    assert names(tmp_path) == ["toy"]
    assert (folder / "two.bin").read_bytes() == b"22"
    assert fetch(toy, folder, (), silent) == []
    (folder / "one.bin").unlink()
    (folder / name).write_bytes(content)  # copied by hand
    assert fetch(toy, folder, (), silent) == [name]
    assert names(folder) == [name, "one.bin", "two.bin"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tarred({"d/one.bin": b"1"}), "it lacks d/two.bin"),
        (tarred({"d/one.bin": b"1"}, link="d/two.bin"), "it lacks d/two.bin"),
        (tarred({"d/two.bin": b"333"}), "d/two.bin holds 3 bytes, must hold 2"),
        (tarred({"d/two.bin": b"22"})[:60], "Compressed file ended before"),
        (b"no archive", "not a gzip file"),
    ],
    # An archive contains the time: as names, two test collections would differ.
    ids=["missing", "a link", "longer", "cut", "no archive"],
)
def test_an_unexpected_archive_is_refused(
    tmp_path: Path, server: Server, content: bytes, message: str
) -> None:
    toy = entry(file_of(content, "a.tar.gz", (Member("d/two.bin", 2),)))
    server.files = {"a.tar.gz": content}
    actual = refused(toy, tmp_path, server.place)
    assert actual.startswith("a.tar.gz is not the expected archive: ")
    assert message in actual
    assert "two.bin" not in names(tmp_path)


def test_another_member_of_that_name_is_left_alone(tmp_path: Path) -> None:
    toy = entry(file_of(b"", "a.tar.gz", (Member("d/two.bin", 2),)))
    path = tmp_path / "two.bin"
    path.write_bytes(b"333")
    actual = refused(toy, tmp_path)
    assert actual.startswith(f"{path} is there, but holds 3 bytes, must hold 2: move it away")
