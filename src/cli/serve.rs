//! `serve`: from the resolved configuration to the options of each part.

use std::sync::Arc;
use std::time::Duration;

use super::output::Done;
use super::{CommandResult, ConfigFlags};
use crate::api::Setting;
use crate::api::site::Site;
use crate::clock::SystemClock;
use crate::config::units::Bytes;
use crate::config::{Config, MemoryBound, Resolved, ShownKey};
use crate::db::retention::RetentionPolicy;
use crate::db::{DbOptions, StorageOptions};
use crate::fs::{SystemFs, memory_limit_bytes};
use crate::head::HeadOptions;
use crate::ingest::otlp::OtlpOptions;
use crate::ingest::otlp::translate::{DeltaStreams, TranslateOptions};
use crate::ingest::{WriteFeatures, WriteLimits};
use crate::promql::engine::EngineOptions;
use crate::server::connections::ConnectionLimits;
use crate::server::intake::IntakeLimits;
use crate::server::{self, DRAIN_TIMEOUT, ServerLimits, ServerOptions};
use crate::wal::WalOptions;

pub(super) fn run(flags: &ConfigFlags) -> CommandResult {
    let resolved = flags.resolve()?;
    server::run(server_options(&resolved), Arc::new(SystemFs), Arc::new(SystemClock::default()))?;
    Ok(Done::Good)
}

fn server_options(resolved: &Resolved) -> ServerOptions {
    let config = &resolved.config;
    let mut engine = EngineOptions {
        lookback_delta_ms: millis(config.query.lookback_delta),
        samples_max: config.query.max_samples,
        series_max: config.query.max_series.unwrap_or(0),
        timeout: config.query.timeout,
        // In a small control group a query leaves room for the head, whatever it is allowed elsewhere.
        memory_max: Some(memory_limit_bytes().map_or(u64::MAX, |limit| limit / 10).min(config.query.max_memory.0)),
        ..EngineOptions::default()
    };
    let mut write_features = WriteFeatures::default();
    config.features.apply(&mut engine, &mut write_features);
    ServerOptions {
        listen: config.listen.clone(),
        otlp_grpc_listen: config.otlp.grpc_listen.clone(),
        otlp_http_listen: config.otlp.http_listen.clone(),
        db: db_options(config),
        engine,
        queries_max: config.query.max_concurrency,
        slow_query: config.query.log_slower_than,
        write_limits: WriteLimits {
            body_bytes: config.limits.max_body_size.0,
            decoded_bytes: config.limits.max_decompressed_size.0,
            ..WriteLimits::default()
        },
        write_features,
        otlp: OtlpOptions {
            translate: TranslateOptions {
                features: write_features,
                lookback_ms: millis(config.query.lookback_delta),
                ..config.otlp.translate_options(&config.features)
            },
            deltas: Arc::new(DeltaStreams::new(config.otlp.delta_limits())),
            ..OtlpOptions::default()
        },
        writes_max: config.wal.max_buffer_entries,
        limits: server_limits(config),
        admin: config.web.enable_admin_api,
        lifecycle: config.web.enable_lifecycle,
        web_config_file: config.web.config_file.clone(),
        site: Site::new(config.web.external_url.as_ref(), config.web.route_prefix.as_deref()),
        settings: resolved.shown().map(setting).collect(),
    }
}

fn setting(shown: ShownKey) -> Setting {
    let ShownKey { key, value, origin, default, help } = shown;
    Setting { key, value, default, origin: origin.to_string(), help }
}

fn server_limits(config: &Config) -> ServerLimits {
    let (web, limits) = (&config.web, &config.limits);
    let bodies = match limits.max_bodies_in_flight {
        MemoryBound::Auto => memory_limit_bytes().map_or(u64::MAX, |limit| limit / 8),
        MemoryBound::None => u64::MAX,
        MemoryBound::Bytes(bytes) => bytes.0,
    };
    ServerLimits {
        connections: ConnectionLimits {
            connections_max: web.max_connections,
            of_address_max: web.max_connections_per_address.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            header_bytes_max: usize::try_from(web.max_header_size.0).unwrap_or(usize::MAX),
            headers_max: web.max_headers,
            streams_max: web.max_streams,
            header_timeout: web.read_timeout,
            send_timeout: web.send_timeout,
            drain_timeout: DRAIN_TIMEOUT,
        },
        intake: IntakeLimits {
            bytes_max: bodies.max(limits.max_body_size.0),
            body_timeout: web.read_timeout,
            stall_timeout: web.stall_timeout,
        },
        requests_max: web.max_requests,
        memory_bytes_max: match limits.max_memory {
            MemoryBound::Auto => memory_limit_bytes().map_or(0, |limit| limit / 20 * 19),
            MemoryBound::None => 0,
            MemoryBound::Bytes(bytes) => bytes.0,
        },
        write_timeout: limits.write_timeout,
    }
}

