//! The credentials of one web configuration, and what a request shows of its own.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use super::file::{Fault, TokenEntry, TokenSource, WebFile};
use super::rights::{Caller, Rights};
use super::tls::read_file;
use crate::fs::Fs;

/// The highest cost of a hash. One check of this cost takes seconds; each further one doubles it.
const COST_MAX: u32 = 16;
/// The cost of a check of a user who is not there, where no user is.
const COST_DEFAULT: u32 = 10;
/// Bytes of a token in a file at least: what is shorter can be found by trying.
const TOKEN_BYTES_MIN: usize = 16;
/// Length of a SHA-256 hash.
const HASH_BYTES: usize = 32;

/// Users and tokens.
pub(super) struct Credentials {
    users: HashMap<String, User>,
    tokens: HashMap<[u8; HASH_BYTES], Caller>,
    /// The highest cost of the users' hashes. Each refusal costs as much, so that its time tells nothing.
    cost: u32,
}

struct User {
    hash: String,
    cost: u32,
    caller: Caller,
}

/// What a request's `Authorization` header says.
pub(super) enum Shown {
    /// A user and a password.
    Password { user: String, password: Vec<u8> },
    /// SHA-256 of a token.
    Token([u8; HASH_BYTES]),
    /// Nothing that can be understood.
    Nothing,
}

impl Credentials {
    pub(super) fn new(file: &WebFile, fs: &dyn Fs) -> Result<Self, Fault> {
        let mut names = BTreeMap::new();
        let mut users = HashMap::new();
        for (name, hash) in &file.users {
            let key = format!("basic_auth_users.{name}");
            let Some(cost) = bcrypt_cost(hash) else {
                return Err(Fault::key(key, "not a bcrypt hash, such as `chronolith config hash-password` prints"));
            };
            if cost > COST_MAX {
                let problem = format!("the hash has the cost {cost}; more than {COST_MAX} is not checked in time");
                return Err(Fault::key(key, problem));
            }
            names.insert(name.clone(), key);
            let caller = Caller { name: Some(name.as_str().into()), rights: Rights::ALL };
            users.insert(name.clone(), User { hash: hash.clone(), cost, caller });
        }
        let mut tokens = HashMap::new();
        for entry in &file.tokens {
            if let Some(other) = names.insert(entry.name.clone(), entry.key.clone()) {
                let problem = format!("{other} has the same name {:?}", entry.name);
                return Err(Fault::key(format!("{}.name", entry.key), problem));
            }
            let caller = Caller { name: Some(entry.name.as_str().into()), rights: entry.rights };
            if tokens.insert(token_hash(entry, fs)?, caller).is_some() {
                return Err(Fault::key(&entry.key, "the same token is there twice"));
            }
        }
        let cost = users.values().map(|user| user.cost).max().unwrap_or(COST_DEFAULT);
        Ok(Credentials { users, tokens, cost })
    }

    /// Whether anybody may come in.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.tokens.is_empty()
    }

    pub(super) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The caller with the token of this hash. The hash is nothing that a stranger could approach byte by byte, so the
    /// time of the look-up tells nothing.
    pub(super) fn by_token(&self, hash: &[u8; HASH_BYTES]) -> Option<&Caller> {
        self.tokens.get(hash)
    }

    /// The caller with this name and password. Takes as long for a user who is not there, and long at all: not for a
    /// thread that others wait for.
    pub(super) fn by_password(&self, name: &str, password: &[u8]) -> Option<Caller> {
        let user = self.users.get(name);
        if let Some(user) = user
            && bcrypt::verify(password, &user.hash).unwrap_or(false)
        {
            return Some(user.caller.clone());
        }
        // A check costs two to the power of its cost: these make up what the highest cost has over the user's own.
        let checks = match user {
            Some(user) => user.cost..self.cost,
            None => self.cost..self.cost + 1,
        };
        for cost in checks {
            // Nobody's password: the answer does not matter, the time does.
            let _ = bcrypt::verify(password, &nobodys_hash(cost));
        }
        None
    }
}

