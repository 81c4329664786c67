# vlar on a CPU:
#   docker build -t vlar .
#   docker run --rm -v "$PWD:/videos" vlar classify clip.mp4 --labels "riding a bike, cooking"
# It has the light core. With models of torch, whose wheels with CUDA are large; ADDRESS is torch's own index of CPU wheels:
#   docker build -t vlar --build-arg VLAR_EXTRAS=clip --build-arg PIP_EXTRA_INDEX_URL=ADDRESS .
# Search indexes outlive a container: -v vlar-search:/home/vlar/cache/search
# A server: --build-arg VLAR_EXTRAS=serve,milvus (deploy/compose.yaml)
FROM python:3.12-slim-bookworm

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
ENTRYPOINT ["vlar"]
CMD ["--help"]
