//! What an import is answered.
//!
//! | | status | |
//! |---|---|---|
//! | all is stored, by one commit or none | 204 | the acknowledgement in the headers, as with every write |
//! | all is stored, by several commits | 200 | a receipt of each as a line of JSON, as `verify --receipts` reads them |
//! | a part is refused | 400 | what and why; then the receipts, if they are several |
//! | the import broke off | as the reason has it | the reason, and what is stored; then the receipts, if there are any |

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use hyper::http::Response;

use super::Total;
use crate::ingest::accept::Stored;
use crate::ingest::answer::{Refusal, acknowledge, refusal_text, text};
use crate::model::{ReceiptLine, TimestampMs};

/// The answer to an import that was read to its end.
pub(super) fn done(total: &Total, began_ms: TimestampMs) -> Response<Bytes> {
    let receipts = receipt_lines(total, began_ms);
    let is_one = total.receipts.len() <= 1;
    let mut response = if total.is_partial() {
        let mut message = summary(total);
        if let Some(cut_off) = &total.cut_off {
            message.insert_str(0, &format!("{cut_off}; "));
        }
        if !is_one {
            message.push_str(&receipts);
        }
        text(StatusCode::BAD_REQUEST, message)
    } else if is_one {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        let mut response = Response::new(Bytes::from(receipts));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        response
    };
    if let [receipt] = total.receipts.as_slice() {
        acknowledge(response.headers_mut(), receipt);
    }
    response
}

/// The answer to an import that ended before its text did.
pub(super) fn broken_off(total: &Total, began_ms: TimestampMs, mut refusal: Refusal) -> Response<Bytes> {
    if total.lines > 0 {
        let (lines, summary) = (total.lines, summary(total));
        let receipts = receipt_lines(total, began_ms);
        refusal.message = format!("{}; up to line {lines}: {summary}{receipts}", refusal.message);
    }
    refusal.into_response()
}

/// What is stored, and what was refused and why.
fn summary(total: &Total) -> String {
    refusal_text(&Stored {
        outcome: total.outcome.clone(),
        exemplars_refused: total.exemplars_refused,
        points_refused: 0,
        receipt: None,
    })
}

fn receipt_lines(total: &Total, began_ms: TimestampMs) -> String {
    let mut lines = String::new();
    for receipt in &total.receipts {
        let line = ReceiptLine {
            commit: receipt.commit,
            digest: receipt.digest,
            samples: receipt.samples,
            durability: receipt.durability.as_str().to_owned(),
            sent_at_ms: began_ms,
        };
        // Numbers and texts always become JSON.
        lines.push_str(&serde_json::to_string(&line).unwrap_or_default());
        lines.push('\n');
    }
    lines
}
