//! The paths of the server, and the methods that each takes.

use hyper::Method;

use super::console;
use super::params::unescape_label_name;

/// What a credential needs to be let to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Any credential will do.
    Any,
    /// To read what is stored, and how the server is.
    Read,
    /// To write samples.
    Write,
    /// To change or remove what is stored, and to reload.
    Admin,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named like its path")]
pub enum Route {
    Home,
    Graph,
    /// The page of the console at this path.
    Page(&'static str),
    /// The file of the console at this path.
    ConsoleFile(&'static str),
    Healthy,
    Ready,
    Reload,
    Health,
    Metrics,
    Federate,
    Version,
    Write,
    Import,
    /// An import whose series get the labels that this part of the path gives.
    ImportGroup(String),
    Read,
    OtlpMetrics,
    OtlpMetricsShort,
    OtlpExport,
    Query,
    QueryRange,
    QueryExemplars,
    FormatQuery,
    ParseQuery,
    QueryExplain,
    Series,
    Labels,
    /// The values of the label of this name.
    LabelValues(String),
    Metadata,
    Rules,
    Alerts,
    Alertmanagers,
    Targets,
    TargetsMetadata,
    ScrapePools,
    Notifications,
    StatusConfig,
    StatusFlags,
    StatusRuntimeInfo,
    StatusBuildInfo,
    StatusTsdb,
    StatusWalReplay,
    StorageStatus,
    StorageHead,
    StorageWal,
    HeadDigests,
    StorageBlocks,
    /// The block with this name.
    StorageBlock(String),
    /// A check of the block with this name.
    VerifyBlock(String),
    StorageCompactions,
    ReplayEstimate,
    StorageIngest,
    StorageCardinality,
    StorageWriters,
    StorageRejects,
    StatusVerify,
    ActiveQueries,
    SlowQueries,
    AdminSnapshot,
    AdminDeleteSeries,
    AdminCleanTombstones,
    AdminFlush,
    AdminCompact,
    AdminCheckpoint,
    AdminVerify,
    AdminVerifyStop,
    AdminTruncateWal,
}

/// Paths without a variable part.
const FIXED: &[(&str, Route)] = &[
    ("/", Route::Home),
    ("/graph", Route::Graph),
    ("/query", Route::Page("/query")),
    ("/explore", Route::Page("/explore")),
    ("/storage", Route::Page("/storage")),
    ("/verify", Route::Page("/verify")),
    ("/ingest", Route::Page("/ingest")),
    ("/status", Route::Page("/status")),
    ("/-/healthy", Route::Healthy),
    ("/-/ready", Route::Ready),
    ("/-/reload", Route::Reload),
    ("/health", Route::Health),
    ("/metrics", Route::Metrics),
    ("/federate", Route::Federate),
    ("/version", Route::Version),
    ("/api/v1/write", Route::Write),
    ("/api/v1/import/prometheus", Route::Import),
    ("/api/v1/read", Route::Read),
    ("/api/v1/otlp/v1/metrics", Route::OtlpMetrics),
    ("/v1/metrics", Route::OtlpMetricsShort),
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Route::OtlpExport),
    ("/api/v1/query", Route::Query),
    ("/api/v1/query_range", Route::QueryRange),
    ("/api/v1/query_exemplars", Route::QueryExemplars),
    ("/api/v1/format_query", Route::FormatQuery),
    ("/api/v1/parse_query", Route::ParseQuery),
    ("/api/v1/query_explain", Route::QueryExplain),
    ("/api/v1/series", Route::Series),
    ("/api/v1/labels", Route::Labels),
    ("/api/v1/metadata", Route::Metadata),
    ("/api/v1/rules", Route::Rules),
    ("/api/v1/alerts", Route::Alerts),
    ("/api/v1/alertmanagers", Route::Alertmanagers),
    ("/api/v1/targets", Route::Targets),
    ("/api/v1/targets/metadata", Route::TargetsMetadata),
    ("/api/v1/scrape_pools", Route::ScrapePools),
    ("/api/v1/notifications", Route::Notifications),
    ("/api/v1/status/config", Route::StatusConfig),
    ("/api/v1/status/flags", Route::StatusFlags),
    ("/api/v1/status/runtimeinfo", Route::StatusRuntimeInfo),
    ("/api/v1/status/buildinfo", Route::StatusBuildInfo),
    ("/api/v1/status/tsdb", Route::StatusTsdb),
    ("/api/v1/status/walreplay", Route::StatusWalReplay),
    ("/api/v1/storage/status", Route::StorageStatus),
    ("/api/v1/storage/head", Route::StorageHead),
    ("/api/v1/storage/wal", Route::StorageWal),
    ("/api/v1/storage/head/digests", Route::HeadDigests),
    ("/api/v1/storage/blocks", Route::StorageBlocks),
    ("/api/v1/storage/compactions", Route::StorageCompactions),
    ("/api/v1/storage/wal/replay-estimate", Route::ReplayEstimate),
    ("/api/v1/storage/ingest", Route::StorageIngest),
    ("/api/v1/storage/cardinality", Route::StorageCardinality),
    ("/api/v1/storage/writers", Route::StorageWriters),
    ("/api/v1/storage/rejects", Route::StorageRejects),
    ("/api/v1/status/verify", Route::StatusVerify),
    ("/api/v1/status/active_queries", Route::ActiveQueries),
    ("/api/v1/status/slow_queries", Route::SlowQueries),
    ("/api/v1/admin/tsdb/snapshot", Route::AdminSnapshot),
    ("/api/v1/admin/tsdb/delete_series", Route::AdminDeleteSeries),
    ("/api/v1/admin/tsdb/clean_tombstones", Route::AdminCleanTombstones),
    ("/api/v1/admin/storage/flush", Route::AdminFlush),
    ("/api/v1/admin/storage/compact", Route::AdminCompact),
    ("/api/v1/admin/storage/checkpoint", Route::AdminCheckpoint),
    ("/api/v1/admin/storage/verify", Route::AdminVerify),
    ("/api/v1/admin/storage/verify/stop", Route::AdminVerifyStop),
    ("/api/v1/admin/storage/wal/truncate", Route::AdminTruncateWal),
];

/// How the files of the console are counted.
const CONSOLE_FILE: &str = "/assets/:file";
/// How the values of a label are counted, as one endpoint for all labels.
const LABEL_VALUES: &str = "/api/v1/label/:name/values";
/// How imports with labels in their path are counted.
const IMPORT_GROUP: &str = "/api/v1/import/prometheus/metrics/:labels";
/// How requests for one block are counted.
const BLOCK: &str = "/api/v1/storage/blocks/:ulid";
const BLOCK_VERIFY: &str = "/api/v1/storage/blocks/:ulid/verify";

impl Route {
    /// The endpoint of a path; `None` where there is none.
    pub fn find(path: &str) -> Option<Self> {
        if let Some((_, route)) = FIXED.iter().find(|(fixed, _)| *fixed == path) {
            return Some(route.clone());
        }
        if let Some(rest) = path.strip_prefix("/api/v1/storage/blocks/") {
            let (ulid, route): (_, fn(String) -> Route) = match rest.strip_suffix("/verify") {
                Some(ulid) => (ulid, Route::VerifyBlock),
                None => (rest, Route::StorageBlock),
            };
            return (!ulid.is_empty() && !ulid.contains('/')).then(|| route(ulid.to_owned()));
        }
        if let Some(group) = path.strip_prefix("/api/v1/import/prometheus/metrics/") {
            return Some(Route::ImportGroup(group.to_owned()));
        }
        if let Some(file) = path.strip_prefix('/').and_then(console::find) {
            return Some(Route::ConsoleFile(file));
        }
        let name = path.strip_prefix("/api/v1/label/")?.strip_suffix("/values")?;
        if name.is_empty() || name.contains('/') {
            return None;
        }
        // A path is escaped like a form, except that a plus is a plus.
        let escaped = name.replace('+', "%2B");
        let (name, _) = form_urlencoded::parse(escaped.as_bytes()).next()?;
        Some(Route::LabelValues(unescape_label_name(&name)))
    }

