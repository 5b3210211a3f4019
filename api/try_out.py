"""How does one try the service from outside? Start it as its own process, ask it over HTTP, stop it."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.errors import ServiceError

if TYPE_CHECKING:
    from ranker.rank import Ranker

READY_SECONDS = 60
STOP_SECONDS = 20


@contextmanager
def running_service(workspace: Path, workers: int = 1) -> Iterator[str]:
    """Run `readrank serve` on a free port until the block ends; gives its URL once it is ready.

    ServiceError, with what the service said, when it does not get ready within a minute.
    """
    options = ["--json", "serve", "--port", "0", "--workers", str(workers), "--workspace", str(workspace)]
    command = [sys.executable, "-m", "readrank", *options]
    # A file takes what the service logs: a pipe that nobody reads would fill and stop it.
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                said.seek(0)
                raise ServiceError(f"the service did not start: {said.read().strip()}")
            url = str(json.loads(line)["url"])
            _wait_until_ready(url)
            yield url
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def ask(url: str, question: dict[str, Any] | None = None) -> Any:
    """POST a question as JSON, or GET without one; returns the answer's JSON."""
    body = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def answers(workspace: Path) -> list[dict[str, Any]]:
    """Return what the service answers to a user it knows and to one it has never seen; it runs meanwhile.

    Each has user_id, took (titles of the last ones, oldest first) and items as the service tells them, with a title and
    reasons, which name the title of the item they speak of under because_title.
    """
    from ranker.bundle import live_folder
    from ranker.rank import Ranker

    ranker = Ranker.load(live_folder(workspace / "bundles"))
    known = max(ranker.history.user_ids[:200], key=lambda user: len(_titles_of(ranker, user)))
    found = []
    with running_service(workspace) as url:
        for user in (known, "brand-new"):
            answer = ask(f"{url}/v1/recommendations", {"user_id": user, "k": 5, "explain": True})
            items = [_with_titles(ranker, item) for item in answer["items"]]
            found.append({"user_id": user, "took": _titles_of(ranker, user)[-3:], "items": items})
    return found


def _titles_of(ranker: "Ranker", user: str) -> list[str]:
    return [ranker.title(item_id) for item_id in ranker.last_items(user, 10)]


def _with_titles(ranker: "Ranker", item: dict[str, Any]) -> dict[str, Any]:
    reasons = [
        {**reason, "because_title": ranker.title(reason["because"])} if reason.get("because") else reason
        for reason in item["reasons"]
    ]
    return {**item, "title": ranker.title(item["item_id"]), "reasons": reasons}


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            ask(f"{url}/readyz")
            return
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > deadline:
                raise ServiceError(f"{url}: wanted a ready service within {READY_SECONDS} s, got {error}") from error
            time.sleep(0.1)
