"""Each feature has the value that its meaning gives, worked out by hand for one question in a world small enough.

Ann asks at ten past six on a Wednesday. `EXPECTED` holds what is then known of her and tea, a family after the other.
"""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from ingest import columns as c
from ingest.moments import to_microseconds
from ranker.alike import fit_alike
from ranker.candidates import Candidates
from ranker.catalogue import Catalogue
from ranker.factors import Factors
from ranker.features import compute
from ranker.history import History
from ranker.moments import Moments
from ranker.registry import FAMILIES, FEATURE_NAMES, FEATURES
from ranker.sources import SOURCES, Sources
from tests.ranker.conftest import hand_made_sources

ASKED = datetime(2026, 3, 4, 18, 10)
HOUR, DAY = 3600, 86_400
"""In seconds."""


def ago(**parts: float) -> datetime:
    return ASKED - timedelta(**parts)


# What there is. Salt has no text; nobody has touched the cup, which is published in two days.
ITEMS = Catalogue.from_store(
    pl.DataFrame(
        [
            ("tea", ["drinks", "dry"], '{"brand": "Acme", "origin": "China", "price": "4.5"}', ago(days=30)),
            ("pot", ["drinks", "ware"], '{"brand": "acme ", "price": 20}', None),
            ("mug", ["ware"], '{"origin": "China", "price": 8}', None),
            ("salt", [], '{"brand": "Acme", "origin": "China", "price": 1}', None),
            ("cup", ["ware"], None, ago(days=-2)),
        ],
        schema={
            c.ITEM_ID: pl.String,
            c.CATEGORIES: pl.List(pl.String),
            c.ATTRIBUTES: pl.String,
            c.PUBLISHED_AT: pl.Datetime("us"),
        },
        orient="row",
    ),
    pl.DataFrame(),
)
TEXTS = {"tea": "green leaf tin", "pot": "green leaf", "mug": "stone tin", "cup": "stone", "salt": ""}
TEA, POT, MUG, CUP = np.array([[4, 0, 0, 0, 0], [2, 3, 1, 1, 1], [3, 2, 1, 1, 1], [1, 1, 3, 2, 1]]) / 4
VECTORS = {"tea": TEA, "pot": POT, "mug": MUG, "cup": CUP, "salt": 0 * TEA}

# What was done: a thousand interactions of positive weight before the question, three refusals, two too late to count.
LOG = [
    *[("crowd", "salt", ago(days=380), 1, None)] * 747,
    ("dora", "tea", ago(days=365, microseconds=1), 1, None),
    ("dora", "tea", ago(days=365), 1, None),  # the season begins
    ("carl", "tea", ago(days=365), 1, None),
    ("bob", "tea", ago(days=335), 1, None),  # the season is over; the latest 25 % begin
    *[("crowd", "salt", ago(days=100), 1, None)] * 199,
    ("ann", "tea", ago(days=20), 3, None),  # the latest 5 % begin
    ("ann", "salt", ago(days=15), -1, None),
    ("bob", "pot", ago(days=12), -1, None),
    ("ann", "pot", ago(days=10), 1, None),
    *[("crowd", "salt", ago(days=5), 1, None)] * 36,
    *[("crowd", "pot", ago(days=5), 1, None)] * 2,
    ("bob", "tea", ago(days=3), 1, None),  # the latest 1 % begin
    *[("crowd", "salt", ago(days=1.5), 1, None)] * 5,
    ("carl", "tea", ago(hours=12), 1, None),
    ("ann", "tea", ago(hours=2), 1, "evening"),
    ("ann", "mug", ago(minutes=20), 7, "evening"),  # the latest 0.2 % begin
    ("bob", "tea", ago(minutes=10), -1, None),
    ("bob", "tea", ago(minutes=5), 1, None),
    ("ann", "tea", ASKED, 1, "evening"),
    ("carl", "tea", ago(hours=-1), 1, None),
]
SHOWN = [
    ("tea", ago(days=5), None),
    ("tea", ago(days=4), ASKED),
    ("tea", ago(days=3), ago(days=3)),
    ("tea", ASKED, None),
    ("salt", ago(days=2), ago(days=2)),
    *[("salt", ago(days=1), None)] * 4,
]

# What was fitted.
TOGETHER, FOLLOWING, STRAIGHT = {"pot": 0.5, "mug": 0.25}, {"pot": 0.125, "mug": 0.75}, {"pot": 0.5, "mug": 0.375}
"""From an item to tea."""
FACTOR = {"tea": 1, "pot": 2, "mug": 3, "salt": 0, "cup": 0}
ALPHA, PENALTY = 2, 0.5
RANKS = {"tea": {name: rank for rank, name in enumerate(SOURCES, 3)}, "pot": {"interest": 1, "words": 2}, "cup": {}}
"""In the sources that proposed an item."""

