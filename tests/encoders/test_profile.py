"""Words alone are asked the same as text interest, and trainings tell and keep what they find."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from encoders.card import read_report
from encoders.command import main
from encoders.export import export_frames
from encoders.lexical import Words
from encoders.measure import figures_of, held_out
from encoders.profile import lead, profile_ranks, profiles, similarities
from encoders.report import Lead, report_lines, words_line
from encoders.sequences import read_sequences
from encoders.train import train

AT = datetime(2024, 1, 1)
DAY = timedelta(days=1)
SCHEMA = {"user_id": str, "item_id": str, "kind": str, "weight": float, "occurred_at": pl.Datetime("us")}


def _export(folder, texts, events):
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(len(texts))], "title": texts})
    log = pl.DataFrame(
        [(user, f"i{item}", "click", weight, AT + day * DAY) for user, item, day, weight in events],
        schema=SCHEMA,
        orient="row",
    )
    export_frames(items, log.sort("occurred_at", maintain_order=True), folder, before=AT + 900 * DAY)
    return folder


@pytest.fixture
def four(tmp_path):
    """Two users who took a red wool and a red silk thing; one then takes what shares a word, one what shares none."""
    texts = ["red wool", "red silk", "blue wool", "green tin", None]
    events = [(user, item, item, 1.0) for user in "ab" for item in (0, 1)]
    events += [("b", 4, 5, 1.0), ("a", 2, 10, 1.0), ("b", 3, 11, 1.0)]
    return _export(tmp_path / "four", texts, events)


def test_a_profile_is_the_decayed_mean_of_the_latest_twenty():
    words = Words.fit_rows([f"w{n}" for n in range(25)])[1]
    items = np.arange(25)[None]
    taken = np.ones((1, 25), bool)
    taken[0, 10] = False
    shares = profiles(items, taken, words) @ words.T
    newest_first = [n for n in reversed(range(25)) if n != 10][:20]
    total = sum(0.9**back for back in range(20))
    expected = np.zeros(25)
    for back, item in enumerate(newest_first):
        expected[item] = 0.9**back / total
    np.testing.assert_allclose(shares.toarray()[0], expected, atol=1e-6)


def test_similarities_are_products_of_rows():
    words = Words.fit_rows(["a b", "b c", "d"])[1]
    profile = profiles(np.array([[0, 1], [2, 0]]), np.array([[True, True], [True, False]]), words)
    np.testing.assert_allclose(similarities(profile, words), (profile @ words.T).toarray(), atol=1e-6)


def test_ranks_by_words_are_those_of_arithmetic(four):
    data = read_sequences(four)
    since = int((AT + 10 * DAY - datetime(1970, 1, 1)) / timedelta(microseconds=1))
    asked = held_out(data, since, most=10, seed=0)
    asked = replace(asked, left_out=np.zeros(5, bool))
    # what is left to find are the blue wool and the green tin thing: the first shares a word with the past
    assert data.users.tolist() == [0, 0, 0, 1, 1, 1, 1]
    ranks = profile_ranks(data, asked, Words.fit_rows(data.texts)[1])
    assert dict(zip(asked.targets.tolist(), ranks.tolist(), strict=True)) == {2: 1, 3: 2}
    figures = figures_of(asked, ranks)
    assert figures.ndcg_at_10 == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert figures.recall_at_10 == 1


def test_a_refusal_is_no_part_of_a_profile(tmp_path):
    texts = ["red wool", "green tin", "green glass", "red silk"]
    events = [("a", 0, 0, 1.0), ("a", 1, 1, -1.0), ("a", 3, 10, 1.0), ("b", 2, 0, 1.0)]
    data = read_sequences(_export(tmp_path / "data", texts, events))
    since = int((AT + 10 * DAY - datetime(1970, 1, 1)) / timedelta(microseconds=1))
    asked = replace(held_out(data, since, most=10, seed=0), left_out=np.zeros(4, bool))
    assert profile_ranks(data, asked, Words.fit_rows(data.texts)[1]).tolist() == [1]


def test_a_lead_is_the_paired_difference_of_ndcg():
    ours, theirs = np.array([1, 3, 11]), np.array([2, 3, 1])
    users = np.array([4, 5, 6])
    found = lead(ours, theirs, users=users, seed=0)
    differences = [1 - 1 / np.log2(3), 0, -1]
    assert found.value == pytest.approx(sum(differences) / 3)
    assert min(differences) <= found.low <= found.value <= found.high <= max(differences)
    assert lead(ours, ours, users=users, seed=0) == Lead(value=0, low=0, high=0)
    assert lead(ours[:0], ours[:0], users=users[:0], seed=0) is None
    assert lead(ours, theirs, users=np.array([4, 4, 4]), seed=0) is None, "how far do users differ? one cannot tell"


def test_a_training_prints_and_keeps_what_words_alone_find(shop, small, tmp_path, capsys):
    settings = [
        f"{name}={getattr(small, name)}"
        for name in ("base", "dim", "width", "heads", "history", "epochs", "pairs_at_once", "negatives")
    ]
    assert main([str(shop.folder), str(tmp_path / "m"), "--set", *settings, "learning_rate=0.01"]) == 0
    printed = capsys.readouterr().out.splitlines()
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert [line.split(" NDCG")[0].strip() for line in printed[:3]] == ["untuned", "words alone", "tuned"]
    assert f"NDCG@10 {card['words']['ndcg_at_10']:.4f}" in printed[1]
    assert card["words"]["queries"] == card["tuned"]["queries"] > 0
    difference = card["tuned"]["ndcg_at_10"] - card["words"]["ndcg_at_10"]
    assert card["over_words"]["value"] == pytest.approx(difference)
    assert card["over_words"]["low"] <= difference <= card["over_words"]["high"]
    assert printed[3] == words_line(read_report(tmp_path / "m").over_words)
    readable = (tmp_path / "m" / "README.md").read_text()
    assert "| | untuned | words alone | tuned |" in readable
    assert f"{card['words']['ndcg_at_10']:.4f}" in readable
    data = read_sequences(shop.folder)
    since = int(np.quantile(data.times, 0.9, method="nearest"))
    asked = held_out(data, since, most=small.validation_queries, seed=0)
    again = figures_of(asked, profile_ranks(data, asked, Words.fit_rows(data.texts)[1]))
    assert card["words"]["ndcg_at_10"] == pytest.approx(again.ndcg_at_10)


def test_a_training_anew_tells_the_earlier_ones_words(shop, small, tmp_path):
    first = train(shop.folder, tmp_path / "first", replace(small, epochs=1))
    again = train(shop.folder, tmp_path / "again", replace(small, epochs=1), repeat_of=tmp_path / "first")
    assert (again.words, again.over_words) == (first.words, first.over_words)
    assert first.words is not None


def test_nothing_tuned_is_told_beside_words_too(shop, small, tmp_path):
    report = train(shop.folder, tmp_path / "m", small, epochs=0)
    assert report.over_words.value == pytest.approx(report.untuned.ndcg_at_10 - report.words.ndcg_at_10)


def test_a_card_of_before_words_were_measured_is_read(shop, small, tmp_path):
    train(shop.folder, tmp_path / "m", small, epochs=0)
    path = tmp_path / "m" / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({name: told for name, told in card.items() if name not in ("words", "over_words")}))
    report = read_report(tmp_path / "m")
    assert report.words is None
    told = list(report_lines(report))
    assert len(told) == 3
    assert told[1].split() == ["words", "alone", "not", "measured"]


def test_what_is_below_words_is_said_plainly():
    assert words_line(Lead(value=0.01, low=-0.001, high=0.02)).startswith(
        "text interest over words alone: NDCG@10 +0.01"
    )
    told = words_line(Lead(value=-0.02, low=-0.03, high=-0.01))
    assert told.startswith("text interest is BELOW words alone: NDCG@10 -0.0200 [-0.0300, -0.0100]; ")
    assert "which may be chance" in words_line(Lead(value=-0.02, low=-0.03, high=0.01))
