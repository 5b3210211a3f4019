import errno
import inspect
import json
import math
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import readrank
from ranker.spoken import source_lines

ROOT = Path(__file__).parents[1]
LOG = """user_id,item_id,occurred_at,kind
u1,i1,2024-01-01,view
u1,i1,2024-01-01,view
u2,i2,never,view
u3,i2,2024-01-02,wave
"""


@pytest.fixture
def workspace(tmp_path, capsys):
    folder = tmp_path / "shop"
    assert readrank.run(["init", str(folder)]) == 0
    capsys.readouterr()
    return folder


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def complaint(capsys):
    """Return what stderr said, having checked that it is one line without a traceback."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err


def processor_seconds():
    """What children have taken of a processor until now: it counts their work, not what runs beside them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_answers_fast_and_imports_nothing_heavy():
    program = (
        "import sys, readrank\n"
        "status = readrank.run(['--help'])\n"
        "heavy = {'torch', 'duckdb', 'polars', 'lightgbm', 'fastapi', 'numpy', 'pyarrow', 'transformers'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "sys.exit(f'imported {loaded}' if loaded else status)"
    )
    took = []
    for _ in range(3):
        begun = processor_seconds()
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
        took.append(processor_seconds() - begun)
        assert done.returncode == 0, done.stderr
        assert "ingest" in done.stdout
    assert min(took) < 0.5


def test_every_command_helps(capsys):
    for command in readrank.app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        assert readrank.run([name, "--help"]) == 0
        assert "Usage" in capsys.readouterr().out


def test_help_prints_its_texts_as_they_are_written(capsys, monkeypatch):
    """Brackets would go: what formats the help takes a word in them for a style."""
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 300)  # so that hardly a text is broken
    for command in (readrank.app.registered_callback, *readrank.app.registered_commands):
        texts = [command.callback.__doc__]
        for parameter in inspect.signature(command.callback).parameters.values():
            texts += [told.help for told in getattr(parameter.annotation, "__metadata__", ()) if told.help]
        assert readrank.run([*command_name(command), "--help"]) == 0
        printed = capsys.readouterr().out.split()
        assert [word for text in texts for word in text.split() if word not in printed] == []


def command_name(command) -> list[str]:
    name = command.name or command.callback.__name__.replace("_", "-")
    return [] if command is readrank.app.registered_callback else [name]


def test_every_command_answers_machines(capsys):
    for command in readrank.app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        assert readrank.run([name, "--help"]) == 0
        assert "--json" in capsys.readouterr().out, name


def test_init_makes_settings_that_every_section_reads(workspace):
    sections = tomllib.loads((workspace / "readrank.toml").read_text())
    assert set(sections) == set(readrank.SECTIONS)
    assert (workspace / "readrank.duckdb").exists()
    assert (workspace / "bundles").is_dir()


def test_init_twice_is_refused(workspace, capsys):
    assert readrank.run(["init", str(workspace)]) == 2
    assert "already exists" in complaint(capsys)


def test_ingest_says_what_became_of_every_row(workspace, log, capsys):
    assert readrank.run(["ingest", str(log), "--workspace", str(workspace)]) == 0
    said = capsys.readouterr().out
    assert "interactions: 4 rows read = 2 loaded + 1 duplicate + 1 rejected" in said
    assert "rejected bad_time: 1" in said
    assert "kind 'wave' is not under [kinds] in readrank.toml and counts 1: 1 rows" in said


@pytest.mark.parametrize("before", [True, False])
def test_ingest_answers_machines_in_json(workspace, log, capsys, before):
    options = ["--workspace", str(workspace), "--json"]
    assert readrank.run([*options, "ingest", str(log)] if before else ["ingest", str(log), *options]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["rows_read"], report["rows_loaded"], report["rows_duplicate"]) == (4, 2, 1)
    assert report["reasons"] == {"bad_time": 1}


def test_ingest_publishes_for_analysts(workspace, log):
    import duckdb

    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 0
    with duckdb.connect(str(workspace / "analytics.duckdb"), read_only=True) as analyst:
        assert analyst.sql("SELECT rows_loaded FROM load_quality").fetchall() == [(2,)]


def test_ingest_without_a_workspace_says_to_init(tmp_path, log, capsys):
    assert readrank.run(["ingest", str(log), "-w", str(tmp_path)]) == 2
    assert "readrank init" in complaint(capsys)


def test_ingest_of_a_wrong_file_is_one_line(workspace, tmp_path, capsys):
    picture = tmp_path / "picture.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    assert readrank.run(["ingest", str(picture), "-w", str(workspace)]) == 2
    assert "got a PNG image" in complaint(capsys)


def test_ingest_with_a_mistyped_section_is_one_line(workspace, log, capsys):
    with (workspace / "readrank.toml").open("a") as settings:
        settings.write("[kind]\nview = 2\n")
    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 2
    assert "nothing reads [kind]" in complaint(capsys)


