"""coordkit.response_cache: kept once, found again, asked for once."""

import multiprocessing
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from coordkit.response_cache import WAIT, Kept, ResponseCache


def test_what_is_kept_is_there_for_another_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "responses.sqlite"
    responses = ResponseCache(path)
    responses.keep("a", Kept({"type": "ai", "data": {"content": "é"}}), "m", "e", "request")
    responses.keep("b", Kept({"error": "gone", "status_code": 503}, failed=True), "m", "e", "r")
    other = ResponseCache(path)  # the first is open still, as it is when its process is killed
    assert other.get("a") == responses.get("a") == Kept({"type": "ai", "data": {"content": "é"}})
    assert other.get("b") == Kept({"error": "gone", "status_code": 503}, failed=True)
    assert other.get("c") is None
    assert other.count("m") == {"e": 1}, "a failed delivery is no response"


def test_a_later_answer_takes_the_place_of_a_failed_delivery() -> None:
    responses = ResponseCache()
    responses.keep("a", Kept({"error": "gone", "status_code": 503}, failed=True), "m", "e", "r")
    responses.keep("a", Kept({"type": "ai"}), "m", "e", "r")
    assert responses.get("a") == Kept({"type": "ai"}) and responses.count("m") == {"e": 1}


def test_a_request_in_flight_is_not_sent_by_a_second_thread() -> None:
    responses, sent = ResponseCache(), []

    def ask(key: str) -> None:
        with responses.once(key):
            if responses.get(key) is None:
                sent.append(key)
                time.sleep(0.02)
                responses.keep(key, Kept({}), "m", "e", "r")

    threads = [threading.Thread(target=ask, args=(key,)) for key in "aabbaab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == ["a", "b"]


def _write(path: Path, writer: int, together: object) -> None:
    together.wait(10)  # type: ignore[attr-defined]
    responses = ResponseCache(path)
    for i in range(25):
        responses.keep(f"{writer}-{i}", Kept({"text": "x" * 2000}), "m", "e", "r")


def test_who_reads_the_file_holds_up_no_writer(tmp_path: Path) -> None:
    responses = ResponseCache(tmp_path / "responses.sqlite")
    reader = sqlite3.connect(tmp_path / "responses.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM responses").fetchone() == (0,)
    began = time.monotonic()
    responses.keep("a", Kept({}), "m", "e", "r")
    assert responses.count("m") == {"e": 1} and time.monotonic() - began < WAIT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_runs_may_fill_one_file(tmp_path: Path) -> None:
    fork, path = multiprocessing.get_context("fork"), tmp_path / "responses.sqlite"
    together = fork.Barrier(6)
    writers = [fork.Process(target=_write, args=(path, n, together)) for n in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 6
    assert ResponseCache(path).count("m") == {"e": 150}
