//! Prometheus' HTTP API and our own.
