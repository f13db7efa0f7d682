//! Precedence, errors and the documentation of the keys.

use super::*;
use crate::fs::SystemFs;

fn load(
    file: Option<&str>,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Resolved, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chronolith.toml");
    let file = file.map(|text| {
        std::fs::write(&path, text).unwrap();
        path.clone()
    });
    let sources = Sources {
        file,
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
        flags: flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    };
    Resolved::load(&SystemFs, &sources)
}

fn shown(resolved: &Resolved, key: &str) -> ShownKey {
    resolved.shown().find(|shown| shown.key == key).unwrap()
}

#[test]
fn config_without_sources_has_every_default_as_it_is_written() {
    let resolved = load(None, &[], &[]).unwrap();
    for (shown, key) in resolved.shown().zip(KEYS) {
        assert_eq!((shown.key, shown.value.as_str()), (key.name, key.default));
        assert_eq!(shown.origin, Origin::Default);
    }
}

#[test]
fn config_later_source_wins_and_is_named_as_origin() {
    let file =
        "listen = \"0.0.0.0:1\"\n[wal]\nmax_segment_size = \"1MiB\"\nmax_buffer_entries = 7\ncompression = \"zstd\"";
    let environment =
        [("CHRONOLITH_WAL_MAX_SEGMENT_SIZE", "2MiB"), ("CHRONOLITH_WAL_COMPRESSION", "none"), ("HOME", "/")];
    let resolved = load(Some(file), &environment, &[("wal.compression", "snappy")]).unwrap();
    assert_eq!(resolved.config.listen, "0.0.0.0:1");
    assert_eq!(resolved.config.wal.max_buffer_entries, 7);
    assert!(matches!(shown(&resolved, "wal.max_buffer_entries").origin, Origin::File(_)));
    assert_eq!(resolved.config.wal.max_segment_size, Bytes(2 << 20));
    assert_eq!(
        shown(&resolved, "wal.max_segment_size").origin.to_string(),
        "environment CHRONOLITH_WAL_MAX_SEGMENT_SIZE"
    );
    assert_eq!(resolved.config.wal.compression, Compression::Snappy);
    assert_eq!(shown(&resolved, "wal.compression").origin.to_string(), "flag --wal.compression");
    assert_eq!(shown(&resolved, "wal.durability").origin, Origin::Default);
}

#[test]
fn config_unknown_key_is_an_error_that_names_the_nearest() {
    let text = |result: Result<Resolved, ConfigError>| result.unwrap_err().to_string();
    let error = text(load(Some("[wal]\nmax_segment_sice = \"1MiB\""), &[], &[]));
    assert!(error.contains("\"wal.max_segment_sice\"") && error.contains("mean \"wal.max_segment_size\""), "{error}");
    let error = text(load(Some("dataa_dir = \"x\""), &[], &[]));
    assert!(error.contains("mean \"data_dir\""), "{error}");
    let error = text(load(None, &[("CHRONOLITH_WAL_DURABLITY", "fsync")], &[]));
    assert!(error.contains("CHRONOLITH_WAL_DURABLITY") && error.contains("mean \"wal.durability\""), "{error}");
}

#[test]
fn config_bad_value_is_an_error_that_names_key_value_and_allowed() {
    for (key, value) in [
        ("wal.durability", "always"),
        ("wal.max_segment_size", "100"),
        ("wal.max_segment_size", "1000001"),
        ("wal.max_buffer_entries", "0"),
        ("query.timeout", "0"),
        ("listen", "9095"),
        ("head.max_series", "many"),
        ("data_dir", ""),
    ] {
        let error = load(None, &[], &[(key, value)]).unwrap_err().to_string();
        let allowed = keys::find(key).unwrap().allowed;
        assert!(error.contains(key) && error.contains(&format!("{value:?}")) && error.contains(allowed), "{error}");
    }
}

