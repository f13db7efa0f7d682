//! The one table of configuration keys: what a key is called, what it means, what it may hold, and where it goes.
//!
//! The file, the environment, the flags, `config show`, `config check` and `docs/configuration.md` all come from it.

use std::ffi::OsStr;
use std::time::Duration;

use super::units::{Bytes, format_duration, parse_duration};
use super::{Config, Features, MemoryBound, otlp};
use crate::api::site::{ExternalUrl, route_prefix};
use crate::wal::{Compression, Durability, RecoveryMode};

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Its name, as in the file: `wal.max_segment_size`.
    pub name: &'static str,
    /// The value it has when nobody sets it, as it would be written.
    pub default: &'static str,
    /// Another value that it may have.
    pub example: &'static str,
    /// What it may hold, in words.
    pub allowed: &'static str,
    /// What it does, in one or two sentences.
    pub help: &'static str,
    /// Takes a value over; `None` where it is not allowed.
    pub(super) set: fn(&mut Config, &str) -> Option<()>,
    /// The current value, as it would be written.
    pub(super) get: fn(&Config) -> String,
}

impl Key {
    /// The flag that sets it: `--wal.max-segment-size`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The table of the file that it stands in; empty for keys in none.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// The unit that values are written in, where they have one.
    pub fn unit(&self) -> Option<&'static str> {
        let of = |words| self.allowed.contains(words);
        if of("a size") {
            Some("bytes")
        } else if of("a duration") {
            Some("time")
        } else {
            None
        }
    }

    /// Whether the flag may stand alone, which turns it on.
    pub fn is_switch(&self) -> bool {
        self.allowed == "true or false"
    }

    /// The environment variable that sets it: `CHRONOLITH_WAL_MAX_SEGMENT_SIZE`.
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}

/// What all environment variables of the program begin with.
pub(super) const ENV_PREFIX: &str = "CHRONOLITH_";

fn put<T>(slot: &mut T, value: T) -> Option<()> {
    *slot = value;
    Some(())
}

fn size(text: &str, min: u64, max: u64) -> Option<Bytes> {
    Bytes::parse(text).filter(|bytes| (min..=max).contains(&bytes.0))
}

fn count(text: &str, min: u64, max: u64) -> Option<u64> {
    text.trim().replace('_', "").parse().ok().filter(|number| (min..=max).contains(number))
}

fn duration(text: &str, min: Duration, max: Duration) -> Option<Duration> {
    parse_duration(text).filter(|duration| (min..=max).contains(duration))
}

/// An address to listen on.
fn address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    (!host.is_empty()).then(|| text.to_owned())
}

fn optional_address(text: &str) -> Option<String> {
    if text.is_empty() { Some(String::new()) } else { address(text) }
}

/// A value that `none` turns off.
fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text.trim() == "none" { Some(None) } else { parse(text).map(Some) }
}

/// An empty text, as Prometheus has it where a flag is not set.
fn or_none(text: &str) -> &str {
    if text.trim().is_empty() { "none" } else { text.trim() }
}

fn show_optional<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn memory_bound(text: &str, min: u64) -> Option<MemoryBound> {
    Some(match text.trim() {
        "auto" => MemoryBound::Auto,
        "none" => MemoryBound::None,
        text => MemoryBound::Bytes(size(text, min, 16 * 1024 * GIB)?),
    })
}

fn show_memory_bound(bound: MemoryBound) -> String {
    match bound {
        MemoryBound::Auto => "auto".to_owned(),
        MemoryBound::None => "none".to_owned(),
        MemoryBound::Bytes(bytes) => bytes.to_string(),
    }
}

