//! The doors as a whole: who comes in, what a reload changes, and what faulty files say.

use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::api::route::Right;
use crate::fs::SystemFs;

/// Of the password "fakepassword", in the source of Prometheus' own door.
const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
/// `ann:fakepassword`.
const ANN: &str = "Basic YW5uOmZha2VwYXNzd29yZA==";

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn open(&self, text: &str) -> Result<Doors, String> {
        let path = self.write("web.yml", text);
        Doors::open(&path, Arc::new(SystemFs)).map_err(|error| error.to_string())
    }

    /// A certificate for localhost and its key, as files of these names.
    fn certificate(&self, cert: &str, key: &str) {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
        self.write(cert, &certificate.pem());
        self.write(key, &pair.serialize_pem());
    }
}

fn admit(doors: &Doors, authorization: Option<&str>) -> Result<Caller, Denied> {
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(doors.admit(&headers, None))
}

#[test]
fn doors_without_credentials_let_everybody_in_with_all_rights() {
    let place = Place::new();
    let caller = admit(&place.open("http_server_config: {http2: false}").unwrap(), None).unwrap();
    assert!(caller.name.is_none() && caller.rights.cover(Right::Admin));
}

#[test]
fn doors_know_who_shows_a_right_password_or_token() {
    let place = Place::new();
    place.write("token", "0123456789abcdef\n");
    let text =
        format!("basic_auth_users: {{ann: {HASH}}}\nbearer_tokens: [{{name: agents, file: token, rights: [write]}}]");
    let doors = place.open(&text).unwrap();
    for _ in 0..2 {
        let ann = admit(&doors, Some(ANN)).unwrap();
        assert_eq!(ann.name.as_deref(), Some("ann"));
        assert!(ann.rights == Rights::ALL);
    }
    let agents = admit(&doors, Some("Bearer 0123456789abcdef")).unwrap();
    assert_eq!(agents.name.as_deref(), Some("agents"));
    let covered = [Right::Any, Right::Read, Right::Write, Right::Admin].map(|right| agents.rights.cover(right));
    assert_eq!(covered, [true, false, true, false]);
    for wrong in [None, Some("Bearer 0123456789abcdee"), Some("Basic YW5uOng="), Some("Basic Ym9iOng="), Some("x")] {
        let denied = admit(&doors, wrong).unwrap_err();
        assert_eq!(denied, Denied::Unauthorized { basic: true, bearer: true }, "{wrong:?}");
        let challenges = denied.into_response().headers().get_all(WWW_AUTHENTICATE).iter().count();
        assert_eq!(challenges, 2);
    }
    assert_eq!(doors.metrics.unauthorized.get(), 5);
}

#[test]
fn doors_after_a_reload_forget_the_old_password_and_a_bad_file_changes_nothing() {
    let place = Place::new();
    let doors = place.open(&format!("basic_auth_users: {{ann: {HASH}}}")).unwrap();
    admit(&doors, Some(ANN)).unwrap();
    let path = place.write("web.yml", "basic_auth_users: {ann: hunter2}");
    let error = doors.reload().unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("ann") && !error.contains("hunter2"), "{error}");
    admit(&doors, Some(ANN)).unwrap();
    place.write("web.yml", &format!("basic_auth_users: {{bob: {HASH}}}"));
    doors.reload().unwrap();
    admit(&doors, Some(ANN)).unwrap_err();
}

#[test]
fn doors_with_certificates_that_do_not_fit_do_not_open() {
    let place = Place::new();
    place.certificate("a.pem", "a.key");
    place.certificate("b.pem", "b.key");
    place.write("empty", "");
    let open = |cert: &str, key: &str, rest: &str| {
        place.open(&format!("tls_server_config: {{cert_file: {cert}, key_file: {key}{rest}}}"))
    };
    let doors = open("a.pem", "a.key", "").unwrap();
    let (tls, http2) = doors.tls();
    assert!(http2 && tls.unwrap().alpn_protocols.len() == 2);
    for (cert, key, words) in [
        ("a.pem", "b.key", "cannot be used"),
        ("missing.pem", "a.key", "missing.pem"),
        ("a.pem", "missing.key", "missing.key"),
        ("empty", "a.key", "no certificate"),
        ("a.pem", "empty", "no private key"),
        ("a.pem", "a.pem", "no private key"),
    ] {
        let error = open(cert, key, "").unwrap_err();
        assert!(error.contains(words) && error.contains("web.yml"), "{error}");
    }
    for (rest, words) in [
        (", cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        (", curve_preferences: [CurveP521]", "X25519, CurveP256, CurveP384"),
        (", client_auth_type: RequireAndVerifyClientCert, client_ca_file: empty", "no certificate"),
    ] {
        let error = open("a.pem", "a.key", rest).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    for rest in [
        ", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256], max_version: TLS12",
        ", curve_preferences: [CurveP256], min_version: TLS13",
        ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: b.pem, client_allowed_sans: [localhost]",
        ", client_auth_type: RequireAnyClientCert",
        ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: b.pem",
    ] {
        open("a.pem", "a.key", rest).unwrap_or_else(|error| panic!("{rest}: {error}"));
    }
}

#[test]
fn doors_show_nothing_of_their_file_when_they_are_printed() {
    let place = Place::new();
    let doors = place.open(&format!("basic_auth_users: {{ann: {HASH}}}")).unwrap();
    assert!(!format!("{doors:?}").contains("$2y$"));
}
