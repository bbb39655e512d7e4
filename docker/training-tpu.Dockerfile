# Training on a TPU VM: TensorFlow's TPU wheels, which lag behind the release that the pipeline is pinned to. The code is
# the same; the checkpoints and SavedModels that it writes are read by the newer release. From the top of the checkout:
#
#   docker build -f docker/training-tpu.Dockerfile -t IMAGE .

FROM python:3.11-slim-bookworm AS packages

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/build.lock requirements/tpu.lock /tmp/locks/
RUN pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/build.lock \
    && pip install --no-deps --no-build-isolation --require-hashes -r /tmp/locks/tpu.lock
COPY setup.py pyproject.toml /tmp/project/
COPY maskformer_model /tmp/project/maskformer_model
RUN pip install --no-deps --no-build-isolation /tmp/project

FROM python:3.11-slim-bookworm

# A TPU VM hands its devices to root and the group of that number alone.
RUN useradd --uid 10001 --gid 0 --create-home maskformer
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /home/maskformer
USER 10001
ENTRYPOINT ["python", "-m", "maskformer_model.train"]
