"""Folders, patterns and presets through the command line, as a stranger types them."""

import json

import pytest

import readrank


@pytest.fixture
def shop(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "logs/january/a.csv": "user_id,item_id,occurred_at\nu,i,2024-01-01\n",
        "logs/february/b.csv": "user_id,item_id,occurred_at\nu,i,2024-02-01\nu,j,2024-02-02\n",
        "logs/notes.txt": "nothing to load",
        "films/ratings.csv": "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n",
        "films/movies.csv": "movieId,title,genres\n31,Minds (1995),Drama\n",
        "films/links.csv": "movieId,imdbId,tmdbId\n31,1,2\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert readrank.run(["init", "."]) == 0
    capsys.readouterr()
    return tmp_path


def loaded(capsys, *arguments):
    assert readrank.run(["ingest", *arguments, "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    return [(report["path"], report["table"], report["rows_loaded"]) for report in reports]


def test_ingest_takes_a_folder(shop, capsys):
    assert loaded(capsys, "logs") == [
        ("logs/february/b.csv", "interactions", 2),
        ("logs/january/a.csv", "interactions", 1),
    ]


def test_ingest_takes_a_pattern_that_the_shell_left_alone(shop, capsys):
    assert loaded(capsys, "logs/**/a*.csv") == [("logs/january/a.csv", "interactions", 1)]


def test_ingest_takes_a_preset_and_says_what_it_passed_over(shop, capsys):
    assert loaded(capsys, "films", "--preset", "movielens") == [
        ("films/links.csv", None, 0),
        ("films/movies.csv", "items", 1),
        ("films/ratings.csv", "interactions", 1),
    ]
    assert readrank.run(["ingest", "films/links.csv", "--preset", "movielens"]) == 0
    assert "films/links.csv: nothing to load (empty, or passed over by the preset)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["films", "--preset", "netflix"], "one of movielens, mind, amazon, metarank, gorse; got 'netflix'"),
        (["logs/january/a.csv", "--preset", "mind"], "knows no file of this name"),
        (["logs/**/*.parquet"], "wanted a pattern that fits"),
        (["nowhere"], "check the name"),
    ],
)
def test_ingest_mistakes_end_with_2_and_one_line(shop, capsys, arguments, said):
    assert readrank.run(["ingest", *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
