//! TLS, users and tokens on the running server: who comes in and what for, what a reload changes, and that no secret comes
//! out again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::certificates::{self, Authority};
use crate::harness::http::{self, Response};
use crate::harness::process::free_address;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, chronolith, now_ms, wait_for};

/// Of the password "fakepassword".
pub const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
/// `ann:fakepassword`.
pub const ANN: &str = "Basic YW5uOmZha2VwYXNzd29yZA==";

const WRITER: &str = "Bearer writer-token-of-the-tests";
const READER: &str = "Bearer reader-token-of-the-tests";
const ADMIN: &str = "Bearer admin-token-of-the-tests";

/// Starts a server with a web configuration file. `/-/ready` asks for a credential, so it is waited for with one.
fn start(dir: &Path, web: &str, settings: Settings) -> Chronolith {
    std::fs::write(dir.join("web.yml"), web).unwrap();
    let settings = settings
        .with("web.config_file", dir.join("web.yml").display().to_string())
        .with("web.enable_lifecycle", "true")
        .with("web.enable_admin_api", "true");
    Chronolith::spawn(&dir.join("data"), settings)
}

/// Tokens with one right each.
fn tokens(dir: &Path) -> &'static str {
    for (name, token) in [("writer", WRITER), ("reader", READER), ("admin", ADMIN)] {
        std::fs::write(dir.join(name), token.strip_prefix("Bearer ").unwrap()).unwrap();
    }
    "bearer_tokens:\n  - {name: writer, file: writer, rights: [write]}\n  - {name: reader, file: reader, rights: [read]}\n  \
     - {name: admin, file: admin, rights: [admin]}\n"
}

fn ask(address: SocketAddr, (method, path): (&str, &str), credential: Option<&str>) -> Response {
    let headers: Vec<(&str, &str)> = credential.map(|value| ("Authorization", value)).into_iter().collect();
    http::request(address, method, path, &headers, &[]).unwrap()
}

fn wait_ready(server: &Chronolith, credential: &str) {
    wait_for("ready", Duration::from_secs(60), || {
        match http::request(server.address, "GET", "/-/ready", &[("Authorization", credential)], &[]) {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}\n{}", server.process.log())),
        }
    });
}

fn message(name: &str) -> Vec<u8> {
    remote_write::compress(&remote_write::encode(&[Series::new(&[("__name__", name)], &[(now_ms(), 1.0)])]))
}

#[test]
fn doors_let_each_right_do_what_it_is_for_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let web = format!("basic_auth_users: {{ann: {HASH}}}\n{}", tokens(dir.path()));
    let server = start(dir.path(), &web, Settings::default());
    wait_ready(&server, ANN);
    // What each may: nobody, a wrong one, ann, and the three tokens.
    let callers = [None, Some("Bearer no-token-of-the-tests"), Some(ANN), Some(WRITER), Some(READER), Some(ADMIN)];
    for (what, expected) in [
        (("GET", "/-/healthy"), [401, 401, 200, 200, 200, 200]),
        (("GET", "/api/v1/query?query=1"), [401, 401, 200, 403, 200, 403]),
        (("POST", "/api/v1/query?query=1"), [401, 401, 200, 403, 200, 403]),
        (("GET", "/metrics"), [401, 401, 200, 403, 200, 403]),
        (("GET", "/federate?match[]=up"), [401, 401, 200, 403, 200, 403]),
        (("POST", "/api/v1/write"), [401, 401, 400, 400, 403, 403]),
        (("POST", "/api/v1/admin/tsdb/clean_tombstones"), [401, 401, 204, 403, 403, 204]),
        (("POST", "/-/reload"), [401, 401, 200, 403, 403, 200]),
        (("GET", "/no/such/path"), [401, 401, 404, 404, 404, 404]),
        (("OPTIONS", "/api/v1/query"), [401, 401, 204, 403, 204, 403]),
    ] {
        for (caller, status) in callers.iter().zip(expected) {
            let answer = ask(server.address, what, *caller);
            assert_eq!(answer.status, status, "{what:?} {caller:?}: {}", answer.text());
            let challenges: Vec<&str> = answer
                .headers
                .iter()
                .filter(|(name, _)| name == "www-authenticate")
                .map(|(_, value)| value.split(' ').next().unwrap())
                .collect();
            assert_eq!(challenges, if status == 401 { vec!["Basic", "Bearer"] } else { vec![] }, "{what:?}");
        }
    }
}

