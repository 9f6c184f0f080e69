# Training on GPUs with CUDA, whose libraries come with torch's wheels: the host needs the driver and NVIDIA's container
# toolkit alone. In the folder of the source:
#
#   docker build -f docker/train.Dockerfile -t skipway-train .
#   docker run --gpus all --shm-size 8g --user "$(id -u):$(id -g)" -v ./photos:/data:ro -v ./runs:/runs \
#     skipway-train /data --out /runs/photos
#
# Batches pass between processes through /dev/shm, for which Docker's 64 MB are too few.
FROM python:3.12-slim
# torch.compile builds a part of its kernels with a C compiler
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV UV_LINK_MODE=copy
# hadolint ignore=DL3013
RUN pip install --no-cache-dir uv
WORKDIR /source
COPY pyproject.toml README.md LICENSE MANIFEST.in ./
COPY src src
RUN uv venv /opt/skipway && uv pip install --no-cache --python /opt/skipway/bin/python '.[all]'
ENV PATH=/opt/skipway/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin skipway
USER 10001
WORKDIR /tmp
ENTRYPOINT ["skipway", "train"]
