//! The paths of the server, and the methods that each takes.

use hyper::Method;

use super::params::unescape_label_name;

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named like its path")]
pub enum Route {
    Home,
    Graph,
    Healthy,
    Ready,
    Health,
    Metrics,
    Federate,
    Version,
    Write,
    Query,
    QueryRange,
    QueryExemplars,
    FormatQuery,
    ParseQuery,
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
}

/// Paths without a variable part.
const FIXED: &[(&str, Route)] = &[
    ("/", Route::Home),
    ("/graph", Route::Graph),
    ("/query", Route::Graph),
    ("/-/healthy", Route::Healthy),
    ("/-/ready", Route::Ready),
    ("/health", Route::Health),
    ("/metrics", Route::Metrics),
    ("/federate", Route::Federate),
    ("/version", Route::Version),
    ("/api/v1/write", Route::Write),
    ("/api/v1/query", Route::Query),
    ("/api/v1/query_range", Route::QueryRange),
    ("/api/v1/query_exemplars", Route::QueryExemplars),
    ("/api/v1/format_query", Route::FormatQuery),
    ("/api/v1/parse_query", Route::ParseQuery),
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
];

/// How the values of a label are counted, as one endpoint for all labels.
const LABEL_VALUES: &str = "/api/v1/label/:name/values";

impl Route {
    /// The endpoint of a path; `None` where there is none.
    pub fn find(path: &str) -> Option<Self> {
        if let Some((_, route)) = FIXED.iter().find(|(fixed, _)| *fixed == path) {
            return Some(route.clone());
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
        FIXED.iter().find(|(_, route)| route == self).map_or(LABEL_VALUES, |(path, _)| path)
    }

    /// Every name that [`Route::name`] gives.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FIXED.iter().map(|(path, _)| *path).chain([LABEL_VALUES])
    }

    /// The methods that the endpoint takes, for the `Allow` header.
    pub fn allow(&self) -> &'static str {
        match self {
            Route::Write => "OPTIONS, POST",
            Route::Query
            | Route::QueryRange
            | Route::QueryExemplars
            | Route::FormatQuery
            | Route::ParseQuery
            | Route::Series
            | Route::Labels => "GET, HEAD, OPTIONS, POST",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Whether the endpoint takes this method.
    pub fn takes(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// Whether the endpoint answers before the log is replayed.
    pub fn answers_during_replay(&self) -> bool {
        matches!(
            self,
            Route::Healthy
                | Route::Ready
                | Route::Health
                | Route::Metrics
                | Route::Version
                | Route::Home
                | Route::Graph
                | Route::StatusWalReplay
                | Route::Notifications
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
}
