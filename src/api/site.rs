//! Where the server is on the web: below which path it serves, and at which address people reach it.
//!
//! `web.external_url` and `web.route_prefix` mean what they mean to Prometheus. Behind a proxy that takes a prefix away
//! neither is needed: every address in the console and in redirects is relative. Behind one that passes the path on as it
//! came, the prefix has to be known.
//!
//! The address also tells the console's own requests from those of other sites, where a browser says nothing but `Origin`.

use hyper::header::{HOST, ORIGIN};
use hyper::{HeaderMap, Uri};

/// The address of a site as its users see it: `http://host[:port][/path]`, or the path alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUrl {
    text: String,
    origin: Option<String>,
    path: String,
}

impl ExternalUrl {
    /// Reads one; `None` where the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(ExternalUrl { text: text.to_owned(), origin: None, path: route_prefix(text)? });
        }
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
        let authority = uri.authority()?;
        if authority.host().is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
            return None;
        }
        let origin = Some(origin_of(scheme, &authority.as_str().to_ascii_lowercase()));
        Some(ExternalUrl { text: text.to_owned(), origin, path: route_prefix(uri.path())? })
    }

    /// Its path, without a slash at its end; empty where it has none.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl std::fmt::Display for ExternalUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// An origin as browsers write it, without the port that the scheme has anyway.
fn origin_of(scheme: &str, authority: &str) -> String {
    let port = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{}", authority.strip_suffix(port).unwrap_or(authority))
}

/// Reads a prefix of paths: with one slash in front and none at its end, and nothing that a path does not hold. Empty for
/// the root.
pub fn route_prefix(text: &str) -> Option<String> {
    let trimmed = text.trim_matches('/');
    if trimmed.is_empty() {
        return Some(String::new());
    }
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'\\');
    let segments_fit = trimmed.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    (segments_fit && trimmed.bytes().all(is_plain)).then(|| format!("/{trimmed}"))
}

/// Where the server is.
#[derive(Debug, Clone, Default)]
pub struct Site {
    prefix: String,
    origin: Option<String>,
}

/// What a path is to a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SitePath<'p> {
    /// It lies below the prefix; this is the rest of it, with its slash.
    Below(&'p str),
    /// The site's beginning lies here, relative to it.
    Beginning(String),
    /// It is none of the site.
    Outside,
}

impl<'p> SitePath<'p> {
    /// The path below the prefix.
    pub fn below(&self) -> Option<&'p str> {
        match self {
            SitePath::Below(path) => Some(path),
            SitePath::Beginning(_) | SitePath::Outside => None,
        }
    }

    /// Where a browser is sent instead.
    pub fn redirect(&self) -> Option<String> {
        match self {
            SitePath::Beginning(target) => Some(target.clone()),
            SitePath::Below(_) | SitePath::Outside => None,
        }
    }
}

impl Site {
    /// A site at an address, below a prefix; without a prefix, below the path of the address.
    pub fn new(url: Option<&ExternalUrl>, prefix: Option<&str>) -> Self {
        let prefix = prefix.or(url.map(ExternalUrl::path)).unwrap_or_default().to_owned();
        Site { prefix, origin: url.and_then(|url| url.origin.clone()) }
    }

    /// What a path is to the site. gRPC has no prefixes: its calls are found without one.
    pub fn resolve<'p>(&self, path: &'p str) -> SitePath<'p> {
        if self.prefix.is_empty() || path.starts_with(GRPC_SERVICES) {
            return SitePath::Below(path);
        }
        match path.strip_prefix(self.prefix.as_str()) {
            Some("") => {
                let last = self.prefix.rsplit('/').next().unwrap_or_default();
                SitePath::Beginning(format!("{last}/"))
            }
            Some(rest) if rest.starts_with('/') => SitePath::Below(rest),
            _ if path == "/" => SitePath::Beginning(format!("{}/", self.prefix.trim_start_matches('/'))),
            _ => SitePath::Outside,
        }
    }

    /// Whether a page of another origin sent a request. What no browser sent says nothing of that, and is taken.
    ///
    /// Browsers say so in `Sec-Fetch-Site`, but only to addresses with TLS and to their own machine. To others they say
    /// where the page came from, and that has to be here.
    pub fn is_foreign(&self, headers: &HeaderMap) -> bool {
        if let Some(site) = headers.get(SEC_FETCH_SITE) {
            return !matches!(site.as_bytes(), b"same-origin" | b"none");
        }
        let Some(origin) = headers.get(ORIGIN) else { return false };
        let Ok(origin) = origin.to_str() else { return true };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
        let is_at_host = |scheme| host.as_ref().is_some_and(|host| origin_of(scheme, host) == origin);
        !(self.origin.as_deref() == Some(origin) || is_at_host("http") || is_at_host("https"))
    }
}

