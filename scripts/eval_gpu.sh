#!/usr/bin/env bash
# Scores a maskformer_coco_panoptic model on one GPU.
# The environment variables are listed in settings.sh.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
evaluate True one_device
