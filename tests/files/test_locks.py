from __future__ import annotations

import threading
from pathlib import Path

from recbole_tinynews.files.locks import alone


def test_the_second_waits_for_the_first(tmp_path: Path, caplog) -> None:
    """Two processes that train one stage write into one file."""
    order: list[str] = []
    inside, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with alone(tmp_path / "new" / "place"):
            inside.set()
            may_end.wait(5)
            order.append("first")

    def second() -> None:
        with alone(tmp_path / "new" / "place"):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    caplog.set_level("INFO")
    threads[0].start()
    assert inside.wait(5)
    threads[1].start()
    threads[1].join(0.2)
    assert order == []
    assert "Waiting for another process that makes" in caplog.text
    may_end.set()
    for thread in threads:
        thread.join(5)
    assert order == ["first", "second"]
