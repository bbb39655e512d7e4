#!/usr/bin/env bash
# Scores a maskformer_coco_panoptic model on a TPU.
# The environment variables are listed in settings.sh.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
require TPU_NAME
evaluate True tpu
