//! `POST /api/v1/read`: Prometheus' remote read, for another Prometheus that asks here for older samples.
//!
//! | part | file |
//! |---|---|
//! | what is asked | `request.rs` |
//! | a series' chunks, none of which overlap | `chunks.rs` |
//! | the messages of the answer | `message.rs` |
//!
//! An answer is one message with all samples, or a stream of frames with chunks as the store has them, one series after
//! the other: whichever the client names first. The first is held in memory whole, and bounded in samples and bytes like a
//! query; of the second only one series is held at a time. Both take a place among the queries, and the time of one.
//!
//! The protocol has no room for warnings. What is known to be missing goes to the log, and into the header
//! `Chronolith-Warnings` as far as it is known before the first byte is sent.
//!
//! Source: Prometheus `storage/remote/read_handler.go`; remote read API, version 0.1.0.

mod chunks;
mod message;
pub mod request;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::error::{ApiError, ErrorType};
use super::response::{self, ApiBody, Patience};
use super::{Api, off_the_way};
use crate::chunk;
use crate::clock::Clock;
use crate::encoding::protobuf::put_message;
use crate::storage::{Querier, Queryable, SelectHints, SelectedSeries, StorageError};
use message::{SeriesMessage, write_frames};
use request::{Query, ReadRequest, ResponseType};

/// What is known to be missing in an answer.
const WARNINGS: HeaderName = HeaderName::from_static("chronolith-warnings");
/// Bytes of a request after decompression.
const REQUEST_BYTES_MAX: usize = 16 << 20;
const SAMPLES_TYPE: &str = "application/x-protobuf";
const STREAM_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// A query and the series that it found.
struct Selected {
    query: Query,
    series: Vec<SelectedSeries>,
    querier: Box<dyn Querier>,
}

/// What one request may cost.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    series: usize,
    samples: u64,
    bytes: u64,
    /// When the time is over, on the monotonic clock.
    ends: Duration,
}

impl Api {
    /// Answers a remote read request with this body.
    pub async fn remote_read(self: &Arc<Self>, headers: &HeaderMap, body: Bytes) -> Response<ApiBody> {
        // While the log is replayed samples are missing, and there is nobody to warn.
        let Some(db) = self.database() else { return self.unavailable() };
        match self.read(headers, body, db.queryable()).await {
            Ok(answer) => answer,
            Err(fault) => response::text(fault.error_type.status(), format!("{}\n", fault.message)),
        }
    }

    async fn read(
        self: &Arc<Self>,
        headers: &HeaderMap,
        body: Bytes,
        data: Arc<dyn Queryable>,
    ) -> Result<Response<ApiBody>, ApiError> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"snappy")
        {
            let mut refusal = response::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only snappy is acceptable\n");
            refusal.headers_mut().insert("accept-encoding", HeaderValue::from_static("snappy"));
            return Ok(refusal);
        }
        let options = &self.options.engine;
        let timeout = options.timeout;
        let ends = self.clock.monotonic().saturating_add(timeout);
        let permit = self.place(timeout).await?;
        // The place goes along with the work, which goes on to its end if nobody waits for it any more. The first part
        // compiles regular expressions, which takes time and memory.
        let (request, permit) = off_the_way(move || Ok((decode(&body)?, permit))).await?;
        let selectors = request.queries.iter().map(|query| query.matchers.as_slice());
        self.metrics.usage.note(selectors, self.clock.now_ms());
        let bounds = Bounds {
            series: usize::try_from(options.series_max).unwrap_or(usize::MAX),
            samples: options.samples_max,
            bytes: options.bytes_max(),
            ends,
        };
        let response_type = request.response_type;
        let clock = self.clock.clone();
        let (selected, permit) = off_the_way({
            let clock = clock.clone();
            move || Ok((select(&*data, request.queries, bounds, &*clock)?, permit))
        })
        .await?;
        match response_type {
            ResponseType::Samples => samples(selected, bounds, clock, permit).await,
            ResponseType::StreamedChunks => Ok(stream(selected, bounds, clock, permit).await),
        }
    }
}

