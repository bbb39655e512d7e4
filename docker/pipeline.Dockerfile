# Every node of the pipeline, on Vertex AI and on Kubeflow. Built from the top of the checkout. `ACCELERATOR=cuda` adds
# CUDA's libraries, several gigabytes, for the nodes whose config asks for a GPU (`nodes.Trainer.image`):
#
#   docker build -f docker/pipeline.Dockerfile -t IMAGE .
#   docker build -f docker/pipeline.Dockerfile --build-arg ACCELERATOR=cuda -t IMAGE-cuda .

FROM python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84 AS packages

ARG ACCELERATOR=none
ARG TRACKERS=no
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/build.lock requirements/pipeline.lock requirements/cuda.lock requirements/trackers.lock /tmp/locks/
# The locks hold every package with its hash, so pip resolves nothing and takes nothing else.
RUN pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/build.lock \
    && pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/pipeline.lock \
    && case "$ACCELERATOR" in \
        none) ;; \
        cuda) pip install --no-deps --require-hashes -r /tmp/locks/cuda.lock ;; \
        *) echo "ACCELERATOR must be none or cuda. Received: $ACCELERATOR" >&2; exit 1 ;; \
    esac \
    && if [ "$TRACKERS" = yes ]; then \
        pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/trackers.lock; \
    fi

FROM python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

# A number, so that Kubernetes can see that it is not root; Beam and TFX write to the home and to /tmp alone.
# The image's own setuptools has known advisories, and nothing here needs it.
RUN pip uninstall --yes --quiet setuptools wheel \
    && useradd --uid 10001 --create-home maskformer
COPY --from=packages /opt/venv /opt/venv
COPY setup.py pyproject.toml /opt/maskformer/
COPY maskformer_model /opt/maskformer/maskformer_model
COPY components /opt/maskformer/components
COPY pipeline /opt/maskformer/pipeline
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/maskformer PYTHONUNBUFFERED=1 KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /home/maskformer
USER 10001
# As TFX's compiler expects of an image for which it writes no command.
ENTRYPOINT ["python", "-m", "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"]