# Ann's past, by decay and log weight: she took tea of weight 3, a pot, tea again and a mug of weight 7.
COUNTED = np.array([0.8**3 * np.log1p(3), 0.8**2 * np.log1p(1), 0.8 * np.log1p(1), np.log1p(7)])
FIRST_TEA, A_POT, MORE_TEA, A_MUG = COUNTED / COUNTED.sum()
ANN = np.exp(-0.3) * TEA + np.exp(-0.2) * POT + np.exp(-0.1) * TEA + MUG
ANN = 12 * ANN / np.linalg.norm(ANN)  # an untuned encoder takes a mean, of this length
MEAN = (TEA + POT + MUG + CUP) / 5

TEA_AND_POT_WORDS, TEA_AND_MUG_WORDS, CUP_AND_MUG_WORDS = 3 / np.sqrt(4 * 3), 1 / np.sqrt(4 * 2), 1 / np.sqrt(1 * 2)
"""Words and runs of two words that are held by two texts each, so that all weigh alike."""
TASTE_OF_TEA = ((FIRST_TEA + MORE_TEA + A_POT) + (FIRST_TEA + MORE_TEA)) / np.sqrt(2)
"""Drinks, and what is dry."""
AT_SIX = {"popular": 4, "trending": 3}
"""Tea among 49 and 9 interactions, the latest 5 % and 1 % of 999, as it was at the last full hour."""
FIRST, LAST = 365 * DAY, 5 * 60
USER_POPULAR = (np.log1p(9) + np.log1p(3) + np.log1p(9) + np.log1p(1)) / 4
USER_NEWNESS = (np.log1p(345 * DAY) + np.log1p(2 * DAY) + np.log1p(365 * DAY - 2 * HOUR) + 0) / 4
USER_PRICE = (np.log1p(4.5) + np.log1p(20) + np.log1p(4.5) + np.log1p(8)) / 4
CLOCK = 2 * np.pi / 24

