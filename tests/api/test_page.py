import re

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