/// A hash of this cost that stands for no known password.
fn nobodys_hash(cost: u32) -> String {
    format!("$2y${cost:02}${}", ".".repeat(53))
}

/// The cost of a bcrypt hash; `None` where it is none.
fn bcrypt_cost(hash: &str) -> Option<u32> {
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    Some(parts.get_cost()).filter(|cost| (4..=31).contains(cost))
}

fn token_hash(entry: &TokenEntry, fs: &dyn Fs) -> Result<[u8; HASH_BYTES], Fault> {
    match &entry.source {
        TokenSource::Sha256(hex) => from_hex(hex)
            .ok_or_else(|| Fault::key(format!("{}.sha256", entry.key), "not a SHA-256 hash of 64 hex digits")),
        TokenSource::File(path) => {
            let key = format!("{}.file", entry.key);
            let bytes = read_file(fs, path, &key)?;
            let token = bytes.trim_ascii();
            if token.len() < TOKEN_BYTES_MIN {
                let problem = format!("{} holds fewer than {TOKEN_BYTES_MIN} bytes", path.display());
                return Err(Fault::key(key, problem));
            }
            if !token.iter().all(u8::is_ascii_graphic) {
                let problem = format!("{} holds more than one line of printable ASCII", path.display());
                return Err(Fault::key(key, problem));
            }
            Ok(hash_of(token))
        }
    }
}

/// What stands for a token.
pub(super) fn hash_of(token: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(digest(&SHA256, token).as_ref());
    hash
}

fn from_hex(hex: &str) -> Option<[u8; HASH_BYTES]> {
    if hex.len() != 2 * HASH_BYTES || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; HASH_BYTES];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl Shown {
    /// Reads the value of an `Authorization` header.
    pub(super) fn of(value: &[u8]) -> Self {
        let Some((scheme, rest)) = value.split_at_checked(6) else { return Shown::Nothing };
        if scheme.eq_ignore_ascii_case(b"basic ") {
            let Ok(decoded) = STANDARD.decode(rest.trim_ascii()) else { return Shown::Nothing };
            let Some(colon) = decoded.iter().position(|&byte| byte == b':') else { return Shown::Nothing };
            // A name that is not UTF-8 is nobody's, and takes as long as any other.
            let user = String::from_utf8_lossy(&decoded[..colon]).into_owned();
            return Shown::Password { user, password: decoded[colon + 1..].to_vec() };
        }
        match rest.strip_prefix(b" ") {
            Some(token) if scheme.eq_ignore_ascii_case(b"bearer") => Shown::Token(hash_of(token.trim_ascii())),
            _ => Shown::Nothing,
        }
    }
}

/// Hashes a password for `basic_auth_users`.
pub fn hash_password(password: &str) -> Result<String, &'static str> {
    if password.is_empty() {
        return Err("a password has at least one character");
    }
    if password.len() > 72 {
        return Err("bcrypt takes no more than 72 bytes of a password");
    }
    bcrypt::hash(password, COST_DEFAULT)
        .map(|hash| hash.replacen("$2b$", "$2y$", 1))
        .map_err(|_| "the password cannot be hashed")
}