EXPECTED = {
    "text interest": {
        "interest": TEA @ ANN,
        "interest_gap": TEA @ ANN - MEAN @ ANN,
        "words": FIRST_TEA + A_POT * TEA_AND_POT_WORDS + MORE_TEA + A_MUG * TEA_AND_MUG_WORDS,
    },
    "similarity": {
        "similar_last": 3 / 4,
        "similar_2nd": 1,
        "similar_3rd": 2 / 4,
        "similar_max": 1,
        "similar_mean": (1 + 2 / 4 + 1 + 3 / 4) / 4,
        "similar_session": (1 + 3 / 4) / 2,
    },
    "collaborative": {
        "together": A_POT * 0.5 + A_MUG * 0.25,
        "together_last": 0.25,
        "together_whole": (0.5 + 0.25) / 3,
        "following": A_POT * 0.125 + A_MUG * 0.75,
        "following_last": 0.75,
        "straight_last": 0.375,
        "factors": (1 + ALPHA) * (1 + 2 + 1 + 3) / ((1 + 4 + 9) + PENALTY + ALPHA * (1 + 4 + 1 + 9)),
        "factors_whole": (1 + ALPHA) * (1 + 2 + 3) / ((1 + 4 + 9) + PENALTY + ALPHA * (1 + 4 + 9)),
    },
    "affinity": {
        "category": TASTE_OF_TEA * (np.log1p(AT_SIX["popular"]) + np.log1p(AT_SIX["trending"])),
        "category_share": TASTE_OF_TEA,
        "facet_share": ((FIRST_TEA + MORE_TEA + A_POT) + (FIRST_TEA + MORE_TEA + A_MUG)) / 2,
        "facet_lift": np.log1p(max(FIRST_TEA + MORE_TEA + A_POT, FIRST_TEA + MORE_TEA + A_MUG) / (3 / 5)),
    },
    "sources": {
        **{f"rank_{name}": np.log(rank) for name, rank in RANKS["tea"].items()},
        "rank_best": np.log(3),
        "fused": sum(1 / (60 + rank) for rank in range(3, 15)),
        "n_sources": 12,
    },
    "popularity": {
        "count_1h": np.log1p(1),
        "count_1d": np.log1p(3),
        "count_7d": np.log1p(4),
        "count_30d": np.log1p(5),
        "count_365d": np.log1p(8),
        "share_0.2%": 10_000 * 1 / 2,
        "share_1%": 10_000 * 4 / 10,
        "share_5%": 10_000 * 5 / 50,
        "share_25%": 10_000 * 6 / 250,
        "count_all": np.log1p(9),
        "trend": np.log((10_000 * 4 / 10 + 1) / (10_000 * 6 / 250 + 1)),
        "season": np.log1p(2),
        "click_rate": (1 + 10 * 2 / 8) / (3 + 10),
        "shown": np.log1p(3),
        "alike_popular": (np.log1p(3) + np.log1p(1)) / 2,
    },
    "recency": {
        "age_first": np.log1p(FIRST),
        "age_last": np.log1p(LAST),
        "age_published": np.log1p(30 * DAY),
        "life_rate": np.log((9 + 1) / (365 + 1)),
        "item_pace": np.log1p((FIRST - LAST) / 8),
    },
    "user habits": {
        "taken_before": 2,
        "taken_last": np.log1p(2 * HOUR),
        "activation": np.log1p(np.log2(1 + 3) / np.sqrt(20 * 24) + np.log2(1 + 1) / np.sqrt(2)),
        "user_count": np.log1p(5),
        "user_idle": np.log1p(20 * 60),
        "user_span": np.log1p(20 * DAY - 20 * 60),
        "user_pace": np.log1p((20 * DAY - 20 * 60) / 3),
        "user_repeats": 1 / 5,
        "user_popular": USER_POPULAR,
        "popular_gap": np.log1p(9) - USER_POPULAR,
        "user_newness": USER_NEWNESS,
        "newness_gap": np.log1p(FIRST) - USER_NEWNESS,
        "user_diversity": 1 - np.sqrt(13**2 + 5**2 + 2**2 + 2**2 + 2**2) / (4 * 4),
        "user_weight": (np.log1p(3) + np.log1p(1) + np.log1p(1) + np.log1p(7)) / 4,
        "user_price": USER_PRICE,
        "price_gap": np.log1p(4.5) - USER_PRICE,
        "user_hour": np.angle(1 + 1 + np.exp(2j * CLOCK) + np.exp(1j / 3 * CLOCK)) / CLOCK,
    },
    "item": {
        "price": np.log1p(4.5),
        "n_categories": 2,
        "n_words": np.log1p(4),  # and one of these is a run of two: green leaf
    },
    "context": {
        "given": 0,
        "hour": 18 + 10 / 60,
        "weekday": 2,
        "session_length": 2,
        "session_age": np.log1p(2 * HOUR),
    },
}

OF_THE_POT = {
    "similar_last": (2 * 3 + 3 * 2 + 1 + 1 + 1) / (4 * 4),
    "rank_interest": np.log(1),
    "rank_words": np.log(2),
    "rank_together": np.nan,
    "rank_best": np.log(1),
    "fused": 1 / (60 + 1) + 1 / (60 + 2),
    "n_sources": 2,
    "count_30d": np.log1p(3),
    "count_1d": np.log1p(0),
    "age_last": np.log1p(5 * DAY),
    "age_published": np.nan,
    "life_rate": np.log((3 + 1) / (10 + 1)),
    "item_pace": np.log1p((10 - 5) * DAY / 2),
    "n_words": np.log1p(3),
}
"""It was taken three times, ten days ago for the first and five days ago for the last, and two sources propose it."""

BONUS = {"always": 0.5, "words": 2.0}
OF_THE_CUP = {
    "interest": CUP @ ANN + 0.5 + 2 * A_MUG * CUP_AND_MUG_WORDS,
    "similar_last": (1 * 3 + 1 * 2 + 3 * 1 + 2 * 1 + 1 * 1) / (4 * 4),
    "category_share": A_POT + A_MUG,
    "facet_share": np.nan,
    "facet_lift": np.nan,
    "rank_best": np.nan,
    "fused": 0,
    "n_sources": 0,
    "given": 1,
    "count_all": np.log1p(0),
    "click_rate": 10 * 2 / 8 / 10,
    "age_first": np.nan,
    "age_published": -np.log1p(2 * DAY),
    "taken_before": 0,
    "taken_last": np.nan,
    "activation": 0,
    "price_gap": np.nan,
    "n_words": np.log1p(1),
}
"""Nobody has touched it and nothing proposes it: interest gains what the encoder gives to new items."""

AN_INSTANT_LATER = {
    "similar_last": 1,
    "count_all": np.log1p(10),
    "count_1h": np.log1p(2),
    "shown": np.log1p(4),
    "click_rate": (2 + 10 * 3 / 9) / (4 + 10),
    "age_last": np.log1p(1e-6),
    "taken_before": 3,
    "user_count": np.log1p(6),
    "session_length": 3,
}
"""What stands in the log at the very instant of the question counts from the next one on."""


