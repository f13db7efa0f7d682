//! Prometheus' web configuration file as it is written: which keys there are, and what they may hold.
//!
//! The YAML is walked by hand, so that an error names the key and what is allowed, and never shows a value that may be a
//! secret. What Prometheus has not is `bearer_tokens`.
//!
//! Source: prometheus.io/docs/prometheus/latest/configuration/https/; exporter-toolkit `web/tls_config.go`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::rights::Rights;

/// Bytes of the file, and of each file that it names.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is wrong with a web configuration file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A file could not be read.
    #[error("{key}: read {}: {message}", path.display())]
    Read {
        /// The key that names it.
        key: String,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        message: String,
    },
    /// The file is not YAML. What the parser says may quote a secret and stays out.
    #[error("line {line}, column {column}: not valid YAML, or a key that is there twice")]
    Syntax {
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
    },
    /// No such key. Its value may be a secret and stays out.
    #[error("unknown key {key:?}; known are {known}")]
    UnknownKey {
        /// The key with its sections.
        key: String,
        /// The keys of its section.
        known: String,
    },
    /// The key cannot hold its value.
    #[error("{key} = {value:?} is not allowed: it takes {allowed}")]
    Value {
        /// The key with its sections.
        key: String,
        /// What was written.
        value: String,
        /// What it takes.
        allowed: String,
    },
    /// The key cannot hold its value, which may be a secret and stays out; or two keys contradict each other.
    #[error("{key}: {problem}")]
    Key {
        /// The key with its sections.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

impl Fault {
    /// A fault of a key whose value is not shown.
    pub fn key(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Fault::Key { key: key.into(), problem: problem.into() }
    }
}

/// PEM in the file itself, or the name of a file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Pem {
    /// The text.
    Inline(String),
    /// The file.
    File(PathBuf),
}

/// `tls_server_config`.
#[derive(Clone)]
pub(super) struct TlsSection {
    /// The server's certificate and those between it and its root.
    pub(super) cert: Pem,
    /// Its private key.
    pub(super) key: Pem,
    /// Who signs the certificates of clients.
    pub(super) client_ca: Option<Pem>,
    /// What is asked of clients.
    pub(super) client_auth: ClientAuth,
    /// One of these names has to be among the alternative names of a client's certificate.
    pub(super) client_allowed_sans: Option<Vec<String>>,
    /// Oldest and newest version: 12 or 13.
    pub(super) versions: (u8, u8),
    /// Suites up to TLS 1.2; all where empty.
    pub(super) cipher_suites: Vec<String>,
    /// Whether the server's order of suites counts.
    pub(super) prefer_server_cipher_suites: bool,
    /// Groups of the key exchange; all where empty.
    pub(super) curve_preferences: Vec<String>,
}

/// `client_auth_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAuth {
    /// Clients are not asked for a certificate.
    None,
    /// They are asked, and may send any or none.
    Request,
    /// They have to send one, which nobody need have signed.
    RequireAny,
    /// One that is sent has to be signed.
    VerifyIfGiven,
    /// They have to send a signed one.
    RequireAndVerify,
}

const CLIENT_AUTH: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    // An old name of the same.
    ("RequireClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];

/// An entry of `bearer_tokens`.
#[derive(Clone)]
pub(super) struct TokenEntry {
    /// The key with its place in the list, for messages.
    pub(super) key: String,
    /// The name under which its requests are counted.
    pub(super) name: String,
    /// Where the token comes from.
    pub(super) source: TokenSource,
    /// What it may do.
    pub(super) rights: Rights,
}

/// Where a token comes from.
#[derive(Clone)]
pub(super) enum TokenSource {
    /// SHA-256 of the token, as 64 hex digits.
    Sha256(String),
    /// A file with the token in its only line.
    File(PathBuf),
}

/// The file.
#[derive(Clone)]
pub(super) struct WebFile {
    /// `tls_server_config`, where TLS is on.
    pub(super) tls: Option<TlsSection>,
    /// `http_server_config.http2`.
    pub http2: bool,
    /// `http_server_config.headers`.
    pub(super) headers: Vec<(String, String)>,
    /// `basic_auth_users`: names and bcrypt hashes.
    pub(super) users: Vec<(String, String)>,
    /// `bearer_tokens`.
    pub(super) tokens: Vec<TokenEntry>,
}

/// The headers that may be set, each with its values where only some are allowed.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-XSS-Protection", &[]),
    ("Strict-Transport-Security", &[]),
];

