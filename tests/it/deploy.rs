//! What `deploy/` and the documents name is what the program has: metrics and their labels, ports, paths, flags, keys,
//! anchors. Nothing here needs a container engine or a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::harness::chronolith::run;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, http, wait_for};

/// Labels that are not the server's: those that a scrape adds, and the one of histograms' buckets.
const OF_THE_SCRAPE: &[&str] = &["job", "instance", "le"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    let parse = |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    text(path).split("\n---\n").map(parse).collect()
}

fn files_below(dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Everything that `value` has under the key `name`, however deep.
fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                if key == name {
                    found.push(inner);
                }
                all(inner, name, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, name, found)),
        _ => {}
    }
}

fn every<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    all(value, name, &mut found);
    found
}

/// The alerts, each with its expression and its annotations.
fn alerts() -> Vec<Value> {
    let rules = &yaml("deploy/prometheus/alerts.yaml")[0];
    rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/chronolith.json")).unwrap()
}

/// Metrics by name, with their labels and the values of each.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a server exports that has been written to, that holds a block, and that has an alarm.
fn exported() -> Exported {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // A block that cannot be read, for an alarm.
    fs::create_dir_all(data.join("01JZ0000000000000000000000")).unwrap();
    let settings = Settings::default().with("web.enable_admin_api", "true");
    let server = Chronolith::start_with(&data, settings);
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let series = Series::new(&[("__name__", "up"), ("job", "a")], &[(now_ms, 1.0)]);
    // The same time again, with another value: something is refused.
    let again = Series::new(&[("__name__", "up"), ("job", "a")], &[(now_ms, 2.0)]);
    for (series, status) in [(series, 204), (again, 400)] {
        assert_eq!(remote_write::send(server.address, &[series]).unwrap().status, status);
    }
    server.query("up", now_ms as f64 / 1000.0);
    for work in ["flush", "verify"] {
        let path = format!("/api/v1/admin/storage/{work}");
        let done = http::request(server.address, "POST", &path, &[], &[]).unwrap();
        assert_eq!(done.status, 200, "{}", done.text());
    }
    wait_for("an alarm among the metrics", Duration::from_secs(30), || {
        server.metric("chronolith_alarm").map(|_| ()).ok_or_else(|| "none".to_owned())
    });
    let shown = server.get("/metrics").text() + &of_the_doors();
    let mut exported = Exported::new();
    for line in shown.lines().filter(|line| !line.starts_with('#')) {
        let (series, _value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let metric = exported.entry(name.to_owned()).or_default();
        for (name, value) in labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once("=\"")) {
            metric.entry(name.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }
    exported
}

/// What a server exports that asks for credentials.
fn of_the_doors() -> String {
    let dir = tempfile::tempdir().unwrap();
    let (web, token) = (dir.path().join("web.yml"), dir.path().join("token"));
    fs::write(&token, "a-token-of-this-test\n").unwrap();
    fs::write(&web, "bearer_tokens:\n  - {name: a, file: token, rights: [read, write]}\n").unwrap();
    let settings = Settings::default().with("web.config_file", web.display().to_string());
    let server = Chronolith::spawn(&dir.path().join("data"), settings);
    let credential = [("Authorization", "Bearer a-token-of-this-test")];
    wait_for("an answer behind the doors", Duration::from_secs(60), || {
        match http::request(server.address, "GET", "/metrics", &credential, &[]) {
            Ok(answer) if answer.status == 200 => Ok(answer.text()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// What an expression asks for that is not exported.
fn unknown(expression: &str, exported: &Exported) -> Vec<String> {
    let (status, tree, error) = run(&["promql", "parse", "--format", "json", expression]);
    assert_eq!(status, Some(0), "{expression}\n{error}");
    let tree: Value = serde_json::from_str(&tree).unwrap();
    let mut wrong = Vec::new();
    check(&tree, exported, &mut wrong);
    wrong.iter().map(|wrong| format!("{wrong} in {expression}")).collect()
}

fn check(node: &Value, exported: &Exported, wrong: &mut Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match node["type"].as_str() {
        Some("vectorSelector" | "matrixSelector") => {
            let name = text(&node["name"]);
            if name == "up" {
                return;
            }
            let Some(labels) = exported.get(&name) else { return wrong.push(format!("no metric {name}")) };
            for matcher in node["matchers"].as_array().unwrap() {
                let (label, value, kind) = (text(&matcher["name"]), text(&matcher["value"]), text(&matcher["type"]));
                match labels.get(&label) {
                    _ if label == "__name__" || OF_THE_SCRAPE.contains(&label.as_str()) => {}
                    None => wrong.push(format!("no label {label} of {name}")),
                    // Paths are listed when they have been asked for.
                    Some(values) if label != "handler" && matches!(kind.as_str(), "=" | "!=") => {
                        if !values.contains(&value) {
                            wrong.push(format!("no {label}={value:?} of {name}"));
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        Some("aggregation") => {
            let names: Vec<&Value> = every(node, "name").into_iter().collect();
            for label in node["grouping"].as_array().unwrap().iter().map(text) {
                let metrics = names.iter().filter_map(|name| exported.get(name.as_str()?));
                let lacks = metrics.clone().count() == 0 || metrics.clone().any(|labels| !labels.contains_key(&label));
                if lacks && !(OF_THE_SCRAPE.contains(&label.as_str()) && label != "le") {
                    wrong.push(format!("no label {label} to group by"));
                }
            }
        }
        _ => {}
    }
    match node {
        Value::Object(fields) => fields.values().for_each(|inner| check(inner, exported, wrong)),
        Value::Array(items) => items.iter().for_each(|inner| check(inner, exported, wrong)),
        _ => {}
    }
}

/// An expression of the dashboard as Grafana sends it.
fn interpolated(expression: &str) -> String {
    expression.replace("$__rate_interval", "5m").replace("$__interval", "1m")
}

/// The names of ours, and of Prometheus and processes, that a document has between backticks.
fn named(document: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = document.split(|c| !is_name(c)).filter(|word| {
        let begins = |prefix: &str| word.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        begins("chronolith_") || begins("prometheus_tsdb_") || begins("prometheus_engine_") || begins("process_")
    });
    names.map(str::to_owned).collect()
}

#[test]
fn deploy_metrics_that_alerts_dashboard_and_documents_name_are_exported() {
    let exported = exported();
    let mut wrong = Vec::new();
    for alert in alerts() {
        wrong.extend(unknown(alert["expr"].as_str().unwrap(), &exported));
    }
    let dashboard = dashboard();
    let expressions: Vec<&Value> = every(&dashboard, "expr");
    assert!(expressions.len() > 30, "{}", expressions.len());
    for expression in expressions {
        wrong.extend(unknown(&interpolated(expression.as_str().unwrap()), &exported));
    }
    for document in files_below("docs").iter().filter(|path| path.ends_with(".md")).chain([&"README.md".to_owned()]) {
        let families =
            |name: &String| ["_bucket", "_sum"].iter().any(|end| exported.contains_key(&format!("{name}{end}")));
        let missing = named(&text(document)).into_iter().filter(|name| !exported.contains_key(name) && !families(name));
        wrong.extend(missing.map(|name| format!("no metric {name} in {document}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The check itself: what is not there is found.
    for (expression, words) in [
        ("rate(chronolith_no_such_total[5m])", "no metric chronolith_no_such_total"),
        ("chronolith_blocks_lost{sample=\"missing\"}", "no label sample"),
        ("chronolith_blocks_lost{samples=\"gone\"}", "no samples=\"gone\""),
        ("sum by (what) (chronolith_blocks_lost)", "no label what"),
    ] {
        let found = unknown(expression, &exported).join("\n");
        assert!(found.contains(words), "{expression}: {found}");
    }
}

#[test]
fn deploy_dashboard_has_one_place_for_each_panel_and_knows_its_variables() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids of panels");
    let mut cells = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_i64().unwrap();
        assert!(at("x") + at("w") <= 24, "{} is too wide", panel["title"]);
        for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} lies over another", panel["title"]);
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    for expression in every(&dashboard, "expr") {
        for word in interpolated(expression.as_str().unwrap()).split('$').skip(1) {
            let name: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(variables.contains(&name.as_str()), "${name} in {expression}");
        }
    }
    for source in every(&dashboard, "datasource") {
        assert_eq!(source["uid"], "${datasource}");
    }
    // Without a value of its own, `All` is the servers that there are. `.*` would be every program with such a metric.
    assert_eq!(every(&dashboard, "allValue"), [&Value::Null; 0]);
}

/// The colour that a panel gives to a value.
fn color(panel: &Value, value: f64) -> &str {
    let steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array().unwrap();
    let step = steps.iter().rfind(|step| step["value"].as_f64().is_none_or(|from| from <= value));
    step.unwrap()["color"].as_str().unwrap()
}

#[test]
fn deploy_dashboard_shows_an_imbalance_of_either_sign_in_red() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let panel = panels.iter().find(|panel| panel["title"] == "Ledger imbalance").unwrap();
    assert_eq!([-7.0, 0.0, 1.0].map(|samples| color(panel, samples)), ["red", "green", "red"]);
}

#[test]
fn deploy_alerts_say_what_is_wrong_and_lead_to_an_anchor_that_exists() {
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(matches!(alert["labels"]["severity"].as_str(), Some("critical" | "warning")), "{name}");
        assert!(alert["annotations"]["summary"].is_string(), "{name}");
        let link = alert["annotations"]["runbook_url"].as_str().unwrap();
        let (document, anchor) = link.split_once('#').unwrap();
        let anchors = crate::tidy::anchors(&text(document));
        assert!(anchors.contains(anchor), "{name} leads to {link}; there are {anchors:?}");
    }
}

/// The values of all keys without configuration, and the names of their variables.
fn keys() -> BTreeMap<String, String> {
    let (_, shown, _) = run(&["config", "show", "--format", "json"]);
    let shown: BTreeMap<String, Value> = serde_json::from_str(&shown).unwrap();
    shown.into_iter().map(|(key, shown)| (key, shown["value"].as_str().unwrap().to_owned())).collect()
}

fn default_port(key: &str) -> u64 {
    keys()[key].rsplit(':').next().unwrap().parse().unwrap()
}

/// Ports of an object of YAML under `name`, by their names.
fn ports(value: &Value, name: &str) -> BTreeMap<String, u64> {
    let ports = every(value, "ports").into_iter().flat_map(|ports| ports.as_array().unwrap());
    ports.map(|port| (port["name"].as_str().unwrap().to_owned(), port[name].as_u64().unwrap())).collect()
}

#[test]
fn deploy_variables_that_files_set_are_keys_with_values_that_are_allowed() {
    let variables: BTreeSet<String> =
        keys().keys().map(|key| format!("CHRONOLITH_{}", key.replace('.', "_").to_uppercase())).collect();
    let mut set = Vec::new();
    for path in files_below("deploy").into_iter().chain(["Dockerfile".to_owned()]) {
        let text = text(&path);
        for (at, _) in text.match_indices("CHRONOLITH_") {
            let name: String = text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let rest = text[at + name.len()..].trim_start_matches(['=', ':', ' ']);
            let value = rest.split([' ', '\n', '\\']).next().unwrap().replace("%S", "/var/lib");
            // The one of the build.
            if name != "CHRONOLITH_CONSOLE" {
                assert!(variables.contains(&name), "{path}: {name}");
                set.push((name, value));
            }
        }
    }
    assert!(set.len() > 5, "{set:?}");
    let mut check = crate::harness::chronolith::command(&["config", "check"]);
    check.envs(set);
    let (status, _, error) = crate::harness::process::run(check);
    assert_eq!(status, Some(0), "{error}");
}

#[test]
fn deploy_configuration_files_are_taken_by_the_program() {
    let files: Vec<String> = files_below("deploy").into_iter().filter(|path| path.ends_with(".toml")).collect();
    assert!(files.len() >= 2, "{files:?}");
    for path in files {
        let (status, _, error) = run(&["config", "check", root().join(&path).to_str().unwrap()]);
        assert_eq!(status, Some(0), "{path}: {error}");
    }
}

#[test]
fn deploy_commands_that_files_run_have_arguments_that_the_program_takes() {
    let mut lines: Vec<String> = Vec::new();
    let unit = text("deploy/systemd/chronolith.service");
    lines.extend(unit.lines().filter(|line| line.starts_with("Exec")).filter_map(|line| {
        let (_, arguments) = line.split_once("/chronolith ")?;
        Some(arguments.to_owned())
    }));
    assert_eq!(lines.len(), 2, "{lines:?}");
    let words = |list: &str| list.replace(['[', ']', '"', ','], " ");
    let image = text("Dockerfile");
    let health = image.split("HEALTHCHECK").nth(1).unwrap().split("CMD").nth(1).unwrap();
    lines.push(words(health.lines().next().unwrap()).trim().trim_start_matches("chronolith").to_owned());
    lines.push(words(image.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap()));
    let set = &yaml("deploy/kubernetes/statefulset.yaml")[0];
    let arguments = every(set, "args")[0].as_array().unwrap();
    lines.push(arguments.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" "));
    for line in lines {
        let arguments: Vec<&str> = line.split_whitespace().chain(["--help"]).collect();
        let (status, _, error) = run(&arguments);
        assert_eq!(status, Some(0), "{line}: {error}");
    }
}

#[test]
fn deploy_paths_that_probes_and_senders_use_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let set = &yaml("deploy/kubernetes/statefulset.yaml")[0];
    let probes = every(set, "httpGet");
    assert_eq!(probes.len(), 3);
    for probe in probes {
        let path = probe["path"].as_str().unwrap();
        assert_eq!(server.get(path).status, 200, "{path}");
        assert_eq!(probe["port"], "http");
    }
    let prometheus = &yaml("deploy/prometheus/prometheus.yaml")[0];
    let url = prometheus["remote_write"][0]["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://chronolith:{}", default_port("listen"))).unwrap();
    let empty = http::request(server.address, "POST", path, &[], &[]).unwrap();
    assert_ne!(empty.status, 404, "{path}");
    assert!(prometheus.to_string().contains(&format!("\"chronolith:{}\"", default_port("listen"))));
    let collector = &yaml("deploy/otel-collector/config.yaml")[0];
    let endpoint = collector["exporters"]["otlp"]["endpoint"].as_str().unwrap();
    assert_eq!(endpoint, format!("chronolith:{}", default_port("otlp.grpc_listen")));
    let pipeline = &collector["service"]["pipelines"]["metrics"];
    for part in ["receivers", "processors", "exporters"] {
        for name in pipeline[part].as_array().unwrap() {
            assert!(collector[part].get(name.as_str().unwrap()).is_some(), "{name} of {part}");
        }
    }
    let source = &yaml("deploy/grafana/provisioning/datasources/chronolith.yaml")[0]["datasources"][0];
    assert_eq!(source["url"], format!("http://chronolith:{}", default_port("listen")));
}

#[test]
fn deploy_ports_users_and_volumes_of_image_compose_and_kubernetes_agree() {
    let image = text("Dockerfile");
    let after = |word: &str| {
        let line = image.lines().rev().find_map(|line| line.trim().strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word}")).trim().trim_end_matches('\\').trim().to_owned()
    };
    let expected = [("http", "listen"), ("otlp-grpc", "otlp.grpc_listen"), ("otlp-http", "otlp.http_listen")];
    let expected: BTreeMap<String, u64> =
        expected.iter().map(|(name, key)| ((*name).to_owned(), default_port(key))).collect();
    let exposed: BTreeSet<u64> = after("EXPOSE").split(' ').map(|port| port.parse().unwrap()).collect();
    assert_eq!(exposed, expected.values().copied().collect());

    let set = &yaml("deploy/kubernetes/statefulset.yaml")[0];
    assert_eq!(ports(set, "containerPort"), expected);
    let services = yaml("deploy/kubernetes/services.yaml");
    assert_eq!(ports(&services[0], "port"), expected);
    for service in &services {
        for port in every(service, "targetPort") {
            assert!(expected.contains_key(port.as_str().unwrap()), "{port}");
        }
        assert_eq!(service["spec"]["selector"], set["spec"]["selector"]["matchLabels"]);
    }
    let pod = &set["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"], set["spec"]["selector"]["matchLabels"]);
    assert_eq!(set["spec"]["serviceName"], services[1]["metadata"]["name"]);
    assert_eq!(services[1]["spec"]["publishNotReadyAddresses"], true);

    let security = &pod["spec"]["securityContext"];
    let (uid, gid) = (security["runAsUser"].to_string(), security["runAsGroup"].to_string());
    assert_eq!(after("USER"), format!("{uid}:{gid}"));
    assert_eq!(security["fsGroup"].to_string(), gid);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);

    let data_dir = after("ENV CHRONOLITH_DATA_DIR=");
    assert_eq!(after("VOLUME"), data_dir);
    let mounts: BTreeMap<&str, &str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| (mount["name"].as_str().unwrap(), mount["mountPath"].as_str().unwrap()))
        .collect();
    assert_eq!(mounts["data"], data_dir);
    let config = container["args"].as_array().unwrap().last().unwrap().as_str().unwrap();
    let kustomization = &yaml("deploy/kubernetes/kustomization.yaml")[0];
    let file = kustomization["configMapGenerator"][0]["files"][0].as_str().unwrap();
    assert_eq!(config, format!("{}/{file}", mounts["config"]));
    for named in kustomization["resources"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).chain([file])
    {
        assert!(root().join("deploy/kubernetes").join(named).is_file(), "{named}");
    }

    let compose = &yaml("deploy/compose.yaml")[0];
    let service = &compose["services"]["chronolith"];
    assert_eq!(service["volumes"][0], format!("chronolith:{data_dir}"));
    assert_eq!(service["read_only"], true);
    let listen = default_port("listen");
    assert_eq!(service["ports"][0], format!("127.0.0.1:{listen}:{listen}"));
    for (name, service) in compose["services"].as_object().unwrap() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            let exists = match from.strip_prefix("./") {
                Some(path) => root().join("deploy").join(path).exists(),
                None => compose["volumes"].get(from).is_some(),
            };
            assert!(exists, "{name}: {volume}");
        }
    }
}

#[test]
fn deploy_stops_leave_the_server_the_time_that_it_takes_for_requests() {
    let source = text("src/server/mod.rs");
    let drain = source.split("DRAIN_TIMEOUT: Duration = Duration::from_secs(").nth(1).unwrap();
    let drain: u64 = drain.split(')').next().unwrap().parse().unwrap();
    let set = &yaml("deploy/kubernetes/statefulset.yaml")[0];
    let grace = every(set, "terminationGracePeriodSeconds")[0].as_u64().unwrap();
    let unit = text("deploy/systemd/chronolith.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert_eq!((stop, grace), ("120s", 120));
    assert_eq!(yaml("deploy/compose.yaml")[0]["services"]["chronolith"]["stop_grace_period"], "2m");
    assert!(grace >= 3 * drain, "{grace} s, and requests may take {drain} s");
}

#[test]
fn deploy_files_name_documents_that_exist() {
    for path in files_below("deploy") {
        for rest in text(&path).split("docs/").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_./".contains(*c)).collect();
            let document = root().join("docs").join(name.trim_end_matches('.'));
            assert!(document.is_file(), "{path}: {}", document.display());
        }
    }
}

#[test]
fn deploy_image_gets_what_the_build_reads_and_no_more() {
    let ignored = text(".dockerignore");
    let allowed: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "nothing is copied that is not named");
    for path in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches", "fuzz", "web", "docs", "LICENSE"] {
        assert!(allowed.contains(&path), "{path}");
    }
    // What the code includes at its build has to be below one of them.
    let is_test = |path: &str| path.ends_with("tests.rs") || path.contains("/tests/");
    for source in files_below("src").into_iter().filter(|path| path.ends_with(".rs") && !is_test(path)) {
        let (dir, code) = (Path::new(&source).parent().unwrap().to_owned(), text(&source));
        let included = ["include_str!(\"", "include_bytes!(\""].into_iter().flat_map(|call| code.split(call).skip(1));
        for include in included {
            let path = dir.join(include.split('"').next().unwrap());
            let path = normal(&path);
            let first = path.components().next().unwrap().as_os_str().to_str().unwrap().to_owned();
            assert!(
                allowed.contains(&first.as_str()) || allowed.contains(&path.to_str().unwrap()),
                "{source}: {path:?}"
            );
        }
    }
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}
