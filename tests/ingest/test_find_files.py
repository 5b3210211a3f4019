import os
from pathlib import Path

import pytest

from ingest.errors import InputFileError, SettingsError
from ingest.find_files import find_files


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in (
        "b.csv",
        "a.jsonl.gz",
        "deep/er/c.parquet",
        "deep/d.TSV.zst",
        "notes.txt",
        ".hidden.csv",
        ".git/e.csv",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*paths, preset=None):
    return [path.as_posix() for path in find_files(list(paths), preset)]


def test_a_folder_means_the_readable_files_in_it_and_below(tree):
    assert found(".") == ["a.jsonl.gz", "b.csv", "deep/d.TSV.zst", "deep/er/c.parquet"]
    assert found("deep/") == ["deep/d.TSV.zst", "deep/er/c.parquet"]
    assert found(tree / "deep" / "er") == [(tree / "deep/er/c.parquet").as_posix()]


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("*.csv", ["b.csv"]),
        ("*", ["a.jsonl.gz", "b.csv", "deep/d.TSV.zst", "deep/er/c.parquet"]),
        ("**/*.parquet", ["deep/er/c.parquet"]),
        ("deep/*/?.parquet", ["deep/er/c.parquet"]),
        ("[ab].*", ["a.jsonl.gz", "b.csv"]),
        (".*.csv", [".hidden.csv"]),
    ],
)
def test_a_pattern_means_the_files_that_it_fits(tree, pattern, files):
    assert found(pattern) == files
    assert found(tree / pattern) == [(tree / file).as_posix() for file in files]


def test_each_file_comes_once_in_the_order_given(tree):
    os.symlink("b.csv", "z.csv")
    assert found("deep", "b.csv", "./b.csv", tree / "b.csv", "z.csv", ".") == [
        *("deep/d.TSV.zst", "deep/er/c.parquet", "b.csv", "a.jsonl.gz")
    ]


def test_a_name_with_wildcards_that_exists_is_that_file(tree):
    Path("log[1].csv").touch()
    assert found("log[1].csv") == ["log[1].csv"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing.csv", "found none of that name; check the name"),
        ("notes.txt", "wanted a name that ends in"),
        ("*.xlsx", "wanted a pattern that fits CSV"),
        ("*.txt", "wanted a pattern that fits CSV"),
        (".git/empty", "wanted a folder with CSV"),
        ("a**b", "wanted a pattern"),
    ],
)
def test_a_mistake_is_told_with_the_way_out(tree, given, said):
    (tree / ".git/empty").mkdir()
    with pytest.raises(InputFileError, match=said) as caught:
        find_files(["b.csv", given])
    assert str(caught.value).startswith(given)
    assert "\n" not in str(caught.value)


def test_with_a_preset_a_folder_means_the_files_that_it_knows(tree):
    for name in ("u.data", "u.item", "README", "deep/movies.dat", "other.csv"):
        (tree / name).touch()
    assert found(".", preset="movielens") == ["README", "deep/movies.dat", "u.data", "u.item"]
    assert found("u.*", preset="movielens") == ["u.data", "u.item"]
    with pytest.raises(InputFileError, match="a file that the preset mind knows"):
        find_files(["deep"], "mind")
    with pytest.raises(SettingsError, match="one of movielens, mind, amazon, metarank, gorse; got 'movilens'"):
        find_files(["."], "movilens")
