#!/usr/bin/env bash
# Trains maskformer_coco_panoptic on a TPU.
# The environment variables are listed in settings.sh.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
require TPU_NAME
train True tpu
