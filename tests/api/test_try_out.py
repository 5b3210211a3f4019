from api.spoken import answer_lines
from api.try_out import answers


def test_answers_are_put_into_words_for_a_known_and_an_unknown_user(workspace):
    found = answers(workspace.root)
    assert [answer["user_id"] for answer in found][1:] == ["brand-new"]
    assert [[item["rank"] for item in answer["items"]] for answer in found] == [[1, 2, 3, 4, 5]] * 2
    lines = [line.strip() for line in answer_lines(found)]
    known, _, titles = lines[0].partition(" took last: ")
    assert known.startswith("u")
    assert titles
    assert [line for line in lines if line.endswith(":")] == [
        f"recommended to {known}:",
        "recommended to somebody brand-new:",
    ]
    assert [line[:2] for line in lines if line[:1].isdigit()] == [f"{place}." for place in range(1, 6)] * 2
    assert sum(line.startswith("why: ") for line in lines) == 10
    assert lines[-1] == "service stopped"
