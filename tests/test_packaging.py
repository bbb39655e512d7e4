"""The locks nest, setup.py declares every import, and the built package holds all its files and needs no TFX."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.test_layering import PACKAGES, imported_names, modules_of, package_of

LOCKS = ("build", "cuda", "dev", "lint", "parity", "pipeline", "tpu", "trackers", "train")

# Extras: imported late, and only by those who ask for them.
OPTIONAL = {
    "ai_edge_litert",
    "aiohttp",
    "argcomplete",
    "google",  # protobuf, as grpc of the extra `serve`.
    "grpc",
    "jax",
    "mlflow",
    "onnxruntime",
    "openvino",
    "safetensors",
    "tf2onnx",
    "torch",
    "transformers",
    "wandb",
}
# TFX's own requirements, which it pins itself (`google` is protobuf).
WITH_TFX = {
    "google",
    "jinja2",
    "ml_metadata",
    "pyarrow",
    "tensorflow_data_validation",
    "tensorflow_metadata",
    "tensorflow_model_analysis",
    "tensorflow_transform",
    "tfx_bsl",
}


def pins(project_dir: pathlib.Path, lock: str) -> dict[str, str]:
    """The version of each package in a lock file."""
    text = (project_dir / "requirements" / f"{lock}.lock").read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, flags=re.MULTILINE))


def declared(project_dir: pathlib.Path, name: str) -> list[str]:
    """A list or dict of requirements in setup.py, read without running it."""
    for node in ast.parse((project_dir / "setup.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise LookupError(f"setup.py must assign `{name}`.")


def distribution_names(requirements: list[str]) -> set[str]:
    """`["keras>=3"]` -> `{"keras"}`, spelled as the locks do."""
    return {re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def third_party_imports(project_dir: pathlib.Path, package: str) -> set[str]:
    """Top-level names that the modules of a package import from outside the project and the standard library."""
    names = {
        name.split(".")[0]
        for path in modules_of(project_dir, package)
        for name in imported_names(path.read_text("utf-8"), package_of(project_dir, path))
    }
    return names - set(PACKAGES) - set(sys.stdlib_module_names)


@pytest.mark.parametrize(("inner", "outer"), [("train", "pipeline"), ("pipeline", "dev"), ("build", "dev")])
def test_a_lock_holds_the_smaller_one_at_the_same_versions(project_dir, inner, outer):
    assert pins(project_dir, inner).items() <= pins(project_dir, outer).items()


@pytest.mark.parametrize(
    ("added", "base"),
    [("parity", "dev"), ("cuda", "train"), ("cuda", "pipeline"), ("lint", "dev"), ("trackers", "dev")],
)
def test_a_lock_that_is_added_to_another_changes_no_version_of_it(project_dir, added, base):
    ours, theirs = pins(project_dir, added), pins(project_dir, base)
    shared = ours.keys() & theirs.keys()
    assert shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_gives_hashes_and_names_no_address(project_dir, lock):
    text = (project_dir / "requirements" / f"{lock}.lock").read_text("utf-8")
    assert re.search(r"://|file:|^-", text, flags=re.MULTILINE) is None
    requirements = re.split(r"\n(?! )", text.strip())
    assert [line for line in requirements if "--hash=sha256:" not in line] == []


def test_no_install_brings_tfx_or_test_tools_into_training(project_dir):
    unwanted = {"apache-beam", "hypothesis", "kfp", "mypy", "pytest", "ruff", "tfx", "uv"}
    assert pins(project_dir, "train").keys() & unwanted == set()
    assert pins(project_dir, "pipeline").keys() & (unwanted - {"apache-beam", "kfp", "tfx"}) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_import_is_declared(project_dir, package):
    distributions = importlib.metadata.packages_distributions()
    requirements = declared(project_dir, "TRAINING")
    allowed = set(OPTIONAL)
    if package != "maskformer_model":
        requirements = requirements + declared(project_dir, "EXTRAS")["pipeline"]
        allowed |= WITH_TFX
    known = distribution_names(requirements)
    undeclared = {
        name
        for name in third_party_imports(project_dir, package) - allowed
        if known.isdisjoint(distribution.lower().replace("_", "-") for distribution in distributions.get(name, ()))
    }
    assert undeclared == set(), "Declare the distribution in setup.py and run `make lock`."


@pytest.fixture(scope="module")
def source(project_dir, tmp_path_factory):
    """A copy of what the package is built from, so that building leaves nothing in the checkout."""
    directory = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(project_dir / name, directory)
    for package in (*PACKAGES, "tests"):
        shutil.copytree(project_dir / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """The project as `pip install .` builds it."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(directory), str(source)], check=True)
    (path,) = directory.glob("*.whl")
    return path


