import pytest
from pydantic import ValidationError

from api.requests import RankingsIn, RecommendationsIn
from api.sentences import path, sentence


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "user_id: wanted a value, got nothing; add the field"),
        ({"user_id": "u", "k": 0}, "k: wanted at least 1, got 0; correct it"),
        ({"user_id": "u", "k": 1001}, "k: wanted at most 1,000, got 1001; correct it"),
        ({"user_id": "u", "k": "3"}, "k: wanted a whole number, got '3'; correct it"),
        ({"user_id": "u", "k": True}, "k: wanted a whole number, got true; correct it"),
        ({"user_id": None}, "user_id: wanted a text, got null; correct it"),
        ({"user_id": ""}, "user_id: wanted at least 1 character, got none; correct it"),
        ({"user_id": "u" * 10_001}, "user_id: wanted at most 10,000 characters, got 10,001; shorten it"),
        ({"user_id": "\ud800"}, "user_id: wanted a text of valid Unicode, got '\\ud800'; correct it"),
        ({"user_id": "u", "exlude": []}, "request body: nothing reads the field 'exlude'; did you mean 'exclude'?"),
        (
            {"user_id": "u", "\ud800": 1},
            "request body: nothing reads the field '\\ud800'; allowed are "
            "user_id, k, exclude, categories, min_price, max_price, session, diversity, explain, compare",
        ),
        ({"user_id": "u", "exclude": "a"}, "exclude: wanted a list, got 'a'; correct it"),
        ({"user_id": "u", "exclude": ["a", 1.5]}, "exclude[1]: wanted a text, got 1.5; correct it"),
        ({"k": 0}, "user_id: wanted a value, got nothing; add the field (and 1 more)"),
    ],
)
def test_sentence_says_wanted_got_and_what_to_do(body, said):
    with pytest.raises(ValidationError) as caught:
        RecommendationsIn.model_validate(body)
    assert sentence(caught.value.errors()) == said


def test_sentence_names_the_place_inside_a_list():
    with pytest.raises(ValidationError) as caught:
        RankingsIn.model_validate({"user_id": "u", "items": [{"item_id": "a"}, {"item_id": "b", "title": 4}]})
    assert sentence(caught.value.errors()) == "items[1].title: wanted a text, got 4; correct it"
    assert path(["items", 1, "title"]) == "items[1].title"


def test_sentence_stays_short_whatever_came():
    with pytest.raises(ValidationError) as caught:
        RecommendationsIn.model_validate({"user_id": "u", "k": "9" * 100_000})
    assert len(sentence(caught.value.errors())) < 200


def test_a_long_name_of_a_field_is_compared_with_none(monkeypatch):
    """A body may be one name of megabytes, and comparing it took seconds in which nobody else was answered."""
    compared = []
    monkeypatch.setattr(
        "api.requests.difflib.get_close_matches", lambda name, *fields, **n: compared.append(name) or []
    )
    for length in (64, 65, 1_000_000):
        with pytest.raises(ValidationError) as caught:
            RecommendationsIn.model_validate({"user_id": "u", "x" * length: 1})
        said = sentence(caught.value.errors())
        assert "allowed are user_id, k, exclude" in said
        assert len(said) < 400
    assert compared == ["x" * 64]


def test_ids_take_whole_numbers_for_their_text():
    assert RecommendationsIn.model_validate({"user_id": 17}).user_id == "17"