fn db_options(config: &Config) -> DbOptions {
    let bytes = |bytes: Bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX);
    DbOptions {
        data_dir: config.data_dir.clone(),
        wal: WalOptions {
            durability: config.wal.durability,
            flush_interval: config.wal.flush_interval,
            segment_bytes: config.wal.max_segment_size.0,
            compression: config.wal.compression,
            ..WalOptions::default()
        },
        recovery: config.wal.recovery,
        head: HeadOptions {
            chunk_range_ms: millis(config.head.chunk_range),
            out_of_order_window_ms: millis(config.head.out_of_order_time_window),
            series_max: config.head.max_series.map_or(0, |most| usize::try_from(most).unwrap_or(usize::MAX)),
            memory_bytes_max: match config.head.max_memory {
                MemoryBound::Auto => memory_limit_bytes().map_or(0, |limit| limit / 5 * 4),
                MemoryBound::None => 0,
                MemoryBound::Bytes(bytes) => bytes.0,
            },
            exemplars_max: usize::try_from(config.head.max_exemplars).unwrap_or(usize::MAX),
            labels_max: config.limits.max_labels_per_series,
            label_name_bytes_max: bytes(config.limits.max_label_name_length),
            label_value_bytes_max: bytes(config.limits.max_label_value_length),
            ..HeadOptions::default()
        },
        storage: StorageOptions {
            retention: RetentionPolicy {
                time_ms: config.retention.time.map(millis),
                size_bytes: config.retention.size.map(|size| size.0),
            },
            flush_bytes: config.head.flush_size.map(|size| size.0),
            reserve_bytes: config.storage.reserve.0,
            scrub_bytes_per_second: config.storage.scrub_rate.0,
            name_seed: None,
        },
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn options(flags: &[(&'static str, &str)]) -> ServerOptions {
        let flags = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let resolved = Resolved::load(&SystemFs, &Sources { flags, ..Sources::default() }).unwrap();
        server_options(&resolved)
    }

    #[test]
    fn keys_of_head_retention_and_storage_reach_the_database() {
        let set = options(&[
            ("head.flush_size", "3MiB"),
            ("head.max_memory", "64MiB"),
            ("head.max_series", "7"),
            ("head.chunk_range", "1h"),
            ("head.out_of_order_time_window", "10m"),
            ("retention.time", "2d"),
            ("retention.size", "5GiB"),
            ("storage.reserve", "1MiB"),
            ("storage.scrub_rate", "2MiB"),
            ("web.enable_admin_api", "true"),
        ]);
        let (head, storage) = (&set.db.head, &set.db.storage);
        assert_eq!((storage.flush_bytes, head.memory_bytes_max, head.series_max), (Some(3 << 20), 64 << 20, 7));
        assert_eq!((head.chunk_range_ms, head.out_of_order_window_ms), (3_600_000, 600_000));
        let policy = RetentionPolicy { time_ms: Some(2 * 86_400_000), size_bytes: Some(5 << 30) };
        assert_eq!(storage.retention, policy);
        assert_eq!((storage.reserve_bytes, storage.scrub_bytes_per_second), (1 << 20, 2 << 20));
        assert!(set.admin && !options(&[]).admin);
    }

    #[test]
    fn features_that_are_named_reach_the_engine() {
        let set = options(&[("enable_feature", "promql-experimental-functions,use-start-timestamps")]);
        assert!(set.engine.language.experimental_functions && set.engine.start_timestamps);
        let default = options(&[]).engine;
        assert!(!default.language.experimental_functions && !default.start_timestamps);
    }

    #[test]
    fn keys_that_are_none_turn_their_bounds_off() {
        let none = options(&[("head.max_memory", "none"), ("retention.time", "none")]);
        assert_eq!((none.db.head.memory_bytes_max, none.db.storage.retention), (0, RetentionPolicy::default()));
        let default = options(&[]);
        assert_eq!(default.db.storage.retention.time_ms, Some(15 * 86_400_000));
        assert_eq!((default.db.storage.flush_bytes, default.db.head.out_of_order_window_ms), (None, 3_600_000));
    }
}
