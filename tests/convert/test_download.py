"""Downloads, from a server on this machine that can misbehave."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from mind_folder import IMPRESSIONS, NEWS

from recbole_tinynews.convert import ConversionError, release
from recbole_tinynews.convert import __main__ as command
from recbole_tinynews.convert.release import fetch, unpack

CONTENT = bytes(range(256)) * 4_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WANTED = ("behaviors.tsv", "news.tsv")
IN_A = [f"in/deep/a/{name}" for name in WANTED]


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``breaks`` says how badly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []  # of each response, the bytes before it breaks off
        self.asked: list[str] = []

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        if name not in self.server.files:
            return self.send_error(404)
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        stop = self.server.breaks.pop(0) if self.server.breaks else len(content)
        self.wfile.write(content[:stop])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with Server() as server:
        server.files["file.zip"] = CONTENT
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.zip"


class TestFetch:
    @pytest.fixture
    def get(self, server: Server, target: Path) -> Callable[..., bytes]:
        """Fetch ``file.zip``; returns what arrived."""

        def get(size: int | None = len(CONTENT), sha256: str | None = DIGEST) -> bytes:
            fetch(target, server.url(), size, sha256)
            assert [path.name for path in target.parent.iterdir()] == ["file.zip"]
            return target.read_bytes()

        return get

    def test_a_broken_connection_is_tried_again(self, server, get) -> None:
        """Half an archive would be taken for a whole one where no checksum is known."""
        server.breaks = [2 * release._BLOCK + 9, release._BLOCK]
        assert get(size=None, sha256=None) == CONTENT
        assert len(server.asked) == 3

    def test_a_download_that_is_given_up_leaves_nothing(self, server, get, target) -> None:
        """A part under the final name would be unpacked by the next command."""
        server.breaks = [release._BLOCK, 0, 0]
        with pytest.raises(ConversionError, match=r"file\.zip: expected a download"):
            get()
        assert list(target.parent.iterdir()) == []
        server.asked.clear()
        assert get() == get() == CONTENT
        assert len(server.asked) == 1

    @pytest.mark.parametrize("known", [{"size": 5}, {"sha256": "00"}])
    def test_another_file_than_the_known_one_is_refused(self, get, known) -> None:
        with pytest.raises(ConversionError, match=r"file\.zip: .*(instead of 5|hash .*00)"):
            get(**known)

    @pytest.mark.parametrize(
        "url", ["file:///etc", "ftp://a", "x", "", "http://a b", "http://[", "http://127.0.0.1:9"]
    )
    def test_no_server_there_is_one_error_with_the_address(self, server, target, url) -> None:
        """Offline, say. The address is named, and what to do."""
        with pytest.raises(
            ConversionError, match=rf"^{re.escape(url)}/file\.zip: .*another server"
        ):
            fetch(target, url)

    def test_without_pooch_the_error_names_the_extra(self, target, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, "pooch", None)
        with pytest.raises(ModuleNotFoundError, match=r"needs pooch.*\[download\]"):
            fetch(target, "http://127.0.0.1:9")
        folders = [f"--{name}={target.parent}" for name in ("download-dir", "output")]
        assert command.main(["--download=demo", "--dataset=d", *folders]) == 1  # no traceback


def packed(entries: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in entries.items() if isinstance(entries, dict) else entries:
            content.writestr(name, data)
    return buffer.getvalue()


def mind_zip(impressions: tuple[str, ...] = IMPRESSIONS) -> bytes:
    rows = {"behaviors.tsv": impressions, "news.tsv": NEWS, "entity_embedding.vec": ("Q1 0.1",)}
    return packed({name: "\n".join(part).encode() for name, part in rows.items()})


GOOD = [("behaviors.tsv", b"a"), ("news.tsv", b"b")]
LINK = zipfile.ZipInfo("news.tsv")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16
IN_FOLDER = "MINDsmall_train/"
HOSTILE = {
    "others": [*GOOD, ("entity_embedding.vec", b"x")],
    "in a folder": [(f"{IN_FOLDER}{name}", data) for name, data in [*GOOD, ("entity.vec", b"x")]],
    "up": [*GOOD, ("../evil", b"x")],
    "wanted and up": [GOOD[0], ("../news.tsv", b"b")],
    "absolute": [GOOD[0], ("/news.tsv", b"b")],
    "wanted is a link": [GOOD[0], (LINK, b"b")],
}


class TestUnpack:
    @pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
    def test_only_the_wanted_files_are_written_and_nothing_elsewhere(
        self, tmp_path, entries
    ) -> None:
        """A mirror could overwrite any file of the user, or make a link to it."""
        file = tmp_path / "in" / "deep" / "a.zip"
        file.parent.mkdir(parents=True)
        file.write_bytes(packed(entries))
        unpack(file, file.parent / "a")
        names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
        assert names == {"in", "in/deep", "in/deep/a.zip", "in/deep/a", *IN_A}
        assert not (file.parent / "a" / "news.tsv").is_symlink()
        assert (file.parent / "a" / "news.tsv").read_bytes() == b"b"

    def test_a_bomb_that_lies_about_its_size_is_no_larger_than_it_says(self, tmp_path) -> None:
        content = packed([GOOD[0], ("news.tsv", bytes(1_000_000))])
        file = tmp_path / "a.zip"
        file.write_bytes(content.replace(struct.pack("<L", 1_000_000), struct.pack("<L", 10)))
        with pytest.raises(ConversionError, match="CRC"):
            unpack(file, tmp_path / "a")
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("entries", [[], GOOD[:1], GOOD[1:]])
    def test_a_zip_that_lacks_a_file_is_an_error(self, tmp_path, entries) -> None:
        file = tmp_path / "a.zip"
        file.write_bytes(packed(entries))
        with pytest.raises(ConversionError, match=r"no (behaviors|news)\.tsv"):
            unpack(file, tmp_path / "a")
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]

    def test_a_zip_that_is_damaged_anywhere_is_refused_or_harmless(self, tmp_path) -> None:
        whole, file = mind_zip(), tmp_path / "a.zip"
        refused = 0
        for place in range(0, len(whole), 11):
            for damaged in (whole[:place], whole[:place] + b"\xff" + whole[place + 1 :]):
                file.write_bytes(damaged)
                try:
                    unpack(file, tmp_path / "a")
                except ConversionError:
                    refused += 1
                else:
                    assert (tmp_path / "a" / "news.tsv").read_text() == "\n".join(NEWS)
                    for name in WANTED:
                        (tmp_path / "a" / name).unlink()
                    (tmp_path / "a").rmdir()
                assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
        assert refused > len(whole) / 11


Command = Callable[..., int]


@pytest.fixture
def run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with ``--download``, asking the local server for archives of any size."""
    known = yaml.safe_load(Path(release.__file__).with_name("downloads.yaml").read_text())
    for parts in known["releases"].values():
        for entry in parts.values():
            entry["bytes"] = entry["sha256"] = None
    monkeypatch.setattr(release, "_known", lambda: known)
    unlabelled = tuple(re.sub(r"-[01](?= |$)", "", line) for line in IMPRESSIONS)
    for size in ("demo", "small", "large"):
        server.files[f"MIND{size}_train.zip"] = mind_zip()
        server.files[f"MIND{size}_dev.zip"] = mind_zip(IMPRESSIONS[1:2])
    server.files["MINDlarge_test.zip"] = mind_zip(unlabelled)
    folders = (f"--output={tmp_path / 'out'}", f"--download-dir={tmp_path / 'raw'}")
    return lambda *flags: command.main([*folders, f"--download-url={server.url()}", *flags])


