# The server of an exported network, on a CPU and without torch. In the folder of the source:
#
#   skipway export runs/photos --format onnx --out exported
#   docker build -f docker/serve.Dockerfile -t skipway-serve .
#   docker run --read-only --tmpfs /tmp -p 8000:8000 -e SKIPWAY_API_KEY -v ./exported:/export:ro skipway-serve
#
# It runs as a user of its own that may write to /tmp alone. SIGTERM ends it once what was accepted is answered.
FROM python:3.12-slim AS build
WORKDIR /source
COPY src src
COPY runtime runtime
RUN python -m venv /opt/skipway && /opt/skipway/bin/pip install --no-cache-dir './runtime[onnx,serve]'

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin skipway
COPY --from=build /opt/skipway /opt/skipway
ENV PATH=/opt/skipway/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
USER 10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["skipway-runtime", "serve"]
CMD ["/export", "--host", "0.0.0.0"]
