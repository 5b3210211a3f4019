"""What no section of `readrank.toml` may say, and that every command that trains tells it before it begins."""

import pytest

import readrank
from encoders.command import main as train_encoder
from ingest.workspace import Workspace

WRONG = {
    "blend": [
        *("trees = 0", "trees = -5", "leaves = 0", "leaves = 1", "leaves = 131073", "given_leaves = 1"),
        *("given_trees = 0", "patience = -1", "min_rows = -1", "min_rows = 2147483648", "l2 = -1", "l2 = nan"),
        *("l2 = inf", "feature_share = 0", "feature_share = 2", "row_share = 0", "truncation = 0"),
        *("truncation = 2147483648", "learning_rate = 0", "learning_rate = nan", "threads = -1"),
    ],
    "neighbours": [
        *("size = 0", "max_history = 0", "max_lag = 0", "half_life = 0", "half_life = nan", "half_life = inf"),
        *("shrinkage = -1", "lag_decay = -0.1", "session_weight = -1"),
    ],
    "factors": ["alpha = -1", "alpha = nan", "iterations = 0", "size = 0", "regularization = 0"],
    "candidates": [f"{name} = -1" for name in ("interest", "words", "factors", "repeats", "popular", "fresh")],
    "examples": [
        *("share = 0", "share = 1", "share = 1.5", "share = nan"),
        *("max_queries = -1", "max_requests = -1", "negatives = -1"),
    ],
    "tune": ["trials = 0", "trials = -1", "random_trials = -1"],
    "evaluation": [
        *("quantile = 0", "quantile = nan", "quantile = 2", "k = 0", "max_queries = -1", "max_queries = 0"),
        "max_requests = -1",
    ],
    "baselines": [
        *("neighbours = 0", "factors = 0", "history_length = -1", "decay = -1", "decay = nan"),
        *("shares = []", "shares = [0]", "shares = [0.5, 1.5]", "shares = [nan]"),
    ],
    "nightly": ["days = -1", "days = nan", "queries = 0", "least_queries = 0", "margin = -0.1", "margin = 1.1"],
    "kinds": ["view = nan", "view = inf", "view = 1e300", "hide = -1000000.5"],
}
SEEDED = ("encoder", "examples", "factors", "blend", "tune", "evaluation")
CASES = [(section, line) for section, lines in WRONG.items() for line in lines]
CASES += [(section, f"seed = {seed}") for section in SEEDED for seed in (-1, 2**32)]

RIGHT = {
    "blend": "patience = 0\nmin_rows = 0\nl2 = 0\nfeature_share = 1\nrow_share = 1\nleaves = 2\nthreads = 0\ntrees = 1",
    "neighbours": "shrinkage = 0\nlag_decay = 0\nsession_weight = 0\nhalf_life = 1e9\nsize = 1\nmax_lag = 1",
    "factors": "alpha = 0\niterations = 1\nsize = 1\nregularization = 1e-9\nseed = 4294967295",
    "candidates": "interest = 0\nfresh = 0\nwords = 0",
    "examples": "share = 0.99\nmax_requests = 0\nmax_queries = 0\nnegatives = 0",
    "tune": "trials = 1\nrandom_trials = 0",
    "evaluation": "quantile = 1\nk = 1\nmax_requests = 0\nmax_queries = 1",
    "baselines": "shares = [1]\ndecay = 0\nhistory_length = 0\nneighbours = 1",
    "nightly": "days = 0\nqueries = 1\nleast_queries = 1\nmargin = 0",
    "kinds": "view = 1e6\nhide = -1e6",
    "encoder": "seed = 4294967295",
}


def told(space: Workspace, command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert readrank.run([*command, "--workspace", str(space.root)]) == readrank.MISTAKE
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(("section", "line"), CASES, ids=str)
def test_a_setting_out_of_bounds_is_one_line_before_any_work(tmp_path, monkeypatch, capsys, section, line):
    space = Workspace.create(tmp_path / "shop", f"[{section}]\n{line}\n")
    monkeypatch.setattr("ranker.train.drain_outbox", lambda *_: pytest.fail("work began"))
    name = line.split()[0]
    said = told(space, ["train"], capsys)
    assert f"[{section}]: {name}: wanted " in said or f"[{section}] {name}: wanted " in said


@pytest.mark.parametrize("command", ["tune", "evaluate"])
@pytest.mark.parametrize(("section", "line"), [("baselines", "shares = []"), ("kinds", "view = nan")])
def test_all_commands_that_train_look_at_all_sections(tmp_path, capsys, command, section, line):
    space = Workspace.create(tmp_path / "shop", f"[{section}]\n{line}\n")
    assert f"[{section}]: {line.split()[0]}: wanted " in told(space, [command], capsys)


@pytest.mark.parametrize("section", RIGHT)
def test_what_lies_at_the_bounds_stays_accepted(tmp_path, section):
    space = Workspace.create(tmp_path / "shop", f"[{section}]\n{RIGHT[section]}\n")
    made = space.section(section, readrank._config_class(section))
    assert made != readrank._config_class(section)()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_wrong_seed_of_an_encoder_is_one_line(tmp_path, capsys, seed):
    given = [str(tmp_path), str(tmp_path / "model"), "--set", f"seed={seed}"]
    assert train_encoder(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"[encoder] seed: wanted 0 to 4,294,967,295, got {seed}")
