//! The HTTP client of the tools: one connection that is kept, and opened again when it broke.
//!
//! It speaks plain HTTP to servers that the user names: `bench`, `verify --server` and `query --url`. Bodies are bounded.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The address cannot be used.
    #[error("{url:?} is not an address of the form http://host:port: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server cannot be reached.
    #[error("connect to {authority}: {source}")]
    Connect {
        /// Host and port.
        authority: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The connection broke before the answer was complete.
    #[error("request to {authority}: {reason}")]
    Broken {
        /// Host and port.
        authority: String,
        /// How it broke.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("no answer from {authority} within {timeout:?}")]
    Timeout {
        /// Host and port.
        authority: String,
        /// How long was waited.
        timeout: Duration,
    },
}

/// Where a server is: host, port, and the path that the user gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    authority: String,
    path: String,
}

impl ServerUrl {
    /// Reads `http://host[:port][/path]`.
    pub fn parse(url: &str) -> Result<Self, NetError> {
        let wrong = |reason: &str| NetError::Url { url: url.to_owned(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong(&error.to_string()))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("only the scheme http is supported"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("there is no host"))?;
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(ServerUrl { authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)), path })
    }

    /// The path as given, without a slash at its end; empty if there was none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// The version of HTTP that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 from the first byte on, as gRPC does without TLS.
    Http2,
}

/// An open connection.
#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// A connection to one server.
#[derive(Debug)]
pub struct Connection {
    server: ServerUrl,
    version: Version,
    timeout: Duration,
    body_bytes_max: usize,
    sender: Option<Sender>,
}

impl Connection {
    /// A connection that opens with its first request. `timeout` bounds each request, `body_bytes_max` each answer.
    pub fn new(server: &ServerUrl, timeout: Duration, body_bytes_max: usize) -> Self {
        Connection { server: server.clone(), version: Version::Http1, timeout, body_bytes_max, sender: None }
    }

    /// The same connection in another version of HTTP.
    pub fn speaking(self, version: Version) -> Self {
        Connection { version, ..self }
    }

    /// Sends a GET request.
    pub async fn get(&mut self, path: &str) -> Result<Response<Bytes>, NetError> {
        self.send(Method::GET, path, HeaderMap::new(), Bytes::new()).await
    }

    /// Sends a POST request with a form.
    pub async fn post_form(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Response<Bytes>, NetError> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
        self.send(Method::POST, path, headers, form.into()).await
    }

    /// Sends a request and reads the whole answer; trailers stand among its headers. After an error the connection is closed, and the next request opens
    /// another; nothing is repeated here, as only the caller knows whether it may be.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, NetError> {
        let result = match tokio::time::timeout(self.timeout, self.send_now(method, path, headers, body)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(NetError::Timeout { authority: self.server.authority.clone(), timeout: self.timeout }),
        };
        if result.is_err() {
            self.sender = None;
        }
        result
    }

    async fn send_now(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, NetError> {
        let authority = self.server.authority.clone();
        let broken = |reason: String| NetError::Broken { authority: authority.clone(), reason };
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.open().await?,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let target = match self.version {
            Version::Http1 => path.parse(),
            Version::Http2 => format!("http://{authority}{path}").parse(),
        };
        *request.uri_mut() = target.map_err(|error| broken(format!("path {path:?}: {error}")))?;
        *request.headers_mut() = headers;
        if self.version == Version::Http1 {
            let host = HeaderValue::try_from(&authority).map_err(|error| broken(error.to_string()))?;
            request.headers_mut().insert(header::HOST, host);
        }
        let agent = HeaderValue::from_static(concat!("chronolith/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        let response = sender.send(request).await.map_err(|error| broken(error.to_string()))?;
        let (mut parts, body) = response.into_parts();
        let body = Limited::new(body, self.body_bytes_max).collect().await.map_err(|error| {
            broken(match error.is::<LengthLimitError>() {
                true => format!("answer exceeds {} bytes", self.body_bytes_max),
                false => error.to_string(),
            })
        })?;
        self.sender = Some(sender);
        if let Some(trailers) = body.trailers() {
            parts.headers.extend(trailers.clone());
        }
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    async fn open(&self) -> Result<Sender, NetError> {
        let authority = &self.server.authority;
        let connect = |source| NetError::Connect { authority: authority.clone(), source };
        let stream = TcpStream::connect(authority).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let broken = |error: hyper::Error| NetError::Broken { authority: authority.clone(), reason: error.to_string() };
        let stream = TokioIo::new(stream);
        // What the connection's task ends with reaches the caller through its request.
        Ok(match self.version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.map_err(broken)?;
                tokio::spawn(async move { drop(connection.await) });
                Sender::Http1(sender)
            }
            Version::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.map_err(broken)?;
                tokio::spawn(async move { drop(connection.await) });
                Sender::Http2(sender)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_url_is_read_with_its_defaults() {
        let url = ServerUrl::parse("http://localhost:9095/").unwrap();
        assert_eq!((url.authority(), url.path()), ("localhost:9095", ""));
        let url = ServerUrl::parse("http://[::1]/insert/api/v1/write").unwrap();
        assert_eq!((url.authority(), url.path()), ("[::1]:80", "/insert/api/v1/write"));
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        for url in ["", "localhost:9095", "https://localhost", "http://", "http:// x"] {
            assert!(matches!(ServerUrl::parse(url), Err(NetError::Url { .. })), "{url:?}");
        }
    }
}