#[test]
fn doors_are_the_same_at_the_addresses_of_otlp() {
    let dir = tempfile::tempdir().unwrap();
    let (over_http, over_grpc) = (free_address(), free_address());
    let settings = Settings::default()
        .with("otlp.http_listen", over_http.to_string())
        .with("otlp.grpc_listen", over_grpc.to_string());
    let server = start(dir.path(), tokens(dir.path()), settings);
    wait_ready(&server, WRITER);
    for address in [server.address, over_http, over_grpc] {
        for path in ["/v1/metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"] {
            let statuses = [None, Some("Bearer no-token-of-the-tests"), Some(READER), Some(ADMIN)]
                .map(|caller| ask(address, ("POST", path), caller).status);
            assert_eq!(statuses, [401, 401, 403, 403], "{address} {path}");
            let status = ask(address, ("POST", path), Some(WRITER)).status;
            assert!(!matches!(status, 401 | 403), "{address} {path}: {status}");
        }
        assert_eq!(ask(address, ("GET", "/-/healthy"), None).status, 401);
        assert_eq!(ask(address, ("GET", "/-/healthy"), Some(WRITER)).status, 200);
    }
}

#[test]
fn doors_with_tls_serve_its_clients_and_a_reload_changes_certificate_and_users() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    authority.sign(dir.path(), "server", &["localhost"]);
    let web = format!(
        "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{ann: {HASH}}}\n\
         http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    );
    let mut server = start(dir.path(), &web, Settings::default());
    let client = certificates::client(dir.path(), None);
    let ask = |what: (&str, &str), credential: &str, body: &[u8]| {
        certificates::request(&client, server.address, what, &[("Authorization", credential)], body)
    };
    wait_for("ready over TLS", Duration::from_secs(60), || match ask(("GET", "/-/ready"), ANN, &[]) {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(ask(("POST", "/api/v1/write"), ANN, &message("over_tls")).unwrap().status, 204);
    let answer = ask(("GET", "/api/v1/query?query=over_tls"), ANN, &[]).unwrap();
    assert_eq!(answer.json()["data"]["result"][0]["value"][1], "1");
    assert_eq!(answer.header("x-frame-options"), Some("deny"));
    assert!(http::get(server.address, "/-/healthy").is_err(), "plain HTTP is not spoken");

    let certificate = || ask(("GET", "/-/healthy"), ANN, &[]).map(|answer| answer.status);
    // A certificate of an authority that the client does not know, taken over at SIGHUP.
    let other = tempfile::tempdir().unwrap();
    Authority::new(other.path()).sign(dir.path(), "server", &["localhost"]);
    assert_eq!(certificate().unwrap(), 200, "nothing changes by itself");
    server.process.signal("HUP");
    wait_for("the new certificate", Duration::from_secs(30), || certificate().err().map(|_| ()).ok_or(String::new()));
    let trusting = certificates::client(other.path(), None);
    let ask = |what: (&str, &str)| {
        certificates::request(&trusting, server.address, what, &[("Authorization", ANN)], &[]).unwrap()
    };
    let reloaded = |ask: &dyn Fn((&str, &str)) -> Response| {
        let metrics = ask(("GET", "/metrics")).text();
        let name = "prometheus_config_last_reload_successful ";
        metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok()).unwrap()
    };
    assert_eq!(reloaded(&ask), 1.0);
    // A file with an error changes nothing and says so.
    std::fs::write(dir.path().join("web.yml"), "basic_auth_users: {ann: hunter2}").unwrap();
    let answer = ask(("POST", "/-/reload"));
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("basic_auth_users.ann") && !answer.text().contains("hunter2"), "{}", answer.text());
    assert_eq!(reloaded(&ask), 0.0);
    assert_eq!(ask(("GET", "/api/v1/status/runtimeinfo")).json()["data"]["reloadConfigSuccess"], false);
    // Without TLS and users.
    std::fs::write(dir.path().join("web.yml"), "").unwrap();
    assert_eq!(ask(("PUT", "/-/reload")).status, 200);
    assert_eq!(server.get("/-/healthy").status, 200);
    assert_eq!(server.metric("prometheus_config_last_reload_successful"), Some(1.0));
    assert!(server.process.log().contains("configuration was not reloaded"));
    assert!(server.process.terminate(Duration::from_secs(30)).success());
}

