"""Connections to workers, without workers: what is lost, and with whom."""

import asyncio
import ssl
import threading
from types import SimpleNamespace

import pytest

from pilotcut.pilots.crew import Launch
from pilotcut.pilots.worker_links import WorkerLinks

CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False

GONE = {"address": "tls://127.0.0.1:1", "port": None}
THERE = {"address": GONE["address"], "port": 1, "resources": {"pilot:p": 1.0}}


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def links_on(loop, hears=(), left=()):
    """Return links by a client whose scheduler knows one worker, and tells of others meanwhile."""
    topics = []

    def run_on_scheduler(_):
        for worker in hears:
            loop.call_soon_threadsafe(topics[0], (0.0, worker))
        return [THERE]

    client = SimpleNamespace(
        loop=SimpleNamespace(asyncio_loop=loop),
        subscribe_topic=lambda _, hear: topics.append(hear),
        run_on_scheduler=run_on_scheduler,
    )
    security = SimpleNamespace(get_connection_args=lambda _: {"ssl_context": CONTEXT})
    return WorkerLinks(client, security, b"us", 60.0, left)


def launch_into(ends, number):
    ended = threading.Event()
    return Launch([], 0, lambda end: (ends.append((number, end)), ended.set()), number, "p"), ended


def test_a_worker_that_goes_while_we_join_is_not_waited_for(loop):
    ends = []
    launches = [launch_into(ends, number) for number in (1, 2)]
    left = [(THERE["address"], launch) for launch, _ in launches]
    links = links_on(loop, [GONE], left)
    assert launches[0][1].wait(5)
    assert ends == [(1, GONE["address"])]  # the other had not begun, and waits for another worker
    assert [launch.number for _, launch in links.hand_over()] == [2]


def test_a_pilot_can_end_when_the_client_has(loop):
    links = links_on(loop)
    assert links.hand_over() == []
    links.close()
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running():
        pass
    loop.close()
    links.drop("p")
    ends = []
    links.send("p", launch_into(ends, 1)[0])
    assert ends == [(1, "")]
