//! The console as a browser is served it: pages, files, redirects, and what they say of themselves.

use std::io::Read as _;

use crate::harness::{Chronolith, http};

const PAGES: [&str; 6] = ["query", "explore", "storage", "verify", "ingest", "status"];

/// Whether the binary has its console, which it must where the build was told so.
fn is_built_in(server: &Chronolith) -> bool {
    let built_in = !server.get("/query").text().contains("built without its console");
    let required = std::env::var("CHRONOLITH_CONSOLE").is_ok_and(|wanted| wanted == "require");
    assert!(built_in || !required, "the console is not built in");
    built_in
}

fn location(server: &Chronolith, path: &str) -> (u16, String) {
    let answer = server.get(path);
    (answer.status, answer.header("location").unwrap_or_default().to_owned())
}

fn write_one(server: &Chronolith) {
    let body = b"up 1\n";
    let answer = http::request(server.address, "POST", "/api/v1/import/prometheus", &[], body).unwrap();
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
}

#[test]
fn console_begins_with_how_to_write_until_something_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Chronolith::start(&dir.path().join("data"));
    assert_eq!(location(&server, "/"), (302, "ingest".to_owned()));
    write_one(&server);
    assert_eq!(location(&server, "/"), (302, "query".to_owned()));
    server.kill_and_restart();
    assert_eq!(location(&server, "/"), (302, "query".to_owned()));
    let link = "g0.expr=up%7Bjob%3D%22a%22%7D&g0.tab=0&g0.range_input=1h";
    assert_eq!(location(&server, &format!("/graph?{link}")), (302, format!("query?{link}")));
    assert_eq!(location(&server, "/graph"), (302, "query".to_owned()));
}

#[test]
fn console_pages_are_one_document_that_is_asked_for_again_and_bounds_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let built_in = is_built_in(&server);
    for page in PAGES {
        let answer = server.get(&format!("/{page}?a=b"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"));
        assert!(answer.header("permissions-policy").unwrap().contains("camera=()"));
        assert!(answer.header("vary").unwrap().contains("Accept-Encoding"));
        let head = http::request(server.address, "HEAD", &format!("/{page}"), &[], b"").unwrap();
        assert_eq!((head.status, head.body.len()), (200, 0), "{page}");
        assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()));
        let posted = http::request(server.address, "POST", &format!("/{page}"), &[], b"").unwrap();
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
        if built_in {
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let known = [("If-None-Match", answer.header("etag").unwrap())];
            let again = http::request(server.address, "GET", &format!("/{page}"), &known, b"").unwrap();
            assert_eq!((again.status, again.body.len()), (304, 0), "{page}");
            assert_eq!(again.header("etag"), answer.header("etag"));
        }
    }
    for path in
        ["/query/", "/nothing", "/query/x", "/index.html", "/assets/", "/assets/none-12345678.js", "/dist/index.html"]
    {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (404, "404 page not found\n"), "{path}");
    }
}

#[test]
fn console_files_come_compressed_with_names_that_last() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    if !is_built_in(&server) {
        return;
    }
    let page = server.get("/query").text();
    let scripts: Vec<&str> = page
        .split('"')
        .filter_map(|text| text.strip_prefix("./assets/"))
        .filter(|name| name.ends_with(".js"))
        .collect();
    assert!(!scripts.is_empty(), "the page names no script below ./assets/: {page}");
    for script in scripts {
        let ask = |encoding: &str| {
            let headers = [("Accept-Encoding", encoding)];
            http::request(server.address, "GET", &format!("/assets/{script}"), &headers, b"").unwrap()
        };
        let (plain, gzip, brotli) = (ask("identity"), ask("gzip"), ask("gzip, deflate, br, zstd"));
        assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(plain.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!((plain.header("content-encoding"), gzip.header("content-encoding")), (None, Some("gzip")));
        assert_eq!(brotli.header("content-encoding"), Some("br"));
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(gzip.body.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain.body && !plain.body.is_empty(), "{script}");
        let tags = [&plain, &gzip, &brotli].map(|answer| answer.header("etag").unwrap().to_owned());
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    }
}
