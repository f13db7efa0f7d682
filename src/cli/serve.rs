//! `serve`: from the resolved configuration to the options of each part.

use std::sync::Arc;
use std::time::Duration;

use super::output::Done;
use super::{CommandResult, ConfigFlags};
use crate::clock::SystemClock;
use crate::config::units::Bytes;
use crate::config::{Config, MemoryBound, Resolved};
use crate::db::retention::RetentionPolicy;
use crate::db::{DbOptions, StorageOptions};
use crate::fs::{SystemFs, memory_limit_bytes};
use crate::head::HeadOptions;
use crate::ingest::WriteLimits;
use crate::promql::engine::EngineOptions;
use crate::server::{self, ServerOptions};
use crate::wal::WalOptions;

pub(super) fn run(flags: &ConfigFlags) -> CommandResult {
    let resolved = flags.resolve()?;
    server::run(server_options(&resolved), Arc::new(SystemFs), Arc::new(SystemClock::default()))?;
    Ok(Done::Good)
}

fn server_options(resolved: &Resolved) -> ServerOptions {
    let config = &resolved.config;
    ServerOptions {
        listen: config.listen.clone(),
        db: db_options(config),
        engine: EngineOptions {
            lookback_delta_ms: millis(config.query.lookback_delta),
            samples_max: config.query.max_samples,
            series_max: config.query.max_series.unwrap_or(0),
            timeout: config.query.timeout,
            // In a small control group a query leaves room for the head, whatever it is allowed elsewhere.
            memory_max: Some(memory_limit_bytes().map_or(u64::MAX, |limit| limit / 10).min(config.query.max_memory.0)),
            ..EngineOptions::default()
        },
        queries_max: config.query.max_concurrency,
        write_limits: WriteLimits {
            body_bytes: config.limits.max_body_size.0,
            decoded_bytes: config.limits.max_decompressed_size.0,
            ..WriteLimits::default()
        },
        writes_max: config.wal.max_buffer_entries,
        connections_max: config.web.max_connections,
        read_timeout: config.web.read_timeout,
        admin: config.web.enable_admin_api,
        shown_config: resolved.shown().map(|shown| (shown.key, shown.value)).collect(),
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
