//! A small blocking HTTP/1.1 client: one request a connection, bounded in time, with the raw connection for tests of
//! what no client would send.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one request may take.
pub const TIMEOUT: Duration = Duration::from_secs(180);

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, with its transfer encoding undone.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("status {}, not JSON ({error}): {:.500}", self.status, self.text()))
    }
}

/// Sends a GET.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    request(address, "GET", path, &[], &[])
}

/// Sends a form by POST.
pub fn post_form(address: SocketAddr, path: &str, parameters: &[(&str, &str)]) -> io::Result<Response> {
    let body = form(parameters);
    request(address, "POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], body.as_bytes())
}

/// Parameters as a query string or a form's body.
pub fn form(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// Sends one request and reads the answer to its end.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    request_on(&mut connect(address)?, address, method, path, headers, body)
}

/// Sends one request on a connection of any kind and reads the answer to its end.
pub fn request_on(
    stream: &mut (impl Read + Write),
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    // A server may answer and close before it has read a body that it refuses: what it said still counts.
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let answer = if method == "HEAD" { read_head(stream) } else { read_response(stream) };
    match (answer, sent) {
        (Ok(response), _) => Ok(response),
        (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
    }
}

/// Opens a connection with [`TIMEOUT`] on reads and writes.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads the answer to a HEAD: its headers speak of a body that does not follow.
fn read_head(stream: &mut impl Read) -> io::Result<Response> {
    let (mut bytes, (body_start, status, headers)) = read_headers(stream)?;
    let mut body = bytes.split_off(body_start);
    stream.read_to_end(&mut body)?;
    Ok(Response { status, headers, body })
}

/// Reads until the headers are complete: all bytes so far, and what the headers say.
fn read_headers(stream: &mut impl Read) -> io::Result<(Vec<u8>, Head)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(head) = parse_head(&bytes)? {
            return Ok((bytes, head));
        }
        match read_some(stream, &mut buffer)? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer's headers ended")),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Reads one answer from a connection that the server closes behind it.
pub fn read_response(stream: &mut impl Read) -> io::Result<Response> {
    read_answer(stream, None)
}

/// Reads one answer from a connection that goes on: one that doesn't tell its length is empty.
pub fn read_next(stream: &mut impl Read) -> io::Result<Response> {
    read_answer(stream, Some(0))
}

fn read_answer(stream: &mut impl Read, untold: Option<usize>) -> io::Result<Response> {
    let mut buffer = [0; 16 * 1024];
    let (mut bytes, (body_start, status, headers)) = read_headers(stream)?;
    let mut body = bytes.split_off(body_start);
    let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let length = value("content-length").and_then(|length| length.parse::<usize>().ok()).or(untold);
    let chunked = value("transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked"));
    while length.is_none_or(|length| body.len() < length) {
        match read_some(stream, &mut buffer)? {
            0 => break,
            count => body.extend_from_slice(&buffer[..count]),
        }
    }
    if let Some(length) = length
        && body.len() != length
    {
        let text = format!("body of {} bytes, Content-Length {length}", body.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    let body = if chunked { unchunk(&body)? } else { body };
    Ok(Response { status, headers, body })
}

/// Reads what is there; a signal doesn't end it.
fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

type Head = (usize, u16, Vec<(String, String)>);

fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "malformed answer");
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| bad())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some((end + 4, status.ok_or_else(bad)?, headers)))
}

fn unchunk(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let bad = || io::Error::new(io::ErrorKind::UnexpectedEof, "chunked body cut short");
    let mut body = Vec::new();
    loop {
        let line_end = bytes.windows(2).position(|window| window == b"\r\n").ok_or_else(bad)?;
        let size = std::str::from_utf8(&bytes[..line_end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let size = size.ok_or_else(bad)?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = bytes.get(line_end + 2..line_end + 2 + size).ok_or_else(bad)?;
        body.extend_from_slice(chunk);
        bytes = bytes.get(line_end + 2 + size + 2..).ok_or_else(bad)?;
    }
}
