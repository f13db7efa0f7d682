//! The type of a metric, as its exporter declares it.

/// What kind of metric a series belongs to. The numbers are those of remote write's `MetricMetadata.MetricType` and of
/// the metadata records of the log, which agree.
///
/// Source: `prometheus/prompb/types.proto`; Prometheus `tsdb/record/record.go`, `GetMetricType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum MetricType {
    /// Not declared, or a number that is not known.
    #[default]
    Unknown = 0,
    /// Only rises, or starts again.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Buckets of a distribution.
    Histogram = 3,
    /// Buckets of a distribution that go up and down.
    GaugeHistogram = 4,
    /// Quantiles of a distribution.
    Summary = 5,
    /// Constant facts as labels.
    Info = 6,
    /// States, one of which holds.
    StateSet = 7,
}

impl MetricType {
    /// The type with this number; one that is not known is [`MetricType::Unknown`], as in Prometheus.
    pub fn from_number(number: u64) -> Self {
        match number {
            1 => MetricType::Counter,
            2 => MetricType::Gauge,
            3 => MetricType::Histogram,
            4 => MetricType::GaugeHistogram,
            5 => MetricType::Summary,
            6 => MetricType::Info,
            7 => MetricType::StateSet,
            _ => MetricType::Unknown,
        }
    }

    /// The metric family that a series of this type belongs to: the series of a classic histogram and of a summary have
    /// endings of their own.
    pub fn family_of(self, series_name: &str) -> &str {
        let endings: &[&str] = match self {
            MetricType::Histogram => &["_bucket", "_count", "_sum"],
            MetricType::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            MetricType::Summary => &["_count", "_sum"],
            _ => &[],
        };
        let family = endings.iter().find_map(|ending| series_name.strip_suffix(ending));
        family.filter(|family| !family.is_empty()).unwrap_or(series_name)
    }

    /// The type as the metadata API and OpenMetrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_type_of_its_own_number_is_itself_and_of_others_is_unknown() {
        for number in 0..8 {
            assert_eq!(MetricType::from_number(number) as u64, number);
        }
        for number in [8, 255, 256 + 1, u64::MAX] {
            assert_eq!(MetricType::from_number(number), MetricType::Unknown);
        }
    }

    #[test]
    fn series_of_a_histogram_or_summary_belong_to_one_family() {
        for (metric_type, series, family) in [
            (MetricType::Histogram, "lag_bucket", "lag"),
            (MetricType::Histogram, "lag_sum", "lag"),
            (MetricType::Histogram, "lag", "lag"),
            (MetricType::Summary, "lag_count", "lag"),
            (MetricType::Summary, "lag_bucket", "lag_bucket"),
            (MetricType::GaugeHistogram, "lag_gsum", "lag"),
            (MetricType::Gauge, "lag_sum", "lag_sum"),
            (MetricType::Histogram, "_sum", "_sum"),
        ] {
            assert_eq!(metric_type.family_of(series), family, "{metric_type:?} {series}");
        }
    }
}