def in_rows(of: dict) -> np.ndarray:
    return np.array([of[item] for item in ITEMS.ids])


def to_tea(weights: dict[str, float]) -> sparse.csr_matrix:
    places = ITEMS.rows(weights), ITEMS.rows(["tea"] * len(weights))
    return sparse.csr_matrix((list(weights.values()), places), (len(ITEMS), len(ITEMS)), dtype=np.float32)


@pytest.fixture(scope="module")
def sources() -> Sources:
    made = hand_made_sources(ITEMS, in_rows(TEXTS).tolist(), in_rows(VECTORS), newcomers=BONUS)
    made.together, made.following, made.straight = to_tea(TOGETHER), to_tea(FOLLOWING), to_tea(STRAIGHT)
    made.factors = Factors(in_rows(FACTOR)[:, None], ALPHA, PENALTY)
    made.alike = fit_alike(in_rows(VECTORS), np.array([sum(item == row[1] for row in LOG) for item in ITEMS.ids]))
    made.mean_vector = in_rows(VECTORS).mean(axis=0)
    return made


def history_of(log: list[tuple], seen: list[tuple]) -> History:
    moment = pl.Datetime("us")
    done = {c.USER_ID: pl.String, c.ITEM_ID: pl.String, c.OCCURRED_AT: moment, c.WEIGHT: pl.Float64}
    shown = {c.ITEM_ID: pl.String, c.OCCURRED_AT: moment, c.CLICKED_AT: moment}
    return History.from_frames(
        ITEMS,
        pl.DataFrame(log, done | {c.SESSION_ID: pl.String}, orient="row"),
        pl.DataFrame(seen, shown, orient="row"),
    )


@pytest.fixture(scope="module")
def history() -> History:
    return history_of(LOG, SHOWN)


def features_of(item: str, sources: Sources, history: History, asked: datetime = ASKED) -> dict[str, float]:
    """Ask for ann and one item."""
    moments = Moments(users=history.user_rows(["ann"]), as_of=np.array([to_microseconds(asked)]))
    pair = Candidates(
        query=np.zeros(1, np.int32),
        item=ITEMS.rows([item]),
        ranks=np.array([[RANKS[item].get(name, np.nan) for name in SOURCES]], np.float32),
    )
    (row,) = compute(sources.situation(history, moments), sources.everything, pair, sources)
    return dict(zip(FEATURE_NAMES, row.tolist(), strict=True))


@pytest.fixture(scope="module")
def of_tea(sources, history) -> dict[str, float]:
    return features_of("tea", sources, history)


@pytest.mark.parametrize("family", FAMILIES)
def test_features_of_a_family_are_what_they_mean(family, of_tea):
    found = {name: of_tea[name] for name in EXPECTED[family]}
    assert found == pytest.approx(EXPECTED[family], rel=1e-6)


@pytest.mark.parametrize(("item", "expected"), [("pot", OF_THE_POT), ("cup", OF_THE_CUP)])
def test_other_items_have_their_own_values(item, expected, sources, history):
    found = features_of(item, sources, history)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_what_happens_at_the_instant_counts_from_the_next_one_on(sources, history, of_tea):
    found = features_of("tea", sources, history, ASKED + timedelta(microseconds=1))
    assert {name: found[name] for name in AN_INSTANT_LATER} == pytest.approx(AN_INSTANT_LATER, rel=1e-6)
    assert [name for name in AN_INSTANT_LATER if found[name] == of_tea[name]] == []


def test_windows_begin_with_their_first_instant(sources):
    """Tea is taken where each window begins, and an instant before that, where the window does not reach."""
    begins = [ago(hours=1), ago(days=1), ago(days=7), ago(days=30), ago(days=365)]
    edges = [moment - timedelta(microseconds=early) for moment in begins for early in (0, 1)]
    found = features_of("tea", sources, history_of([("bob", "tea", moment, 1, None) for moment in edges], []))
    counts = [found[f"count_{window}"] for window in ("1h", "1d", "7d", "30d", "365d")]
    assert np.expm1(counts) == pytest.approx([1, 3, 5, 7, 9], rel=1e-6)
    assert np.isnan(found["click_rate"]), "nothing was shown"


def test_no_feature_is_left_out():
    named = {family: [feature.name for feature in FEATURES if feature.family == family] for family in FAMILIES}
    assert {family: list(values) for family, values in EXPECTED.items()} == named
