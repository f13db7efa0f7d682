//! Values that many answers hold, as JSON.

use super::json::JsonWriter;
use super::rfc3339;
use crate::model::Tally;

/// A point in time, or null.
pub(crate) fn write_moment(json: &mut JsonWriter<'_>, timestamp_ms: Option<i64>) {
    match timestamp_ms {
        Some(timestamp_ms) => json.string(&rfc3339(timestamp_ms)),
        None => json.null(),
    };
}

/// A number of samples, and their digest.
pub(super) fn write_tally(json: &mut JsonWriter<'_>, tally: Tally) {
    json.begin_object().key("samples").uint(tally.samples);
    json.key("digest").string(&tally.digest.to_string()).end_object();
}
