"""The catalogue as it was: every change holds from its own moment on, whatever order it was told in."""

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import columns as c
from ingest.merge_items import merge_items
from ingest.stage import Stage
from ingest.store import END_OF_TIME, Store

EPOCH = datetime(1970, 1, 1)
INSTANT = timedelta(microseconds=1)
MONDAY, TUESDAY, WEDNESDAY, THURSDAY = (datetime(2024, 1, day) for day in (1, 2, 3, 4))
SCHEMA = {
    c.LINE: pl.Int64,
    c.ITEM_ID: pl.String,
    c.TITLE: pl.String,
    c.DESCRIPTION: pl.String,
    c.CATEGORIES: pl.List(pl.String),
    c.ATTRIBUTES: pl.String,
    c.PUBLISHED_AT: pl.Datetime("us"),
    c.AVAILABLE: pl.Boolean,
    c.UPDATED_AT: pl.Datetime("us"),
}


def tell(store: Store, *rows: dict[str, object], at: datetime = THURSDAY, load_id: str = "load") -> int:
    """Merge rows of one file; the file has the columns that any row names."""
    present = {name for row in rows for name in row}
    staged = pl.DataFrame(
        [{c.AVAILABLE: True, **row, c.LINE: line} for line, row in enumerate(rows, start=2)], schema=SCHEMA
    )
    with store.transaction() as connection:
        stage = Stage(connection, "items")
        stage.add(staged)
        n_new = merge_items(
            connection,
            load_id=load_id,
            moment=at,
            present=frozenset(present - {c.ATTRIBUTES} | ({c.REST} if c.ATTRIBUTES in present else set())),
        )
        stage.clear()
    return n_new


def item(title: str | None = None, at: datetime | None = None, **others: object) -> dict[str, object]:
    """Make a row of item `a`; without `at` the file has no `updated_at`."""
    row: dict[str, object] = {c.ITEM_ID: "a", **others}
    if title is not None:
        row[c.TITLE] = title
    if at is not None:
        row[c.UPDATED_AT] = at
    return row


def versions(store: Store, *names: str) -> list[tuple[object, ...]]:
    wanted = ", ".join(names or ("title", "valid_from"))
    return store.connection.sql(f"SELECT {wanted} FROM item_versions ORDER BY item_id, valid_from").fetchall()


def present_state(store: Store) -> list[tuple[object, ...]]:
    return store.connection.sql("SELECT * FROM items ORDER BY item_id").fetchall()


def whole_store(store: Store) -> list[tuple[object, ...]]:
    return [*store.connection.sql("SELECT * FROM item_versions ORDER BY ALL").fetchall(), *present_state(store)]


def titles(store: Store, before: datetime) -> list[str | None]:
    return store.items(before=before)[c.TITLE].to_list()


def test_first_version_told_holds_from_1970_on(store):
    assert tell(store, item("oak"), at=MONDAY) == 1
    assert versions(store, "title", "valid_from", "updated_at", "load_id") == [("oak", EPOCH, MONDAY, "load")]
    assert titles(store, EPOCH + INSTANT) == ["oak"]
    assert titles(store, EPOCH) == []


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=5))])
def test_version_is_seen_strictly_after_its_moment_only(store, zone):
    tell(store, item("oak", MONDAY), item("elm", TUESDAY))
    store.connection.execute("SET TimeZone = 'Asia/Tokyo'")

    def at(moment: datetime) -> datetime:
        return moment if zone is None else moment.replace(tzinfo=UTC).astimezone(zone)

    assert titles(store, at(TUESDAY)) == ["oak"]
    assert titles(store, at(TUESDAY + INSTANT)) == ["elm"]


def test_undated_changes_hold_from_their_load_on(store):
    tell(store, item("oak"), at=MONDAY)
    assert tell(store, item("elm"), at=TUESDAY) == 1
    assert versions(store) == [("oak", EPOCH), ("elm", TUESDAY)]
    assert titles(store, TUESDAY) == ["oak"]


