# Sourced by the scripts beside it: checks the environment variables of tf-maskformer and turns them into overrides.
#
#   TFRECORDS_DIR      folder with train*.tfrecord, val*.tfrecord and categories.json, as `create_coco_tf_record` writes
#   MODEL_DIR          where the run is kept
#   TRAIN_BATCH_SIZE   training: images per step, over all devices
#   EVAL_BATCH_SIZE    kept for the commands of tf-maskformer; photos are scored one by one, each at its own size
#   RESNET_CKPT        training: ImageNet weights of the backbone; "" starts from random ones
#   MASKFORMER_CKPT    evaluation: the weights to score; "" takes those in MODEL_DIR
#   TPU_NAME           TPU scripts: name or address; "local" on a TPU VM
#   BASE_LR=0.0001  IMG_SIZE=640  NO_OBJ_CLS_WEIGHT=0.1  DEEP_SUPERVISION  PRECISION=float32  OVERRIDES: further a.b=c,...
#
# NO_OBJ_CLS_WEIGHT is the paper's 0.1; tf-maskformer's scripts had 0.001.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

require() {
  local name
  for name in "$@"; do
    if [[ -z "${!name+set}" ]]; then
      echo "The environment variable ${name} must be set: see scripts/settings.sh." >&2
      exit 2
    fi
  done
}

settings() {
  local size="${IMG_SIZE:-640}" edges="" edge
  for edge in 480 512 544 576 608 640 672 704 736 768 800; do
    if ((edge <= size)); then edges="${edges:+${edges},}${edge}"; fi
  done
  local parser="output_size=[${size},${size}] min_sizes_px=[${edges:-${size}}] max_size_px=${size}"
  local all="runtime.mixed_precision_dtype=${PRECISION:-float32},task.model.which_pixel_decoder=transformer_fpn"
  all+=",task.model.deep_supervision=${DEEP_SUPERVISION:-$1},task.losses.background_cls_weight=${NO_OBJ_CLS_WEIGHT:-0.1}"
  all+=",trainer.optimizer.learning_rate=${BASE_LR:-0.0001}"
  all+=",task.inference.shortest_edge_px=${size},task.inference.max_size_px=${size}"
  local data setting
  for data in train_data validation_data; do
    for setting in ${parser}; do all+=",task.${data}.parser.${setting}"; done
  done
  echo "${all},runtime.distribution_strategy=$2"
}

python_of_project() {
  if [[ -x .venv/bin/python ]]; then echo .venv/bin/python; else echo python3; fi
}

train() {
  require TFRECORDS_DIR MODEL_DIR TRAIN_BATCH_SIZE EVAL_BATCH_SIZE RESNET_CKPT
  exec "$(python_of_project)" -m maskformer_model.train --experiment maskformer_coco_panoptic --mode "${MODE:-train}" \
    --model_dir "${MODEL_DIR}" --tpu "${TPU_NAME:-}" --params_override \
    "$(settings "$@"),task.train_data.global_batch_size=${TRAIN_BATCH_SIZE},task.validation_data.global_batch_size=${EVAL_BATCH_SIZE},task.init_checkpoint=${RESNET_CKPT},task.init_checkpoint_modules=backbone${OVERRIDES:+,${OVERRIDES}}"
}

evaluate() {
  require TFRECORDS_DIR MODEL_DIR EVAL_BATCH_SIZE MASKFORMER_CKPT
  exec "$(python_of_project)" -m maskformer_model.train --experiment maskformer_coco_panoptic --mode eval \
    --model_dir "${MODEL_DIR}" --tpu "${TPU_NAME:-}" --params_override \
    "$(settings "$@"),task.validation_data.global_batch_size=${EVAL_BATCH_SIZE},task.init_checkpoint=${MASKFORMER_CKPT},task.init_checkpoint_modules=all${OVERRIDES:+,${OVERRIDES}}"
}
