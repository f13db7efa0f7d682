//! Answers: the envelope of Prometheus' API, plain texts, and bodies that are produced while they are sent.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;

use super::error::{ApiError, ErrorType};
use super::json::JsonWriter;
use crate::clock::Clock;

/// A body of an answer: whole, perhaps with trailers, or a stream of pieces.
#[derive(Debug)]
pub struct ApiBody(BodyState);

#[derive(Debug)]
enum BodyState {
    Whole(Bytes),
    WithTrailers { bytes: Bytes, trailers: Option<HeaderMap> },
    Stream { first: Option<Bytes>, rest: mpsc::Receiver<io::Result<Bytes>> },
}

impl ApiBody {
    /// A body that is known at once.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        ApiBody(BodyState::Whole(bytes.into()))
    }

    /// A body that is known at once, and headers behind it. It is sent as it is, never compressed.
    pub fn with_trailers(bytes: Bytes, trailers: HeaderMap) -> Self {
        ApiBody(BodyState::WithTrailers { bytes, trailers: Some(trailers) })
    }
}

impl Body for ApiBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            BodyState::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            BodyState::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(piece_of(bytes))))),
            BodyState::WithTrailers { bytes, .. } if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(piece_of(bytes)))))
            }
            BodyState::WithTrailers { trailers, .. } => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            BodyState::Stream { first, rest } => match first.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => rest.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyState::Whole(bytes) => bytes.is_empty(),
            BodyState::WithTrailers { bytes, trailers } => bytes.is_empty() && trailers.is_none(),
            BodyState::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyState::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyState::WithTrailers { .. } | BodyState::Stream { .. } => SizeHint::default(),
        }
    }
}

/// What is sent next of a whole body: a part that even a slow client takes in a while.
fn piece_of(bytes: &mut Bytes) -> Bytes {
    bytes.split_to(bytes.len().min(PIECE_BYTES))
}

