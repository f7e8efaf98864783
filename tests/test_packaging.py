"""The installed package: what the wheel holds, beside the package that owns the name `kernels`; and a bare clone."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from diffwave_jax import __version__

ROOT = Path(__file__).parents[1]
# 1 / (1 - 0.5i) and its conjugate: 2 * 1 / 1.25.
KERNELS_WORK = """
import diffwave_jax.kernels
import numpy as np
for implementation in "reference", "xla":
    found = diffwave_jax.kernels.cauchy(
        np.ones(1, "c8"), np.ones(1, "c8"), np.full(1, 0.5j, "c8"), implementation=implementation
    )
    np.testing.assert_allclose(found, [1.6], rtol=1e-6)
"""


def run(*command, folder: Path, **variables: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=inherited | variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_of_the_project(folder: Path) -> Path:
    """What is needed to build; a build writes into the folder it builds."""
    for name in ("diffwave_jax", "kernels", "configs"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "docs").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt", "docs/package_index.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def build(source: Path, kind: str, out: Path) -> Path:
    """A wheel or an sdist, by the build backend as build frontends call it."""
    program = f"import setuptools.build_meta as backend; backend.build_{kind}({str(out)!r})"
    run(sys.executable, "-c", program, folder=source)
    return max(out.iterdir(), key=lambda file: file.stat().st_mtime_ns)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copy_of_the_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def wheel(project, tmp_path_factory) -> Path:
    return build(project, "wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    files = [path for path in (ROOT / "diffwave_jax").rglob("*") if path.is_file()]
    for linked in ("kernels", "configs"):
        files += [ROOT / "diffwave_jax" / path.relative_to(ROOT) for path in (ROOT / linked).rglob("*.py")]
    wanted = {str(path.relative_to(ROOT)): path.read_bytes() for path in files if "__pycache__" not in path.parts}
    assert contents(wheel) == wanted
    assert wheel.name == f"diffwave_jax-{__version__}-py3-none-any.whl"


def test_what_the_wheel_says_of_itself(wheel):
    """Extras, commands, and a description in which every link and picture stands by itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(name))
        entry_points = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert {"gpu", "tpu", "hub", "demo", "test"} <= set(said.get_all("Provides-Extra", []))
    assert len(said.get_all("Project-URL", [])) >= 4
    assert re.findall(r"^diffwave-(\w+) ", entry_points, re.MULTILINE) == [
        "convert",
        "demo",
        "evaluate",
        "sample",
        "train",
    ]
    links = re.findall(r"\]\(([^)]+)\)", said.get_payload())
    assert links and all(link.startswith("https://") for link in links)
    required = {line for line in said.get_all("Requires-Dist", []) if 'extra == "test"' in line}
    listed = [line for line in (ROOT / "requirements-test.txt").read_text().splitlines() if not line.startswith("-r")]
    assert {re.split(r"[<>=;]", line)[0] for line in required} == {re.split(r"[<>=]", line)[0] for line in listed}


def test_a_wheel_of_the_sdist_is_the_same(wheel, project, tmp_path):
    (tmp_path / "out").mkdir()
    sdist = build(project, "sdist", tmp_path / "out")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("diffwave_jax-*")
    assert contents(build(unpacked, "wheel", tmp_path / "out")) == contents(wheel)


def environment(folder: Path) -> Path:
    """The Python of a fresh environment, which sees this one's packages behind its own."""
    venv.create(folder, with_pip=False)
    packages = next((folder / "lib").glob("python*/site-packages"))
    here = Path(next(path for path in sys.path if path.endswith("site-packages")))
    (packages / "here.pth").write_text(f"{here}\n")
    return folder / "bin" / "python"


@pytest.mark.skipif(os.name != "posix", reason="environments are laid out in another way")
def test_beside_the_package_kernels(wheel, tmp_path):
    python = environment(tmp_path / "environment")
    packages = next((tmp_path / "environment").glob("lib/python*/site-packages"))
    pip = sys.executable, "-m", "pip", "install", "--quiet", "--target", packages
    found = subprocess.run([*pip, "kernels"], capture_output=True, text=True, timeout=300, check=False)
    if found.returncode != 0:
        pytest.skip("no package index, or it has no `kernels`")
    theirs = {path: path.read_bytes() for path in (packages / "kernels").rglob("*.py")}
    assert theirs
    run(*pip, "--no-deps", wheel, folder=tmp_path)
    assert {path: path.read_bytes() for path in theirs} == theirs
    program = f"{KERNELS_WORK}\nimport kernels\nprint(kernels.__file__, diffwave_jax.kernels.__file__)\n"
    program += "assert callable(kernels.get_kernel)"
    files = run(python, "-c", program, folder=tmp_path).split()
    assert files == [str(packages / folder / "__init__.py") for folder in ("kernels", "diffwave_jax/kernels")]


@pytest.mark.skipif(os.name != "posix", reason="environments are laid out in another way")
def test_an_editable_install(tmp_path):
    python = environment(tmp_path / "environment")
    packages = next((tmp_path / "environment").glob("lib/python*/site-packages"))
    (tmp_path / "project").mkdir()
    (tmp_path / "out").mkdir()
    project = copy_of_the_project(tmp_path / "project")
    with zipfile.ZipFile(build(project, "editable", tmp_path / "out")) as archive:
        archive.extractall(packages)
    files = run(python, "-c", f"{KERNELS_WORK}\nprint(diffwave_jax.kernels.__file__)", folder=tmp_path).split()
    assert Path(files[0]).resolve() == project / "kernels" / "__init__.py"


@pytest.mark.skipif(os.name != "posix", reason="environments are laid out in another way")
def test_the_installed_commands(wheel, tmp_path):
    """From a folder where nothing of the project is, with the configs that the wheel brings."""
    python = environment(tmp_path / "environment")
    install = "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)
    run(sys.executable, *install, folder=tmp_path)
    shown = run(str(python.with_name("diffwave-train")), "--config", "small", "--help", folder=tmp_path)
    assert shown.startswith("Trains a model: diffwave-train --config") and "--config.model.d_model=16" in shown
    program = "import importlib.metadata as m; [e.load() for e in m.distribution('diffwave_jax').entry_points]"
    run(str(python), "-c", program, folder=tmp_path)


def test_a_clone_whose_link_is_a_text_file(tmp_path):
    project = copy_of_the_project(tmp_path)
    (project / "diffwave_jax" / "kernels").unlink()
    (project / "diffwave_jax" / "kernels").write_text("../kernels")  # as git leaves it where it may make no links
    program = f"{KERNELS_WORK}\nprint(diffwave_jax.kernels.__file__)"
    found = run(sys.executable, "-c", program, folder=tmp_path, PYTHONPATH=str(project))
    assert found.strip() == str(project / "kernels" / "__init__.py")
