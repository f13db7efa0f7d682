//! Configuration: defaults, then the file, then the environment, then flags; every value knows where it came from.

pub mod features;
pub mod keys;
pub mod otlp;
pub mod reference;
pub mod units;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use features::Features;
use keys::{ENV_PREFIX, KEYS};
use otlp::OtlpConfig;
use units::Bytes;

use crate::api::site::ExternalUrl;
use crate::fs::Fs;
use crate::wal::{Compression, Durability, RecoveryMode};

/// `wal.*`: the write-ahead log.
#[derive(Debug, Clone)]
pub struct WalConfig {
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Time between two syncs where acknowledgements do not wait for one.
    pub flush_interval: Duration,
    /// Size of a segment.
    pub max_segment_size: Bytes,
    /// Requests that may wait for the log at once.
    pub max_buffer_entries: usize,
    /// How records are compressed.
    pub compression: Compression,
    /// What a start does about damage.
    pub recovery: RecoveryMode,
}

/// `head.*`: the mutable recent window in memory.
#[derive(Debug, Clone)]
pub struct HeadConfig {
    /// The range of time that a block made from the head covers, and the most that one chunk may cover.
    pub chunk_range: Duration,
    /// `head.out_of_order_time_window`; zero where out-of-order samples are refused.
    pub out_of_order_time_window: Duration,
    /// Series that the head may hold.
    pub max_series: Option<u64>,
    /// Memory past which new series are refused.
    pub max_memory: MemoryBound,
    /// Exemplars that are kept; 0 where none is taken.
    pub max_exemplars: u64,
    /// Bytes of log and chunk files at which the head is flushed early.
    pub flush_size: Option<Bytes>,
}

/// `retention.*`: how long samples stay.
#[derive(Debug, Clone)]
pub struct RetentionConfig {
    /// Age at which they go.
    pub time: Option<Duration>,
    /// Bytes of blocks past which the oldest goes.
    pub size: Option<Bytes>,
}

/// `storage.*`: blocks, and the disk that they lie on.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Size of the file that is given up on a full disk.
    pub reserve: Bytes,
    /// Bytes that are read again each second in search of damage.
    pub scrub_rate: Bytes,
}

/// A bound of the memory that the process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBound {
    /// A share of what the process can have.
    Auto,
    /// No bound.
    None,
    /// So many bytes.
    Bytes(Bytes),
}

/// `query.*`: bounds of queries.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// How long a query may take.
    pub timeout: Duration,
    /// Samples that a query may hold at once.
    pub max_samples: u64,
    /// Queries that are evaluated at once.
    pub max_concurrency: usize,
    /// How old a sample may be to count as its series' value.
    pub lookback_delta: Duration,
    /// Series that a query may select.
    pub max_series: Option<u64>,
    /// Bytes that a query may hold at once.
    pub max_memory: Bytes,
    /// How long a query may take without a line in the log.
    pub log_slower_than: Option<Duration>,
}

/// `limits.*`: bounds of what is written.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// Bytes of a request's body.
    pub max_body_size: Bytes,
    /// Bytes of a write's body after decompression.
    pub max_decompressed_size: Bytes,
    /// Labels of one series.
    pub max_labels_per_series: usize,
    /// Bytes of a label's name.
    pub max_label_name_length: Bytes,
    /// Bytes of a label's value.
    pub max_label_value_length: Bytes,
    /// Bytes of all bodies that are arriving or worked on.
    pub max_bodies_in_flight: MemoryBound,
    /// Memory past which writes are refused.
    pub max_memory: MemoryBound,
    /// How long a write may take.
    pub write_timeout: Duration,
}

/// `web.*`: the HTTP server.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// Connections that are open at once.
    pub max_connections: usize,
    /// Those of one address.
    pub max_connections_per_address: Option<u64>,
    /// Writes, and as many other requests, that are worked on at once.
    pub max_requests: usize,
    /// Requests that one HTTP/2 connection may have under way.
    pub max_streams: u32,
    /// Bytes of the head of a request.
    pub max_header_size: Bytes,
    /// Header lines of a request.
    pub max_headers: usize,
    /// How long a client may take to send a request.
    pub read_timeout: Duration,
    /// How long a body may go on without progress.
    pub stall_timeout: Duration,
    /// How long a client may leave what it is sent untaken.
    pub send_timeout: Duration,
    /// Whether the admin paths answer.
    pub enable_admin_api: bool,
    /// Whether a request may reload the configuration.
    pub enable_lifecycle: bool,
    /// Prometheus' web configuration file.
    pub config_file: Option<PathBuf>,
    /// The address at which people reach the server.
    pub external_url: Option<ExternalUrl>,
    /// The path below which it serves, where that is not the path of the address.
    pub route_prefix: Option<String>,
}

