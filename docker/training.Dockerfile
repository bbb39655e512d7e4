# Training alone: no TFX, no Beam. Built from the top of the checkout, for processors or GPUs:
#
#   docker build -f docker/training.Dockerfile -t IMAGE .
#   docker build -f docker/training.Dockerfile --build-arg ACCELERATOR=cuda -t IMAGE .

FROM python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84 AS packages

ARG ACCELERATOR=none
ARG TRACKERS=no
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/build.lock requirements/train.lock requirements/cuda.lock requirements/trackers.lock /tmp/locks/
RUN pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/build.lock \
    && pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/train.lock \
    && case "$ACCELERATOR" in \
        none) ;; \
        cuda) pip install --no-deps --require-hashes -r /tmp/locks/cuda.lock ;; \
        *) echo "ACCELERATOR must be none or cuda. Received: $ACCELERATOR" >&2; exit 1 ;; \
    esac \
    && if [ "$TRACKERS" = yes ]; then \
        pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/trackers.lock; \
    fi
COPY setup.py pyproject.toml /tmp/project/
COPY maskformer_model /tmp/project/maskformer_model
RUN pip install --no-deps --no-build-isolation /tmp/project

FROM python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

# A number, so that Kubernetes can see that it is not root.
# The image's own setuptools has known advisories, and nothing here needs it.
RUN pip uninstall --yes --quiet setuptools wheel \
    && useradd --uid 10001 --create-home maskformer
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /home/maskformer
USER 10001
ENTRYPOINT ["python", "-m", "maskformer_model.train"]
