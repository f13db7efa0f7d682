//! The console as a browser is served it: pages, files, redirects, and what they say of themselves.

use std::io::Read as _;

use crate::harness::{Chronolith, Settings, http};

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
    let licenses = server.get("/licenses.txt");
    assert_eq!(licenses.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(licenses.text().contains("## preact") && licenses.text().contains("Permission is hereby granted"));
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
        let unwanted = ask("identity, gzip;q=0.5");
        assert_eq!((unwanted.header("content-encoding"), unwanted.header("etag")), (None, plain.header("etag")));
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(gzip.body.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain.body && !plain.body.is_empty(), "{script}");
        let tags = [&plain, &gzip, &brotli].map(|answer| answer.header("etag").unwrap().to_owned());
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    }
}

/// A server whose paths lie below a prefix. The harness waits at the root, where there is nothing then.
fn start_below(dir: &std::path::Path, key: &'static str, value: &str, ready: &str) -> Chronolith {
    let mut server = Chronolith::spawn(&dir.join("data"), Settings::default().with(key, value));
    server.process.wait_ready(server.address, ready, std::time::Duration::from_secs(60));
    server
}

#[test]
fn console_and_api_below_a_prefix_are_there_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_below(dir.path(), "web.route_prefix", "/tools/db/", "/tools/db/-/ready");
    for path in
        ["/tools/db/query", "/tools/db/-/healthy", "/tools/db/metrics", "/tools/db/api/v1/labels", "/tools/db/health"]
    {
        assert_eq!(server.get(path).status, 200, "{path}");
        let bare = server.get(path.strip_prefix("/tools/db").unwrap());
        assert_eq!((bare.status, bare.text().as_str()), (404, "404 page not found\n"), "{path}");
    }
    assert_eq!(location(&server, "/tools/db/"), (302, "ingest".to_owned()));
    assert_eq!(location(&server, "/tools/db"), (302, "db/".to_owned()));
    assert_eq!(location(&server, "/"), (302, "tools/db/".to_owned()));
    assert_eq!(location(&server, "/tools/db/graph?g0.expr=up"), (302, "query?g0.expr=up".to_owned()));
    let ask =
        |method, path| http::request(server.address, method, path, &[("Origin", "http://grafana")], b"up 1\n").unwrap();
    assert!(matches!(ask("POST", "/tools/db/api/v1/import/prometheus").status, 200 | 204 | 403));
    let preflight = ask("OPTIONS", "/tools/db/api/v1/query");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some("*")));
    // Where the OpenTelemetry SDK for browsers sends to, unless it is told otherwise.
    let preflight = ask("OPTIONS", "/tools/db/v1/metrics");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some("*")));
    let missing = ask("GET", "/tools/db/api/v1/rules/test/test");
    assert_eq!((missing.status, missing.text().as_str()), (404, "404 page not found\n"));
    assert_eq!(missing.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn console_lies_below_the_path_of_the_external_address() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_below(dir.path(), "web.external_url", "https://example.org/prometheus/", "/prometheus/-/ready");
    assert_eq!(server.get("/prometheus/query").status, 200);
    let flags = server.get("/prometheus/api/v1/status/flags").json();
    assert_eq!(flags["data"]["web.external-url"], "https://example.org/prometheus/");
}

#[test]
fn console_and_senders_change_data_and_pages_of_other_origins_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::default()
        .with("web.enable_admin_api", "true")
        .with("web.enable_lifecycle", "true")
        .with("web.external_url", "https://console.example")
        .with("web.route_prefix", "/");
    let server = Chronolith::start_with(&dir.path().join("data"), settings);
    let host = server.address.to_string();
    let own = format!("http://{host}");
    let changing = [
        ("/api/v1/import/prometheus", &b"up 1\n"[..]),
        ("/api/v1/admin/storage/flush", b""),
        ("/api/v1/admin/tsdb/delete_series?match[]=nothing", b""),
        ("/api/v1/storage/blocks/01J0000000000000000000000A/verify", b""),
        ("/-/reload", b""),
    ];
    let foreign: [&[(&str, &str)]; 6] = [
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.example")],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:1")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Origin", "http://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "http://127.0.0.1:1")],
    ];
    let of_its_own: [&[(&str, &str)]; 4] = [
        &[],
        &[("Sec-Fetch-Site", "same-origin"), ("Origin", &own)],
        &[("Origin", &own)],
        &[("Origin", "https://console.example")],
    ];
    for (path, body) in changing {
        let ask = |headers: &[(&str, &str)]| http::request(server.address, "POST", path, headers, body).unwrap();
        for headers in foreign {
            let answer = ask(headers);
            assert_eq!(answer.status, 403, "{path} {headers:?}: {}", answer.text());
            assert!(answer.text().contains("web.external_url"), "{}", answer.text());
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path} {headers:?}");
            let preflight = http::request(server.address, "OPTIONS", path, headers, b"").unwrap();
            assert_eq!(preflight.header("access-control-allow-origin"), None, "{path} {headers:?}");
        }
        for headers in of_its_own {
            let answer = ask(headers);
            assert_ne!(answer.status, 403, "{path} {headers:?}: {}", answer.text());
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path} {headers:?}");
        }
    }
    // What only reads is for pages of any origin, and so is OTLP, which they send.
    let query = [("Origin", "http://grafana.example"), ("Sec-Fetch-Site", "cross-site")];
    let answer = http::request(server.address, "POST", "/api/v1/query?query=1", &query, b"").unwrap();
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    let otlp = [query[0], query[1], ("Content-Type", "application/json")];
    let answer = http::request(server.address, "POST", "/api/v1/otlp/v1/metrics", &otlp, b"{}").unwrap();
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
}
