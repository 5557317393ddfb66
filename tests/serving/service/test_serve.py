"""The command, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from forked import SECONDS, ask, in_a_fork
from served import Served

from recbole_tinynews.pipeline.update import switch
from recbole_tinynews.serving import serve
from recbole_tinynews.serving.service.server import bound

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("_extra")]


def news_file(folder: Path, articles: int = 3) -> Path:
    file = folder / "news.csv"
    rows = "".join(f"A{number},word{number % 50}\n" for number in range(articles))
    file.write_text(f"id,title\n{rows}", encoding="utf-8")
    return file


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What the command says before it ends with an error, in this process."""
    with pytest.raises(SystemExit) as ended:
        serve.main(list(map(str, arguments)))
    assert ended.value.code in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_it_serves_until_it_is_told_to_stop(
    student: Served, teacher: Served, tmp_path: Path
) -> None:
    """Ctrl-C ends it without a traceback, after the requests that came have their answers."""
    folders = student.artifact.folder, teacher.artifact.folder
    process, lines = in_a_fork(*folders, f"--news={news_file(tmp_path)}")
    with lines:
        address = next(line.split()[1] for line in lines if line.startswith("serving"))
        assert address.startswith("http://127.0.0.1:")
        names = [each["name"] for each in ask(address, "GET", "/health")[1]["recommenders"]]
        assert names == [folder.name for folder in folders]
        body = {"history": ["A1"], "candidates": ["A0", "A2", {"title": "word9"}]}
        status, answer = ask(address, "POST", "/rank", body)
        assert status == 200
        expected = student.load().rank(["word1"], ["word0", "word2", "word9"])
        assert [each["place"] for each in answer["ranked"]] == [each.place for each in expected]
        os.kill(process.pid or 0, signal.SIGHUP)
        assert any("reloaded" in line for line in lines)
        assert ask(address, "POST", "/rank", body) == (status, answer)
        os.kill(process.pid or 0, signal.SIGINT)
        said = lines.read()
    process.join(SECONDS)
    assert process.exitcode == 0
    assert "Traceback" not in said, said


def test_ctrl_c_while_it_encodes_ends_it(student: Served, tmp_path: Path) -> None:
    news = news_file(tmp_path, 100_000)
    process, lines = in_a_fork(student.artifact.folder, f"--news={news}")
    with lines:
        assert "encoding" in lines.readline()
        os.kill(process.pid or 0, signal.SIGINT)
        said = lines.read()
    process.join(SECONDS)
    assert process.exitcode == 130
    assert "Traceback" not in said, said


