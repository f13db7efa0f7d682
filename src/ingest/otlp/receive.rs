//! One request, whatever carries it: decompressed, decoded, translated, stored.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;

use super::limits::DecodeLimits;
use super::translate::{BegunStreams, DeltaStreams, TranslateLimits, TranslateOptions, Translator, Warnings};
use super::{json, protobuf};
use crate::ingest::accept::{Stored, WriteService, WriteStore};
use crate::ingest::answer::{Refusal, refusal_text};
use crate::ingest::decompress::{DecompressError, Encoding, decompress};
use crate::ingest::pool::Scratch;
use crate::ingest::sender::Sender;

/// How OTLP is received.
#[derive(Debug, Clone, Default)]
pub struct OtlpOptions {
    /// How it becomes series and samples.
    pub translate: TranslateOptions,
    /// How much a request may hold.
    pub limits: DecodeLimits,
    /// How much it may become.
    pub translate_limits: TranslateLimits,
    /// Where deltas are added up.
    pub deltas: Arc<DeltaStreams>,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Protobuf.
    Protobuf,
    /// OTLP's JSON.
    Json,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Body {
    /// How it is written.
    pub format: Format,
    /// How it is compressed.
    pub encoding: Encoding,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What became of a request that was understood.
#[derive(Debug)]
pub struct Received {
    /// Samples by their fate, and the acknowledgement.
    pub stored: Stored,
    /// What the sender is told beside that, unless there is nothing to tell.
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportMetricsPartialSuccess`: what was refused and why, or, with no points, what was stored otherwise than the sender
/// may think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Data points that are not stored, or not wholly.
    pub rejected_data_points: u64,
    /// Reasons.
    pub error_message: String,
}

/// Stores what a body holds, and waits until it is durable.
pub async fn receive<S: WriteStore>(
    service: &WriteService<S>,
    options: &OtlpOptions,
    sender: &Sender,
    body: Body,
) -> Result<Received, Refusal> {
    let metrics = service.metrics.of(sender.protocol);
    let body_bytes = body.bytes.len();
    metrics.body_bytes.add(body_bytes as u64);
    let (mut points_sent, mut warnings, mut begun) = (0, Warnings::default(), BegunStreams::default());
    let stored = service.store(sender, body_bytes, |scratch, batch| {
        let Scratch { body: buffer, gathered, .. } = scratch;
        let message = decompress(body.encoding, body.bytes, service.limits.decoded_bytes, buffer).map_err(refuse)?;
        metrics.decoded_bytes.add(message.len() as u64);
        let mut translator = Translator::new(&options.translate, options.translate_limits, gathered, batch)
            .with_deltas(&options.deltas, service.clock.now_ms());
        match body.format {
            Format::Protobuf => protobuf::decode(message, options.limits, &mut translator)?,
            Format::Json => json::decode(message, options.limits, &mut translator)?,
        }
        let too_much = |error| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}"));
        let translated = translator.finish().map_err(too_much)?;
        points_sent = translated.decoded.points.sent;
        (warnings, begun) = (translated.warnings, translated.begun);
        Ok(translated.decoded)
    });
    let stored = stored.await?;
    options.deltas.settle(begun, &stored.outcome);
    metrics.count_warnings(&warnings);
    let partial_success = partial_success(&stored, points_sent, &warnings);
    Ok(Received { stored, partial_success })
}

fn refuse(error: DecompressError) -> Refusal {
    let status = match error {
        DecompressError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        DecompressError::Malformed(_) => StatusCode::BAD_REQUEST,
    };
    Refusal::new(status, error.to_string())
}

fn partial_success(stored: &Stored, points_sent: u64, warnings: &Warnings) -> Option<PartialSuccess> {
    let rejected_data_points = stored.points_refused;
    let mut parts = Vec::new();
    if rejected_data_points > 0 {
        parts.push(format!("refused {rejected_data_points} of {points_sent} data points"));
    }
    if stored.is_partial() {
        parts.push(refusal_text(stored).trim_end().to_owned());
    }
    if !warnings.is_empty() {
        parts.push(format!("warnings: {}", warnings.messages.join("; ")));
    }
    (!parts.is_empty()).then(|| PartialSuccess { rejected_data_points, error_message: parts.join("; ") })
}