fn recovery_mode(mode: RecoveryMode) -> &'static str {
    match mode {
        RecoveryMode::Salvage => "salvage",
        RecoveryMode::Strict => "strict",
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Every key, in the order in which it is shown.
pub static KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        default: "./data",
        example: "/var/lib/chronolith",
        allowed: "a path",
        help: "The data directory. It is created where it is missing; one process at a time has it open.",
        set: |config, text| put(&mut config.data_dir, (!text.is_empty()).then(|| text.into())?),
        get: |config| config.data_dir.display().to_string(),
    },
    Key {
        name: "listen",
        default: "127.0.0.1:9095",
        example: "0.0.0.0:9095",
        allowed: "host:port; port 0 takes a free one",
        help: "Where everything is served: HTTP/1.1, HTTP/2 and gRPC on one port.",
        set: |config, text| put(&mut config.listen, address(text)?),
        get: |config| config.listen.clone(),
    },
    Key {
        name: "otlp.grpc_listen",
        default: "127.0.0.1:4317",
        example: "0.0.0.0:4317",
        allowed: "host:port, or empty; port 0 takes a free one",
        help: "Where OTLP is served over gRPC beside `listen`: OTLP and probes alone. Empty turns it off.",
        set: |config, text| put(&mut config.otlp.grpc_listen, optional_address(text)?),
        get: |config| config.otlp.grpc_listen.clone(),
    },
    Key {
        name: "otlp.http_listen",
        default: "127.0.0.1:4318",
        example: "0.0.0.0:4318",
        allowed: "host:port, or empty; port 0 takes a free one",
        help: "Where OTLP is served over HTTP beside `listen`: OTLP and probes alone. Empty turns it off.",
        set: |config, text| put(&mut config.otlp.http_listen, optional_address(text)?),
        get: |config| config.otlp.http_listen.clone(),
    },
    Key {
        name: "otlp.translation_strategy",
        default: "UnderscoreEscapingWithSuffixes",
        example: "NoUTF8EscapingWithSuffixes",
        allowed: "UnderscoreEscapingWithSuffixes, NoUTF8EscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes or \
                  NoTranslation",
        help: "How names are made of OTLP's: with underscores for all but letters, digits, underscores and colons, or as \
               they are; with units and `_total` or `_ratio` at the end of those of metrics, or without.",
        set: |config, text| put(&mut config.otlp.translation_strategy, otlp::parse_strategy(text)?),
        get: |config| config.otlp.translation_strategy.as_str().to_owned(),
    },
    Key {
        name: "otlp.promote_resource_attributes",
        default: "none",
        example: "k8s.namespace.name,k8s.pod.name",
        allowed: "names with commas between them, each once, or none",
        help: "Attributes of OTLP resources that become labels of all of their series. All of them are labels of `target_info`.",
        set: |config, text| put(&mut config.otlp.promote_resource_attributes, otlp::parse_names(text)?),
        get: |config| otlp::show_names(&config.otlp.promote_resource_attributes),
    },
    Key {
        name: "otlp.promote_all_resource_attributes",
        default: "false",
        example: "true",
        allowed: "true or false",
        help: "Whether all attributes of OTLP resources become labels of all of their series.",
        set: |config, text| put(&mut config.otlp.promote_all_resource_attributes, text.trim().parse().ok()?),
        get: |config| config.otlp.promote_all_resource_attributes.to_string(),
    },
    Key {
        name: "otlp.ignore_resource_attributes",
        default: "none",
        example: "process.pid",
        allowed: "names with commas between them, each once, or none",
        help: "Attributes of OTLP resources that do not become labels, where `otlp.promote_all_resource_attributes` says that all do.",
        set: |config, text| put(&mut config.otlp.ignore_resource_attributes, otlp::parse_names(text)?),
        get: |config| otlp::show_names(&config.otlp.ignore_resource_attributes),
    },
    Key {
        name: "otlp.keep_identifying_resource_attributes",
        default: "false",
        example: "true",
        allowed: "true or false",
        help: "Whether `target_info` has `service.name`, `service.namespace` and `service.instance.id` as labels beside the \
               `job` and `instance` that are made of them.",
        set: |config, text| put(&mut config.otlp.keep_identifying_resource_attributes, text.trim().parse().ok()?),
        get: |config| config.otlp.keep_identifying_resource_attributes.to_string(),
    },
    Key {
        name: "otlp.convert_histograms_to_nhcb",
        default: "false",
        example: "true",
        allowed: "true or false",
        help: "Whether OTLP histograms with explicit boundaries become native histograms with custom buckets.",
        set: |config, text| put(&mut config.otlp.convert_histograms_to_nhcb, text.trim().parse().ok()?),
        get: |config| config.otlp.convert_histograms_to_nhcb.to_string(),
    },
    Key {
        name: "otlp.promote_scope_metadata",
        default: "false",
        example: "true",
        allowed: "true or false",
        help: "Whether series have labels of their OTLP scope: `otel_scope_name`, `_version`, `_schema_url`, and its \
               attributes. Without them, series of two scopes that differ in nothing else are one.",
        set: |config, text| put(&mut config.otlp.promote_scope_metadata, text.trim().parse().ok()?),
        get: |config| config.otlp.promote_scope_metadata.to_string(),
    },
    Key {
        name: "otlp.label_name_underscore_sanitization",
        default: "true",
        example: "false",
        allowed: "true or false",
        help: "Whether a label name that begins with one underscore gets `key` before it, where names are escaped.",
        set: |config, text| put(&mut config.otlp.label_name_underscore_sanitization, text.trim().parse().ok()?),
        get: |config| config.otlp.label_name_underscore_sanitization.to_string(),
    },
    Key {
        name: "otlp.label_name_preserve_multiple_underscores",
        default: "true",
        example: "false",
        allowed: "true or false",
        help: "Whether several underscores in a row stay in label names, where names are escaped.",
        set: |config, text| put(&mut config.otlp.label_name_preserve_multiple_underscores, text.trim().parse().ok()?),
        get: |config| config.otlp.label_name_preserve_multiple_underscores.to_string(),
    },
    Key {
        name: "otlp.deltas",
        default: "refuse",
        example: "to-cumulative",
        allowed: "refuse, to-cumulative or native",
        help: "What becomes of OTLP points that count since the last one. `refuse`: they are refused by name. \
               `to-cumulative`: they are added up in memory; a restart begins at 0, which is a reset of a counter. \
               `native`: they are stored as they are, of an unknown type. The features `otlp-deltatocumulative` and \
               `otlp-native-delta-ingestion` say the same.",
        set: |config, text| put(&mut config.otlp.deltas, otlp::parse_deltas(text)?),
        get: |config| otlp::show_deltas(config.otlp.deltas),
    },
    Key {
        name: "otlp.delta_max_streams",
        default: "1000000",
        example: "200000",
        allowed: "a number from 1 to 100000000",
        help: "Series whose deltas are added up at once; a histogram counts as one more for each eight of its numbers. \
               Past it new ones are refused by name.",
        set: |config, text| put(&mut config.otlp.delta_max_streams, count(text, 1, 100_000_000)? as usize),
        get: |config| config.otlp.delta_max_streams.to_string(),
    },
    Key {
        name: "otlp.delta_max_stale",
        default: "1h",
        example: "30m",
        allowed: "a duration from 1m to 365d",
        help: "How long such a series may send nothing; then its sum is forgotten.",
        set: |config, text| put(&mut config.otlp.delta_max_stale, duration(text, 60 * SECOND, 365 * DAY)?),
        get: |config| format_duration(config.otlp.delta_max_stale),
    },
    Key {
        name: "wal.durability",
        default: "fsync",
        example: "interval",
        allowed: "fsync, interval or none",
        help: "When a write is acknowledged. `fsync`: after fdatasync. `interval`: after the write, with an fdatasync \
               every `wal.flush_interval`; a power loss costs up to one. `none`: after the write; the log is synced \
               when a segment ends.",
        set: |config, text| {
            let modes = [Durability::Fsync, Durability::Interval, Durability::None];
            put(&mut config.wal.durability, modes.into_iter().find(|mode| mode.as_str() == text)?)
        },
        get: |config| config.wal.durability.as_str().to_owned(),
    },
    Key {
        name: "wal.flush_interval",
        default: "10s",
        example: "1s",
        allowed: "a duration from 1ms to 1h",
        help: "Time between two syncs of the log with `wal.durability = \"interval\"`.",
        set: |config, text| {
            let interval = duration(text, Duration::from_millis(1), Duration::from_secs(3600))?;
            put(&mut config.wal.flush_interval, interval)
        },
        get: |config| format_duration(config.wal.flush_interval),
    },
    Key {
        name: "wal.max_segment_size",
        default: "128MiB",
        example: "64MiB",
        allowed: "a size from 64KiB to 1GiB, a multiple of 32KiB",
        help: "Size at which a segment of the log ends and the next begins.",
        set: |config, text| {
            let bytes = size(text, 64 * KIB, GIB).filter(|bytes| bytes.0.is_multiple_of(32 * KIB))?;
            put(&mut config.wal.max_segment_size, bytes)
        },
        get: |config| config.wal.max_segment_size.to_string(),
    },
    Key {
        name: "wal.max_buffer_entries",
        default: "1000",
        example: "2000",
        allowed: "a number from 1 to 1000000",
        help: "Write requests that may be accepted and not yet durable at once; later ones wait until one is.",
        set: |config, text| put(&mut config.wal.max_buffer_entries, count(text, 1, 1_000_000)? as usize),
        get: |config| config.wal.max_buffer_entries.to_string(),
    },
    Key {
        name: "wal.compression",
        default: "snappy",
        example: "zstd",
        allowed: "snappy, zstd or none",
        help: "How records of the log are compressed. Prometheus reads all three.",
        set: |config, text| {
            let all = [Compression::Snappy, Compression::Zstd, Compression::None];
            put(&mut config.wal.compression, all.into_iter().find(|compression| compression.as_str() == text)?)
        },
        get: |config| config.wal.compression.as_str().to_owned(),
    },
    Key {
        name: "wal.recovery",
        default: "salvage",
        example: "strict",
        allowed: "salvage or strict",
        help: "What a start does about damage in the log. `salvage`: set it aside in `quarantine/`, name the loss, and \
               start. `strict`: refuse to start.",
        set: |config, text| {
            let modes = [RecoveryMode::Salvage, RecoveryMode::Strict];
            put(&mut config.wal.recovery, modes.into_iter().find(|mode| recovery_mode(*mode) == text)?)
        },
        get: |config| recovery_mode(config.wal.recovery).to_owned(),
    },
    Key {
        name: "head.chunk_range",
        default: "2h",
        example: "1h",
        allowed: "a duration from 1m to 1d",
        help: "The range of time that a block made from the head covers, and the most that one chunk may cover. The head is \
               written to blocks when it holds one and a half of it; half of it is how far back a new series may begin.",
        set: |config, text| put(&mut config.head.chunk_range, duration(text, 60 * SECOND, DAY)?),
        get: |config| format_duration(config.head.chunk_range),
    },
    Key {
        name: "head.out_of_order_time_window",
        default: "1h",
        example: "30m",
        allowed: "a duration up to 365d",
        help: "How much older than the newest sample of all a sample may be that is older than the newest of its series. \
               `0` refuses such samples.",
        set: |config, text| put(&mut config.head.out_of_order_time_window, duration(text, Duration::ZERO, 365 * DAY)?),
        get: |config| format_duration(config.head.out_of_order_time_window),
    },
    Key {
        name: "head.max_series",
        default: "none",
        example: "2000000",
        allowed: "a number from 1 to 4000000000, or none",
        help: "Series that the head may hold. Past it new series are refused by name, and old ones go on.",
        set: |config, text| put(&mut config.head.max_series, optional(text, |text| count(text, 1, 4_000_000_000))?),
        get: |config| show_optional(config.head.max_series),
    },
    Key {
        name: "head.max_memory",
        default: "auto",
        example: "4GiB",
        allowed: "a size from 16MiB to 16TiB, auto or none",
        help: "Memory of the process, without mapped files, past which new series are refused by name while old ones go \
               on. `auto`: four fifths of what its control group or the machine has.",
        set: |config, text| put(&mut config.head.max_memory, memory_bound(text, 16 * MIB)?),
        get: |config| show_memory_bound(config.head.max_memory),
    },
    Key {
        name: "head.max_exemplars",
        default: "100000",
        example: "500000",
        allowed: "a number up to 10000000",
        help: "Exemplars that are kept, of all series together; past it those go that came first. `0` turns them off, and \
               refuses them.",
        set: |config, text| put(&mut config.head.max_exemplars, count(text, 0, 10_000_000)?),
        get: |config| config.head.max_exemplars.to_string(),
    },
    Key {
        name: "head.flush_size",
        default: "none",
        example: "1GiB",
        allowed: "a size from 1MiB to 16TiB, or none",
        help: "Bytes of the log and the head's chunk files at which the head is written to a block before its range of \
               time is full.",
        set: |config, text| put(&mut config.head.flush_size, optional(text, |text| size(text, MIB, 16 * 1024 * GIB))?),
        get: |config| show_optional(config.head.flush_size),
    },
    Key {
        name: "retention.time",
        default: "15d",
        example: "90d",
        allowed: "a duration from 1h to 36500d, or none",
        help: "How long samples stay. A block goes when its newest sample is older, counted from the clock or from the \
               newest sample in the store, whichever is earlier. The newest block always stays.",
        set: |config, text| {
            put(&mut config.retention.time, optional(text, |text| duration(text, 3600 * SECOND, 36_500 * DAY))?)
        },
        get: |config| config.retention.time.map_or_else(|| "none".to_owned(), format_duration),
    },
    Key {
        name: "retention.size",
        default: "none",
        example: "200GiB",
        allowed: "a size from 1MiB to 1024TiB, or none",
        help: "Bytes that blocks may take; past it the oldest goes. Log and head count only by what they alone exceed it, \
               which is an alarm. The newest block always stays.",
        set: |config, text| put(&mut config.retention.size, optional(text, |text| size(text, MIB, 1024 * 1024 * GIB))?),
        get: |config| show_optional(config.retention.size),
    },
    Key {
        name: "storage.reserve",
        default: "64MiB",
        example: "256MiB",
        allowed: "a size from 0 to 1TiB",
        help: "Size of a file that only takes space. On a full disk it is given up, so that retention and deletions can \
               run. It is left out where less than four times its size is free; `0` turns it off.",
        set: |config, text| put(&mut config.storage.reserve, size(text, 0, 1024 * GIB)?),
        get: |config| config.storage.reserve.to_string(),
    },
    Key {
        name: "storage.scrub_rate",
        default: "16MiB",
        example: "4MiB",
        allowed: "a size from 0 to 1TiB",
        help: "Bytes of blocks that are read again each second in search of damage; `0` turns the search off.",
        set: |config, text| put(&mut config.storage.scrub_rate, size(text, 0, 1024 * GIB)?),
        get: |config| config.storage.scrub_rate.to_string(),
    },
    Key {
        name: "query.timeout",
        default: "2m",
        example: "30s",
        allowed: "a duration from 1ms to 1d",
        help: "How long a query may take, waiting for its turn included. A request may ask for less.",
        set: |config, text| put(&mut config.query.timeout, duration(text, Duration::from_millis(1), DAY)?),
        get: |config| format_duration(config.query.timeout),
    },
    Key {
        name: "query.max_samples",
        default: "50000000",
        example: "20000000",
        allowed: "a number from 1 to 1000000000000",
        help: "Samples that one query may hold in memory at once.",
        set: |config, text| put(&mut config.query.max_samples, count(text, 1, 1_000_000_000_000)?),
        get: |config| config.query.max_samples.to_string(),
    },
    Key {
        name: "query.max_concurrency",
        default: "20",
        example: "8",
        allowed: "a number from 1 to 1000",
        help: "Queries that are evaluated at once; later ones wait for their turn until their timeout.",
        set: |config, text| put(&mut config.query.max_concurrency, count(text, 1, 1000)? as usize),
        get: |config| config.query.max_concurrency.to_string(),
    },
    Key {
        name: "query.lookback_delta",
        default: "5m",
        example: "1m",
        allowed: "a duration from 1ms to 1d",
        help: "How old the newest sample of a series may be to count as its value. A request may say otherwise.",
        set: |config, text| put(&mut config.query.lookback_delta, duration(text, Duration::from_millis(1), DAY)?),
        get: |config| format_duration(config.query.lookback_delta),
    },
    Key {
        name: "query.max_series",
        default: "none",
        example: "500000",
        allowed: "a number from 1 to 4000000000, or none",
        help: "Series that the selectors of one query may find.",
        set: |config, text| put(&mut config.query.max_series, optional(text, |text| count(text, 1, 4_000_000_000))?),
        get: |config| show_optional(config.query.max_series),
    },
    Key {
        name: "query.max_memory",
        default: "2GiB",
        example: "512MiB",
        allowed: "a size from 1MiB to 1TiB",
        help: "Bytes that one query may hold in memory at once; never more than a tenth of what the process' control \
               group or the machine has.",
        set: |config, text| put(&mut config.query.max_memory, size(text, MIB, 1024 * GIB)?),
        get: |config| config.query.max_memory.to_string(),
    },
    Key {
        name: "enable_feature",
        default: "none",
        example: "promql-experimental-functions",
        allowed: "names of features with commas between them, or none",
        help: "Prometheus' feature switches, by its names: `promql-experimental-functions`, \
               `promql-extended-range-selectors`, `promql-binop-fill-modifiers`, `promql-delayed-name-removal`, \
               `type-and-unit-labels`, `use-start-timestamps`, `created-timestamp-zero-ingestion`. Those of its other \
               switches that mean nothing here are accepted and do nothing.",
        set: |config, text| put(&mut config.features, Features::parse(text)?),
        get: |config| config.features.to_string(),
    },
    Key {
        name: "query.log_slower_than",
        default: "10s",
        example: "2s",
        allowed: "a duration from 1ms to 1d, or none",
        help: "A query that takes longer leaves a line in the log, waiting for its turn included.",
        set: |config, text| {
            let bound = optional(text, |text| duration(text, Duration::from_millis(1), DAY))?;
            put(&mut config.query.log_slower_than, bound)
        },
        get: |config| config.query.log_slower_than.map_or_else(|| "none".to_owned(), format_duration),
    },
    Key {
        name: "limits.max_body_size",
        default: "32MiB",
        example: "16MiB",
        allowed: "a size from 1KiB to 1GiB",
        help: "Bytes of a request's body, as they are sent.",
        set: |config, text| put(&mut config.limits.max_body_size, size(text, KIB, GIB)?),
        get: |config| config.limits.max_body_size.to_string(),
    },
    Key {
        name: "limits.max_decompressed_size",
        default: "32MiB",
        example: "64MiB",
        allowed: "a size from 1KiB to 1GiB",
        help: "Bytes of a write request's body after decompression.",
        set: |config, text| put(&mut config.limits.max_decompressed_size, size(text, KIB, GIB)?),
        get: |config| config.limits.max_decompressed_size.to_string(),
    },
    Key {
        name: "limits.max_labels_per_series",
        default: "128",
        example: "64",
        allowed: "a number from 1 to 10000",
        help: "Labels of one series, the metric name included.",
        set: |config, text| put(&mut config.limits.max_labels_per_series, count(text, 1, 10_000)? as usize),
        get: |config| config.limits.max_labels_per_series.to_string(),
    },
    Key {
        name: "limits.max_label_name_length",
        default: "1KiB",
        example: "256",
        allowed: "a size from 1 to 64KiB",
        help: "Bytes of a label's name.",
        set: |config, text| put(&mut config.limits.max_label_name_length, size(text, 1, 64 * KIB)?),
        get: |config| config.limits.max_label_name_length.to_string(),
    },
    Key {
        name: "limits.max_label_value_length",
        default: "64KiB",
        example: "4KiB",
        allowed: "a size from 1 to 1MiB",
        help: "Bytes of a label's value.",
        set: |config, text| put(&mut config.limits.max_label_value_length, size(text, 1, MIB)?),
        get: |config| config.limits.max_label_value_length.to_string(),
    },
    Key {
        name: "limits.max_bodies_in_flight",
        default: "auto",
        example: "512MiB",
        allowed: "a size from 1KiB to 16TiB, auto or none",
        help: "Bytes of all bodies together that are arriving or worked on, as they are sent; past it a body waits two \
               seconds for others to end, then it is answered 503. `auto`: an eighth of what the control group or the \
               machine has. Never less than `limits.max_body_size`.",
        set: |config, text| put(&mut config.limits.max_bodies_in_flight, memory_bound(text, KIB)?),
        get: |config| show_memory_bound(config.limits.max_bodies_in_flight),
    },
    Key {
        name: "limits.max_memory",
        default: "auto",
        example: "6GiB",
        allowed: "a size from 16MiB to 16TiB, auto or none",
        help: "Memory of the process, without mapped files, past which writes are answered 503 until there is less. Above \
               `head.max_memory`, past which only new series are refused. `auto`: nineteen twentieths of what its \
               control group or the machine has.",
        set: |config, text| put(&mut config.limits.max_memory, memory_bound(text, 16 * MIB)?),
        get: |config| show_memory_bound(config.limits.max_memory),
    },
    Key {
        name: "limits.write_timeout",
        default: "2m",
        example: "30s",
        allowed: "a duration from 1s to 1d",
        help: "How long a write may wait for the log once its body is there; then it is answered 503. It may be stored all \
               the same: the sender repeats it, which changes nothing.",
        set: |config, text| put(&mut config.limits.write_timeout, duration(text, SECOND, DAY)?),
        get: |config| format_duration(config.limits.write_timeout),
    },
    Key {
        name: "web.max_connections",
        default: "512",
        example: "2000",
        allowed: "a number from 1 to 65536",
        help: "Connections that are open at once. For a later one that which has been idle for the longest is closed; \
               where all have a request under way, it waits.",
        set: |config, text| put(&mut config.web.max_connections, count(text, 1, 65_536)? as usize),
        get: |config| config.web.max_connections.to_string(),
    },
    Key {
        name: "web.max_connections_per_address",
        default: "none",
        example: "100",
        allowed: "a number from 1 to 65536, or none",
        help: "Connections from one address that are open at once. Behind a proxy all come from one.",
        set: |config, text| {
            put(&mut config.web.max_connections_per_address, optional(text, |text| count(text, 1, 65_536))?)
        },
        get: |config| show_optional(config.web.max_connections_per_address),
    },
    Key {
        name: "web.max_requests",
        default: "1024",
        example: "256",
        allowed: "a number from 1 to 1000000",
        help: "Writes that are worked on at once, and as many other requests. For a later one an upload that has stalled \
               ends; where none has, it is answered 503.",
        set: |config, text| put(&mut config.web.max_requests, count(text, 1, 1_000_000)? as usize),
        get: |config| config.web.max_requests.to_string(),
    },
    Key {
        name: "web.max_streams",
        default: "128",
        example: "32",
        allowed: "a number from 1 to 10000",
        help: "Requests that one HTTP/2 connection may have under way.",
        set: |config, text| put(&mut config.web.max_streams, count(text, 1, 10_000)? as u32),
        get: |config| config.web.max_streams.to_string(),
    },
    Key {
        name: "web.max_header_size",
        default: "64KiB",
        example: "16KiB",
        allowed: "a size from 8KiB to 1MiB",
        help: "Bytes of the head of a request.",
        set: |config, text| put(&mut config.web.max_header_size, size(text, 8 * KIB, MIB)?),
        get: |config| config.web.max_header_size.to_string(),
    },
    Key {
        name: "web.max_headers",
        default: "128",
        example: "64",
        allowed: "a number from 16 to 10000",
        help: "Header lines of a request, by HTTP/1.1.",
        set: |config, text| put(&mut config.web.max_headers, count(text, 16, 10_000)? as usize),
        get: |config| config.web.max_headers.to_string(),
    },
    Key {
        name: "web.stall_timeout",
        default: "30s",
        example: "10s",
        allowed: "a duration from 1s to 1d",
        help: "How long a client may take to send 16KiB more of a body, or its end. One that took longer than a second \
               gives way where bodies or requests are too many.",
        set: |config, text| put(&mut config.web.stall_timeout, duration(text, SECOND, DAY)?),
        get: |config| format_duration(config.web.stall_timeout),
    },
    Key {
        name: "web.send_timeout",
        default: "1m",
        example: "30s",
        allowed: "a duration from 1s to 1d",
        help: "How long a client may leave untaken what it is sent; then its connection is closed, or over HTTP/2 that stream.",
        set: |config, text| put(&mut config.web.send_timeout, duration(text, SECOND, DAY)?),
        get: |config| format_duration(config.web.send_timeout),
    },
    Key {
        name: "web.read_timeout",
        default: "5m",
        example: "2m",
        allowed: "a duration from 1s to 1d",
        help: "How long a client may take to send the head of a request, or its body.",
        set: |config, text| put(&mut config.web.read_timeout, duration(text, SECOND, DAY)?),
        get: |config| format_duration(config.web.read_timeout),
    },
    Key {
        name: "web.enable_admin_api",
        default: "false",
        example: "true",
        allowed: "true or false",
        help: "Whether the admin paths answer: deletion, snapshots, flush, compaction, checkpoint, verification. Whoever \
               reaches the port can then delete data.",
        set: |config, text| put(&mut config.web.enable_admin_api, text.trim().parse().ok()?),
        get: |config| config.web.enable_admin_api.to_string(),
    },
    Key {
        name: "web.enable_lifecycle",
        default: "false",
        example: "true",
        allowed: "true or false",
        help: "Whether `POST /-/reload` reads `web.config_file` again, as SIGHUP always does.",
        set: |config, text| put(&mut config.web.enable_lifecycle, text.trim().parse().ok()?),
        get: |config| config.web.enable_lifecycle.to_string(),
    },
    Key {
        name: "web.config_file",
        default: "none",
        example: "/etc/chronolith/web.yml",
        allowed: "a path, or none",
        help: "Prometheus' web configuration file: TLS, users, tokens. It holds for all ports; see \
               [security.md](security.md).",
        set: |config, text| {
            put(&mut config.web.config_file, optional(text, |text| (!text.is_empty()).then(|| text.into()))?)
        },
        get: |config| show_optional(config.web.config_file.as_ref().map(|path| path.display())),
    },
    Key {
        name: "web.external_url",
        default: "none",
        example: "https://example.org/metrics",
        allowed: "an address such as https://example.org/metrics, a path such as /metrics, or none",
        help: "The address at which people reach the server, where a proxy stands in front. Its path is the default of \
               `web.route_prefix`; its origin is taken for the console's own. See [security.md](security.md#behind-a-proxy).",
        set: |config, text| put(&mut config.web.external_url, optional(or_none(text), ExternalUrl::parse)?),
        get: |config| show_optional(config.web.external_url.as_ref()),
    },
    Key {
        name: "web.route_prefix",
        default: "none",
        example: "/metrics",
        allowed: "a path such as /metrics, or none",
        help: "The path below which everything is served but OTLP's own ports and gRPC. `none`: the path of \
               `web.external_url`. `/`: no prefix, as behind a proxy that takes it away.",
        set: |config, text| put(&mut config.web.route_prefix, optional(or_none(text), route_prefix)?),
        get: |config| {
            let shown = |prefix: &String| if prefix.is_empty() { "/".to_owned() } else { prefix.clone() };
            show_optional(config.web.route_prefix.as_ref().map(shown))
        },
    },
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The key whose name is most like `name`.
pub(super) fn nearest(name: &str) -> &'static str {
    let mut best = (usize::MAX, KEYS[0].name);
    for key in KEYS {
        let distance = edit_distance(name, key.name);
        if distance < best.0 {
            best = (distance, key.name);
        }
    }
    best.1
}