@pytest.mark.parametrize(
    ("section", "line", "said"),
    [
        ("checks", "max_id_length = 0", "max_id_length: wanted at least 1, got 0"),
        ("checks", "max_rejected_share = 50.0", "max_rejected_share: wanted 0 to 1, got 50.0; write 0.05 for 5 %"),
        ("checks", "future_tolerance_days = 1e12", "future_tolerance_days: wanted 0 to 500,000"),
        ("checks", "future_tolerance_days = nan", "future_tolerance_days: wanted a finite number, got nan"),
        ("kinds", "click = inf", "click: wanted a finite number, got inf"),
        ("quality", "late_days = -1.0", "late_days: wanted 0 to 500,000, got -1.0"),
    ],
)
def test_settings_beyond_all_bounds_are_one_line(workspace, log, capsys, section, line, said):
    (workspace / "readrank.toml").write_text(f"[{section}]\n{line}\n")
    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 2
    assert said in complaint(capsys)


def test_kinds_are_known_however_the_settings_spell_them(workspace, log, capsys):
    (workspace / "readrank.toml").write_text("[kinds]\nWAVE = 3.0\n")
    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 0
    assert "is not under [kinds]" not in capsys.readouterr().out


def test_ingest_reads_times_in_the_format_given(workspace, tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,time\nu,i,31/12/2023 10:00\n")
    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 2
    assert "bad_time 1" in complaint(capsys)
    assert readrank.run(["ingest", str(log), "-w", str(workspace), "--time-format", "%d/%m/%Y %H:%M"]) == 0


def test_a_full_disk_is_one_line(workspace, log, capsys):
    small = "import resource, signal, sys, readrank\n"
    small += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    small += "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    small += "sys.exit(readrank.run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", small, "ingest", str(log), "-w", str(workspace)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    # The store is as before, and the same command is enough afterwards.
    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 0
    assert "= 2 loaded" in capsys.readouterr().out


def test_an_unexpected_error_is_one_line_and_debug_shows_where(workspace, log, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr("ingest.load.load_files", fail)
    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 1
    assert "unexpected RuntimeError: out of luck" in complaint(capsys)
    assert readrank.run(["--debug", "ingest", str(log), "-w", str(workspace)]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("1000000 requested and 8176 written"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
        RuntimeError("Cannot write binary data to ranker.txt, wrote 65536 of 146363 bytes"),
    ],
    ids=["system", "NumPy", "torch", "LightGBM"],
)
def test_a_file_system_without_space_is_a_mistake_to_mend(workspace, log, capsys, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("ingest.load.load_files", fail)
    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 2
    assert "the disk is full" in complaint(capsys)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_place_where_one_may_not_write_is_a_mistake_to_mend(tmp_path, capsys, monkeypatch, number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ingest.workspace.Workspace.create", fail)
    assert readrank.run(["init", str(tmp_path)]) == 2
    assert "does not allow it" in complaint(capsys)


@pytest.mark.parametrize("as_json", [True, False])
def test_files_loaded_before_a_bad_one_are_told(workspace, log, tmp_path, capsys, as_json):
    bad = tmp_path / "zzz.csv"
    bad.write_text("user_id,item_id\nu,i\n")
    assert readrank.run(["ingest", str(log), str(bad), "-w", str(workspace), *["--json"] * as_json]) == 2
    said = capsys.readouterr()
    assert "there is no column 'occurred_at'" in said.err
    if as_json:
        (report,) = json.loads(said.out)
        assert (report["path"], report["rows_loaded"]) == (str(log), 2)
    else:
        assert "4 rows read = 2 loaded + 1 duplicate + 1 rejected" in said.out


def test_train_takes_encoders_from_a_folder_of_both_and_nothing_beside_them(workspace, log, tmp_path, capsys):
    assert readrank.run(["ingest", str(log), "-w", str(workspace)]) == 0
    capsys.readouterr()
    train = ["train", "--encoders", str(tmp_path), "-w", str(workspace)]
    assert readrank.run(train) == 2
    assert "early: wanted a trained encoder, found no config.json" in complaint(capsys)
    assert readrank.run([*train, "--encoder", "static"]) == 2
    assert "wanted alone" in capsys.readouterr().err


def test_usage_mistakes_exit_with_two(capsys):
    assert readrank.run(["ingest"]) == 2
    assert readrank.run(["no-such-command"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ingest"], "name files to load, or pass --replay-rejected without any; see `readrank ingest --help`"),
        (["no-such-command"], "No such command 'no-such-command'; see `readrank --help`"),
        (["promote"], "Missing argument 'VERSION'; see `readrank promote --help`"),
        (["train", "--untill", "2024-05-01"], "--untill"),
        (["serve", "--port", "a"], "Invalid value for '--port'"),
        (["train", "--encoders", "x", "--encoder", "static"], "wanted alone, got --encoder"),
    ],
)
def test_usage_mistakes_are_one_line_that_says_where_to_read_on(workspace, arguments, said, capsys):
    at = ["-w", str(workspace)] if arguments[0] == "train" else []
    assert readrank.run([*arguments, *at]) == 2
    assert said in (line := complaint(capsys))
    assert line.startswith("readrank: ")
    assert " --help`" in line


def test_no_command_shows_them_all_and_says_what_is_wanted(capsys):
    assert readrank.run([]) == 2
    shown = capsys.readouterr()
    assert "ingest" in shown.out
    assert shown.err == "readrank: wanted a command, got none; see `readrank --help`\n"


def test_demo_answers_machines_in_one_document(tmp_path, capsys, monkeypatch):
    """What its steps do is tested with each: here a step says which it is."""
    run, steps = readrank.run, []

    def step(arguments):
        steps.append(arguments)
        sys.stdout.write(json.dumps(arguments[1]))
        return 0

    monkeypatch.setattr(readrank, "run", step)
    monkeypatch.setattr("api.try_out.answers", lambda shop: [{"user_id": "u", "took": [], "items": []}] * 2)
    assert run(["demo", str(tmp_path / "shop"), "--events", "1000", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: told[name] for name in list(told)[:-1]} == {
        name: name for name in ("init", "ingest", "evaluate", "train")
    }
    assert [answer["user_id"] for answer in told["answers"]] == ["u", "u"]
    assert all(arguments[0] == "--json" for arguments in steps)


def test_demo_in_the_place_of_a_file_is_a_mistake(tmp_path, capsys):
    (tmp_path / "shop").write_text("a list of mine")
    assert readrank.run(["demo", str(tmp_path / "shop"), "--events", "1000", "--json"]) == 2
    assert "wanted a new folder or an earlier demo's, it is a file; name another" in complaint(capsys)
    assert (tmp_path / "shop").read_text() == "a list of mine"


def test_demo_ends_with_the_status_of_the_step_that_failed(tmp_path, capsys, monkeypatch):
    run = readrank.run
    monkeypatch.setattr(readrank, "run", lambda arguments: 2)
    assert run(["demo", str(tmp_path / "shop"), "--events", "1000"]) == 2
    assert "2/5" in capsys.readouterr().out


def test_ingest_replays_rejected_rows_and_tells_what_is_unusual(tmp_path, capsys):
    shop, log = str(tmp_path / "shop"), tmp_path / "log.csv"
    assert readrank.run(["init", shop]) == 0
    log.write_text("user_id,item_id,time\nu,i,2024-01-31\nu,j,31/01/2024\n")
    (tmp_path / "items.csv").write_text("item_id,title\ni,Ink\n")
    assert readrank.run(["ingest", str(tmp_path / "items.csv"), str(log), "-w", shop]) == 0
    assert "2 rows read = 1 loaded + 0 duplicate + 1 rejected" in capsys.readouterr().out
    assert readrank.run(["ingest", "--replay-rejected", "--time-format", "%d/%m/%Y", "-w", shop]) == 0
    assert "1 rows read = 1 loaded + 0 duplicate + 0 rejected" in capsys.readouterr().out
    log.write_text("user_id,item_id,time,kind\nu,k,2024-02-01,wave\n")
    assert readrank.run(["ingest", str(log), "-w", shop]) == 0
    summary = capsys.readouterr().out.splitlines()[0]
    assert "1 loaded" in summary
    assert "attention: " in summary
    assert "wave" in summary
    for arguments in (["ingest", "-w", shop], ["ingest", "--replay-rejected", str(log), "-w", shop]):
        assert readrank.run(arguments) == 2


def test_places_are_told_with_whose_they_are():
    """Half a day, as the log of its seconds."""
    tried = {
        "0": {"ndcg@10": 0.2, "known_ndcg@10": 0.18, "fresh_recall@10": 0.1},
        "2 for 25%": {"ndcg@10": 0.19, "known_ndcg@10": 0.15, "fresh_recall@10": 0.3},
    }
    chosen = {"every": 10, "kept": 2, "newness": math.log1p(43_200), "tried": tried}
    (line,) = source_lines({}, chosen, {}, {})
    assert "1 of 10, at the cutoff 2 for users who take items up to 0.5 days after anyone first did" in line
    assert "none: 0.2000, 0.1800, 0.1000; 2 for 25%: 0.1900, 0.1500, 0.3000" in line
    (line,) = source_lines({}, {"every": 10, "tried": tried}, {}, {})
    assert line.startswith("places for new items: 1 of 10 (NDCG@10")


def test_what_untouched_items_lose_is_told_with_what_it_gains():
    (line,) = source_lines({}, {}, {}, {"by": 0.5, "tried": {"0": 0.1, "0.5": 0.125}, "questions": 70})
    assert (
        line
        == "items that nobody has touched stand 0.5 lower in live answers (NDCG@10: 0 lower 0.1000, 0.5 lower 0.1250)"
    )


def test_numbers_that_json_has_no_word_for_are_null(monkeypatch, capsys):
    monkeypatch.setattr(readrank._options, "as_json", True)
    readrank._print_result({"low": float("nan"), "all": [{"high": float("inf")}, (1.5, 2)]}, "")
    assert capsys.readouterr().out == '{"low": null, "all": [{"high": null}, [1.5, 2]]}\n'