class TestRelease:
    @pytest.mark.parametrize(
        ("flags", "name", "said"),
        [
            (["small"], "mind-small", ["valid: 2 impressions", "test: 1 impressions"]),
            (["demo", "--valid=0.34", "--dataset=mine"], "mine", ["valid: 1 impressions"]),
            (  # of which dev is the validation set, and the test set unlabelled
                ["large"],
                "mind-large",
                ["train: 3 imp", "valid: 1 imp", "test: 3 impressions, 6 candidates, no labels"],
            ),
        ],
    )
    def test_a_release_is_downloaded_and_converted_by_one_flag_unless_others_say_more(
        self, run: Command, tmp_path: Path, capsys, flags: list[str], name: str, said: list[str]
    ) -> None:
        assert run(f"--download={flags[0]}", *flags[1:]) == 0
        printed = capsys.readouterr()
        assert "Microsoft Research License" in printed.err
        assert all(each in printed.out for each in said)
        assert (tmp_path / "out" / name / f"{name}.report.json").exists()

    def test_a_second_command_asks_the_server_for_nothing(
        self, run: Command, server: Server, tmp_path: Path
    ) -> None:
        assert run("--download=demo") == 0
        for file in (tmp_path / "raw").glob("*.zip"):
            file.unlink()  # as a user does to save space
        server.asked.clear()
        assert run("--download=demo") == 0
        assert server.asked == []

    def test_a_damaged_or_missing_archive_ends_in_one_message(
        self, run: Command, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.files["MINDdemo_dev.zip"] = mind_zip()[:-9]
        assert run("--download=demo") == 1
        del server.files["MINDsmall_train.zip"]
        assert run("--download=small") == 1
        message = capsys.readouterr().err
        assert "MINDdemo_dev.zip: expected a zip of MIND that can be unpacked" in message
        assert "MINDsmall_train.zip: expected a download" in message
        assert "404" in message
        assert not (tmp_path / "out").exists()
        assert {file.name for file in (tmp_path / "raw").iterdir()} == {
            *("MINDdemo_train", "MINDdemo_train.zip", "MINDdemo_dev.zip")
        }

    @pytest.mark.parametrize(
        "flags",
        [
            ["--download=huge"],
            ["--download=demo", "--train=a"],
            ["--train=a", "--dataset=b", "--download-dir=c"],
            ["--train=a", "--dataset=b", "--download-url=c"],
            *([], ["--train=a"], ["--dataset=b"], ["--train=a", "--dataset=b", "--vald=c"]),
        ],
    )
    def test_flags_that_contradict_each_other_or_are_misspelt_are_reported_before_a_download(
        self, flags: list[str], server: Server
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            command.main(flags)
        assert caught.value.code == 2
        assert server.asked == []
