//! The doors beside Prometheus: its tool takes the same file, and it sends through them.

use std::time::Duration;

use crate::doors::{ANN, HASH, certified};
use crate::harness::certificates;
use crate::harness::peers::with_peers;
use crate::harness::process::run_well;
use crate::harness::{Chronolith, Settings, wait_for};

#[test]
fn interop_prometheus_writes_over_tls_with_a_password() {
    with_peers(|peers| {
        let dir = certified();
        let web = dir.path().join("web.yml");
        let text = format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS12\n  \
             cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences: [X25519, CurveP256]\n\
             http_server_config:\n  http2: true\n  headers: {{X-Content-Type-Options: nosniff}}\n\
             basic_auth_users:\n  ann: {HASH}\n"
        );
        std::fs::write(&web, text).unwrap();
        run_well(peers.program("promtool"), &["check", "web-config", web.to_str().unwrap()]);

        let settings = Settings::default().with("web.config_file", web.display().to_string());
        let server = Chronolith::spawn(&dir.path().join("data"), settings);
        let client = certificates::client(dir.path(), None);
        let ask =
            |path: &str| certificates::request(&client, server.address, ("GET", path), &[("Authorization", ANN)], &[]);
        wait_for("ready over TLS", Duration::from_secs(60), || match ask("/-/ready") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: self\n    static_configs: [{{targets: \
             ['{address}']}}]\n    scheme: https\n    basic_auth: {{username: ann, password: fakepassword}}\n    \
             tls_config: {{ca_file: {ca}}}\nremote_write:\n  - url: https://{address}/api/v1/write\n    \
             basic_auth: {{username: ann, password: fakepassword}}\n    tls_config: {{ca_file: {ca}}}\n",
            address = server.address,
            ca = dir.path().join("ca.crt").display()
        );
        let _prometheus = peers.prometheus(&dir.path().join("prometheus"), &config);
        wait_for("samples that Prometheus sent", Duration::from_secs(60), || {
            let answer = ask("/api/v1/query?query=up%7Bjob%3D%22self%22%7D").map_err(|error| error.to_string())?;
            let value = answer.json()["data"]["result"][0]["value"][1].clone();
            if value == "1" { Ok(()) } else { Err(answer.text()) }
        });
    });
}
