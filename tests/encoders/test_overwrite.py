"""What a training and an export write over, and what they leave as it is."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from encoders.command import main
from encoders.errors import EncoderError
from encoders.export import export_frames
from encoders.interest import InterestModel
from encoders.overwrite import MODEL_FILES, check_export_place, check_model_place
from tests.encoders.test_command import SMALL


@pytest.fixture(scope="module")
def model(shop, tmp_path_factory):
    """A folder that holds a model `m` and nothing else."""
    folder = tmp_path_factory.mktemp("model")
    assert main([str(shop.folder), str(folder / "m"), "--set", *SMALL, "epochs=1"]) == 0
    return folder / "m"


@pytest.fixture
def here(shop, model, tmp_path, monkeypatch):
    """The working folder: training data, a model, and what a user keeps beside them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shop.folder, tmp_path / "all" / "data")
    shutil.copytree(shop.folder, tmp_path / "new.training")
    shutil.copytree(model, tmp_path / "kept")
    for file in ("thesis/years.txt", "pair/final/years.txt", "state.training/years.txt", "kept/years.txt", "a-file"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("of work")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"architectures": ["BertModel"]}')
    (tmp_path / "link").symlink_to("thesis")
    return tmp_path


def _files(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("data", "out", "told"),
    [
        ("all/data", "thesis", r"thesis: wanted a new folder or an earlier model's, it holds other files \(years"),
        ("all/data", "kept", r"other files \(years.txt\); name another or move them away"),
        ("all/data", "other", r"other files \(config.json\)"),
        ("all/data", "state", r"state.training: wanted a new folder or an earlier checkpoint's"),
        ("all/data", "all/data", "all/data: wanted a folder to replace, it holds the training data all/data; name"),
        ("all/data", "thesis/../all/data", "holds the training data"),
        ("all/data", "all", "all: wanted a folder to replace, it holds the training data"),
        ("new.training", "new", "new.training: wanted a folder to replace, it holds the training data"),
        ("all/data", "a-file", "a-file: wanted a folder to write, got Not a directory; name another"),
        ("all/data", "a-file/m", "got Not a directory"),
        ("all/data", "/proc/M", "/proc/M: wanted a folder to write, got No such file"),
        ("all/data", "n" * 250, "got File name too long"),
        ("all/data", "link", "wanted a folder that can be replaced, got a link"),
        ("all/data", ".", "name one inside it"),
        ("all/data", "..", "name one inside it"),
        ("all/data", "pair --pair", "pair/final: wanted a new folder"),
        ("all/data", "/proc/M --pair", "/proc/M/early: wanted a folder to write"),
    ],
)  # fmt: skip
def test_a_training_refuses_before_it_begins_what_is_not_its_own(here, capsys, monkeypatch, data, out, told):
    monkeypatch.setattr("encoders.trainer.build", None)  # whoever calls it has begun
    before = _files(here)
    assert main([data, *out.split(), "--set", *SMALL]) == 2
    error = capsys.readouterr().err
    with pytest.raises(EncoderError, match=told):
        raise EncoderError(error)
    assert error.count("\n") == 1
    assert _files(here) == before


def test_a_training_replaces_an_empty_folder_and_an_earlier_model(shop, model, tmp_path):
    assert {path.name for path in model.iterdir()} <= MODEL_FILES
    for again in (tmp_path / "empty", tmp_path / "m"):
        again.mkdir()
    shutil.copytree(model, tmp_path / "m", dirs_exist_ok=True)
    (tmp_path / "m.training").mkdir()
    (tmp_path / "m.training" / "state.pt").write_bytes(b"of a killed training")
    (tmp_path / "m.7.replaced").mkdir()  # a run killed while it removed the earlier one
    for again in ("empty", "m"):
        assert main([str(shop.folder), str(tmp_path / again), "--set", *SMALL, "epochs=1", "history=6"]) == 0
        assert InterestModel.load(tmp_path / again).history == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "m"]


def test_models_may_lie_inside_the_training_folder_and_in_folders_that_are_new(here):
    for out in ("all/data/m", "pair/early", "not/yet/m"):
        check_model_place(Path(out), Path("all/data"))
    assert not Path("not").exists()


def test_an_export_is_known_by_its_files_and_columns(shop, tmp_path):
    folder = tmp_path / "data"
    for place in (tmp_path / "new" / "data", folder, tmp_path):
        check_export_place(place)
    assert not any(tmp_path.iterdir())
    for impressions in (None, shop.impressions):
        export_frames(shop.items, shop.interactions, folder, before=shop.before, impressions=impressions)
        check_export_place(folder)
    for name in ("items.parquet", "sequences.parquet", "impressions.parquet"):
        own = tmp_path / f"own {name}"
        shutil.copytree(folder, own)
        pl.DataFrame({"item_id": ["a"], "user_id": ["u"], "price": [1.0]}).write_parquet(own / name)
        with pytest.raises(EncoderError, match=rf"an earlier export's, it holds other files \({name}\)"):
            check_export_place(own)
        (own / name).write_bytes(b"no Parquet at all")
        with pytest.raises(EncoderError, match=name):
            check_export_place(own)


def test_an_export_of_an_earlier_version_or_cut_off_is_replaced(shop, tmp_path):
    folder = tmp_path / "data"
    export_frames(shop.items, shop.interactions, folder, before=shop.before, impressions=shop.impressions)
    for name, later in (("impressions.parquet", "clicked_at"), ("sequences.parquet", "kinds")):
        pl.read_parquet(folder / name).drop(later).write_parquet(folder / name)
        check_export_place(folder)
    (folder / "sequences.parquet").unlink()
    check_export_place(folder)


def test_an_export_leaves_what_else_lies_there(shop, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "years.txt").write_text("of work")
    check_export_place(tmp_path)
    export_frames(shop.items, shop.interactions, tmp_path, before=shop.before, impressions=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "items.parquet",
        "models",
        "sequences.parquet",
        "years.txt",
    ]
