# syntax=docker/dockerfile:1

# At least 20.19, which the console's build asks for.
FROM node:20-bookworm-slim AS node

FROM rust:1.95-bookworm AS build
# Node.js with npm: the build of the program builds the console and embeds it.
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src
# The dependencies, around a program that does nothing: a layer that stays until a manifest changes.
COPY Cargo.toml Cargo.lock ./
COPY fuzz/Cargo.toml fuzz/
COPY benches benches
RUN mkdir -p src fuzz/src \
 && touch src/lib.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cp src/main.rs fuzz/src/main.rs \
 && cargo build --release --locked --bin chronolith
COPY . .
# The sources may be older than what was just built of the stand-ins; cargo goes by their times.
RUN --mount=type=cache,target=/var/cache/npm \
    touch src/lib.rs src/main.rs \
 && npm_config_cache=/var/cache/npm CHRONOLITH_CONSOLE=require cargo build --release --locked --bin chronolith \
 && install -D target/release/chronolith /out/chronolith \
 && mkdir /out/data

FROM debian:bookworm-slim
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Chronolith" \
      org.opencontainers.image.description="A Prometheus-compatible metrics store that can prove what it stored." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY LICENSE /usr/share/doc/chronolith/LICENSE
COPY --from=build /out/chronolith /usr/local/bin/chronolith
# By number: Kubernetes' runAsNonRoot cannot tell whether a name is root's. Nothing but the volume is written to.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV CHRONOLITH_DATA_DIR=/data \
    CHRONOLITH_LISTEN=0.0.0.0:9095 \
    CHRONOLITH_OTLP_GRPC_LISTEN=0.0.0.0:4317 \
    CHRONOLITH_OTLP_HTTP_LISTEN=0.0.0.0:4318
WORKDIR /data
VOLUME /data
EXPOSE 9095 4317 4318
# The program asks itself: the image has no HTTP client. It is alive while it replays its log, and on a full disk.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=6 CMD ["chronolith", "health", "--alive", "--timeout", "4"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["chronolith"]
CMD ["serve"]
