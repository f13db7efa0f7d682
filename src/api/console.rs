//! The console: the pages for browsers, built from `web/` by `build.rs` and embedded here in compressed form.
//!
//! Every page is the same document at a path of one segment, and every address in it is relative, so that it works below
//! any prefix without being told of it. What it shows it asks of the API.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::Api;
use super::encoding::{Encoding, preferred};
use super::error::ApiError;
use super::response::{self, ApiBody};

/// One file of the console.
struct Asset {
    /// Its path, without a slash in front.
    path: &'static str,
    media_type: &'static str,
    /// A hash of the file.
    tag: &'static str,
    br: &'static [u8],
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/console_assets.rs"));

/// The document of every page.
const INDEX: &str = "index.html";
/// Where the files lie whose names change with what is in them.
const HASHED: &str = "assets/";

/// What a page may do: run the scripts and styles of this server, talk to it, and nothing else. A text cannot become a
/// script, whatever it says.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; \
     require-trusted-types-for 'script'",
);

/// The path of a file of the console, other than the pages.
pub fn find(path: &str) -> Option<&'static str> {
    ASSETS.iter().map(|asset| asset.path).find(|known| *known == path && *known != INDEX)
}

/// Whether the program was built with its console.
pub fn is_built_in() -> bool {
    asset(INDEX).is_some()
}

fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

/// A file of the console.
pub(super) fn file(path: &str, headers: &HeaderMap) -> Response<ApiBody> {
    match asset(path) {
        Some(asset) => serve(asset, headers),
        None => response::not_found(),
    }
}

fn serve(asset: &Asset, headers: &HeaderMap) -> Response<ApiBody> {
    let encoding = preferred(headers);
    // Other bytes, another tag.
    let tag = format!("\"{}-{}\"", asset.tag, encoding.name().unwrap_or("identity"));
    let mut answer = if names_tag(headers, &tag) {
        let mut unchanged = response::no_content();
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        let body = match encoding {
            Encoding::Brotli => Bytes::from_static(asset.br),
            Encoding::Gzip => Bytes::from_static(asset.gzip),
            Encoding::Identity => {
                let mut plain = Vec::new();
                if let Err(fault) = GzDecoder::new(asset.gzip).read_to_end(&mut plain) {
                    return response::error(&ApiError::internal("a file of the console is damaged", fault));
                }
                plain.into()
            }
        };
        let mut whole = response::with_type(StatusCode::OK, asset.media_type, body);
        if let Some(name) = encoding.name() {
            whole.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        whole
    };
    let head = answer.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        head.insert(ETAG, tag);
    }
    let lasting = asset.path.starts_with(HASHED);
    let cache = if lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
    head.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    secure(head);
    answer
}

