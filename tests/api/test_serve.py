import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import httpx
import psutil
import pytest
import uvicorn
from uvicorn.supervisors.multiprocess import Process

from api.accepting import SharingLoop
from api.serve import listen, serve
from api.supervisor import Supervisor
from ingest.errors import SettingsError
from ingest.outbox import Outbox

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(workspace):
    """Start `readrank serve` as its own process group; returns the process and its URL once it is ready."""
    started = []

    def run(*arguments, ready=True):
        process = subprocess.Popen(
            [sys.executable, "readrank.py", "serve", "--json", "--workspace", str(workspace.root), *arguments],
            cwd=ROOT,
            env={**os.environ, "READRANK_BUDGET_MS": "20000"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        if not ready:
            return process, ""
        url = json.loads(process.stdout.readline())["url"]
        wait_for(lambda: httpx.get(f"{url}/readyz", timeout=30).status_code == 200)
        return process, url

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if condition():
                return
        time.sleep(0.05)
    raise AssertionError(f"did not come true within {seconds} s")


def recommend(url, user="newcomer", k=5):
    answer = httpx.post(f"{url}/v1/recommendations", json={"user_id": user, "k": k}, timeout=30).json()
    return [item["item_id"] for item in answer["items"]]


def send(url, item, event_id, user="newcomer"):
    event = {"event_id": event_id, "user_id": user, "item_id": item, "kind": "click"}
    return httpx.post(f"{url}/v1/events", json={"events": [event]}, timeout=30)


def test_an_accepted_event_survives_a_killed_service(start, workspace):
    process, url = start("--port", "0")
    item = recommend(url)[0]
    assert send(url, item, "e-1").status_code == 202
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with Outbox.open(workspace.outbox_path) as outbox:
        events, _ = outbox.events_after(0)
    assert [(event.event_id, event.item_id) for event in events] == [("e-1", item)]
    _, url = start("--port", "0")
    assert item not in recommend(url)
    assert send(url, item, "e-1").json()["duplicates"] == 1


def workers_of(process):
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def test_an_event_accepted_by_one_worker_counts_in_the_other_within_a_second(start):
    process, url = start("--port", "0", "--workers", "2")
    wait_for(lambda: len(workers_of(process)) == 2)
    one, other = workers_of(process)
    # With one worker stopped, only the other can take the connection.
    for asleep in (one, other):
        asleep.suspend()
        wait_for(lambda: httpx.get(f"{url}/readyz", timeout=30).status_code == 200)
        asleep.resume()
    one.suspend()
    item = recommend(url)[0]
    assert send(url, item, "e-1").status_code == 202
    accepted = time.monotonic()
    one.resume()
    other.suspend()
    answer = recommend(url)
    assert time.monotonic() - accepted < 1.0
    assert item not in answer
    other.resume()


@pytest.mark.parametrize("workers", [1, 2])
def test_several_workers_share_connections_and_one_waits_for_none(workspace, monkeypatch, workers):
    """What sharing does is tested by itself (test_accepting.py): here, that workers are started with it."""
    started = []
    monkeypatch.setattr(
        "uvicorn.supervisors.Multiprocess.__init__", lambda self, config, sockets: started.append(config)
    )
    monkeypatch.setattr("uvicorn.supervisors.Multiprocess.run", lambda self: None)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: started.append(self.config))
    monkeypatch.setattr("api.serve.signal.signal", lambda *_: None)
    monkeypatch.setattr("api.serve.hand_to_workers", lambda root: None)
    serve(workspace.root, port=0, workers=workers)
    (config,) = started
    assert config.workers == workers
    assert (config.get_loop_factory() is SharingLoop) == (workers > 1)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_ends_the_service_in_good_order(start, workspace, workers):
    process, url = start("--port", "0", "--workers", workers)
    recommend(url)
    process.terminate()
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in complaints
    with Outbox.open(workspace.outbox_path) as outbox:
        requests, impressions, _ = outbox.answers(100)
    assert (len(requests), len(impressions)) == (1, 5)


def test_workers_end_with_the_process_that_started_them(start):
    """They would hold the port, and nobody would replace or stop them."""
    process, _ = start("--port", "0", "--workers", "2")
    workers = workers_of(process)
    assert len(workers) == 2
    process.kill()
    wait_for(lambda: not any(worker.is_running() for worker in workers))


def test_a_worker_that_dies_when_it_is_asked_whether_it_lives_is_not_waited_for(monkeypatch):
    """It would be as long as for one that is busy, and no other be replaced meanwhile, nor SIGTERM heard."""
    replacement = Mock()
    monkeypatch.setattr("uvicorn.supervisors.multiprocess.signal.signal", Mock())
    monkeypatch.setattr("uvicorn.supervisors.multiprocess.Process", lambda config, sockets: replacement)
    supervisor = Supervisor(uvicorn.Config("api.app:app_from_environment"), [])
    dying = Process(supervisor.config, [])
    dying.process = Mock(is_alive=lambda: True)  # as the system says until all of its memory is gone
    monkeypatch.setattr(dying.parent_conn, "poll", Mock(side_effect=AssertionError("is waited for")), raising=False)
    supervisor.processes = [dying]
    supervisor.keep_subprocess_alive()
    assert supervisor.processes == [replacement]


def test_answers_do_not_wait_for_delayed_acknowledgements():
    """Nagle's algorithm must be off: with it each answer on a kept connection took 40 ms more."""
    from asyncio import base_events

    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            base_events._set_nodelay(accepted)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def complaint(start, *arguments):
    process, _ = start(*arguments, ready=False)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert said.count("\n") == 1, said
    return said.strip()


def test_a_port_in_use_is_one_sentence(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert complaint(start, "--port", str(port), "--workers", "2") == (
            f"readrank: 127.0.0.1:{port}: wanted a free port, got one in use; stop what listens there or pass --port"
        )


def test_a_workspace_without_a_bundle_is_one_sentence(start, workspace):
    (workspace.bundles_path / "live").unlink()
    assert "no bundle serves yet; run `readrank train` first" in complaint(start, "--port", "0")


def test_a_damaged_bundle_is_one_sentence(start, workspace, ranker):
    (workspace.bundles_path / ranker.version / "ranker.txt").write_text("tree")
    assert "ranker.txt is not what was written" in complaint(start, "--port", "0")


def test_a_bundle_of_another_version_is_one_sentence(start, workspace, ranker):
    manifest = workspace.bundles_path / ranker.version / "manifest.json"
    stored = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**stored, "feature_names": stored["feature_names"][1:]}))
    assert "got others (missing: " in complaint(start, "--port", "0")