/// The key that the name of an environment variable was meant for: one in a section of ours, or nearly a key's name.
///
/// Others are no configuration, nor are those that Kubernetes makes of a service.
pub(super) fn misspelled(name: &str, value: &OsStr) -> Option<&'static str> {
    if is_of_kubernetes_service(name, value) {
        return None;
    }
    let in_section = KEYS.iter().any(|key| {
        let section = key.name.split_once('.').map(|(section, _)| section);
        section.is_some_and(|section| name.strip_prefix(section).is_some_and(|rest| rest.starts_with('_')))
    });
    let nearest = nearest(name);
    (in_section || edit_distance(name, nearest) <= 2).then_some(nearest)
}

/// Whether Kubernetes sets such a variable in every pod beside a service: `CHRONOLITH_SERVICE_HOST` and
/// `CHRONOLITH_PORT_9095_TCP` for one that is called `chronolith`, `CHRONOLITH_OTLP_SERVICE_PORT_GRPC` for
/// `chronolith-otlp`, which looks like a key of the section `otlp`.
///
/// Somebody may mean a listener by a name that only ends in `_PORT`. Kubernetes sets it to an address with a scheme, which
/// no key takes.
fn is_of_kubernetes_service(name: &str, value: &OsStr) -> bool {
    let name = format!("_{name}");
    let is_port = |rest: &str| {
        let mut words = rest.split('_');
        let number = words.next().is_some_and(|number| number.parse::<u16>().is_ok());
        let protocol = matches!(words.next(), Some("tcp" | "udp" | "sctp"));
        number && protocol && matches!(words.next(), None | Some("proto" | "port" | "addr")) && words.next().is_none()
    };
    name.ends_with("_service_host")
        || name.ends_with("_service_port")
        || name.split_once("_service_port_").is_some_and(|(_, port)| !port.is_empty())
        || name.rsplit_once("_port_").is_some_and(|(_, rest)| is_port(rest))
        || (name.ends_with("_port") && value.to_str().is_some_and(|value| value.contains("://")))
}

/// Levenshtein's distance, with letters compared without case and the separators `.`, `_` and `-` taken as one.
fn edit_distance(a: &str, b: &str) -> usize {
    let plain = |text: &str| -> Vec<char> {
        let letters =
            text.chars().take(100).map(|c| if matches!(c, '.' | '_' | '-') { '.' } else { c.to_ascii_lowercase() });
        letters.collect()
    };
    let (a, b) = (plain(a), plain(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
