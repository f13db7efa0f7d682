# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin chronolith

FROM debian:bookworm-slim
RUN useradd --system --uid 65532 --home-dir /data --shell /usr/sbin/nologin chronolith \
 && install --directory --owner=chronolith --group=chronolith /data
COPY --from=build /src/target/release/chronolith /usr/local/bin/chronolith
COPY LICENSE /usr/share/doc/chronolith/LICENSE
USER chronolith
ENV CHRONOLITH_DATA_DIR=/data \
    CHRONOLITH_LISTEN=0.0.0.0:9095 \
    CHRONOLITH_OTLP_GRPC_LISTEN=0.0.0.0:4317 \
    CHRONOLITH_OTLP_HTTP_LISTEN=0.0.0.0:4318
VOLUME /data
EXPOSE 9095 4317 4318
# The binary asks itself: the image has no other HTTP client.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["chronolith", "query", "--url", "http://127.0.0.1:9095", "1"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["chronolith"]
CMD ["serve"]
