#!/usr/bin/env bash
# Trains maskformer_coco_panoptic on one GPU.
# The environment variables are listed in settings.sh.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
train False one_device
