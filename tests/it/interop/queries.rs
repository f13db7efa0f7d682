//! The PromQL queries that Prometheus and Chronolith have to answer alike, over what node_exporter and Prometheus export.

/// How two answers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Every value to the last digit.
    Exact,
    /// Values to 1e-12 relative: the order in which floats are added may differ.
    Close,
    /// Every value to the last digit, and the elements in the same order; instant queries only.
    Ordered,
    /// Every value to the last digit, and the values in the same order; elements of equal value may be in any. Instant
    /// queries only.
    Sorted,
    /// Every value to the last digit; instant queries only, since the answer is no instant vector or scalar.
    Instant,
}

use Compare::{Close, Exact, Instant, Ordered, Sorted};

/// The queries.
pub const QUERIES: &[(Compare, &str)] = &[
    // Selectors, staleness, offsets and fixed times.
    (Exact, "up"),
    (Exact, "{__name__=~\"node_load.*\"}"),
    (Exact, "node_cpu_seconds_total{mode!=\"idle\",cpu=~\"0|1\"}"),
    (Exact, "{job=\"node\",__name__!~\"node_.*|go_.*|process_.*\"}"),
    (Exact, "node_load1 offset 10s"),
    (Exact, "node_load1 offset -5s"),
    (Exact, "node_context_switches_total @ end()"),
    (Exact, "node_context_switches_total @ start() - node_context_switches_total"),
    (Exact, "rate(node_context_switches_total[15s] @ end() offset 5s)"),
    (Exact, "timestamp(node_load1)"),
    (Instant, "node_load1[15s]"),
    (Instant, "node_cpu_seconds_total{mode=\"user\"}[10s:2s]"),
    // The rate family.
    (Exact, "rate(node_cpu_seconds_total[15s])"),
    (Exact, "irate(node_context_switches_total[20s])"),
    (Exact, "increase(prometheus_http_requests_total[20s])"),
    (Exact, "delta(node_memory_MemFree_bytes[15s])"),
    (Exact, "idelta(node_memory_MemFree_bytes[15s])"),
    (Exact, "deriv(node_memory_MemFree_bytes[20s])"),
    (Exact, "predict_linear(node_memory_MemFree_bytes[20s], 3600)"),
    (Exact, "resets(node_memory_MemFree_bytes[20s])"),
    (Exact, "changes(node_memory_MemFree_bytes[20s])"),
    // Over time.
    (Exact, "avg_over_time(node_memory_MemFree_bytes[20s])"),
    (Exact, "min_over_time(node_memory_MemFree_bytes[20s])"),
    (Exact, "max_over_time(node_memory_MemFree_bytes[20s])"),
    (Exact, "sum_over_time(node_load1[20s])"),
    (Exact, "count_over_time(up[20s])"),
    (Exact, "last_over_time(node_load5[20s])"),
    (Exact, "present_over_time(node_load5[20s])"),
    (Exact, "stddev_over_time(node_memory_MemFree_bytes[20s])"),
    (Exact, "stdvar_over_time(node_load1[20s])"),
    (Exact, "quantile_over_time(0.9, node_memory_MemFree_bytes[20s])"),
    (Exact, "mad_over_time(node_memory_MemFree_bytes[20s])"),
    (Exact, "double_exponential_smoothing(node_memory_MemFree_bytes[20s], 0.3, 0.6)"),
    (Exact, "absent_over_time(no_such_metric{job=\"x\"}[20s])"),
    // Aggregations.
    (Close, "sum by (mode) (rate(node_cpu_seconds_total[15s]))"),
    (Close, "avg without (cpu) (node_cpu_seconds_total)"),
    (Exact, "min by (job) (process_resident_memory_bytes)"),
    (Exact, "max(node_cpu_seconds_total) by (cpu)"),
    (Exact, "count by (job) ({__name__=~\".+\"})"),
    (Exact, "count_values(\"value\", up)"),
    (Exact, "group by (job) (up)"),
    (Close, "stddev by (mode) (node_cpu_seconds_total)"),
    (Close, "stdvar(node_load1 or node_load5 or node_load15)"),
    (Exact, "quantile by (job) (0.5, scrape_duration_seconds)"),
    (Exact, "topk(3, node_cpu_seconds_total)"),
    (Exact, "bottomk by (cpu) (2, node_cpu_seconds_total)"),
    // Binary operators and matching.
    (Exact, "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"),
    (Exact, "node_cpu_seconds_total / on (cpu) group_left () node_cpu_seconds_total{mode=\"idle\"}"),
    (Exact, "up * on (job, instance) group_right () scrape_samples_scraped"),
    (Exact, "node_load1 > bool node_load5"),
    (Exact, "node_cpu_seconds_total > 10 < 1e9"),
    (Exact, "up and on (job) node_load1"),
    (Exact, "up unless on (job) node_load1"),
    (Exact, "node_load1 or node_load5 or vector(1)"),
    (Exact, "node_cpu_seconds_total % 7 ^ 2"),
    // The last digit of an arcus tangent, a logarithm and the like depends on the mathematical library.
    (Close, "node_cpu_seconds_total atan2 3"),
    (Exact, "-node_load1 == -1 * node_load1"),
    (Exact, "node_uname_info * on (instance) group_left (nodename) (node_load1 * 0 + 1)"),
    // Subqueries.
    (Exact, "max_over_time(rate(node_context_switches_total[10s])[15s:1s])"),
    (Close, "avg_over_time(sum by (job) (up)[20s:3s])"),
    (Exact, "min_over_time((node_load1 * 2)[10s:] offset 5s)"),
    // Histograms and absence.
    (Close, "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[20s])))"),
    (Exact, "histogram_quantile(0.5, prometheus_tsdb_compaction_chunk_range_seconds_bucket)"),
    (Exact, "absent(no_such_metric{job=\"x\",instance=~\"y\"})"),
    (Exact, "absent(up)"),
    // Labels, sorting, math and time.
    (Exact, "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\")"),
    (Exact, "label_join(up, \"both\", \"/\", \"job\", \"instance\")"),
    (Sorted, "sort(node_cpu_seconds_total)"),
    (Sorted, "sort_desc(node_cpu_seconds_total)"),
    (Ordered, "sort_by_label(node_cpu_seconds_total, \"mode\", \"cpu\")"),
    (Ordered, "topk(5, scrape_samples_scraped)"),
    (Exact, "round(node_load1, 0.05)"),
    (Exact, "clamp(node_load1, 0.1, 0.5)"),
    (Close, "ln(node_memory_MemTotal_bytes) + log2(node_memory_MemFree_bytes) + log10(node_load1) + exp(node_load5)"),
    (Exact, "sqrt(node_memory_MemFree_bytes) + deg(node_load1) + rad(node_load5)"),
    (Exact, "floor(node_load1 * 100) + ceil(node_load5) + abs(-node_load15) + sgn(node_load1)"),
    (Exact, "day_of_week(timestamp(up)) * 100 + hour(timestamp(up))"),
    (Exact, "time() - node_boot_time_seconds"),
    (Exact, "scalar(node_load1) + vector(1)"),
    (Exact, "vector(time()) + pi()"),
    // Values that are not numbers.
    (Exact, "prometheus_engine_query_duration_seconds"),
    (Exact, "node_load1 / 0 - node_load1 / 0"),
    // Two at once, as dashboards have them.
    (Close, "100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[15s])))"),
    (Close, "sum(rate(node_network_receive_bytes_total[15s])) by (device) > 0 or vector(0)"),
];
