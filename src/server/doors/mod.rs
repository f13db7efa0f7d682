//! The doors of the server: TLS, passwords and tokens, from Prometheus' web configuration file.
//!
//! All ports and protocols go through the same door: [`Doors::tls`] when a connection begins, [`Doors::admit`] before
//! anything of a request is looked at. What the file says can be read again while the server runs; connections that are
//! open keep the TLS that they began with, requests on them meet the new credentials at once.

mod client_cert;
mod credentials;
mod file;
mod passwords;
mod rights;
mod tls;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Response, StatusCode};
use tokio_rustls::rustls::ServerConfig;

use crate::api::response::{self, ApiBody};
use crate::fs::Fs;
use crate::telemetry::Counter;
use credentials::{Credentials, Shown};
use file::WebFile;
use passwords::{Known, PasswordChecks};

pub use credentials::{hash_password, new_token};
pub use file::Fault;
pub use rights::{Caller, Rights};

/// When a request may come again that met too many password checks.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a web configuration file was refused.
#[derive(Debug, thiserror::Error)]
#[error("web.config_file = {:?}: {fault}", path.display().to_string())]
pub struct WebConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: Fault,
}

/// What a web configuration file says, with all files that it names.
struct WebConfig {
    tls: Option<Arc<ServerConfig>>,
    http2: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    credentials: Credentials,
    known: Known,
}

impl AsRef<Credentials> for WebConfig {
    fn as_ref(&self) -> &Credentials {
        &self.credentials
    }
}

impl AsRef<Known> for WebConfig {
    fn as_ref(&self) -> &Known {
        &self.known
    }
}

impl WebConfig {
    fn load(path: &Path, fs: &dyn Fs) -> Result<Self, Fault> {
        let key = "the file";
        let text = String::from_utf8(tls::read_file(fs, path, key)?);
        let text = text.map_err(|_| Fault::key(key, "it is not UTF-8"))?;
        let file = WebFile::parse(&text, path.parent().unwrap_or(Path::new("")))?;
        let mut headers = Vec::new();
        for (name, value) in &file.headers {
            let key = format!("http_server_config.headers.{name}");
            let read = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
            let (Ok(name), Ok(value)) = read else { return Err(Fault::key(key, "it cannot be the value of a header")) };
            headers.push((name, value));
        }
        Ok(WebConfig {
            tls: file.tls.as_ref().map(|section| tls::server_config(section, file.http2, fs)).transpose()?,
            http2: file.http2,
            headers,
            credentials: Credentials::new(&file, fs)?,
            known: Known::default(),
        })
    }
}

/// What the doors turned away.
#[derive(Debug, Default)]
pub struct DoorMetrics {
    /// Requests without a credential that is known.
    pub unauthorized: Counter,
    /// Requests whose credential does not go so far.
    pub forbidden: Counter,
    /// Requests that met too many password checks.
    pub busy: Counter,
    /// TLS connections that did not come about.
    pub handshakes_failed: Counter,
}

/// The doors, as the file has them now.
pub struct Doors {
    path: PathBuf,
    fs: Arc<dyn Fs>,
    config: RwLock<Arc<WebConfig>>,
    checks: PasswordChecks,
    /// What they turned away.
    pub metrics: DoorMetrics,
}

impl fmt::Debug for Doors {
    /// Names the file and shows nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a request does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It shows no credential that is known. The flags say what is asked for: a password, a token.
    Unauthorized {
        /// There are users.
        basic: bool,
        /// There are tokens.
        bearer: bool,
    },
    /// Too many passwords are being checked.
    Busy,
}

impl Doors {
    /// Doors as a file describes them.
    pub fn open(path: &Path, fs: Arc<dyn Fs>) -> Result<Self, WebConfigError> {
        let config = Self::load(path, &*fs)?;
        Ok(Doors {
            path: path.to_owned(),
            fs,
            config: RwLock::new(Arc::new(config)),
            checks: PasswordChecks::new(),
            metrics: DoorMetrics::default(),
        })
    }

    /// Reads the file again, and all that it names. A bad one changes nothing.
    pub fn reload(&self) -> Result<(), WebConfigError> {
        let config = Arc::new(Self::load(&self.path, &*self.fs)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn load(path: &Path, fs: &dyn Fs) -> Result<WebConfig, WebConfigError> {
        WebConfig::load(path, fs).map_err(|fault| WebConfigError { path: path.to_owned(), fault })
    }

    fn config(&self) -> Arc<WebConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a new connection is encrypted with, and whether it may speak HTTP/2.
    pub fn tls(&self) -> (Option<Arc<ServerConfig>>, bool) {
        let config = self.config();
        (config.tls.clone(), config.http2)
    }

    /// Puts the configured headers into an answer.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.config().headers {
            headers.insert(name, value.clone());
        }
    }

    /// Who sends a request with these headers.
    pub async fn admit(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller, Denied> {
        let config = self.config();
        let credentials = &config.credentials;
        if credentials.is_empty() {
            return Ok(Caller::anybody());
        }
        let denied = Denied::Unauthorized { basic: credentials.has_users(), bearer: credentials.has_tokens() };
        let header = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let found = match Shown::of(header) {
            Shown::Nothing => None,
            Shown::Token(hash) => credentials.by_token(&hash).cloned(),
            Shown::Password { .. } if !credentials.has_users() => None,
            Shown::Password { user, password } => {
                let fingerprint = self.checks.fingerprint(header);
                match self.checks.known(&config.known, &fingerprint) {
                    Some(found) => found,
                    None => match self.checks.check(config.clone(), fingerprint, address, (user, password)).await {
                        Ok(found) => found,
                        Err(_) => {
                            self.metrics.busy.add(1);
                            return Err(Denied::Busy);
                        }
                    },
                }
            }
        };
        found.ok_or_else(|| {
            self.metrics.unauthorized.add(1);
            denied
        })
    }

    /// The answer to a request whose credential does not go so far.
    pub fn forbid(&self) -> Response<ApiBody> {
        self.metrics.forbidden.add(1);
        response::text(StatusCode::FORBIDDEN, "Forbidden: this credential lacks the right to do that\n")
    }
}

impl Denied {
    /// The answer.
    pub fn into_response(self) -> Response<ApiBody> {
        match self {
            Denied::Unauthorized { basic, bearer } => {
                let mut response = response::text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
                let headers = response.headers_mut();
                if basic {
                    let challenge = HeaderValue::from_static("Basic realm=\"chronolith\", charset=\"UTF-8\"");
                    headers.append(WWW_AUTHENTICATE, challenge);
                }
                if bearer {
                    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"chronolith\""));
                }
                response
            }
            Denied::Busy => {
                let text = "too many passwords are being checked; try again\n";
                let mut response = response::text(StatusCode::SERVICE_UNAVAILABLE, text);
                response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
                response
            }
        }
    }
}

/// Checks a web configuration file and all files that it names.
pub fn check(path: &Path, fs: &dyn Fs) -> Result<(), WebConfigError> {
    Doors::load(path, fs).map(|_| ())
}

#[cfg(test)]
mod tests;