    /// The name under which requests to the endpoint are counted.
    pub fn name(&self) -> &'static str {
        match self {
            Route::ConsoleFile(_) => CONSOLE_FILE,
            Route::LabelValues(_) => LABEL_VALUES,
            Route::ImportGroup(_) => IMPORT_GROUP,
            Route::StorageBlock(_) => BLOCK,
            Route::VerifyBlock(_) => BLOCK_VERIFY,
            fixed => FIXED.iter().find(|(_, route)| route == fixed).map_or("", |(path, _)| path),
        }
    }

    /// Every name that [`Route::name`] gives.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FIXED.iter().map(|(path, _)| *path).chain([CONSOLE_FILE, LABEL_VALUES, IMPORT_GROUP, BLOCK, BLOCK_VERIFY])
    }

    /// The methods that the endpoint takes, for the `Allow` header.
    pub fn allow(&self) -> &'static str {
        match self {
            Route::Write | Route::Read | Route::VerifyBlock(_) => "OPTIONS, POST",
            Route::OtlpMetrics | Route::OtlpMetricsShort | Route::OtlpExport => "OPTIONS, POST",
            Route::Import | Route::ImportGroup(_) => "OPTIONS, POST, PUT",
            Route::Reload | Route::AdminSnapshot | Route::AdminDeleteSeries | Route::AdminCleanTombstones => {
                "OPTIONS, POST, PUT"
            }
            route if route.is_admin() => "OPTIONS, POST",
            Route::Query
            | Route::QueryRange
            | Route::QueryExemplars
            | Route::FormatQuery
            | Route::ParseQuery
            | Route::QueryExplain
            | Route::Series
            | Route::Labels => "GET, HEAD, OPTIONS, POST",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Whether the endpoint takes this method.
    pub fn takes(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// Whether the endpoint answers at OTLP's own addresses: OTLP, and probes.
    pub fn is_of_otlp(&self) -> bool {
        matches!(
            self,
            Route::OtlpMetrics
                | Route::OtlpMetricsShort
                | Route::OtlpExport
                | Route::Healthy
                | Route::Ready
                | Route::Health
        )
    }

    /// Whether the endpoint changes data, and so needs `web.enable_admin_api`.
    pub fn is_admin(&self) -> bool {
        matches!(
            self,
            Route::AdminSnapshot
                | Route::AdminDeleteSeries
                | Route::AdminCleanTombstones
                | Route::AdminFlush
                | Route::AdminCompact
                | Route::AdminCheckpoint
                | Route::AdminVerify
                | Route::AdminVerifyStop
                | Route::AdminTruncateWal
        )
    }

    /// Whether the endpoint is not for pages of other origins: it changes what is stored, and a browser may hold a
    /// credential, or stand behind a door that lets everybody in. Pages that send OTLP are of any origin.
    pub fn is_guarded(&self) -> bool {
        let is_otlp = matches!(self, Route::OtlpMetrics | Route::OtlpMetricsShort | Route::OtlpExport);
        matches!(self.needs(), Right::Admin | Right::Write) && !is_otlp
    }

    /// What a credential needs to be let here. An endpoint that takes no GET and is not known to write samples or to read
    /// only is for administrators.
    pub fn needs(&self) -> Right {
        match self {
            Route::Healthy | Route::Ready => Right::Any,
            Route::Write | Route::Import | Route::ImportGroup(_) => Right::Write,
            // A POST that changes nothing.
            Route::Read => Right::Read,
            Route::OtlpMetrics | Route::OtlpMetricsShort | Route::OtlpExport => Right::Write,
            route if route.takes(&Method::GET) => Right::Read,
            _ => Right::Admin,
        }
    }

    /// Whether the endpoint answers from series alone, so that it can answer from the blocks while the log is replayed.
    pub fn reads_series(&self) -> bool {
        matches!(
            self,
            Route::Query
                | Route::QueryRange
                | Route::QueryExplain
                | Route::Series
                | Route::Labels
                | Route::LabelValues(_)
                | Route::Federate
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_of_label_values_undoes_both_escapes() {
        let name = |path| match Route::find(path) {
            Some(Route::LabelValues(name)) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name("/api/v1/label/job/values"), "job");
        assert_eq!(name("/api/v1/label/U__http_2e_status/values"), "http.status");
        assert_eq!(name("/api/v1/label/a%2Fb+c/values"), "a/b+c");
        assert_eq!(Route::find("/api/v1/label//values"), None);
        assert_eq!(Route::find("/api/v1/label/a/b/values"), None);
        assert_eq!(Route::find("/api/v1/nothing"), None);
    }

    #[test]
    fn route_names_are_its_path() {
        for name in Route::names().filter(|name| !name.contains(':')) {
            assert_eq!(Route::find(name).map(|route| route.takes(&Method::DELETE)), Some(false), "{name}");
        }
        assert_eq!(Route::find("/api/v1/query").unwrap().name(), "/api/v1/query");
        assert_eq!(Route::find("/api/v1/label/x/values").unwrap().name(), LABEL_VALUES);
        assert!(Route::Query.takes(&Method::POST) && !Route::Metadata.takes(&Method::POST));
    }

    #[test]
    fn route_needs_the_right_for_what_it_does() {
        let needing = |right| FIXED.iter().filter(move |(_, route)| route.needs() == right).map(|(path, _)| *path);
        assert_eq!(needing(Right::Any).collect::<Vec<_>>(), ["/-/healthy", "/-/ready"]);
        let writing = [
            "/api/v1/write",
            "/api/v1/import/prometheus",
            "/api/v1/otlp/v1/metrics",
            "/v1/metrics",
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        ];
        assert_eq!(needing(Right::Write).collect::<Vec<_>>(), writing);
        for path in needing(Right::Admin) {
            assert!(path.starts_with("/api/v1/admin/") || path == "/-/reload", "{path}");
        }
        for path in needing(Right::Read) {
            let takes_get = Route::find(path).is_some_and(|route| route.takes(&Method::GET));
            assert!(takes_get || path == "/api/v1/read", "{path}");
        }
        assert_eq!(Route::VerifyBlock(String::new()).needs(), Right::Admin);
    }

    #[test]
    fn route_that_changes_data_is_not_for_pages_of_other_origins() {
        for (path, route) in FIXED {
            let changes = path.starts_with("/api/v1/admin/")
                || ["/-/reload", "/api/v1/write", "/api/v1/import/prometheus"].contains(path);
            assert_eq!(route.is_guarded(), changes, "{path}");
        }
        assert!(Route::VerifyBlock(String::new()).is_guarded() && Route::ImportGroup(String::new()).is_guarded());
    }

    #[test]
    fn route_of_a_block_takes_its_name_and_nothing_more() {
        let ulid = || "01J0000000000000000000000A".to_owned();
        let path = format!("/api/v1/storage/blocks/{}", ulid());
        assert_eq!(Route::find(&path), Some(Route::StorageBlock(ulid())));
        assert_eq!(Route::find(&format!("{path}/verify")), Some(Route::VerifyBlock(ulid())));
        assert_eq!(Route::find(&format!("{path}/index/x")), None);
        assert_eq!(Route::find("/api/v1/storage/blocks/"), None);
    }

    #[test]
    fn route_that_changes_data_is_admin_and_is_not_asked_by_get() {
        for (path, route) in FIXED {
            assert_eq!(path.starts_with("/api/v1/admin/"), route.is_admin(), "{path}");
            assert!(!route.is_admin() || !route.takes(&Method::GET), "{path}");
        }
    }
}
