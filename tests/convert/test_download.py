"""Downloads, from a server on this machine that can misbehave."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from mind_folder import IMPRESSIONS, NEWS
from tqdm import tqdm

from recbole_tinynews.convert import ConversionError, archive, download, release
from recbole_tinynews.convert import __main__ as command
from recbole_tinynews.convert.archive import unpack
from recbole_tinynews.convert.download import Source, fetch

CONTENT = bytes(range(256)) * 4_000
WANTED = ("behaviors.tsv", "news.tsv")


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``ranges``, ``breaks`` and ``status`` say how badly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True  # whether Range is understood
        self.breaks: list[int] = []  # of each response, the bytes before it breaks off
        self.status: list[int] = []  # for each request, a status instead of the file
        self.length = True  # whether Content-Length is sent
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        self.server.asked.append((name, wanted))
        if self.server.status:
            return self.send_error(self.server.status.pop(0))
        if name not in self.server.files:
            return self.send_error(404)
        content = self.server.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        if not self.server.ranges:
            start = 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            return self.end_headers()
        self.send_response(206 if wanted and self.server.ranges else 200)
        if wanted and self.server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = self.server.breaks.pop(0) if self.server.breaks else len(content)
        self.wfile.write(content[start : start + stop])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "SECONDS_BETWEEN", 0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def source(server: Server) -> Source:
    server.files["file.zip"] = CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Source(server.url("file.zip"), len(CONTENT), digest)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.zip"


class TestFetch:
    def test_a_whole_file_arrives_and_its_checksum_is_returned(self, source, target) -> None:
        for expected in (source, source._replace(bytes=None), source._replace(sha256=None)):
            target.unlink(missing_ok=True)
            assert fetch(expected, target) == source.sha256
            assert target.read_bytes() == CONTENT
            assert [path.name for path in target.parent.iterdir()] == ["file.zip"]

    def test_a_file_that_is_there_is_not_fetched_again(self, server, source, target) -> None:
        target.write_bytes(CONTENT)
        assert fetch(source, target) == source.sha256
        assert server.asked == []

    def test_a_wrong_file_that_is_there_is_named_and_kept(self, source, target) -> None:
        target.write_bytes(b"mine")
        with pytest.raises(ConversionError, match=r"got 4.*Remove"):
            fetch(source, target)
        assert target.read_bytes() == b"mine"

    def test_a_broken_connection_resumes_at_the_byte_where_it_broke(
        self, server, source, target
    ) -> None:
        server.breaks = [1_000, 50_000]
        fetch(source, target)
        assert target.read_bytes() == CONTENT
        assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-", "bytes=51000-"]

    def test_a_download_that_was_given_up_resumes_at_the_next_command(
        self, server, source, target
    ) -> None:
        server.breaks = [100_000, *[0] * (download.ATTEMPTS - 1)]
        with pytest.raises(ConversionError, match=r"broke after 100,000 bytes.*same command again"):
            fetch(source, target)
        assert not target.exists()
        server.asked.clear()
        fetch(source, target)
        assert server.asked == [("file.zip", "bytes=100000-")]
        assert target.read_bytes() == CONTENT

    def test_many_breaks_are_no_reason_to_give_up_while_bytes_come(
        self, server, source, target
    ) -> None:
        server.breaks = [30_000] * 20
        fetch(source, target)
        assert target.read_bytes() == CONTENT

    def test_ctrl_c_keeps_what_has_come(self, source, target, monkeypatch) -> None:
        monkeypatch.setattr(download, "_BLOCK", 10_000)
        update = tqdm.update

        def interrupted(bar, count) -> None:
            update(bar, count)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(tqdm, "update", interrupted)
            with pytest.raises(KeyboardInterrupt):
                fetch(source, target)
        assert (target.parent / ".file.zip.partial").stat().st_size == 10_000
        fetch(source, target)
        assert target.read_bytes() == CONTENT

    def test_without_range_a_download_starts_again_and_nothing_is_twice(
        self, server, source, target
    ) -> None:
        server.ranges = False
        (target.parent / ".file.zip.partial").write_bytes(CONTENT[:1_000])
        fetch(source, target)
        assert target.read_bytes() == CONTENT

    def test_a_server_that_tells_no_length_is_believed_only_with_the_known_size(
        self, server, source, target
    ) -> None:
        server.length = False
        server.breaks = [1_000]
        fetch(source, target)
        assert target.read_bytes() == CONTENT

    @pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 1, len(CONTENT) + 99])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_part_that_is_complete_or_too_long_does_not_block_a_download(
        self, source, target, size, known
    ) -> None:
        (target.parent / ".file.zip.partial").write_bytes((CONTENT + bytes(99))[:size])
        fetch(source if known else source._replace(bytes=None, sha256=None), target)
        assert target.read_bytes() == CONTENT

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
    def test_a_refusal_of_the_server_is_reported_at_once(
        self, server, source, target, status
    ) -> None:
        server.status = [status] * 9
        with pytest.raises(ConversionError, match=rf"file.zip: .*got HTTP {status}"):
            fetch(source, target)
        assert len(server.asked) == 1
        assert list(target.parent.iterdir()) == []

    def test_a_server_that_is_busy_is_asked_again(self, server, source, target) -> None:
        server.status = [503, 429, 500]
        fetch(source, target)
        assert target.read_bytes() == CONTENT

    def test_a_server_that_does_not_answer_is_an_error_of_the_url(self, source, target) -> None:
        with pytest.raises(ConversionError, match=r"http://127.0.0.1:9/x: .*refused"):
            fetch(Source("http://127.0.0.1:9/x"), target)

    @pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://a/b", "x", ""])
    def test_an_address_of_another_kind_is_not_opened(self, target, url) -> None:
        with pytest.raises(ConversionError, match="expected an address http"):
            fetch(Source(url), target)

    @pytest.mark.parametrize("url", ["http://a b/c", "http://[/", "http://127.0.0.1:x/", "http://"])
    def test_an_invalid_address_is_an_error(self, target, url) -> None:
        with pytest.raises(ConversionError, match=re.escape(url)):
            fetch(Source(url), target)

    def test_a_wrong_size_is_reported_before_gigabytes_are_downloaded(
        self, server, source, target
    ) -> None:
        with pytest.raises(ConversionError, match=r"file.zip: expected 5 bytes, got 1,024,000"):
            fetch(source._replace(bytes=5), target)
        assert not target.exists()

    def test_a_wrong_size_that_shows_at_the_end_is_refused(self, server, source, target) -> None:
        server.length = False
        with pytest.raises(ConversionError, match=r"expected 5 bytes, got 1,024,000.*removed"):
            fetch(source._replace(bytes=5), target)
        assert list(target.parent.iterdir()) == []

    def test_a_wrong_checksum_is_named_and_the_file_not_used(self, server, source, target) -> None:
        with pytest.raises(ConversionError, match=rf"SHA-256 00, got {source.sha256}"):
            fetch(source._replace(sha256="00"), target)
        assert list(target.parent.iterdir()) == []

    def test_a_part_of_another_file_is_found_out_by_the_checksum(self, source, target) -> None:
        part = target.parent / ".file.zip.partial"
        part.write_bytes(b"\xff" * 1_000)
        with pytest.raises(ConversionError, match="expected SHA-256"):
            fetch(source, target)
        fetch(source, target)
        assert target.read_bytes() == CONTENT

    def test_a_range_that_was_not_asked_for_is_refused(self, server, source, target) -> None:
        """Written at the wrong place, it would only be noticed as a damaged zip."""
        (target.parent / ".file.zip.partial").write_bytes(CONTENT[:7])
        server.files["file.zip"] = CONTENT
        send = Handler.send_header

        def shifted(self, name: str, value: str) -> None:
            send(self, name, value.replace("bytes 7-", "bytes 6-"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Handler, "send_header", shifted)
            with pytest.raises(ConversionError, match="expected the bytes from 7"):
                fetch(source, target)

    def test_a_full_disk_is_an_error_of_the_file(self, source, target, monkeypatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(download, "_write", full)
        with pytest.raises(ConversionError, match=r"file.zip: .*No space left"):
            fetch(source, target)


def packed(entries: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in entries.items() if isinstance(entries, dict) else entries:
            content.writestr(name, data)
    return buffer.getvalue()


def mind_zip(impressions: tuple[str, ...] = IMPRESSIONS, folder: str = "") -> bytes:
    rows = {"behaviors.tsv": impressions, "news.tsv": NEWS, "entity_embedding.vec": ("Q1 0.1",)}
    return packed({f"{folder}{name}": "\n".join(part).encode() for name, part in rows.items()})


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


GOOD = [("behaviors.tsv", b"a"), ("news.tsv", b"b")]
HOSTILE = {
    "up": [*GOOD, ("../evil", b"x")],
    "far up": [*GOOD, ("a/../../../evil", b"x")],
    "wanted and up": [("../behaviors.tsv", b"x"), GOOD[1]],
    "absolute": [*GOOD, ("/evil", b"x")],
    "backslash": [*GOOD, ("..\\evil", b"x")],
    "drive": [*GOOD, ("C:evil", b"x")],
    "link": [*GOOD, (link("evil"), b"/etc/passwd")],
    "wanted is a link": [(link("behaviors.tsv"), b"/etc/passwd"), GOOD[1]],
    "twice": [*GOOD, ("x/news.tsv", b"c")],
}


class TestUnpack:
    @pytest.mark.parametrize("folder", ["", "MINDsmall_train/"])
    def test_only_the_wanted_files_are_written(self, tmp_path, folder) -> None:
        file = tmp_path / "a.zip"
        file.write_bytes(mind_zip(folder=folder))
        unpack(file, tmp_path / "a", WANTED)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "a.zip", *WANTED]
        assert (tmp_path / "a" / "news.tsv").read_text() == "\n".join(NEWS)

    @pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
    def test_a_hostile_zip_is_refused_whole(self, tmp_path, entries) -> None:
        file = tmp_path / "in" / "deep" / "a.zip"
        file.parent.mkdir(parents=True)
        file.write_bytes(packed(entries))
        with pytest.raises(ConversionError, match=r"a.zip: expected files of MIND, got a "):
            unpack(file, file.parent / "a", WANTED)
        assert [path.name for path in tmp_path.rglob("*")] == ["in", "deep", "a.zip"]

    def test_a_bomb_is_refused_by_its_declared_size(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(archive, "LARGEST", 1_000)
        file = tmp_path / "a.zip"
        file.write_bytes(packed([GOOD[0], ("news.tsv", bytes(1_001))]))
        with pytest.raises(ConversionError, match="a file of 1,001 bytes"):
            unpack(file, tmp_path / "a", WANTED)

    def test_a_bomb_that_lies_about_its_size_is_no_larger_than_it_says(self, tmp_path) -> None:
        content = packed([GOOD[0], ("news.tsv", bytes(1_000_000))])
        file = tmp_path / "a.zip"
        file.write_bytes(content.replace(struct.pack("<L", 1_000_000), struct.pack("<L", 10)))
        with pytest.raises(ConversionError, match="damaged"):
            unpack(file, tmp_path / "a", WANTED)
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("entries", [[], GOOD[:1], GOOD[1:], [("a/b/news.tsv", b""), GOOD[0]]])
    def test_a_zip_that_lacks_a_file_is_an_error(self, tmp_path, entries) -> None:
        file = tmp_path / "a.zip"
        file.write_bytes(packed(entries))
        with pytest.raises(ConversionError, match="found no "):
            unpack(file, tmp_path / "a", WANTED)
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]

    def test_a_zip_that_is_damaged_anywhere_is_refused_or_harmless(self, tmp_path) -> None:
        whole, file = mind_zip(), tmp_path / "a.zip"
        refused = 0
        for place in range(0, len(whole), 3):
            for damaged in (whole[:place], whole[:place] + b"\xff" + whole[place + 1 :]):
                file.write_bytes(damaged)
                try:
                    unpack(file, tmp_path / "a", WANTED)
                except ConversionError:
                    refused += 1
                else:
                    assert (tmp_path / "a" / "news.tsv").read_text() == "\n".join(NEWS)
                    for name in WANTED:
                        (tmp_path / "a" / name).unlink()
                    (tmp_path / "a").rmdir()
                assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
        assert refused > len(whole) / 3


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
        server.files |= {
            f"MIND{size}_train.zip": mind_zip(),
            f"MIND{size}_dev.zip": mind_zip(IMPRESSIONS[1:2]),
        }
    server.files["MINDlarge_test.zip"] = mind_zip(unlabelled)
    folders = (f"--output={tmp_path / 'out'}", f"--download-dir={tmp_path / 'raw'}")
    return lambda *flags: command.main([*folders, f"--download-url={server.url()}", *flags])


class TestRelease:
    def test_a_release_is_downloaded_and_converted_by_one_flag(
        self, run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("--download=small") == 0
        printed = capsys.readouterr()
        assert "Microsoft Research License" in printed.err
        assert "research" in printed.err
        digest = hashlib.sha256(mind_zip()).hexdigest()
        assert f"MINDsmall_train.zip: {len(mind_zip())} bytes, SHA-256 {digest}" in printed.err
        assert "test: 1 impressions" in printed.out
        assert "valid: 2 impressions" in printed.out
        assert (tmp_path / "out" / "mind-small" / "mind-small.report.json").exists()

    def test_the_large_release_validates_on_dev_and_has_an_unlabelled_test_set(
        self, run: Command, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("--download=large") == 0
        printed = capsys.readouterr().out
        assert "train: 3 impressions" in printed
        assert "valid: 1 impressions" in printed
        assert "test: 3 impressions, 6 candidates, no labels" in printed

    def test_the_users_flags_win_over_what_a_release_implies(
        self, run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("--download=demo", "--valid=0.34", "--dataset=mine", "--check-leaks") == 0
        assert "valid: 1 impressions" in capsys.readouterr().out
        assert (tmp_path / "out" / "mine").is_dir()

    def test_a_second_command_asks_the_server_for_nothing(
        self, run: Command, server: Server, tmp_path: Path
    ) -> None:
        assert run("--download=demo") == 0
        for file in (tmp_path / "raw").glob("*.zip"):
            file.unlink()  # as a user does to save space
        server.asked.clear()
        assert run("--download=demo") == 0
        assert server.asked == []

    def test_a_hostile_or_missing_archive_ends_in_one_message(
        self, run: Command, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.files["MINDdemo_dev.zip"] = packed(HOSTILE["up"])
        assert run("--download=demo") == 1
        del server.files["MINDsmall_train.zip"]
        assert run("--download=small") == 1
        message = capsys.readouterr().err
        assert "MINDdemo_dev.zip: expected files of MIND, got a path that leaves" in message
        assert "MINDsmall_train.zip: expected the file, got HTTP 404" in message
        assert not (tmp_path / "out").exists()
        assert {file.name for file in (tmp_path / "raw").iterdir()} == {
            *("MINDdemo_train", "MINDdemo_train.zip", "MINDdemo_dev.zip")
        }

    def test_a_download_folder_that_is_a_file_is_an_error(
        self, run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "raw").write_text("mine")
        assert run("--download=demo") == 1
        assert "--download-dir=" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "flags",
        [
            ["--download=huge"],
            ["--download=demo", "--train=a"],
            ["--train=a", "--dataset=b", "--download-dir=c"],
            ["--train=a", "--dataset=b", "--download-url=c"],
            ["--dataset=b"],
        ],
    )
    def test_flags_that_contradict_each_other_are_reported_before_a_download(
        self, flags: list[str], server: Server
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            command.main(flags)
        assert caught.value.code == 2
        assert server.asked == []

    def test_the_data_beside_the_code_names_every_archive(self) -> None:
        known = release._known()
        assert known["base_url"] == "https://recodatasets.z20.web.core.windows.net/newsrec/"
        assert set(known["releases"]) == set(release.RELEASES)
        for size, parts in known["releases"].items():
            assert list(parts) == ["train", "dev", "test"][: 3 if size == "large" else 2]
            for split, entry in parts.items():
                assert entry["file"] == f"MIND{size}_{split}.zip"
                assert set(entry) == {"file", "bytes", "sha256"}
        demo = known["releases"]["demo"]
        assert (demo["train"]["bytes"], demo["dev"]["bytes"]) == (17_372_879, 10_080_022)
