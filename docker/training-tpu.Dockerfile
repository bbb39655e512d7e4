# Training on a TPU VM: TensorFlow's TPU wheels, which lag behind the release that the pipeline is pinned to. The code is
# the same; the checkpoints and SavedModels that it writes are read by the newer release. From the top of the checkout:
#
#   docker build -f docker/training-tpu.Dockerfile -t IMAGE .

FROM python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84 AS packages

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/build.lock requirements/tpu.lock /tmp/locks/
RUN pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/build.lock \
    && pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/tpu.lock
COPY setup.py pyproject.toml /tmp/project/
COPY maskformer_model /tmp/project/maskformer_model
RUN pip install --no-deps --no-build-isolation /tmp/project

FROM python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

# A TPU VM hands its devices to root and the group of that number alone.
# The image's own setuptools has known advisories, and nothing here needs it.
RUN pip uninstall --yes --quiet setuptools wheel \
    && useradd --uid 10001 --gid 0 --create-home maskformer
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /home/maskformer
USER 10001
ENTRYPOINT ["python", "-m", "maskformer_model.train"]