#[test]
fn doors_with_client_certificates_take_those_of_the_authority_with_an_allowed_name() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    authority.sign(dir.path(), "server", &["localhost"]);
    authority.sign(dir.path(), "agent", &["agent.example", "10.0.0.1"]);
    authority.sign(dir.path(), "stranger", &["stranger.example"]);
    let elsewhere = tempfile::tempdir().unwrap();
    Authority::new(elsewhere.path()).sign(dir.path(), "forger", &["agent.example"]);
    let web = "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, \
               client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [agent.example]}";
    let server = start(dir.path(), web, Settings::default());
    let ask = |certificate: Option<&str>| {
        let client = certificates::client(dir.path(), certificate);
        certificates::request(&client, server.address, ("GET", "/-/healthy"), &[], &[]).map(|answer| answer.status)
    };
    wait_for("an answer", Duration::from_secs(60), || match ask(Some("agent")) {
        Ok(200) => Ok(()),
        other => Err(format!("{other:?}\n{}", server.process.log())),
    });
    for refused in [None, Some("stranger"), Some("forger")] {
        assert!(ask(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn doors_that_cannot_open_end_the_start_with_the_key_and_without_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(dir.path().join("web.yml"), "tls_server_config: {cert_file: missing.crt, key_file: k}").unwrap();
    std::fs::write(dir.path().join("users.yml"), "basic_auth_users: {ann: hunter2}").unwrap();
    for (file, words) in [("web.yml", "missing.crt"), ("users.yml", "basic_auth_users.ann"), ("none.yml", "none.yml")] {
        let arguments = ["--data-dir", &path("data"), "--listen", "127.0.0.1:0", "--web.config-file", &path(file)];
        let (status, _, stderr) = chronolith::run(&[&["serve"], &arguments[..]].concat());
        assert_eq!(status, Some(2), "{stderr}");
        let named = stderr.contains("web.config_file") && stderr.contains(words) && !stderr.contains("hunter2");
        assert!(named, "{file}: {stderr}");
    }
    let config = path("chronolith.toml");
    std::fs::write(&config, format!("[web]\nconfig_file = {:?}", path("users.yml"))).unwrap();
    let (status, _, stderr) = chronolith::run(&["config", "check", &config]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("basic_auth_users.ann") && !stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn doors_give_no_secret_away() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let key = authority.sign(dir.path(), "server", &["localhost"]);
    let certificate = std::fs::read_to_string(dir.path().join("server.crt")).unwrap();
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let web = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}basic_auth_users: {{ann: {HASH}}}\n{}",
        indented(&certificate),
        indented(&key),
        tokens(dir.path())
    );
    let server = start(dir.path(), &web, Settings::default().with("query.log_slower_than", "1ms"));
    let client = certificates::client(dir.path(), None);
    let ask = |method: &str, path: &str, credential: &str| {
        let headers = [("Authorization", credential)];
        certificates::request(&client, server.address, (method, path), &headers, &[])
    };
    wait_for("ready", Duration::from_secs(60), || match ask("GET", "/-/ready", ANN) {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let mut said = String::new();
    let broken = web.replace("basic_auth_users", "basic_auth_user");
    for (what, file) in
        [("the file as it was", &web), ("an unknown key", &broken), ("no YAML", &web.replace(": {ann", ": {{ann"))]
    {
        std::fs::write(dir.path().join("web.yml"), file).unwrap();
        for path in [
            "/",
            "/health",
            "/metrics",
            "/api/v1/status/config",
            "/api/v1/status/flags",
            "/api/v1/status/runtimeinfo",
            "/api/v1/status/buildinfo",
            "/api/v1/status/active_queries",
            "/api/v1/status/slow_queries",
            "/api/v1/storage/status",
            "/api/v1/query?query=1",
        ] {
            for credential in [ANN, READER, WRITER, "Basic YW5uOndyb25nLXBhc3N3b3Jk", "Bearer"] {
                let answer = ask("GET", path, credential).unwrap();
                said.push_str(&format!("{what} {path} {:?} {}\n", answer.headers, answer.text()));
            }
        }
        let answer = ask("POST", "/-/reload", ADMIN).unwrap();
        said.push_str(&answer.text());
    }
    said.push_str(&server.process.log());
    assert!(said.contains("was not reloaded") && said.contains("web.yml"), "{said:.3000}");
    let key_line = key.lines().nth(1).unwrap();
    let wrong = ["wrong-password", "YW5uOndyb25nLXBhc3N3b3Jk"];
    let right = [HASH, "fakepassword", "YW5uOmZha2VwYXNzd29yZA==", key_line, "PRIVATE KEY"];
    let tokens = [WRITER, READER, ADMIN].map(|token| token.strip_prefix("Bearer ").unwrap());
    for secret in right.iter().chain(&wrong).chain(&tokens) {
        assert!(!said.contains(secret), "{secret} came out");
    }
}

#[test]
fn doors_commands_make_what_the_file_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (status, token, line) = chronolith::run(&["config", "new-token", "--name", "agents", "--rights", "write,read"]);
    assert_eq!(status, Some(0));
    let web = format!("bearer_tokens:\n{}", line.lines().last().unwrap());
    let server = start(dir.path(), &web, Settings::default());
    wait_ready(&server, &format!("Bearer {}", token.trim()));
    assert_eq!(ask(server.address, ("GET", "/api/v1/query?query=1"), None).status, 401);
}

/// A directory with a certificate for localhost.
pub fn certified() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    Authority::new(dir.path()).sign(dir.path(), "server", &["localhost", "127.0.0.1"]);
    dir
}