/// Whether the client has the bytes of this tag already.
fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|known| {
        // A proxy that touches an answer makes its tag a weak one.
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

/// Puts the headers into an answer that bound what a browser does with it.
pub(super) fn secure(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// Sends a browser to an address, which is relative wherever it names this server: a proxy may serve it below a prefix
/// that it does not know of.
pub fn redirect(target: &str) -> Response<ApiBody> {
    let mut answer = response::text(StatusCode::FOUND, "");
    // What came as the query of an address can be sent as one.
    if let Ok(target) = HeaderValue::try_from(target) {
        answer.headers_mut().insert(LOCATION, target);
    }
    answer
}

impl Api {
    /// `/`: where to begin. Where nothing was ever written, that is how to.
    pub(super) fn home(&self) -> Response<ApiBody> {
        let untouched = self.slot.get().is_some_and(|db| {
            db.log_status().last_commit == 0 && db.head().series_count() == 0 && db.storage_status().blocks == 0
        });
        redirect(if untouched { "ingest" } else { "query" })
    }

    /// A page of the console, or what stands in for it.
    pub(super) fn page(&self, headers: &HeaderMap) -> Response<ApiBody> {
        match asset(INDEX) {
            Some(index) => serve(index, headers),
            None => self.plain_page(),
        }
    }
}

/// `/graph`, as links to Prometheus have it.
pub(super) fn graph(url_query: &str) -> Response<ApiBody> {
    if url_query.is_empty() { redirect("query") } else { redirect(&format!("query?{url_query}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: Asset = Asset {
        path: "assets/entry-0f.js",
        media_type: "text/javascript; charset=utf-8",
        tag: "00ff",
        br: b"brotli",
        // `printf plain | gzip -9n`
        gzip: &[
            0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0x02, 0x03, 0x2b, 0xc8, 0x49, 0xcc, 0xcc, 0x03, 0, 0xcf, 0x62, 0x20, 0x19,
            5, 0, 0, 0,
        ],
    };

    fn asked(asset: &Asset, headers: &[(HeaderName, &'static str)]) -> (u16, HeaderMap, String) {
        use http_body_util::BodyExt as _;
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let (head, body) = serve(asset, &headers).into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(body.collect()).unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[test]
    fn file_is_sent_in_the_encoding_that_its_client_takes() {
        use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE};
        let (status, headers, body) = asked(&SCRIPT, &[(ACCEPT_ENCODING, "gzip, br")]);
        assert_eq!(
            (status, body.as_str(), &headers[CONTENT_ENCODING]),
            (200, "brotli", &HeaderValue::from_static("br"))
        );
        assert_eq!(headers[ETAG], "\"00ff-br\"");
        assert_eq!(headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
        let (_, headers, _) = asked(&SCRIPT, &[(ACCEPT_ENCODING, "gzip")]);
        assert_eq!(
            (&headers[ETAG], &headers[CONTENT_ENCODING]),
            (&"\"00ff-gzip\"".parse().unwrap(), &"gzip".parse().unwrap())
        );
        let (status, headers, body) = asked(&SCRIPT, &[]);
        assert_eq!((status, body.as_str(), headers.get(CONTENT_ENCODING)), (200, "plain", None));
        assert_eq!(headers[ETAG], "\"00ff-identity\"");
    }

    #[test]
    fn file_with_a_hash_in_its_name_is_kept_for_ever_and_others_are_asked_for_again() {
        assert_eq!(asked(&SCRIPT, &[]).1[CACHE_CONTROL], "public, max-age=31536000, immutable");
        let index = Asset { path: INDEX, ..SCRIPT };
        assert_eq!(asked(&index, &[]).1[CACHE_CONTROL], "no-cache");
    }

    #[test]
    fn file_that_its_client_has_is_not_sent_again() {
        for known in ["\"00ff-identity\"", "\"other\", W/\"00ff-identity\"", "*"] {
            let (status, headers, body) = asked(&SCRIPT, &[(IF_NONE_MATCH, known)]);
            assert_eq!((status, body.as_str()), (304, ""), "{known}");
            assert_eq!((&headers[ETAG], headers.get(CONTENT_ENCODING)), (&"\"00ff-identity\"".parse().unwrap(), None));
            assert!(headers.contains_key(CACHE_CONTROL));
        }
        for other in ["\"00ff-br\"", "\"00ff\"", "00ff-identity", ""] {
            assert_eq!(asked(&SCRIPT, &[(IF_NONE_MATCH, other)]).0, 200, "{other}");
        }
    }

    #[test]
    fn file_tells_the_browser_what_it_may_do() {
        let (_, headers, _) = asked(&SCRIPT, &[]);
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(!policy.contains("unsafe") && policy.contains("require-trusted-types-for 'script'"));
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }

    #[test]
    fn every_file_that_is_built_in_unpacks() {
        for asset in ASSETS {
            let mut plain = Vec::new();
            GzDecoder::new(asset.gzip).read_to_end(&mut plain).unwrap();
            assert!(!plain.is_empty() && !asset.br.is_empty(), "{}", asset.path);
        }
        assert_eq!(is_built_in(), !ASSETS.is_empty());
    }

    #[test]
    fn link_to_the_graph_of_prometheus_leads_to_the_same_query_here() {
        let target = |query| graph(query).headers()[LOCATION].to_str().unwrap().to_owned();
        assert_eq!(target(""), "query");
        assert_eq!(target("g0.expr=up%7Bjob%3D%22a%22%7D&g0.tab=0"), "query?g0.expr=up%7Bjob%3D%22a%22%7D&g0.tab=0");
    }
}
