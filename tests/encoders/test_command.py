import io
import os
import signal
import subprocess
import sys

import pytest

from encoders.command import main, shown
from encoders.errors import EncoderError
from encoders.interest import InterestModel
from encoders.settings import with_settings
from encoders.train import EncoderConfig

SMALL = [
    "base=catalogue", "dim=16", "width=16", "heads=2", "history=8", "epochs=2", "pairs_at_once=128", "negatives=64",
    "learning_rate=1e-2",
]  # fmt: skip


def test_settings_are_read_as_what_they_are():
    config = with_settings(EncoderConfig(), ["epochs=3", "learning_rate=2e-3", "tensorboard=true", "cut_dims=64, 128"])
    assert (config.epochs, config.learning_rate, config.tensorboard, config.cut_dims) == (3, 2e-3, True, "64, 128")
    assert with_settings(config, ["tensorboard=False"]).tensorboard is False


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("epoch=3", "wanted NAME=VALUE with one of kind, base, .* got 'epoch=3'"),
        ("epochs", "wanted NAME=VALUE .* got 'epochs'"),
        ("epochs=few", "--set epochs: wanted int such as -?[0-9]+, got 'few'"),
        ("tensorboard=maybe", "--set tensorboard: wanted bool such as false, got 'maybe'"),
    ],
)
def test_a_mistaken_setting_is_one_sentence(change, told):
    with pytest.raises(EncoderError, match=told):
        with_settings(EncoderConfig(), [change])


def test_command_trains_with_its_options(shop, tmp_path, capsys):
    middle = shop.interactions["occurred_at"].quantile(0.5, "nearest")
    later = shop.interactions["occurred_at"].quantile(0.8, "nearest")
    options = ["--fit-before", f"{later} UTC", "--validate-from", f"{middle.isoformat()}+00:00"]
    assert main([str(shop.folder), str(tmp_path / "m"), *options, "--epochs", "1", "--set", *SMALL]) == 0
    printed = capsys.readouterr()
    untuned, words, tuned, compared = printed.out.splitlines()
    assert untuned.startswith("untuned      NDCG@10 0.")
    assert words.startswith("words alone  NDCG@10 0.")
    assert "after epoch" in tuned
    assert "words alone: NDCG@10" in compared
    assert "tune encoder 1 of 1 loss" in printed.err  # no terminal: plain lines
    assert "\x1b" not in printed.err
    assert InterestModel.load(tmp_path / "m").dim == 16
    card = (tmp_path / "m" / "README.md").read_text()
    known = shop.interactions.filter(shop.interactions["occurred_at"] < middle).height
    assert f"Trained on {known} events" in card


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "kind=magic"], "wanted one of static, transformer"),
        (["--fit-before", "soon"], "--fit-before: wanted a time such as 2024-05-01"),
        (["--set", "texts_at_once=-1"], "[encoder] texts_at_once: wanted at least 0, got -1; change it"),
        (["--set", "least_steps=-1"], "least_steps: wanted at least 0, got -1"),
        (["--set", "max_minutes=inf"], "max_minutes: wanted a finite number, got inf"),
        (["--set", "dropout=1"], "dropout: wanted 0 to 0.9, got 1.0"),
        (["--epochs", "-5"], "epochs: wanted 0 or more, got -5"),
        (["--repeat-of", "m", "--validate-from", "2024-01-20"], "got validate_from as well; leave one of them out"),
        (["--repeat-of", "m", "--init-from", "m"], "got init_from as well; leave one of them out"),
    ],
)
def test_a_mistake_ends_with_2_and_one_line(shop, tmp_path, capsys, options, told):
    assert main([str(shop.folder), str(tmp_path / "m"), *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_no_resume_begins_anew(shop, tmp_path, monkeypatch):
    from encoders.checkpoint import Checkpoint

    loaded = []
    monkeypatch.setattr(Checkpoint, "load", lambda self, trainer: loaded.append(self.folder))
    command = [str(shop.folder), str(tmp_path / "m"), "--set", *SMALL, "epochs=1"]
    assert main(command) == 0
    assert main([*command, "--no-resume"]) == 0
    assert loaded == [tmp_path / "m.training"]


def test_a_terminal_gets_a_bar_with_loss_and_speed():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with shown(stream) as progress:
        for epoch in range(2):
            progress("tune encoder", epoch, 2)
            for step in range(3):
                progress("epoch", step + 1, 3, f"loss {epoch}.5 200 items/s")
    text = stream.getvalue()
    assert "loss 1.5 200 items/s" in text
    assert "3/3" in text


def test_lines_within_an_epoch_are_few():
    stream = io.StringIO()
    with shown(stream) as progress:
        for step in range(1000):
            progress("epoch", step + 1, 1000, "loss 1.0")
        progress("tune encoder", 1, 8, "loss 1.000 recall@10 0.1")
    assert stream.getvalue() == "tune encoder 1 of 8 loss 1.000 recall@10 0.1\n"


@pytest.mark.parametrize("status", [0, 2])
def test_one_of_several_processes_leaves_without_the_end_of_the_interpreter(status):
    """There a thread of Gloo may abort what has ended well; a handler that aborts stands for it."""
    code = (
        "import atexit, os, runpy\n"
        "import encoders.command as command\n"
        f"command.main = lambda: print('told', end='') or {status}\n"
        "atexit.register(os.abort)\n"
        "runpy.run_module('encoders.train', run_name='__main__', alter_sys=True)"
    )
    done = {
        world: subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "WORLD_SIZE": world}, capture_output=True, check=False
        )
        for world in ("1", "2")
    }
    assert done["1"].returncode == -signal.SIGABRT
    assert (done["2"].returncode, done["2"].stdout) == (status, b"told")


def test_help_answers_before_torch_is_imported():
    code = (
        "import sys, runpy\nsys.argv = ['train', '--help']\n"
        "try: runpy.run_module('encoders.train', run_name='__main__', alter_sys=True)\n"
        "except SystemExit: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "torchrun" in done.stdout