const GRPC_SERVICES: &str = "/opentelemetry.proto.";
const SEC_FETCH_SITE: &str = "sec-fetch-site";

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn below<'p>(site: &Site, path: &'p str) -> Option<&'p str> {
        site.resolve(path).below()
    }

    #[test]
    fn prefix_is_taken_from_paths_and_its_beginning_is_found() {
        let site = Site::new(None, Some("/tools/db"));
        assert_eq!(below(&site, "/tools/db/"), Some("/"));
        assert_eq!(below(&site, "/tools/db/api/v1/query"), Some("/api/v1/query"));
        for outside in ["/api/v1/query", "/tools", "/tools/dbx/query", "/tools/db2", "//tools/db/", "/x/tools/db/"] {
            assert_eq!(site.resolve(outside), SitePath::Outside, "{outside}");
        }
        assert_eq!(site.resolve("/tools/db"), SitePath::Beginning("db/".to_owned()));
        assert_eq!(site.resolve("/"), SitePath::Beginning("tools/db/".to_owned()));
        let call = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        assert_eq!(below(&site, call), Some(call));
        assert_eq!(below(&Site::default(), "/anything"), Some("/anything"));
    }

    #[test]
    fn prefix_is_the_path_of_the_address_unless_it_is_given() {
        let url = ExternalUrl::parse("https://example.org/metrics/db/").unwrap();
        assert_eq!(url.path(), "/metrics/db");
        assert_eq!(below(&Site::new(Some(&url), None), "/metrics/db/query"), Some("/query"));
        let root = route_prefix("/").unwrap();
        assert_eq!(below(&Site::new(Some(&url), Some(&root)), "/query"), Some("/query"));
        assert_eq!(ExternalUrl::parse("http://example.org").unwrap().path(), "");
        assert_eq!(ExternalUrl::parse("/prometheus/").unwrap().path(), "/prometheus");
    }

    #[test]
    fn addresses_and_prefixes_that_are_none_are_refused() {
        for text in
            ["", "example.org", "ftp://example.org/", "http://", "http://u@example.org", "http://a/?b", "http://a/../b"]
        {
            assert_eq!(ExternalUrl::parse(text), None, "{text}");
        }
        let prefix = |text| route_prefix(text);
        assert_eq!(
            (prefix(""), prefix("db/"), prefix("//a/b//")),
            (Some(String::new()), Some("/db".to_owned()), Some("/a/b".to_owned()))
        );
        for text in ["/a//b", "/a/../b", "/.", "/a b", "/a?b", "/a#b", "/\"a\"", "/ä"] {
            assert_eq!(prefix(text), None, "{text}");
        }
    }

    #[test]
    fn request_is_foreign_where_the_browser_says_so_or_names_another_origin() {
        let url = ExternalUrl::parse("https://Metrics.example.org:443/db").unwrap();
        let site = Site::new(Some(&url), None);
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            let headers =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            site.is_foreign(&headers.collect())
        };
        let host = ("host", "db:9095");
        assert!(!foreign(&[host]));
        for (said, expected) in
            [("same-origin", false), ("none", false), ("same-site", true), ("cross-site", true), ("?", true)]
        {
            assert_eq!(foreign(&[host, ("sec-fetch-site", said), ("origin", "http://db:9095")]), expected, "{said}");
        }
        for (origin, expected) in [
            ("http://db:9095", false),
            ("https://db:9095", false),
            ("https://metrics.example.org", false),
            ("http://metrics.example.org", true),
            ("http://db:9096", true),
            ("http://evil.example", true),
            ("http://db:9095.evil.example", true),
            ("null", true),
            ("", true),
        ] {
            assert_eq!(foreign(&[host, ("origin", origin)]), expected, "{origin}");
        }
        assert!(
            !foreign(&[("host", "DB"), ("origin", "http://db")])
                && !foreign(&[("host", "db:80"), ("origin", "http://db")])
        );
    }
}
