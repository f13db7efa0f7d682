//! One line of a receipts file: what a client keeps of an acknowledgement.
//!
//! The file is JSON lines, appended by `bench write --receipts` and read by `verify --receipts`. Lines may carry more
//! fields than these.

use serde::{Deserialize, Serialize};

use super::{Digest, TimestampMs};

/// An acknowledgement as its receiver wrote it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLine {
    /// The request's commit number.
    pub commit: u64,
    /// Digest of the samples that the request added, as 32 hex digits.
    pub digest: Digest,
    /// Samples that the request added.
    pub samples: u64,
    /// What the acknowledgement promised.
    pub durability: String,
    /// When the request was sent, by the client's clock.
    pub sent_at_ms: TimestampMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_written_as_the_contract_says_and_reads_back() {
        let line = ReceiptLine {
            commit: 7,
            digest: Digest(0xab),
            samples: 2000,
            durability: "fsync".into(),
            sent_at_ms: 1_700_000_000_000,
        };
        let text = serde_json::to_string(&line).unwrap();
        let digest = "000000000000000000000000000000ab";
        assert_eq!(
            text,
            format!(
                r#"{{"commit":7,"digest":"{digest}","samples":2000,"durability":"fsync","sent_at_ms":1700000000000}}"#
            )
        );
        assert_eq!(serde_json::from_str::<ReceiptLine>(&text).unwrap(), line);
    }

    #[test]
    fn line_with_a_malformed_digest_is_refused() {
        let text = r#"{"commit":7,"digest":"ab","samples":1,"durability":"fsync","sent_at_ms":1}"#;
        assert!(serde_json::from_str::<ReceiptLine>(text).unwrap_err().to_string().contains("32 hex digits"));
    }
}