#[test]
fn config_file_that_is_missing_or_not_toml_is_an_error_with_its_path() {
    let sources = Sources { file: Some("/nonexistent/c.toml".into()), ..Sources::default() };
    assert!(Resolved::load(&SystemFs, &sources).unwrap_err().to_string().contains("/nonexistent/c.toml"));
    assert!(matches!(load(Some("wal = ["), &[], &[]), Err(ConfigError::Syntax { .. })));
    assert!(matches!(load(Some("wal = 3"), &[], &[]), Err(ConfigError::UnknownKey { .. })));
    assert!(matches!(load(Some("[wal]\ndurability = [\"fsync\"]"), &[], &[]), Err(ConfigError::Value { .. })));
}

#[test]
fn config_variables_of_kubernetes_services_are_no_configuration() {
    let variables = [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "9095"),
        ("SERVICE_PORT_HTTP", "9095"),
        ("PORT", "tcp://10.0.0.1:9095"),
        ("PORT_9095_TCP", "tcp://10.0.0.1:9095"),
        ("PORT_9095_TCP_PROTO", "tcp"),
        ("PORT_9095_UDP_PORT", "9095"),
        ("PORT_9095_SCTP_ADDR", "10.0.0.1"),
    ];
    // The services `chronolith`, `chronolith-otlp` and `chronolith-web-port`.
    for service in ["", "OTLP_", "WEB_PORT_"] {
        for (variable, value) in variables {
            let name = format!("CHRONOLITH_{service}{variable}");
            assert!(load(None, &[(&name, value)], &[]).is_ok(), "{name}");
        }
    }
    for name in ["SERVICE_HOSTS", "SERVICE_PORT_", "PORT", "PORT_X_TCP", "PORT_1_IP", "PORT_1_TCP_X"] {
        assert!(load(None, &[(&format!("CHRONOLITH_OTLP_{name}"), "4317")], &[]).is_err(), "{name}");
    }
    assert!(load(None, &[("CHRONOLITH_DATA_DIRR", "x")], &[]).is_err());
    assert!(load(None, &[("CHRONOLITH_QUERY_TIME", "1s")], &[]).is_err());
}

#[test]
fn config_document_is_what_the_keys_say() {
    let document = include_str!("../../docs/configuration.md");
    let reference = reference::markdown();
    assert!(
        document.contains(&reference),
        "docs/configuration.md has to contain what `chronolith config reference` prints:\n\n{reference}"
    );
    for key in KEYS {
        assert!(reference.contains(&format!("### `{}`\n", key.name)), "{} is in no section", key.name);
    }
}

#[test]
fn config_examples_of_the_document_do_what_they_say_in_file_environment_and_flag() {
    let document = include_str!("../../docs/configuration.md");
    for key in KEYS {
        let text = document.split(&format!("### `{}`\n", key.name)).nth(1).unwrap();
        let text = text.split("\n#").next().unwrap();
        let between = |start: &str, end: &str| text.split(start).nth(1).unwrap().split(end).next().unwrap();
        // One of them means nothing alone.
        let other = ("CHRONOLITH_OTLP_PROMOTE_ALL_RESOURCE_ATTRIBUTES", "true");
        let others = if key.name == "otlp.ignore_resource_attributes" { vec![other] } else { Vec::new() };
        let file = load(Some(between("```toml\n", "```")), &others, &[]).unwrap();
        let variable = between("Environment: `", "`").split_once('=').unwrap();
        let environment = load(None, &[&others[..], &[variable]].concat(), &[]).unwrap();
        let flag = between("flag: `--", "`").split_once(' ').unwrap();
        assert_eq!(flag.0, key.flag());
        let flag = load(None, &others, &[(key.name, flag.1)]);
        for resolved in [file, environment, flag.unwrap()] {
            let shown = shown(&resolved, key.name);
            assert_eq!(shown.value, key.example, "{}", key.name);
            assert_ne!(shown.value, key.default, "the example of {} is its default", key.name);
            assert_ne!(shown.origin, Origin::Default);
        }
    }
}