/// An answer of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<ApiBody> {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// An answer of any type.
pub fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<ApiBody> {
    let mut response = Response::new(ApiBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Go's answer to an unknown path, of which Grafana looks for the words.
pub fn not_found() -> Response<ApiBody> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The envelope around an error.
pub fn error(error: &ApiError) -> Response<ApiBody> {
    let mut body = Vec::new();
    let mut json = JsonWriter::new(&mut body);
    json.begin_object().key("status").string("error");
    json.key("errorType").string(error.error_type.as_str()).key("error").string(&error.message).end_object();
    // Writing to a Vec cannot fail.
    let _ = json.finish();
    with_type(error.error_type.status(), "application/json", body)
}

/// A success without data: 204, as Prometheus has it.
pub fn no_content() -> Response<ApiBody> {
    let mut response = Response::new(ApiBody::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Warnings and infos of an answer.
#[derive(Debug, Default, Clone)]
pub struct Notes {
    /// What may be wrong with the result.
    pub warnings: Vec<String>,
    /// What may be wrong with the query.
    pub infos: Vec<String>,
}

/// Writes the envelope around data: `write` writes the value of `data`.
pub fn write_success(
    sink: &mut dyn Write,
    notes: &Notes,
    write: impl FnOnce(&mut JsonWriter<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut json = JsonWriter::new(sink);
    json.begin_object().key("status").string("success").key("data");
    write(&mut json)?;
    for (key, texts, what) in [("warnings", &notes.warnings, "warning"), ("infos", &notes.infos, "info")] {
        if !texts.is_empty() {
            write_notes(json.key(key), texts, what);
        }
    }
    json.end_object();
    json.finish()
}

/// Writes at most ten notes, and how many were left out.
fn write_notes(json: &mut JsonWriter<'_>, texts: &[String], what: &str) {
    const SHOWN: usize = 10;
    json.begin_list();
    for text in texts.iter().take(SHOWN) {
        json.string(text);
    }
    if texts.len() > SHOWN {
        json.string(&format!("{} more {what} annotations omitted", texts.len() - SHOWN));
    }
    json.end_list();
}

/// A small JSON answer, written at once.
pub fn success(write: impl FnOnce(&mut JsonWriter<'_>)) -> Response<ApiBody> {
    let mut body = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = write_success(&mut body, &Notes::default(), |json| {
        write(json);
        Ok(())
    });
    with_type(StatusCode::OK, "application/json", body)
}

/// Below this, compression costs more than it saves.
const GZIP_BYTES_MIN: usize = 1024;
/// Size of the pieces of a body.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for a slow client before the writer waits too.
const PIECES_WAITING: usize = 4;

/// Runs `write` on a thread of its own and answers with what it writes: whole where it fits into one piece, else as a
/// stream. A client that goes away, or an error of `write`, ends the stream.
pub async fn stream(
    content_type: &'static str,
    gzip: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Response<ApiBody> {
    stream_pieces(content_type, gzip, None, write).await
}

/// How long a client may take for a streamed answer.
pub struct Patience {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// When patience ends, on the monotonic clock.
    pub ends: Duration,
}

/// The same without compression, and with an end to the patience with a client that does not take what is written.
pub async fn stream_within(
    content_type: &'static str,
    patience: Patience,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Response<ApiBody> {
    stream_pieces(content_type, false, Some(patience), write).await
}

async fn stream_pieces(
    content_type: &'static str,
    gzip: bool,
    patience: Option<Patience>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Response<ApiBody> {
    let (sender, mut pieces) = mpsc::channel(PIECES_WAITING);
    // The thread ends with the stream; nobody needs to wait for it.
    drop(tokio::task::spawn_blocking(move || {
        let state = SinkState::Start(Vec::with_capacity(1024));
        let mut sink = PieceSink { sender, state, gzip, patience, sent_any: false };
        let result = write(&mut sink).and_then(|()| sink.finish());
        if let Err(error) = result {
            // The client sees a body that ends early. It is gone already where sending fails.
            let _ = sink.sender.blocking_send(Err(error));
        }
    }));
    let first = match pieces.recv().await {
        Some(Ok(bytes)) => bytes,
        Some(Err(fault)) => return error(&ApiError::internal("the answer could not be written", fault)),
        None => return error(&ApiError::internal("the answer could not be written", "its writer ended early")),
    };
    // The first piece begins with its marks; see `PieceSink`.
    let marks = first.first().copied().unwrap_or(0);
    let first = first.slice(1.min(first.len())..);
    let body = if marks & MARK_LAST != 0 {
        BodyState::Whole(first)
    } else {
        BodyState::Stream { first: Some(first), rest: pieces }
    };
    let mut response = Response::new(ApiBody(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if marks & MARK_GZIP != 0 {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Compresses a whole body, where the client takes that and it is worth it. A body with a tag is sent as it is: the tag is
/// of these bytes.
pub fn compress_whole(response: &mut Response<ApiBody>, gzip: bool) {
    let BodyState::Whole(bytes) = &response.body().0 else { return };
    let is_settled = [CONTENT_ENCODING, ETAG].iter().any(|name| response.headers().contains_key(name));
    if !gzip || bytes.len() < GZIP_BYTES_MIN || is_settled {
        return;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    if let Ok(compressed) = encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        response.body_mut().0 = BodyState::Whole(compressed.into());
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
}

/// Says that answers depend on these headers of the request.
pub fn set_vary(response: &mut Response<ApiBody>) {
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding, Origin"));
}

/// The body is compressed.
const MARK_GZIP: u8 = 1;
/// The piece is the only one.
const MARK_LAST: u8 = 2;

/// Collects what is written into pieces for the body, compressed on the way. Whether it is worth compressing shows only
/// when the first bytes are there, so the first piece begins with a byte of marks.
struct PieceSink {
    sender: mpsc::Sender<io::Result<Bytes>>,
    state: SinkState,
    gzip: bool,
    patience: Option<Patience>,
    sent_any: bool,
}

enum SinkState {
    /// Not enough was written to choose.
    Start(Vec<u8>),
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl PieceSink {
    fn start(&mut self) -> io::Result<()> {
        let SinkState::Start(pending) = &mut self.state else { return Ok(()) };
        let pending = std::mem::take(pending);
        if self.gzip && pending.len() >= GZIP_BYTES_MIN {
            let mut encoder = GzEncoder::new(vec![MARK_GZIP], Compression::fast());
            encoder.write_all(&pending)?;
            self.state = SinkState::Gzip(encoder);
        } else {
            let mut plain = vec![0];
            plain.extend_from_slice(&pending);
            self.state = SinkState::Plain(plain);
        }
        Ok(())
    }

    fn send(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away");
        self.sent_any = true;
        let Some(patience) = &self.patience else {
            return self.sender.blocking_send(Ok(piece.into())).map_err(gone);
        };
        let left = patience.ends.saturating_sub(patience.clock.monotonic());
        let sending = tokio::time::timeout(left, self.sender.send(Ok(piece.into())));
        match tokio::runtime::Handle::current().block_on(sending) {
            Ok(sent) => sent.map_err(gone),
            Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not take the answer in time")),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.start()?;
        let mut last = match std::mem::replace(&mut self.state, SinkState::Start(Vec::new())) {
            SinkState::Start(bytes) | SinkState::Plain(bytes) => bytes,
            SinkState::Gzip(encoder) => encoder.finish()?,
        };
        if let (false, Some(marks)) = (self.sent_any, last.first_mut()) {
            *marks |= MARK_LAST;
        }
        self.send(last)
    }
}

impl Write for PieceSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let SinkState::Start(pending) = &mut self.state {
            pending.extend_from_slice(bytes);
            if pending.len() >= PIECE_BYTES {
                self.start()?;
            }
            return Ok(bytes.len());
        }
        let buffer = match &mut self.state {
            SinkState::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                encoder.get_mut()
            }
            SinkState::Plain(buffer) | SinkState::Start(buffer) => {
                buffer.extend_from_slice(bytes);
                buffer
            }
        };
        if buffer.len() >= PIECE_BYTES {
            let piece = std::mem::take(buffer);
            self.send(piece)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error for a client that went away or a server that is stopping.
pub fn canceled() -> ApiError {
    ApiError::new(ErrorType::Canceled, "query was canceled")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn stream_that_its_client_does_not_take_in_time_ends_with_an_error() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (ended, is_ended) = std::sync::mpsc::channel();
        let write = move |sink: &mut dyn Write| {
            let written = (0..100).try_for_each(|_| sink.write_all(&[7; PIECE_BYTES]));
            ended.send(written.as_ref().err().map(io::Error::kind)).unwrap();
            written
        };
        let patience = Patience { clock: Arc::new(crate::clock::ManualClock::at(0)), ends: Duration::ZERO };
        let response = runtime.block_on(stream_within("text/plain", patience, write));
        // Nobody takes more than the first piece.
        assert_eq!(is_ended.recv().unwrap(), Some(io::ErrorKind::TimedOut));
        assert!(runtime.block_on(response.into_body().collect()).is_err());
    }

    fn streamed(length: usize, gzip: bool) -> (HeaderMap, Vec<u8>) {
        run(async move {
            let response = stream("application/json", gzip, move |sink| {
                for _ in 0..length / 10 {
                    sink.write_all(b"0123456789")?;
                }
                Ok(())
            })
            .await;
            let (head, body) = response.into_parts();
            (head.headers, body.collect().await.unwrap().to_bytes().to_vec())
        })
    }

    #[test]
    fn streamed_body_arrives_whole_whatever_its_length() {
        for length in [0, 10, 1000, 65_530, 65_540, 1_000_000] {
            let (headers, body) = streamed(length, false);
            assert_eq!(body.len(), length);
            assert!(!headers.contains_key(CONTENT_ENCODING));
        }
    }

    #[test]
    fn streamed_body_is_compressed_where_it_is_worth_it() {
        assert!(!streamed(1000, true).0.contains_key(CONTENT_ENCODING));
        for length in [2000, 65_530, 1_000_000] {
            let (headers, body) = streamed(length, true);
            assert_eq!(headers[CONTENT_ENCODING], "gzip");
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut plain).unwrap();
            assert_eq!(plain.len(), length);
            assert!(plain.starts_with(b"0123456789012"));
        }
    }

    #[test]
    fn streamed_body_of_a_writer_that_fails_at_once_is_an_error_answer() {
        let response = run(stream("application/json", false, |_| Err(io::Error::other("disk on fire"))));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = run(response.into_body().collect()).unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("disk on fire"));
    }

    #[test]
    fn envelope_shows_ten_notes_and_counts_the_rest() {
        let notes = Notes { warnings: (0..12).map(|n| format!("w{n}")).collect(), infos: Vec::new() };
        let mut out = Vec::new();
        write_success(&mut out, &notes, |json| {
            json.begin_list().end_list();
            Ok(())
        })
        .unwrap();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["data"], serde_json::json!([]));
        assert_eq!(read["warnings"].as_array().unwrap().len(), 11);
        assert_eq!(read["warnings"][10], "2 more warning annotations omitted");
        assert!(read.get("infos").is_none());
    }
}
