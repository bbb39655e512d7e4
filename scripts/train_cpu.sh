#!/usr/bin/env bash
# Trains maskformer_coco_panoptic on this machine's processor.
# The environment variables are listed in settings.sh.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
train True one_device