def package_files(source: pathlib.Path) -> set[str]:
    """The modules and data files that an installed project must have."""
    suffixes = {".py", ".html", ".j2", ".js", ".json", ".pbtxt", ".txt"}
    files = {path for package in PACKAGES for path in (source / package).rglob("*") if path.suffix in suffixes}
    return {str(path.relative_to(source)) for path in files}


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_data_file_and_no_test(source, wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    shared = ("components/", "pipeline/")
    expected = {f"maskformer_tfx/{name}" if name.startswith(shared) else name for name in package_files(source)}
    assert names == expected | {"maskformer_tfx.pth"}


@pytest.mark.slow
def test_the_model_package_builds_alone_as_in_the_training_image(source, tmp_path):
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(source / name, tmp_path)
    shutil.copytree(source / "maskformer_model", tmp_path / "maskformer_model")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path / "wheel"), str(tmp_path)], check=True)
    [path] = (tmp_path / "wheel").glob("*.whl")
    names = {name.split("/")[0] for name in zipfile.ZipFile(path).namelist() if ".dist-info/" not in name}
    assert names == {"maskformer_model"}


@pytest.mark.slow
def test_the_wheel_says_what_it_is_and_brings_the_command(wheel):
    archive = zipfile.ZipFile(wheel)
    [folder] = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = archive.read(f"{folder}/METADATA").decode()
    python = "Classifier: Programming Language :: Python :: 3.13"
    for line in ("Name: maskformer-tfx", "Requires-Python: >=3.11", python):
        assert f"\n{line}\n" in metadata
    assert "Description-Content-Type: text/markdown" in metadata
    assert re.search(r"^Project-URL: .*https://arxiv.org", metadata, re.MULTILINE)
    assert not re.search(r"file:|localhost|/home", metadata.partition("\n\n")[0])
    assert "maskformer = maskformer_model.command_line:main" in archive.read(f"{folder}/entry_points.txt").decode()


@pytest.mark.slow
def test_an_installed_wheel_runs_outside_the_repository_beside_packages_of_the_same_names(wheel, tmp_path):
    # As in a site-packages folder where another distribution has brought `pipeline` and `components`.
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*command, str(wheel)], check=True)
    for name in ("pipeline", "components"):
        assert not (site / name).exists()
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("raise ImportError('the other one')")
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "400"}
    shown = subprocess.run(
        [sys.executable, "-m", "maskformer_model", "demo", "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"(default: {tmp_path / 'runs'})" in shown.stdout
    program = """
from maskformer_model import command_line
command_line.put_our_packages_first()
from components.source_fingerprint import fingerprint_behind
from pipeline.local_run.code_version import code_version
from pipeline.project_folder import PROJECT_DIR
print(len(fingerprint_behind("components.training.trainer")), code_version(PROJECT_DIR)["commit"])
"""
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.stdout.split() == ["64", "None"], found.stderr


@pytest.mark.slow
def test_the_archive_that_beam_sends_to_workers_holds_every_module_and_data_file(source, tmp_path):
    # The command that Beam runs for `--setup_file`.
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files(source) | {"setup.py", "pyproject.toml"} <= names


@pytest.mark.slow
def test_the_installed_model_package_imports_where_there_is_no_tfx_and_no_beam(project_dir, wheel, tmp_path):
    # A finder that refuses the pipeline's packages stands for an environment without them.
    modules = [
        ".".join(path.relative_to(project_dir).with_suffix("").parts)
        for path in modules_of(project_dir, "maskformer_model")
        if path.name not in ("__init__.py", "__main__.py")
    ]
    program = f"""
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tfx", "apache_beam", "kfp", "ml_metadata", "components", "pipeline"):
            raise ModuleNotFoundError(f"refused: {{name}}", name=name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(wheel)!r})
for name in {modules!r}:
    module = importlib.import_module(name)
    assert module.__file__.startswith({str(wheel)!r}), module.__file__
"""
    finished = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-4000:]
