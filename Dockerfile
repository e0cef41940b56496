# The command line in an image; `docs/install.md` says how it is run.
#
#   docker build -t perceptual-jax .                                   # for a CPU
#   docker build -t perceptual-jax:cuda --build-arg EXTRAS=photos,cuda .
#
# The wheels of JAX bring CUDA along, so both start from the same image; for a GPU the host needs
# NVIDIA's driver and container toolkit.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}-slim
ARG EXTRAS=photos
COPY --from=build /wheel /wheel
RUN pip install --no-cache-dir "$(echo /wheel/*.whl)[${EXTRAS}]" && rm -r /wheel \
    && useradd --create-home --uid 1000 user && mkdir /data /cache && chown user /data /cache
ENV PERCEPTUAL_JAX_CACHE=/cache
USER user
WORKDIR /data
VOLUME /cache
ENTRYPOINT ["perceptual-jax"]
CMD ["--help"]
