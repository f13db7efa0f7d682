//! What can be set about a head.

/// Options of a head.
#[derive(Debug, Clone)]
pub struct HeadOptions {
    /// A chunk never crosses a multiple of this, and new series start at most half of it before the newest sample.
    pub chunk_range_ms: i64,
    /// An out-of-order sample is taken if it is older than the head's newest sample by at most this; 0 means that none
    /// is taken.
    pub out_of_order_window_ms: i64,
    /// A sample later than the clock by more than this is refused.
    pub future_ms_max: i64,
    /// Series that the head may hold; 0 means no bound.
    pub series_max: usize,
    /// Bytes of memory, of the whole process and without mapped files, past which no new series are taken; 0 means no
    /// bound.
    pub memory_bytes_max: u64,
    /// Labels that a series may have.
    pub labels_max: usize,
    /// Bytes of a label's name.
    pub label_name_bytes_max: usize,
    /// Bytes of a label's value.
    pub label_value_bytes_max: usize,
    /// Metrics whose type, help and unit are kept.
    pub metadata_max: usize,
    /// Exemplars that are kept, of all series together; 0 means that none is taken.
    pub exemplars_max: usize,
    /// A head chunk file is at most this long; Prometheus' own bound is 128 MiB.
    pub chunk_file_bytes_max: u64,
    /// Key of the series hash, for tests that need the same shards twice; random where it is `None`.
    pub hash_key: Option<[u64; 4]>,
}

impl Default for HeadOptions {
    fn default() -> Self {
        HeadOptions {
            chunk_range_ms: 2 * 60 * 60 * 1000,
            out_of_order_window_ms: 0,
            future_ms_max: 10 * 60 * 1000,
            series_max: 0,
            memory_bytes_max: 0,
            labels_max: 128,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 64 << 10,
            metadata_max: 100_000,
            exemplars_max: 100_000,
            chunk_file_bytes_max: crate::chunk::head_file::FILE_BYTES_MAX,
            hash_key: None,
        }
    }
}
