#!/usr/bin/env bash
# Shows that the package installs without TFX and trains: a new environment, `pip install .` from the lock, six steps.
#
#   scripts/check_install.sh [DIR]     # where the environment is made (default: a folder that is removed afterwards)
#
# Needs python3.11 and what pip downloads, about 700 MB; an environment that DIR has already is used again.
set -euo pipefail
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [ $# -gt 0 ]; then
  folder="$1"
  mkdir -p "$folder"
else
  folder="$(mktemp -d)"
  trap 'rm -rf "$folder"' EXIT
fi
# What is installed must be found, and not this checkout.
unset PYTHONPATH
export TF_CPP_MIN_LOG_LEVEL=2
cd "$folder"

if [ ! -d env ]; then
  python3.11 -m venv env
  for lock in build train; do
    env/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes \
      -r "$project/requirements/$lock.lock"
  done
fi
# From a copy: building leaves files beside setup.py.
rm -rf source records run
mkdir source
cp -r "$project"/{setup.py,pyproject.toml,maskformer_model,components,pipeline} source
env/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall ./source

env/bin/python - tfx apache_beam kfp ml_metadata pytest hypothesis ruff mypy <<'PYTHON'
import importlib.util
import sys

found = [name for name in sys.argv[1:] if importlib.util.find_spec(name)]
if found:
    sys.exit(f"The install must not bring {found}.")
import maskformer_model

print("Installed, without", ", ".join(sys.argv[1:]), "at", maskformer_model.__file__)
PYTHON

cp "$project/tests/maskformer_model/tiny_run.py" .
env/bin/python -c 'import pathlib, tiny_run; pathlib.Path("records").mkdir(); tiny_run.write_records(pathlib.Path("records"))'
settings="$(env/bin/python -c 'import tiny_run; print(tiny_run.TINY_NETWORK, tiny_run.SMALL_DATA, tiny_run.SHORT, sep=",")')"
env/bin/python -m maskformer_model.train --experiment maskformer_coco_panoptic --mode train --model_dir run \
  --params_override "$settings,task.train_data.input_path=records/train.tfrecord,task.model.num_classes=0,trainer.optimizer.drop_steps=[]"
env/bin/python - <<'PYTHON'
import json
import pathlib

rows = json.loads(pathlib.Path("run/training_history.json").read_text())
print(f"Trained to step {rows[-1]['step']:g}: loss {rows[0]['loss']:.3f}, then {rows[-1]['loss']:.3f}")
PYTHON