impl WebFile {
    /// Reads a file's text. Relative names in it are relative to `dir`.
    pub(super) fn parse(text: &str, dir: &Path) -> Result<Self, Fault> {
        let value: Value = serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location();
            Fault::Syntax {
                line: place.map_or(0, |place| place.line()),
                column: place.map_or(0, |place| place.column()),
            }
        })?;
        let root = Section::of("", &value)?;
        root.check(&["tls_server_config", "http_server_config", "basic_auth_users", "bearer_tokens"])?;
        let http = root.section("http_server_config")?;
        http.check(&["http2", "headers"])?;
        let mut users = Vec::new();
        for (name, hash) in root.section("basic_auth_users")?.pairs() {
            let key = format!("basic_auth_users.{name}");
            let hash = hash.as_str().ok_or_else(|| Fault::key(&key, "the hash is not a text"))?;
            users.push((name.clone(), hash.to_owned()));
        }
        Ok(WebFile {
            tls: tls(&root.section("tls_server_config")?, dir)?,
            http2: http.flag("http2", true)?,
            headers: headers(&http.section("headers")?)?,
            users,
            tokens: tokens(root.list("bearer_tokens")?, dir)?,
        })
    }
}

fn tls(section: &Section<'_>, dir: &Path) -> Result<Option<TlsSection>, Fault> {
    section.check(&[
        "cert",
        "key",
        "client_ca",
        "cert_file",
        "key_file",
        "client_auth_type",
        "client_ca_file",
        "client_allowed_sans",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
    ])?;
    let pem = |inline: &str, file: &str| match (section.text(inline)?, section.text(file)?) {
        (Some(_), Some(_)) => Err(Fault::key(section.name(inline), format!("{file} is set too; only one may be"))),
        (Some(text), None) => Ok(Some(Pem::Inline(text.to_owned()))),
        (None, Some(path)) => Ok(Some(Pem::File(dir.join(path)))),
        (None, None) => Ok(None),
    };
    let (cert, key, client_ca) =
        (pem("cert", "cert_file")?, pem("key", "key_file")?, pem("client_ca", "client_ca_file")?);
    let client_auth = match section.text("client_auth_type")? {
        None => ClientAuth::None,
        Some(text) => {
            let found = CLIENT_AUTH.iter().find(|(name, _)| *name == text);
            let allowed = || CLIENT_AUTH.map(|(name, _)| name).join(", ");
            found.ok_or_else(|| section.refuse("client_auth_type", text, allowed()))?.1
        }
    };
    let client_allowed_sans = section.texts("client_allowed_sans")?;
    let versions = (version(section, "min_version", 12)?, version(section, "max_version", 13)?);
    let (cert, key) = match (cert, key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) if client_ca.is_none() && client_auth == ClientAuth::None => return Ok(None),
        (None, _) => return Err(Fault::key(section.name("cert_file"), "TLS needs a certificate: cert or cert_file")),
        (_, None) => return Err(Fault::key(section.name("key_file"), "TLS needs a private key: key or key_file")),
    };
    if versions.0 > versions.1 {
        return Err(Fault::key(section.name("min_version"), "it is above max_version"));
    }
    let requires = matches!(client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
    if client_allowed_sans.is_some() && !requires {
        let problem = "it needs client_auth_type RequireAnyClientCert or RequireAndVerifyClientCert";
        return Err(Fault::key(section.name("client_allowed_sans"), problem));
    }
    let verifies = matches!(client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
    if client_ca.is_some() && client_auth == ClientAuth::None {
        return Err(Fault::key(section.name("client_ca_file"), "it needs a client_auth_type"));
    }
    if verifies && client_ca.is_none() {
        let problem = "it needs client_ca_file or client_ca: the roots of this system are not asked";
        return Err(Fault::key(section.name("client_auth_type"), problem));
    }
    Ok(Some(TlsSection {
        cert,
        key,
        client_ca,
        client_auth,
        client_allowed_sans,
        versions,
        cipher_suites: section.texts("cipher_suites")?.unwrap_or_default(),
        prefer_server_cipher_suites: section.flag("prefer_server_cipher_suites", true)?,
        curve_preferences: section.texts("curve_preferences")?.unwrap_or_default(),
    }))
}

fn version(section: &Section<'_>, key: &str, default: u8) -> Result<u8, Fault> {
    match section.text(key)? {
        None => Ok(default),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some(other) => Err(section.refuse(key, other, "TLS12 or TLS13; older versions are broken".to_owned())),
    }
}

fn headers(section: &Section<'_>) -> Result<Vec<(String, String)>, Fault> {
    section.check(&HEADERS.map(|(name, _)| name))?;
    let mut headers = Vec::new();
    for (name, allowed) in HEADERS {
        let Some(value) = section.text(name)? else { continue };
        if !allowed.is_empty() && !allowed.contains(&value) {
            return Err(section.refuse(name, value, allowed.join(" or ")));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(headers)
}

fn tokens(list: &[Value], dir: &Path) -> Result<Vec<TokenEntry>, Fault> {
    let mut tokens = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let key = format!("bearer_tokens[{index}]");
        let section = Section::of(&key, value)?;
        section.check(&["name", "sha256", "file", "rights"])?;
        let name = section.text("name")?.ok_or_else(|| Fault::key(section.name("name"), "a token needs a name"))?;
        let source = match (section.text("sha256")?, section.text("file")?) {
            (Some(hash), None) => TokenSource::Sha256(hash.to_owned()),
            (None, Some(path)) => TokenSource::File(dir.join(path)),
            _ => return Err(Fault::key(&key, "a token needs either sha256 or file")),
        };
        let rights = Rights::from_names(&section.texts("rights")?.unwrap_or_default())
            .map_err(|value| section.refuse("rights", &value, "a list of read, write, admin".to_owned()))?;
        tokens.push(TokenEntry { key, name: name.to_owned(), source, rights });
    }
    Ok(tokens)
}

/// A mapping of the file, with the key under which it stands.
struct Section<'a> {
    key: String,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Section<'a> {
    fn of(key: &str, value: &'a Value) -> Result<Self, Fault> {
        let map = match value {
            Value::Null => None,
            Value::Object(map) => Some(map),
            _ => {
                let key = if key.is_empty() { "the file" } else { key };
                return Err(Fault::key(key, "keys and values are expected here"));
            }
        };
        Ok(Section { key: key.to_owned(), map })
    }

    fn name(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }

    fn refuse(&self, key: &str, value: &str, allowed: String) -> Fault {
        Fault::Value { key: self.name(key), value: value.to_owned(), allowed }
    }

    /// Refuses keys that are not among `known`.
    fn check(&self, known: &[&str]) -> Result<(), Fault> {
        match self.pairs().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => Err(Fault::UnknownKey { key: self.name(key), known: known.join(", ") }),
            None => Ok(()),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.map.into_iter().flatten()
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key).filter(|value| !value.is_null())
    }

    fn section(&self, key: &str) -> Result<Section<'a>, Fault> {
        Section::of(&self.name(key), self.value(key).unwrap_or(&Value::Null))
    }

    fn list(&self, key: &str) -> Result<&'a [Value], Fault> {
        match self.value(key) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(Fault::key(self.name(key), "a list is expected here")),
        }
    }

    /// A text; an empty one counts as none, as in Prometheus.
    fn text(&self, key: &str) -> Result<Option<&'a str>, Fault> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(Fault::key(self.name(key), "a text is expected here")),
        }
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>, Fault> {
        if self.value(key).is_none() {
            return Ok(None);
        }
        let texts = self.list(key)?.iter().map(|value| value.as_str().map(str::to_owned));
        let texts: Option<Vec<String>> = texts.collect();
        texts.map(Some).ok_or_else(|| Fault::key(self.name(key), "a list of texts is expected here"))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, Fault> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Fault::key(self.name(key), "true or false is expected here")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        WebFile::parse(text, Path::new("/etc")).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn web_file_of_nothing_opens_every_door() {
        for text in ["", "tls_server_config:\n", "{}", "# nothing\n"] {
            let file = WebFile::parse(text, Path::new("/etc")).unwrap();
            assert!(file.tls.is_none() && file.users.is_empty() && file.tokens.is_empty() && file.http2, "{text:?}");
        }
    }

    #[test]
    fn web_file_names_relative_to_its_directory() {
        let text = "tls_server_config: {cert_file: a.pem, key_file: /b.pem}\nbasic_auth_users: {ann: a, 7: b}";
        let file = WebFile::parse(text, Path::new("/etc")).unwrap();
        let tls = file.tls.unwrap();
        assert!(tls.cert == Pem::File("/etc/a.pem".into()) && tls.key == Pem::File("/b.pem".into()));
        assert_eq!(file.users, [("7".to_owned(), "b".to_owned()), ("ann".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn web_file_unknown_key_is_named_and_its_value_is_not() {
        let error = fault("basic_auth_user: {ann: hunter2}");
        assert!(error.contains("\"basic_auth_user\"") && error.contains("basic_auth_users"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        let error = fault("tls_server_config: {keyfile: hunter2}");
        assert!(error.contains("\"tls_server_config.keyfile\"") && !error.contains("hunter2"), "{error}");
        assert!(fault("bearer_tokens: [{name: a, token: hunter2}]").contains("bearer_tokens[0].token"));
    }

    #[test]
    fn web_file_bad_value_is_named_with_what_is_allowed() {
        let tls = |rest: &str| fault(&format!("tls_server_config: {{cert_file: a, key_file: b, {rest}}}"));
        for (error, words) in [
            (tls("client_auth_type: Maybe"), ["client_auth_type = \"Maybe\"", "RequireAndVerifyClientCert"]),
            (tls("min_version: TLS10"), ["min_version = \"TLS10\"", "TLS12 or TLS13"]),
            (tls("min_version: TLS13, max_version: TLS12"), ["min_version", "above max_version"]),
            (tls("client_ca_file: c"), ["client_ca_file", "client_auth_type"]),
            (tls("client_auth_type: RequireAndVerifyClientCert"), ["client_auth_type", "client_ca_file"]),
            (tls("client_allowed_sans: [x]"), ["client_allowed_sans", "RequireAnyClientCert"]),
            (tls("cert: x"), ["tls_server_config.cert", "cert_file is set too"]),
            (fault("tls_server_config: {cert_file: a}"), ["key_file", "private key"]),
            (fault("tls_server_config: {client_auth_type: RequestClientCert}"), ["cert_file", "certificate"]),
            (fault("http_server_config: {http2: maybe}"), ["http_server_config.http2", "true or false"]),
            (fault("http_server_config: {headers: {X-Frame-Options: all}}"), ["X-Frame-Options", "deny or sameorigin"]),
            (fault("http_server_config: {headers: {Server: x}}"), ["unknown key", "headers.Server"]),
            (fault("bearer_tokens: [{name: a, file: b, rights: [all]}]"), ["rights = \"all\"", "read, write, admin"]),
            (fault("bearer_tokens: [{name: a, file: b}]"), ["rights", "read, write, admin"]),
            (fault("bearer_tokens: [{file: b, rights: [read]}]"), ["bearer_tokens[0].name", "needs a name"]),
        ] {
            assert!(words.iter().all(|word| error.contains(word)), "{error}: {words:?}");
        }
    }

    #[test]
    fn web_file_that_is_no_yaml_is_refused_without_a_quote_of_it() {
        for text in ["basic_auth_users: {ann: hunter2", "a: b: hunter2", "ann: hunter2\nann: hunter2", "[hunter2]"] {
            let error = fault(text);
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(fault("a:\n  - b\n c: hunter2").contains("line 3"));
    }
}
