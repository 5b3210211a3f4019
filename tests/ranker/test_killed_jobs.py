"""What a killed training, or a killed writing of a bundle, leaves goes with the next job; a living one's stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from ingest.leftovers import clear_leftovers
from ingest.workspace import Workspace

ROOT = Path(__file__).parents[2]
STOPPED = {
    "training": """
from ranker.training_data import scratch_folder
with scratch_folder(space) as folder:
    stop(folder)
""",
    "bundle": """
from ranker import bundle
bundle.write(space.bundles_path, stop, cutoff=datetime(2024, 1, 1), outbox_seq=0, feature_names=[], settings={},
    measured={})
""",
}
AT_WORK = """
import sys
from datetime import datetime
from pathlib import Path
from ingest.workspace import Workspace
space = Workspace(Path(sys.argv[1]))
def stop(folder):
    (folder / "somebody").touch()
    print(folder.relative_to(space.root), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("job", "ends_as"), [("training", []), ("bundle", ["bundle"])])
def test_a_job_owns_its_folder_until_it_ends_or_is_killed(tmp_path, job, ends_as):
    space = Workspace.create(tmp_path / "shop", "")
    before = sorted(space.root.rglob("*"))
    for killed in (True, False):
        with subprocess.Popen(
            [sys.executable, "-c", AT_WORK + STOPPED[job], str(space.root)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            name = process.stdout.readline().strip()
            assert clear_leftovers(space) == ()
            if killed:
                process.kill()
            process.stdin.close()
            process.wait()
        assert (space.root / name / "somebody").exists() == killed
        assert clear_leftovers(space) == ((name,) if killed else ())
        new = [path for path in space.root.rglob("*") if path not in before and path.is_dir()]
        assert len(new) == (0 if killed else len(ends_as))
        assert not list(space.root.rglob("*.lock"))
