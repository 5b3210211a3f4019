"""What was done counts beside what it weighs: learned, served, resumed, and left away where weights say it all."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from encoders.card import read_report
from encoders.errors import ModelFolderError, TrainingDataError
from encoders.export import export_frames
from encoders.interest import InterestModel
from encoders.kinds import MOST_KINDS, Kinds
from encoders.sequences import Sequences, read_sequences
from encoders.train import train
from tests.encoders.conftest import BEGIN, TOPICS


def _log(**changed: pl.Expr) -> pl.DataFrame:
    """Half of the users `wish` for two things of music and half `own` them: the former go on to travel, the latter to
    the garden. Both kinds weigh the same; items are those of the shop, one topic every fourth."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(160):
        music = 4 * rng.permutation(30)[:2] + 2
        after = 4 * rng.permutation(30)[:3] + (3 if user % 2 else 0)
        begin = BEGIN + timedelta(hours=int(rng.integers(0, 24 * 20)))
        for place, item in enumerate([*music, *after]):
            done = ("wish" if user % 2 else "own") if place < 2 else "read"
            rows.append((f"u{user:03d}", f"i{item:03d}", done, 1.0, begin + timedelta(hours=place)))
    schema = {"user_id": str, "item_id": str, "kind": str, "weight": float, "occurred_at": pl.Datetime("us")}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("occurred_at").with_columns(**changed)