/// The resolved configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where HTTP is served.
    pub listen: String,
    /// OTLP.
    pub otlp: OtlpConfig,
    /// The write-ahead log.
    pub wal: WalConfig,
    /// The head.
    pub head: HeadConfig,
    /// How long samples stay.
    pub retention: RetentionConfig,
    /// Blocks.
    pub storage: StorageConfig,
    /// What was switched on of Prometheus' features.
    pub features: Features,
    /// Queries.
    pub query: QueryConfig,
    /// Bounds of what is written.
    pub limits: LimitsConfig,
    /// The HTTP server.
    pub web: WebConfig,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Config {
            data_dir: PathBuf::new(),
            listen: String::new(),
            otlp: OtlpConfig::default(),
            wal: WalConfig {
                durability: Durability::Fsync,
                flush_interval: Duration::ZERO,
                max_segment_size: Bytes(0),
                max_buffer_entries: 0,
                compression: Compression::Snappy,
                recovery: RecoveryMode::Salvage,
            },
            head: HeadConfig {
                chunk_range: Duration::ZERO,
                out_of_order_time_window: Duration::ZERO,
                max_series: None,
                max_memory: MemoryBound::Auto,
                max_exemplars: 100_000,
                flush_size: None,
            },
            retention: RetentionConfig { time: None, size: None },
            storage: StorageConfig { reserve: Bytes(0), scrub_rate: Bytes(0) },
            features: Features::default(),
            query: QueryConfig {
                timeout: Duration::ZERO,
                max_samples: 0,
                max_concurrency: 0,
                lookback_delta: Duration::ZERO,
                max_series: None,
                max_memory: Bytes(0),
                log_slower_than: None,
            },
            limits: LimitsConfig {
                max_body_size: Bytes(0),
                max_decompressed_size: Bytes(0),
                max_labels_per_series: 0,
                max_label_name_length: Bytes(0),
                max_label_value_length: Bytes(0),
                max_bodies_in_flight: MemoryBound::Auto,
                max_memory: MemoryBound::Auto,
                write_timeout: Duration::ZERO,
            },
            web: WebConfig {
                max_connections: 0,
                max_connections_per_address: None,
                max_requests: 0,
                max_streams: 0,
                max_header_size: Bytes(0),
                max_headers: 0,
                stall_timeout: Duration::ZERO,
                send_timeout: Duration::ZERO,
                read_timeout: Duration::ZERO,
                enable_admin_api: false,
                enable_lifecycle: false,
                config_file: None,
                external_url: None,
                route_prefix: None,
            },
        };
        // The table is the only place that knows the defaults.
        for key in KEYS {
            let taken = (key.set)(&mut config, key.default);
            assert!(taken.is_some(), "the default of {} is one of its allowed values", key.name);
        }
        config
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("read configuration file {}: {message}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        message: String,
    },
    /// The file is not TOML.
    #[error("configuration file {} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser found, and where.
        message: String,
    },
    /// No such key.
    #[error("unknown key {key:?} ({origin}); did you mean {nearest:?}?")]
    UnknownKey {
        /// What was written.
        key: String,
        /// Where it was written.
        origin: Origin,
        /// The key that is most like it.
        nearest: &'static str,
    },
    /// The key cannot hold the value.
    #[error("{key} = {value:?} ({origin}) is not allowed: {key} takes {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Where it was written.
        origin: Origin,
        /// What the key may hold.
        allowed: &'static str,
    },
    /// Two keys contradict each other.
    #[error("{key} {why}")]
    Contradiction {
        /// One of them.
        key: &'static str,
        /// What it has to do with the other.
        why: &'static str,
    },
}