def test_the_same_told_again_writes_nothing(store):
    first = [item("oak", MONDAY), item("elm", TUESDAY), {c.ITEM_ID: "b", c.TITLE: "ash"}]
    assert tell(store, *first, at=WEDNESDAY) == 3
    before = whole_store(store)
    assert tell(store, *first, at=THURSDAY, load_id="later") == 0
    assert tell(store, item("elm"), {c.ITEM_ID: "b", c.TITLE: "ash"}, at=THURSDAY + INSTANT) == 0
    assert whole_store(store) == before


def test_several_rows_without_a_date_are_one_version_the_last(store):
    assert tell(store, item("oak"), item("elm"), at=MONDAY) == 1
    assert versions(store) == [("elm", EPOCH)]


def test_several_dates_in_one_file_are_several_versions(store):
    assert tell(store, item("elm", TUESDAY), item("oak", MONDAY), item("no", TUESDAY), item("yew", TUESDAY)) == 2
    assert versions(store) == [("oak", EPOCH), ("yew", TUESDAY)]
    assert present_state(store)[0][1] == "yew"


def test_an_older_version_that_comes_late_leaves_the_present_as_it_is(store):
    tell(store, item("elm", WEDNESDAY))
    before = present_state(store)
    assert tell(store, item("oak", MONDAY)) == 1
    assert tell(store, item("ash", TUESDAY)) == 1
    assert present_state(store) == before
    assert versions(store) == [("oak", EPOCH), ("ash", TUESDAY), ("elm", WEDNESDAY)]


def test_an_older_version_of_an_undated_catalogue_takes_the_time_before_the_load(store):
    tell(store, item("elm"), at=WEDNESDAY)
    tell(store, item("oak", MONDAY), at=THURSDAY)
    assert versions(store) == [("oak", EPOCH), ("elm", WEDNESDAY)]
    assert titles(store, END_OF_TIME) == ["elm"]


def test_a_row_without_a_date_is_the_present_state_also_beside_a_date_that_lies_ahead(store):
    tell(store, item("oak", MONDAY), item("elm", THURSDAY), at=WEDNESDAY)
    assert tell(store, item("yew"), at=WEDNESDAY + INSTANT) == 1
    assert titles(store, END_OF_TIME) == ["yew"]
    assert present_state(store)[0][1] == "yew"


def test_a_row_without_a_date_is_the_present_state_also_beside_one_told_again_ahead(store):
    tell(store, item("oak", MONDAY), item("oak", THURSDAY), at=WEDNESDAY)
    assert versions(store, "updated_at", "told_again") == [(MONDAY, [THURSDAY])]
    assert tell(store, item("yew"), at=WEDNESDAY) == 1
    assert titles(store, END_OF_TIME) == ["yew"]


def test_a_row_is_not_new_that_says_what_the_row_before_it_in_the_file_said(store):
    tell(store, item("oak", MONDAY))
    assert tell(store, item("elm", TUESDAY), item("elm", WEDNESDAY)) == 1
    assert versions(store) == [("oak", EPOCH), ("elm", TUESDAY)]


def test_a_correction_of_the_same_date_replaces_that_version(store):
    tell(store, item("oak", MONDAY), item("elm", TUESDAY), item("yew", WEDNESDAY))
    assert tell(store, item("ash", TUESDAY)) == 1
    assert versions(store) == [("oak", EPOCH), ("ash", TUESDAY), ("yew", WEDNESDAY)]
    # Corrected into what held before, there is no change left at that date.
    assert tell(store, item("oak", TUESDAY)) == 1
    assert versions(store) == [("oak", EPOCH), ("yew", WEDNESDAY)]


def test_columns_that_a_file_lacks_keep_the_values_of_the_version_in_force(store):
    whole = {c.DESCRIPTION: "round", c.CATEGORIES: ["x"], c.ATTRIBUTES: '{"price":"3"}', c.AVAILABLE: False}
    tell(store, item("oak", MONDAY, **whole))
    tell(store, item("elm", WEDNESDAY, description="square"))
    # Late and in between: completed by Monday's, not by Wednesday's.
    tell(store, item(None, TUESDAY, categories=["y"]))
    assert versions(store, "title", "description", "categories", "attributes", "available") == [
        ("oak", "round", ["x"], '{"price":"3"}', False),
        ("oak", "round", ["y"], '{"price":"3"}', False),
        ("elm", "square", ["x"], '{"price":"3"}', False),
    ]
    tell(store, item("elm", description=None), at=THURSDAY)
    assert store.items(before=END_OF_TIME)[c.DESCRIPTION].to_list() == [None]


