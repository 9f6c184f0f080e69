# The server on a CPU, without the libraries of CUDA. In the folder of the source:
#
#   docker build -f docker/serve.Dockerfile -t skipway-serve .
#   docker run --read-only --tmpfs /tmp -p 8000:8000 -e SKIPWAY_API_KEY -v ./runs/photos:/run:ro skipway-serve
#
# It runs as a user of its own that may write to /tmp alone. SIGTERM ends it once what was accepted is answered.
FROM python:3.12-slim AS build
ENV UV_TORCH_BACKEND=cpu UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
# hadolint ignore=DL3013
RUN pip install --no-cache-dir uv
WORKDIR /source
COPY pyproject.toml README.md LICENSE MANIFEST.in ./
COPY src src
RUN uv venv /opt/skipway && uv pip install --no-cache --python /opt/skipway/bin/python '.[serve]'

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin skipway
COPY --from=build /opt/skipway /opt/skipway
ENV PATH=/opt/skipway/bin:$PATH HOME=/tmp SKIPWAY_CACHE=/tmp/skipway SKIPWAY_OFFLINE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["skipway", "serve"]
CMD ["/run", "--host", "0.0.0.0"]