/// The resolved configuration together with the origin of each value.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    origins: Vec<Origin>,
}

/// One line of `config show`.
#[derive(Debug, Clone)]
pub struct ShownKey {
    /// The key.
    pub key: &'static str,
    /// Its value, as it would be written.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
    /// The value that it has when nobody sets it.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// What a configuration is made of, weakest first.
#[derive(Debug, Default)]
pub struct Sources {
    /// The path of a TOML file.
    pub file: Option<PathBuf>,
    /// The environment's variables. What is no text is refused where it is the value of a key.
    pub environment: Vec<(String, OsString)>,
    /// The flags: name of the key, value.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// The file and the flags, with the environment of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Self {
        let environment = std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        Sources { file, environment: environment.collect(), flags }
    }
}

impl Resolved {
    /// Resolves a configuration. The first fault ends it.
    pub fn load(fs: &dyn Fs, sources: &Sources) -> Result<Self, ConfigError> {
        let mut resolved = Resolved { config: Config::default(), origins: vec![Origin::Default; KEYS.len()] };
        if let Some(path) = &sources.file {
            resolved.apply_file(fs, path)?;
        }
        for (name, value) in &sources.environment {
            resolved.apply_environment(name, value)?;
        }
        for (key, value) in &sources.flags {
            resolved.set(key, value, &Origin::Flag(key.replace('_', "-")))?;
        }
        if let Some((key, why)) = resolved.config.otlp.contradiction(&resolved.config.features) {
            return Err(ConfigError::Contradiction { key, why });
        }
        Ok(resolved)
    }

    /// Every key with its value and origin.
    pub fn shown(&self) -> impl Iterator<Item = ShownKey> {
        KEYS.iter().zip(&self.origins).map(|(key, origin)| ShownKey {
            key: key.name,
            value: (key.get)(&self.config),
            origin: origin.clone(),
            default: key.default,
            help: key.help,
        })
    }

    fn apply_file(&mut self, fs: &dyn Fs, path: &Path) -> Result<(), ConfigError> {
        let read = |message: String| ConfigError::Read { path: path.to_owned(), message };
        let bytes = fs.read(path).map_err(|error| read(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| read(error.to_string()))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        self.apply_table("", &table, &Origin::File(path.to_owned()))
    }

    fn apply_table(&mut self, prefix: &str, table: &toml::Table, origin: &Origin) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                toml::Value::Table(inner) if keys::find(&key).is_none() => {
                    self.apply_table(&format!("{key}."), inner, origin)?;
                }
                toml::Value::String(text) => self.set(&key, text, origin)?,
                // Any other value is taken as it is written; what a key cannot hold, `set` refuses by name.
                other => self.set(&key, &other.to_string(), origin)?,
            }
        }
        Ok(())
    }

    fn apply_environment(&mut self, name: &str, value: &OsStr) -> Result<(), ConfigError> {
        let Some(short) = name.strip_prefix(ENV_PREFIX) else { return Ok(()) };
        let origin = Origin::Environment(name.to_owned());
        if let Some(key) = KEYS.iter().find(|key| key.env() == name) {
            return match value.to_str() {
                Some(value) => self.set(key.name, value, &origin),
                None => Err(ConfigError::Value {
                    key: key.name,
                    value: value.to_string_lossy().into_owned(),
                    origin,
                    allowed: "text in UTF-8",
                }),
            };
        }
        let key = short.to_ascii_lowercase();
        match keys::misspelled(&key, value) {
            Some(nearest) => Err(ConfigError::UnknownKey { key, origin, nearest }),
            None => Ok(()),
        }
    }

    fn set(&mut self, name: &str, value: &str, origin: &Origin) -> Result<(), ConfigError> {
        let Some(index) = KEYS.iter().position(|key| key.name == name) else {
            return Err(ConfigError::UnknownKey {
                key: name.to_owned(),
                origin: origin.clone(),
                nearest: keys::nearest(name),
            });
        };
        let key = &KEYS[index];
        if (key.set)(&mut self.config, value).is_none() {
            return Err(ConfigError::Value {
                key: key.name,
                value: value.to_owned(),
                origin: origin.clone(),
                allowed: key.allowed,
            });
        }
        self.origins[index] = origin.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
