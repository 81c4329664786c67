# vlar on a CPU:
#   docker build -t vlar .
#   docker run --rm -v "$PWD:/videos" vlar classify clip.mp4 --labels "riding a bike, cooking"
# It has the light core. With models of torch, whose wheels with CUDA are large; ADDRESS is torch's own index of CPU wheels:
#   docker build -t vlar --build-arg VLAR_EXTRAS=clip --build-arg PIP_EXTRA_INDEX_URL=ADDRESS .
# Search indexes outlive a container: -v vlar-search:/home/vlar/cache/search
# A server: --build-arg VLAR_EXTRAS=serve,milvus (deploy/compose.yaml)
# A tag and not a digest: it was written without a registry to ask. Yours: docker buildx imagetools inspect python:3.12-slim-bookworm,
# then docker build --build-arg BASE=python:3.12-slim-bookworm@sha256:... .
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    VLAR_CACHE=/home/vlar/cache

RUN useradd --create-home --uid 1000 vlar \
    && mkdir /videos /state \
    && chown vlar:vlar /videos /state

COPY pyproject.toml README.md LICENSE /src/
COPY vlar /src/vlar
COPY prompts /src/prompts
COPY text_banks /src/text_banks
ARG VLAR_EXTRAS="demo"
RUN pip install "/src[${VLAR_EXTRAS}]" && rm -rf /src

USER vlar
# Fetched and written to the cache now, so that the first start is as quick as the others.
RUN vlar models get lite demo && python -c "import vlar; vlar.load()" \
    && mkdir -m 700 /home/vlar/cache/search

WORKDIR /videos
# A server answers; another command is healthy as long as it runs.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=4 \
    CMD ["python", "-c", "import urllib.request as u; b'\\0serve\\0' in open('/proc/1/cmdline', 'rb').read() and u.urlopen('http://127.0.0.1:8765/api/health', timeout=5)"]
ENTRYPOINT ["vlar"]
CMD ["--help"]