/// A new token for `bearer_tokens`, and its SHA-256 as hex digits.
pub fn new_token() -> Result<(String, String), &'static str> {
    let mut bytes = [0u8; 32];
    let random = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&random, &mut bytes).map_err(|_| "the system gives no random bytes")?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let token = hex(&bytes);
    let hash = hex(&hash_of(token.as_bytes()));
    Ok((token, hash))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fs::SystemFs;

    fn credentials(text: &str) -> Result<Credentials, String> {
        let file = WebFile::parse(text, Path::new("/")).unwrap();
        Credentials::new(&file, &SystemFs).map_err(|fault| fault.to_string())
    }

    #[test]
    fn password_that_was_hashed_here_is_known_and_another_is_not() {
        let hash = hash_password("correct horse").unwrap();
        let known = credentials(&format!("basic_auth_users: {{ann: '{hash}'}}")).unwrap();
        assert_eq!(known.by_password("ann", b"correct horse").unwrap().name.as_deref(), Some("ann"));
        assert!(known.by_password("ann", b"battery staple").is_none());
        assert!(known.by_password("bob", b"correct horse").is_none());
        assert!(hash_password(&"x".repeat(73)).is_err() && hash_password("").is_err());
    }

    #[test]
    fn password_hashes_of_others_are_known() {
        // Of htpasswd, with the password "fakepassword"; and the examples of Prometheus' documentation.
        let known = credentials(
            "basic_auth_users:\n  ann: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n  \
             bob: $2y$04$......................................................",
        );
        assert!(known.is_err(), "54 characters are none of bcrypt");
        let known =
            credentials("basic_auth_users: {ann: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}");
        assert!(known.unwrap().by_password("ann", b"fakepassword").is_some());
        assert!(bcrypt_cost(&nobodys_hash(10)) == Some(10));
    }

    #[test]
    fn credentials_that_cannot_be_are_refused_by_name_without_the_secret() {
        let hash = nobodys_hash(4);
        let sha = "ab".repeat(32);
        for (text, words) in [
            ("basic_auth_users: {ann: hunter2}".to_owned(), "basic_auth_users.ann"),
            (format!("basic_auth_users: {{ann: '{}'}}", nobodys_hash(17)), "the cost 17"),
            ("bearer_tokens: [{name: a, sha256: hunter2, rights: [read]}]".to_owned(), "bearer_tokens[0].sha256"),
            ("bearer_tokens: [{name: a, file: /nonexistent/t, rights: [read]}]".to_owned(), "/nonexistent/t"),
            (
                format!(
                    "basic_auth_users: {{a: '{hash}'}}\nbearer_tokens: [{{name: a, sha256: {sha}, rights: [read]}}]"
                ),
                "the same name",
            ),
            (
                format!(
                    "bearer_tokens: [{{name: a, sha256: {sha}, rights: [read]}}, {{name: b, sha256: {sha}, rights: [read]}}]"
                ),
                "twice",
            ),
        ] {
            let error = credentials(&text).map(|_| ()).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2") && !error.contains(&sha), "{error}");
        }
    }

    #[test]
    fn authorization_header_is_read_as_it_is_sent() {
        let token = |value: &[u8]| matches!(Shown::of(value), Shown::Token(hash) if hash == hash_of(b"abc"));
        assert!(token(b"Bearer abc") && token(b"bearer  abc ") && !token(b"Bearerabc") && !token(b"Bearer abd"));
        let password = |value: &[u8]| match Shown::of(value) {
            Shown::Password { user, password } => Some((user, password)),
            _ => None,
        };
        assert_eq!(password(b"Basic YTpiOmM="), Some(("a".to_owned(), b"b:c".to_vec())));
        assert_eq!(password(b"bAsIc YTpiOmM="), Some(("a".to_owned(), b"b:c".to_vec())));
        for nothing in [&b""[..], b"Basic", b"Basic ", b"Basic YWJj", b"Basic *", b"Digest x"] {
            assert!(matches!(Shown::of(nothing), Shown::Nothing), "{nothing:?}");
        }
    }

    #[test]
    fn new_token_is_what_its_hash_stands_for() {
        let (token, hash) = new_token().unwrap();
        let text = format!("bearer_tokens: [{{name: agents, sha256: {hash}, rights: [write]}}]");
        let known = credentials(&text).unwrap();
        assert_eq!(known.by_token(&hash_of(token.as_bytes())).unwrap().name.as_deref(), Some("agents"));
        assert!(known.by_token(&hash_of(b"another")).is_none());
        assert_ne!(token, new_token().unwrap().0);
    }
}
