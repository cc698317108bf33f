"""The installed wheel, not the source tree: from another folder, offline, without write access to its own folder."""

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from powerless import powerless

ROOT = Path(__file__).parents[1]
TRAIN = ["train", "unet", "bce_dice", "--dataset", "synthetic", "--out", "run", "epochs=1", "size=32", "model.width=4"]
SMALL = ["data.size=32", "data.count=[4,2,2]", "batch_size=2", "workers=0", "device=cpu"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the source, as `pip install .` does, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("seglab", "assets/models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PIP_NO_INDEX": "1"})
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel in a folder of its own that nobody may write into."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", str(folder), str(wheel))
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    yield folder
    for path in paths:
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o200)


@pytest.fixture
def elsewhere(installed, tmp_path):
    """Runs Python from another folder, with the installed package and no right to change it; gives its output."""

    def run(*words: str) -> str:
        settings = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(installed), "no_proxy": "*"}
        done = powerless([sys.executable, *words], cwd=tmp_path, env=settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_wheel_holds_every_module_and_every_shipped_model_and_nothing_of_the_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "seglab").rglob("*.[pj][ys]")}
    models = {f"seglab/_assets/{path.name}" for path in (ROOT / "assets" / "models").glob("*.safetensors")}
    assert models
    assert modules | models <= names
    assert not [name for name in names if not name.startswith(("seglab/", "seglab-"))]
    assert wheel.stat().st_size < 60 * 2**20


def test_package_folder_is_closed_to_the_process_that_the_next_tests_start(elsewhere, installed):
    code = "import seglab, pathlib; print(pathlib.Path(seglab.__file__).parent)\ntry: open(seglab.__file__, 'a')\n"
    answer = elsewhere("-c", code + "except PermissionError: print('closed')").splitlines()
    assert answer == [str(installed / "seglab"), "closed"]


def test_installed_command_lists_trains_predicts_and_verifies(elsewhere, installed, tmp_path):
    command = str(installed / "bin" / "seglab")
    assert "unet" in elsewhere(command, "list", "models")
    elsewhere(command, *TRAIN, *SMALL)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / "photo.png")
    elsewhere(command, "predict", "--model", "run", "--out", "masks", "photo.png")
    with Image.open(tmp_path / "masks" / "photo.png") as mask:
        assert mask.size == (60, 40)
    assert "hold exactly" in elsewhere(command, "verify", "run")


def test_installed_app_finds_and_reads_the_shipped_models(elsewhere, installed):
    code = (
        "from seglab.serving import find_models; from seglab import Predictor\n"
        "files = find_models(); Predictor.load(files[0]); print(len(files), files[0].parent)"
    )
    count = len(list((ROOT / "assets" / "models").glob("*.safetensors")))
    assert elsewhere("-c", code).split() == [str(count), str(installed / "seglab" / "_assets")]


def test_source_tree_finds_the_models_beside_it():
    from seglab.serving import find_models

    assert {path.parent for path in find_models()} == {ROOT / "assets" / "models"}


def test_every_folder_of_the_package_goes_into_the_wheel():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "seglab").rglob("*.py")}
    assert set(listed) == folders | {"seglab._assets"}
