"""The ports of the servers that tests run."""

from __future__ import annotations

import multiprocessing
import socket

from tests.servers import Valkey, free_port, give_back

COUNT = 100


def ask(answer: multiprocessing.SimpleQueue[list[int]]) -> None:
    answer.put([free_port() for _ in range(COUNT)])


def test_no_two_servers_of_any_process_get_one_port() -> None:
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.SimpleQueue[list[int]] = context.SimpleQueue()
    other = context.Process(target=ask, args=(answer,))
    ours = [free_port() for _ in range(COUNT)]
    try:
        other.start()
        theirs = answer.get()
        other.join()
    finally:
        for port in ours:
            give_back(port)
    assert len({*ours, *theirs}) == 2 * COUNT


def test_a_server_gives_its_port_back_when_it_stops() -> None:
    server = Valkey()
    server.stop()
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", server.port))
        assert other.getsockname()[1] == server.port
