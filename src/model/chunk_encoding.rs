//! How the samples of a chunk are encoded.

/// An encoding of Prometheus' chunks, by its number on disk.
///
/// Source: Prometheus `tsdb/chunkenc/chunk.go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChunkEncoding {
    /// Floats.
    Xor = 1,
    /// Native histograms with integer counts.
    Histogram = 2,
    /// Native histograms with float counts.
    FloatHistogram = 3,
    /// Floats, perhaps with start timestamps.
    Xor2 = 4,
    /// Native histograms with integer counts and start timestamps.
    HistogramSt = 5,
    /// Native histograms with float counts and start timestamps.
    FloatHistogramSt = 6,
}

impl ChunkEncoding {
    /// The encoding with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => ChunkEncoding::Xor,
            2 => ChunkEncoding::Histogram,
            3 => ChunkEncoding::FloatHistogram,
            4 => ChunkEncoding::Xor2,
            5 => ChunkEncoding::HistogramSt,
            6 => ChunkEncoding::FloatHistogramSt,
            _ => return None,
        })
    }

    /// The name in reports and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            ChunkEncoding::Xor => "xor",
            ChunkEncoding::Histogram => "histogram",
            ChunkEncoding::FloatHistogram => "float_histogram",
            ChunkEncoding::Xor2 => "xor2",
            ChunkEncoding::HistogramSt => "histogram_st",
            ChunkEncoding::FloatHistogramSt => "float_histogram_st",
        }
    }

    /// Whether samples may come with start timestamps.
    pub fn has_start_times(self) -> bool {
        matches!(self, ChunkEncoding::Xor2 | ChunkEncoding::HistogramSt | ChunkEncoding::FloatHistogramSt)
    }

    /// Whether the chunk holds floats.
    pub fn is_float(self) -> bool {
        matches!(self, ChunkEncoding::Xor | ChunkEncoding::Xor2)
    }
}