fn decode(body: &[u8]) -> Result<ReadRequest, ApiError> {
    let bad = |fault: &dyn std::fmt::Display| ApiError::bad_data(fault.to_string());
    let declared = snap::raw::decompress_len(body).map_err(|fault| bad(&fault))?;
    if declared > REQUEST_BYTES_MAX {
        return Err(ApiError::bad_data(format!(
            "body of {declared} bytes exceeds the limit of {REQUEST_BYTES_MAX} bytes"
        )));
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(|fault| bad(&fault))?;
    ReadRequest::decode(&message).map_err(|fault| bad(&fault))
}

/// A bound that was passed is the client's fault, as in Prometheus.
fn read_error(error: StorageError) -> ApiError {
    match error {
        StorageError::Limit { .. } => ApiError::bad_data(error.to_string()),
        other => ApiError::internal("samples could not be read", other),
    }
}

fn timed_out() -> ApiError {
    ApiError::new(ErrorType::Timeout, "remote read timed out")
}

/// Finds the series of all queries.
fn select(
    data: &dyn Queryable,
    queries: Vec<Query>,
    bounds: Bounds,
    clock: &dyn Clock,
) -> Result<Vec<Selected>, ApiError> {
    let mut left = bounds.bytes;
    let select = |query: Query| {
        if clock.monotonic() >= bounds.ends {
            return Err(timed_out());
        }
        let querier = data.querier(query.range).map_err(read_error)?;
        let hints = SelectHints { series_max: bounds.series, bytes_max: left.max(1), ..SelectHints::default() };
        let series = querier.select(&query.matchers, &hints).map_err(read_error)?;
        let bytes: u64 = series.iter().map(|one| SelectedSeries::bytes_of(&one.labels)).sum();
        left = left.saturating_sub(bytes);
        Ok(Selected { query, series, querier })
    };
    queries.into_iter().map(select).collect()
}

/// The answer in one message.
async fn samples(
    selected: Vec<Selected>,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    permit: OwnedSemaphorePermit,
) -> Result<Response<ApiBody>, ApiError> {
    let (message, warnings) = off_the_way(move || {
        let _permit = permit;
        let mut message = Vec::new();
        let (mut samples, mut parts) = (0u64, Vec::new());
        let mut series = SeriesMessage::default();
        for Selected { query, series: found, .. } in &selected {
            let mut result = Vec::new();
            for one in found {
                if clock.monotonic() >= bounds.ends {
                    return Err(timed_out());
                }
                one.samples.parts(query.range, &mut parts).map_err(read_error)?;
                let chunks = chunks::in_order(std::mem::take(&mut parts), query.range).map_err(damaged)?;
                series.begin(&one.labels);
                let before = samples;
                for held in &chunks {
                    for sample in chunk::samples(held.encoding, &held.bytes).map_err(damaged)? {
                        let (timestamp_ms, value) = sample.map_err(damaged)?;
                        if query.range.contains(timestamp_ms) {
                            samples += 1;
                            series.push(timestamp_ms, &value);
                        }
                    }
                    // The message, the answer around it and its compressed form are there at once.
                    let bytes = (message.len() + result.len() + series.bytes().len()) as u64;
                    if samples > bounds.samples || bytes > bounds.bytes / 3 {
                        let limit = bounds.samples;
                        return Err(ApiError::bad_data(format!(
                            "exceeded the limits of one answer: {limit} samples, or {} bytes",
                            bounds.bytes / 3
                        )));
                    }
                }
                if samples > before {
                    put_message(&mut result, 1, series.bytes());
                }
            }
            put_message(&mut message, 1, &result);
        }
        let compressed = snap::raw::Encoder::new().compress_vec(&message);
        let compressed = compressed.map_err(|fault| ApiError::internal("the answer could not be compressed", fault))?;
        Ok((compressed, warnings(&selected)))
    })
    .await?;
    let mut answer = response::with_type(StatusCode::OK, SAMPLES_TYPE, message);
    answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    warn(&mut answer, &warnings);
    Ok(answer)
}

fn damaged(fault: crate::encoding::Corruption) -> ApiError {
    ApiError::internal("stored samples could not be decoded", fault)
}

/// The answer as a stream of chunks.
async fn stream(
    selected: Vec<Selected>,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    permit: OwnedSemaphorePermit,
) -> Response<ApiBody> {
    let known = warnings(&selected);
    let patience = Patience { clock: clock.clone(), ends: bounds.ends };
    let mut answer = response::stream_within(STREAM_TYPE, patience, move |sink| {
        let _permit = permit;
        let mut parts = Vec::new();
        for (number, Selected { query, series, .. }) in selected.iter().enumerate() {
            for one in series {
                if clock.monotonic() >= bounds.ends {
                    return Err(io::Error::other(timed_out()));
                }
                one.samples.parts(query.range, &mut parts).map_err(io::Error::other)?;
                let chunks = chunks::in_order(std::mem::take(&mut parts), query.range).map_err(io::Error::other)?;
                write_frames(sink, number, &one.labels, &chunks)?;
            }
        }
        for warning in warnings(&selected) {
            tracing::warn!(warning, "a remote read lacks samples");
        }
        Ok(())
    })
    .await;
    warn(&mut answer, &known);
    answer
}

fn warnings(selected: &[Selected]) -> Vec<String> {
    selected.iter().flat_map(|selected| selected.querier.warnings()).collect()
}

/// Names what is missing, as far as a header has room.
fn warn(answer: &mut Response<ApiBody>, warnings: &[String]) {
    const SHOWN_CHARS: usize = 1000;
    if warnings.is_empty() {
        return;
    }
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let text: String = warnings.join("; ").chars().take(SHOWN_CHARS).map(plain).collect();
    if let Ok(value) = HeaderValue::try_from(text) {
        answer.headers_mut().insert(WARNINGS, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;
    use crate::api::testing::server;
    use crate::encoding::protobuf::{put_bytes, put_message, put_uint};
    use crate::model::TimeRange;
    use crate::storage::Querier;

    /// Data that is not there before it is told so.
    struct Slow {
        begun: SyncSender<()>,
        goes_on: Mutex<Receiver<()>>,
    }

    impl Queryable for Slow {
        fn querier(&self, _range: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
            self.begun.send(()).unwrap();
            self.goes_on.lock().unwrap().recv().unwrap();
            Err(StorageError::Limit { what: "patience", limit: 1 })
        }
    }

    /// A request for what has a name, as it is sent.
    fn request() -> Bytes {
        let (mut matcher, mut query, mut request) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes(&mut matcher, 2, b"__name__");
        put_bytes(&mut matcher, 3, b"up");
        put_uint(&mut query, 2, 1000);
        put_message(&mut query, 3, &matcher);
        put_message(&mut request, 1, &query);
        snap::raw::Encoder::new().compress_vec(&request).unwrap().into()
    }

    #[test]
    fn place_of_a_client_that_went_away_is_taken_until_its_work_ends() {
        // Ends behind the channels, for which its thread waits.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (api, _db) = server(1000, Arc::default());
        let ((begun, is_begun), (go_on, goes_on)) = (sync_channel(1), sync_channel(1));
        let data = Arc::new(Slow { begun, goes_on: Mutex::new(goes_on) });
        let reading = runtime.spawn({
            let api = api.clone();
            async move { api.read(&HeaderMap::new(), request(), data).await.is_ok() }
        });
        is_begun.recv().unwrap();
        runtime.block_on(async {
            reading.abort();
            assert!(reading.await.unwrap_err().is_cancelled());
            assert_eq!(api.gate.available_permits(), 0);
            go_on.send(()).unwrap();
            drop(api.gate.acquire().await.unwrap());
        });
        assert_eq!(api.metrics.usage.all()["up"].queries, 1);
    }
}