def test_a_damaged_outbox_is_one_sentence(start, workspace):
    workspace.outbox_path.write_bytes(b"not a database " * 100)
    assert "wanted an SQLite database" in complaint(start, "--port", "0")


def test_a_wrong_variable_is_one_sentence(start, monkeypatch):
    monkeypatch.setenv("READRANK_THREADS", "many")
    assert "environment variable READRANK_THREADS" in complaint(start, "--port", "0")


@pytest.mark.parametrize("wrong", ["[kinds]\nclick = inf\n", "[checks]\nmax_id_length = 0\n"])
def test_a_wrong_setting_ends_it_before_any_worker_starts(workspace, wrong):
    """Workers that find it out end, and are started again and again."""
    workspace.settings_path.write_text(wrong)
    with pytest.raises(SettingsError, match="wanted"):
        serve(workspace.root, port=0, workers=2, announce=lambda url: pytest.fail("started"))


def test_the_service_imports_no_torch_and_no_store(workspace):
    program = """
import sys
from fastapi.testclient import TestClient
from api.app import create_app
with TestClient(create_app(sys.argv[1])) as client:
    answer = client.post("/v1/recommendations", json={"user_id": "u", "k": 3, "explain": True})
    assert answer.status_code == 200 and not answer.json()["degraded"], answer.text
    given = [{"item_id": "new", "title": "Argan oil shampoo"}]
    answer = client.post("/v1/rankings", json={"user_id": "u", "items": given})
    assert answer.status_code == 200 and not answer.json()["degraded"], answer.text
    assert client.post("/v1/events", json={"events": [{"user_id": "u", "item_id": "i"}]}).status_code == 202
heavy = {"torch", "transformers", "sentence_transformers", "duckdb"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(workspace.root)],
        cwd=ROOT,
        env={**os.environ, "READRANK_BUDGET_MS": "20000"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