@pytest.fixture(scope="module")
def folder(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("kinds") / "train"
    export_frames(shop.items, _log(), out, before=shop.before + timedelta(days=99))
    return out


@pytest.fixture(scope="module")
def trained(folder, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "m"
    train(folder, out, replace(small, epochs=20, patience=20, dropout=0.0))
    return out


def _users(model: InterestModel, *kinds: str) -> np.ndarray:
    """One user a kind, who has done that with the same two texts."""
    past = np.repeat(model.encode(["guitar drum chord melody", "piano rhythm song amp"])[None], len(kinds), axis=0)
    ones = np.ones(past.shape[:2], np.float32)
    codes = np.repeat(model.kinds.codes(kinds)[:, None], 2, axis=1)
    return model.user_vectors(past, ones, 3600 * ones * [[2, 1]], ones.astype(bool), codes)


def _topics(model: InterestModel, users: np.ndarray) -> np.ndarray:
    """The users' mean interest in each topic [q, 4], in the order garden, kitchen, music, travel."""
    texts = [" ".join(words[n : n + 4]) for words in TOPICS.values() for n in range(5)]
    return (users @ model.encode(texts).T).reshape(len(users), 4, 5).mean(axis=2)


def test_users_who_did_another_thing_of_the_same_weight_go_on_elsewhere(trained):
    model = InterestModel.load(trained)
    assert set(model.kinds.names) == {"wish", "own", "read"}
    wish, own = _topics(model, _users(model, "wish", "own"))
    assert wish[3] - wish[0] > own[3] - own[0] + 1
    assert wish[3] > wish[0]
    assert own[0] > own[3]


def test_what_was_never_trained_on_is_as_its_weight_alone(trained):
    model = InterestModel.load(trained)
    past = model.encode(["guitar drum chord melody", "piano rhythm song amp"])[None]
    ones = np.ones((1, 2), np.float32)
    weight_alone = model.user_vectors(past, ones, 3600 * ones * [[2, 1]], ones.astype(bool))
    np.testing.assert_array_equal(_users(model, "wave")[:1], weight_alone)
    assert np.abs(_users(model, "wish") - weight_alone).max() > 0.1


def test_a_tower_that_reads_no_kinds_learns_none(folder, small, tmp_path):
    train(folder, tmp_path / "m", replace(small, read_kinds_and_ages=False))
    model = InterestModel.load(tmp_path / "m")
    assert not model.kinds
    wish, own = _users(model, "wish", "own")
    np.testing.assert_array_equal(wish, own)


def test_kinds_that_weights_tell_apart_change_nothing(shop, small, tmp_path):
    """A log whose kinds all weigh differently is learned bit by bit like one of the same weights and a single kind."""
    weight = pl.col("kind").replace_strict({"wish": 4.0, "own": -1.0, "read": 1.0})
    for name, log in {"several": _log(weight=weight), "one": _log(weight=weight, kind=pl.lit("read"))}.items():
        export_frames(shop.items, log, tmp_path / name, before=shop.before + timedelta(days=99))
        train(tmp_path / name, tmp_path / f"{name}-model", replace(small, epochs=1))
        assert not InterestModel.load(tmp_path / f"{name}-model").kinds
    for file in ("tower.npz", "token_vectors.npy"):
        assert (tmp_path / "several-model" / file).read_bytes() == (tmp_path / "one-model" / file).read_bytes()


def test_kinds_are_told_that_share_a_weight_with_another(folder):
    data = read_sequences(folder)

    def told(*events: tuple[str, float]) -> set[str]:
        kinds = Kinds(tuple(dict.fromkeys(kind for kind, _ in events)))
        codes, weights = kinds.codes([kind for kind, _ in events]), np.array([w for _, w in events], np.float32)
        return set(replace(data, codes=codes, kinds=kinds, weights=weights).kinds_beside_weights().names)

    assert told(("view", 1), ("view", 1), ("view", 3)) == set()
    assert told(("view", 1), ("hide", -1), ("buy", 10)) == set()
    assert told(("view", 1), ("follow", 1), ("hide", -1)) == {"view", "follow"}
    assert told(("rating", 1), ("rating", 4), ("like", 4.5), ("share", 9)) == {"rating", "like"}


def test_a_log_keeps_its_kinds_when_it_is_cut_or_told_in_other_words(folder):
    data = read_sequences(folder)
    wanted = _log().sort("user_id", "occurred_at")["kind"].to_list()

    def names(log: Sequences) -> list[str]:
        return [("", *log.kinds.names)[code] for code in log.codes.tolist()]

    assert names(data) == wanted
    assert data.codes.dtype == np.uint8
    assert names(data.of_kinds(Kinds(("own", "wave")))) == [kind if kind == "own" else "" for kind in wanted]
    moment = int(np.median(data.times))
    assert names(data.before(moment)) == [kind for kind, time in zip(wanted, data.times, strict=True) if time < moment]


def test_more_kinds_than_a_byte_can_name_leave_the_rarest_unnamed():
    kinds = Kinds.of_counts([(f"k{n:03d}", 1 + (n == 299)) for n in range(300)])
    assert (len(kinds), kinds.names[:2]) == (MOST_KINDS, ("k299", "k000"))
    assert kinds.codes(["k299", "k253", "k254"]).tolist() == [1, MOST_KINDS, 0]
    assert kinds.and_also(["wave"]) == kinds


def test_a_killed_training_resumes_with_its_kinds(folder, small, tmp_path):
    train(folder, tmp_path / "undisturbed", small)

    def die(step, done, total=None, note=""):
        if step == "tune encoder" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "m", small, progress=die)
    assert (tmp_path / "m.training" / "state.pt").is_file()
    train(folder, tmp_path / "m", small)
    assert (tmp_path / "m" / "tower.npz").read_bytes() == (tmp_path / "undisturbed" / "tower.npz").read_bytes()


def test_a_continued_model_keeps_the_kinds_it_knows(shop, small, trained, tmp_path):
    log = _log(kind=pl.col("kind").replace("read", "skim"))
    export_frames(shop.items, log, tmp_path / "data", before=shop.before + timedelta(days=99))
    train(tmp_path / "data", tmp_path / "m", small, init_from=trained, epochs=1)
    later, earlier = InterestModel.load(tmp_path / "m"), InterestModel.load(trained)
    assert later.kinds == earlier.kinds
    assert np.abs(_users(later, "own") - _users(earlier, "own")).max() > 0


def test_the_card_names_the_kinds(trained):
    told = InterestModel.load(trained).kinds.names
    assert read_report(trained).kinds == told
    assert f"Kinds that count beside their weight: {', '.join(told)}." in (trained / "README.md").read_text()


def _copied(model, out, *, config=lambda held: held, tower=lambda held: held):
    out.mkdir()
    for file in model.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    (out / "config.json").write_text(json.dumps(config(json.loads((model / "config.json").read_text()))))
    with np.load(model / "tower.npz") as held:
        np.savez(out / "tower.npz", **tower(dict(held)))
    return out


def test_a_folder_of_before_there_were_kinds_is_read_and_continued(folder, small, trained, tmp_path):
    """Its tower called by kind what it knew by weight."""

    def without(config):
        return {name: value for name, value in config.items() if name != "kinds"}

    def renamed(tower):
        names = {"weight": "kind", "pool.weight": "pool.kind"}
        return {names.get(name, name): array for name, array in tower.items() if not name.startswith("kinds.")}

    earlier = _copied(trained, tmp_path / "earlier", config=without, tower=renamed)
    model = InterestModel.load(earlier)
    np.testing.assert_array_equal(_users(model, "wish"), _users(InterestModel.load(trained), "wave"))
    train(folder, tmp_path / "m", small, init_from=earlier, epochs=1)
    assert not InterestModel.load(tmp_path / "m").kinds


def test_a_tower_without_a_row_for_each_kind_is_refused(trained, tmp_path):
    damaged = _copied(trained, tmp_path / "m", config=lambda held: held | {"kinds": ["wish"]})
    with pytest.raises(ModelFolderError, match="for each of 1 kinds, got 3; train it again"):
        InterestModel.load(damaged)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda log: log.drop("kinds"), "got no kinds; export it again"),
        (lambda log: log.with_columns(kinds=pl.lit("view")), "wanted lists in kinds, got"),
        (lambda log: log.with_columns(pl.col("kinds").list.head(1)), "got 5 items and 1 kinds in line 1"),
    ],
)
def test_training_data_without_whole_kinds_say_so(folder, tmp_path, changed, said):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    changed(pl.read_parquet(folder / "sequences.parquet")).write_parquet(tmp_path / "sequences.parquet")
    with pytest.raises(TrainingDataError, match=said):
        read_sequences(tmp_path)