def test_availability_is_told_over_time(store):
    tell(
        store,
        item("oak", MONDAY, available=True),
        item("oak", TUESDAY, available=False),
        item("oak", WEDNESDAY, available=True),
    )
    seen = [store.items(before=day + INSTANT)[c.AVAILABLE][0] for day in (MONDAY, TUESDAY, WEDNESDAY)]
    assert seen == [True, False, True]


def test_items_are_all_there_at_any_moment_and_publication_tells_when_they_appeared(store):
    tell(store, {c.ITEM_ID: "b", c.TITLE: "new", c.PUBLISHED_AT: WEDNESDAY, c.UPDATED_AT: WEDNESDAY}, item("oak"))
    early = store.items(before=MONDAY)
    assert early[c.ITEM_ID].to_list() == ["a", "b"]
    assert early[c.PUBLISHED_AT].to_list() == [None, WEDNESDAY]


def test_the_view_of_changes_names_what_changed_and_when(store):
    tell(store, item("oak", MONDAY), item("oak", TUESDAY, available=False), item("elm", WEDNESDAY, available=False))
    found = store.connection.sql("SELECT item_id, changed_at, changed FROM item_changes ORDER BY changed_at").fetchall()
    assert found == [("a", TUESDAY, ["available"]), ("a", WEDNESDAY, ["title"])]


def test_dates_in_a_file_are_understood_under_other_names(store, load):
    report = load("items.csv", "item_id,title,last_updated\na,oak,2024-01-01\na,elm,2024-01-02T00:00:00Z\na,no,soon\n")
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (3, 2, 1)
    assert versions(store) == [("oak", EPOCH), ("elm", TUESDAY)]
    assert load("again.csv", "item_id,title,updated_at\na,oak,1704067200\n").rows_duplicate == 1


days = st.integers(min_value=0, max_value=6)
told_once = st.dictionaries(st.tuples(st.sampled_from("ab"), days), st.sampled_from(["oak", "elm", "ash"]), max_size=10)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=told_once, data=st.data())
def test_dated_versions_give_the_same_history_in_any_order_and_any_number_of_files(store, told, data):
    rows = [
        {c.ITEM_ID: name, c.TITLE: title, c.UPDATED_AT: MONDAY + timedelta(days=day)}
        for (name, day), title in told.items()
    ]
    store.connection.execute("DELETE FROM item_versions; DELETE FROM items")
    arriving = data.draw(
        st.permutations(rows + data.draw(st.lists(st.sampled_from(rows), max_size=3) if rows else st.just([])))
    )
    n_loaded = 0
    while arriving:
        size = data.draw(st.integers(min_value=1, max_value=len(arriving)))
        n_told = tell(store, *arriving[:size])
        assert n_told <= size
        n_loaded += n_told
        arriving = arriving[size:]

    expected, again, latest = [], [], []
    for name in "ab":
        runs: list[tuple[str, list[datetime]]] = []
        for row in sorted((row for row in rows if row[c.ITEM_ID] == name), key=lambda row: row[c.UPDATED_AT]):
            if runs and runs[-1][0] == row[c.TITLE]:
                runs[-1][1].append(row[c.UPDATED_AT])
            else:
                runs.append((row[c.TITLE], [row[c.UPDATED_AT]]))
        for number, (title, dates) in enumerate(runs):
            expected.append((name, title, dates[0] if number else EPOCH, dates[0]))
            again.append((dates[1:] or None,))
        if runs:
            latest.append((name, runs[-1][0], runs[-1][1][0]))
    assert versions(store, "item_id", "title", "valid_from", "updated_at") == expected
    assert versions(store, "told_again") == again
    found = store.connection.sql("SELECT item_id, title, updated_at FROM items ORDER BY item_id").fetchall()
    assert found == latest
    assert n_loaded >= len(latest)
    for day in range(8):
        moment = MONDAY + timedelta(days=day)
        in_force = {name: title for name, title, valid_from, _ in expected if valid_from < moment}
        assert dict(store.items(before=moment).select(c.ITEM_ID, c.TITLE).iter_rows()) == in_force