def test_recommenders_are_exchanged_without_a_failed_request(
    student: Served, teacher: Served, tmp_path: Path, monkeypatch, capsys
) -> None:
    """An update would end all requests that run, lose what was put, and bring back what was not.

    A link that moves while a service starts would be followed after its next move alone.
    """
    from fastapi.testclient import TestClient

    from recbole_tinynews.serving.service import server

    folder = tmp_path / "current"
    statuses: list[int] = []
    errors: list[str] = []
    versions: set[str] = set()
    folder.symlink_to(student.artifact.folder)

    def run(app: Any, *_: Any) -> None:
        with TestClient(app) as client, ThreadPoolExecutor() as pool:
            news = [{"id": "put", "title": "word7"}]
            assert client.put("/news", json={"news": news}).is_success
            assert client.delete("/news/A2").is_success
            going = threading.Event()

            def ask_on() -> None:
                while not going.is_set():
                    body = {"history": ["put"], "candidates": ["A0", "A1"]}
                    statuses.append(client.post("/rank", json=body).status_code)

            asking = [pool.submit(ask_on) for _ in range(3)]
            try:
                for target in (tmp_path / "broken", teacher.artifact.folder):
                    before, until = len(errors), time.monotonic() + 30
                    if before:
                        switch(folder, target)
                    while len(errors) == before and len(versions) < 2:
                        assert time.monotonic() < until, "the link was not followed"
                        errors.extend(capsys.readouterr().err.splitlines())
                        versions.add(client.get("/health").json()["recommenders"][0]["version"])
                number = len(statuses)
                while len(statuses) < number + 9:
                    time.sleep(0.01)
            finally:  # else the pool would wait for ever
                going.set()
            assert [each.result(SECONDS) for each in asking] == [None] * 3
            kept = [each["id"] for each in client.get("/news?query=").json()["news"]]
            assert kept == ["A0", "A1", "put"]

    def move_while_it_starts(_: Path | None) -> None:
        switch(folder, tmp_path / "broken")

    monkeypatch.setattr(server, "run", run)
    monkeypatch.setattr(serve, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(serve, "_token", move_while_it_starts)
    store = f"--store={tmp_path / 'store'}"
    serve.main([str(folder), f"--news={news_file(tmp_path)}", store, "--port=0"])
    assert set(statuses) == {200}
    assert versions == {each.load().engine.identity for each in (student, teacher)}
    assert len(errors) == 1
    assert errors[0].startswith("not reloaded: ")


def test_an_address_that_is_taken_is_said_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes a minute to encode a site's articles."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(capsys, tmp_path / "nothing", f"--port={port}")
    assert f"--port={port} can't be served" in said
    assert "0 to 65535" in refused(capsys, tmp_path, "--port=99999")
    assert "--host=no such host" in refused(capsys, tmp_path, "--host=no such host")


def test_answers_are_sent_at_once() -> None:
    """Else each waits 40 ms until the client has acknowledged its first lines."""
    with bound("127.0.0.1", 0) as place:
        assert place.proto == socket.IPPROTO_TCP  # for which alone asyncio sets TCP_NODELAY


def test_what_can_t_be_served_is_one_line(
    student: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = student.artifact.folder
    assert "has none of them" in refused(capsys, tmp_path / "nothing", "--port=0")
    assert "No such file" in refused(capsys, folder, "--port=0", "--news=nothing.csv")
    table = tmp_path / "news.csv"
    table.write_text("name,title\n1,x\n", encoding="utf-8")
    assert "columns" in refused(capsys, folder, "--port=0", f"--news={table}")
    longer = b"id,title\n1,Storm, then rain\n2,Cup final\n"  # titles would be ids
    files = {"a.csv": b"", "b.csv": b"\xff\x99\0", "c.parquet": b"x" * 99, "d.csv": longer}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)  # pandas names no file
        said = refused(capsys, folder, "--port=0", f"--news={tmp_path / name}")
        assert str(tmp_path / name) in said
    for device in ("cuda:99", "tpu", ""):
        said = refused(capsys, folder, "--port=0", f"--device={device}")
        assert f"device={device} expects" in said


@pytest.mark.parametrize(
    ("pages", "said"), [(1, "expects a store of events"), (20, "The store does not answer")]
)
def test_a_full_disk_at_the_start_is_one_line(
    pages: int, said: str, student: Served, tmp_path: Path, capsys, monkeypatch
) -> None:
    """56 lines of traceback with the articles' texts, of which the cause was the last but one."""
    from recbole_tinynews.serving.store import CONNECT

    full = [*CONNECT["sqlite"], f"PRAGMA max_page_count = {pages}"]
    monkeypatch.setitem(CONNECT, "sqlite", full)
    where = f"--store={tmp_path / 'store'}", f"--news={news_file(tmp_path, 2_000)}", "--port=0"
    (line,) = refused(capsys, student.artifact.folder, *where).splitlines()
    assert said in line
    assert line.endswith("database or disk is full.")


def test_a_service_is_ready_however_long_its_articles_took(student: Served, monkeypatch) -> None:
    """A balancer would take it for broken just after its start, and restart it."""
    from recbole_tinynews.serving.service.state import ServiceState, open_state
    from recbole_tinynews.serving.store import Store

    def slow(state: ServiceState, show_progress: bool) -> None:
        state.read_at -= 60

    monkeypatch.setattr(ServiceState, "follow_articles", slow)
    state = open_state({"student": student.load()}, Store())
    assert time.monotonic() - state.read_at < 5


def test_the_others_are_served_where_one_folder_is_damaged(
    student: Served, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service would end with the error of one; without its default, it would rank by another."""
    (folder / "metrics.json").write_bytes(b"[" * 9_999)
    folders = [str(student.artifact.folder), str(folder)]
    rankers = serve._rankers(serve._parser().parse_args(folders), skip_broken=True)
    assert [*rankers] == [student.artifact.folder.name]
    assert f"not served: {folder / 'metrics.json'}" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"metrics\.json"):
        serve._rankers(serve._parser().parse_args(folders[::-1]), skip_broken=True)


def test_folders_of_one_name_are_served_apart(student: Served, tmp_path: Path) -> None:
    """The page would compare a recommender with itself."""
    other = tmp_path / student.artifact.folder.name
    other.symlink_to(student.artifact.folder)
    rankers = serve._rankers(serve._parser().parse_args([str(student.artifact.folder), str(other)]))
    assert [*rankers] == [other.name, str(other)]


def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in [each for each in sys.modules if "recbole_tinynews.serving.service" in each]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = refused(capsys, tmp_path)
    assert "uvicorn is not installed" in said
    assert "[serve]" in said
