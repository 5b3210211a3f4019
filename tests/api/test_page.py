import re
import shutil
import subprocess

import pytest

from api.playground import PAGE


def test_page_fetches_nothing_from_elsewhere(client):
    for name in ("index.html", "page.css", "page.js"):
        assert not re.search(r"(https?:)?//[a-z]", (PAGE / name).read_text()), name
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', answer.text):
        assert client.get(path).status_code == 200, path


def test_page_script_finds_every_element_it_names():
    page, script = (PAGE / "index.html").read_text(), (PAGE / "page.js").read_text()
    named = set(re.findall(r'\$\("([^"]+)"\)', script))
    assert named
    assert named <= set(re.findall(r'id="([^"]+)"', page))


def test_page_labels_every_field():
    page = (PAGE / "index.html").read_text()
    fields = re.findall(r'<input id="([^"]+)"(?! type="checkbox")', page)
    assert fields
    assert all(f'<label for="{field}"' in page for field in fields)


def test_page_never_writes_markup_from_answers():
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", (PAGE / "page.js").read_text())


def test_playground_offers_users_of_the_log(client, ranker):
    users = client.get("/page/users", params={"n": 5}).json()["users"]
    assert len(set(users)) == 5
    assert set(users) <= set(ranker.history.user_ids)


def test_playground_can_be_switched_off(make_client):
    client = make_client(playground=False)
    assert client.get("/").status_code == 404
    assert client.get("/page/users").status_code == 404


LEARNING = """
const catalogue = new Map();
let calls = 0;
async function call() {
  calls += 1;
  if (calls === 1) throw new Error("gone for a moment");
  return { items: [{ item_id: "a", title: "Apple" }] };
}
%s
(async () => {
  await learn(["a", "b"]).catch(() => {});
  await Promise.all([learn(["a", "b"]), learn(["b", "a"])]);
  await learn(["a", "b"]);
  console.log(calls, catalogue.get("a").title, catalogue.get("b"));
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script")
def test_page_asks_again_for_titles_that_a_failed_call_left_unknown():
    (learn,) = re.findall(r"(?ms)^async function learn\(.*?^}", (PAGE / "page.js").read_text())
    done = subprocess.run(["node", "-e", LEARNING % learn], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["3", "Apple", "null"], "one failed, two at once, and then all is known"
