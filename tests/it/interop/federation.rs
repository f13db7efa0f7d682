//! `/federate` beside Prometheus: the same bytes, text and protobuf, native histograms among them; and a Prometheus that
//! scrapes it.

use std::time::{Duration, UNIX_EPOCH};

use crate::harness::peers::with_peers;
use crate::harness::remote_write::{Series, send};
use crate::harness::{Chronolith, http, wait_for};

const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
const TEXT: &str = "text/plain;version=0.0.4";

#[test]
fn interop_federation_gives_the_bytes_of_prometheus_as_text_and_as_protobuf() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let server = Chronolith::start(&dir.path().join("chronolith"));
        let other = peers.prometheus_with(&dir.path().join("prometheus"), "", &["--enable-feature=native-histograms"]);
        let now_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let float =
            |labels: &[(&str, &str)], value| Series::new(labels, &[(now_ms - 20_000, 0.5), (now_ms - 5000, value)]);
        let native = |labels: &[(&str, &str)]| Series {
            histograms: vec![(now_ms - 20_000, 1.5), (now_ms - 5000, 2.25)],
            ..Series::new(labels, &[])
        };
        let series = [
            float(&[("__name__", "up"), ("instance", "i"), ("job", "a")], 1.0),
            float(&[("__name__", "up"), ("job", "b")], f64::NAN),
            float(&[("__name__", "odd"), ("text", "a\"b\\c\nd")], -0.5),
            float(&[("__name__", "gone"), ("job", "a")], stale),
            float(&[("__name__", "http.size"), ("a.b", "<&>")], 1e21),
            native(&[("__name__", "native"), ("job", "a")]),
            native(&[("__name__", "native"), ("instance", "i"), ("job", "b")]),
            float(&[("__name__", "native"), ("job", "float")], 3.0),
            native(&[("__name__", "lonely")]),
        ];
        for address in [other.address, server.address] {
            let answer = send(address, &series).unwrap();
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
        for selector in [
            "match[]={__name__=~\".%2B\",__name__!~\"scrape.*\"}",
            "match[]=up&match[]=native&match[]=up",
            "match[]=native{job=\"b\"}",
            "match[]=lonely",
            "match[]=gone",
            "match[]=nothing",
            "match[]=up{",
            "",
        ] {
            for accept in [
                PROTOBUF.to_owned(),
                format!("{PROTOBUF};escaping=allow-utf-8;q=0.6,{TEXT};q=0.5"),
                format!("{TEXT};escaping=allow-utf-8"),
                TEXT.to_owned(),
                format!("{PROTOBUF};q=0.4,{TEXT};q=0.5"),
                "*/*".to_owned(),
            ] {
                let path =
                    format!("/federate?{}", selector.replace('{', "%7B").replace('}', "%7D").replace('"', "%22"));
                let [expected, found] = [other.address, server.address]
                    .map(|address| http::request(address, "GET", &path, &[("Accept", &accept)], &[]).unwrap());
                let what = format!("{path} as {accept}: {:?} and {:?}", expected.text(), found.text());
                assert_eq!(expected.status, found.status, "{what}");
                if expected.status == 200 {
                    assert_eq!(expected.header("content-type"), found.header("content-type"), "{what}");
                    assert!(expected.body == found.body, "{what}");
                }
            }
        }
    });
}

#[test]
fn interop_prometheus_that_scrapes_federation_gets_native_histograms() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let server = Chronolith::start(&dir.path().join("chronolith"));
        let now_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        let histograms = vec![(now_ms - 20_000, 1.5), (now_ms - 5000, 2.25)];
        let series = [
            Series { histograms, ..Series::new(&[("__name__", "native"), ("job", "a")], &[]) },
            Series::new(&[("__name__", "plain"), ("job", "a"), ("instance", "i")], &[(now_ms - 5000, 7.0)]),
        ];
        assert_eq!(send(server.address, &series).unwrap().status, 204);
        let config = format!(
            "scrape_configs:\n- job_name: federate\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  honor_labels: true\n  \
             metrics_path: /federate\n  params: {{\"match[]\": [\"{{job='a'}}\"]}}\n  \
             static_configs: [{{targets: [\"{}\"]}}]\n",
            server.address
        );
        let features = ["--enable-feature=native-histograms"];
        let reader = peers.prometheus_with(&dir.path().join("reader"), &config, &features);
        let seconds = format!("{:.3}", now_ms as f64 / 1000.0 - 5.0);
        for query in ["native", "plain", "timestamp(native)"] {
            let ask = |address| {
                let answer = http::post_form(address, "/api/v1/query", &[("query", query), ("time", &seconds)]);
                answer.unwrap().json()["data"]["result"].clone()
            };
            let expected = ask(server.address);
            assert_eq!(expected.as_array().unwrap().len(), 1, "{query}");
            wait_for(query, Duration::from_secs(60), || {
                let found = ask(reader.address);
                (found == expected).then_some(()).ok_or_else(|| format!("{found} instead of {expected}"))
            });
        }
    });
}
