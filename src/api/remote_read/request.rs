//! The request: `prometheus.ReadRequest`.
//!
//! Source: Prometheus `prompb/remote.proto`, `prompb/types.proto`; `storage/remote/codec.go`, `FromLabelMatchers`,
//! `NegotiateResponseType`.

use crate::encoding::protobuf::{WIRE_LENGTH, WIRE_VARINT, skip_field, wrong_wire_type};
use crate::encoding::{Corruption, Cursor};
use crate::model::{MatchOp, Matcher, TimeRange};

/// The most queries of one request.
const QUERIES_MAX: usize = 1000;
/// The most matchers of one query.
const MATCHERS_MAX: usize = 1000;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    #[error("body is not a valid remote read message: {0}")]
    Malformed(#[from] Corruption),
    #[error("request has more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("matcher of label {label:?} has the unknown type {number}")]
    MatcherType { label: String, number: u64 },
    #[error("matcher of label {label:?}: {fault}")]
    Pattern { label: String, fault: String },
    #[error(
        "server does not support any of the requested response types: {asked:?}; supported: SAMPLES, STREAMED_XOR_CHUNKS"
    )]
    ResponseTypes { asked: Vec<u64> },
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseType {
    /// One message with all samples.
    Samples,
    /// Messages of chunks, one after the other.
    StreamedChunks,
}

/// One of the queries of a request.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// Of which time samples are wanted; it may end before it starts, and is empty then.
    pub(super) range: TimeRange,
    pub(super) matchers: Vec<Matcher>,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct ReadRequest {
    pub(super) queries: Vec<Query>,
    /// The first form that the client takes and that is known here.
    pub(super) response_type: ResponseType,
}

impl ReadRequest {
    /// Reads a message.
    pub(super) fn decode(message: &[u8]) -> Result<Self, RequestError> {
        let mut queries = Vec::new();
        let mut accepted = Vec::new();
        let mut cursor = Cursor::new(message);
        while !cursor.is_empty() {
            let start = cursor.position();
            let tag = cursor.uvarint()?;
            match (tag >> 3, tag & 7) {
                (1, WIRE_LENGTH) => {
                    if queries.len() >= QUERIES_MAX {
                        return Err(RequestError::TooMany { what: "queries", limit: QUERIES_MAX });
                    }
                    queries.push(decode_query(cursor.uvarint_slice()?)?);
                }
                (2, WIRE_VARINT) => accepted.push(cursor.uvarint()?),
                (2, WIRE_LENGTH) => {
                    let mut packed = Cursor::new(cursor.uvarint_slice()?);
                    while !packed.is_empty() {
                        accepted.push(packed.uvarint()?);
                    }
                }
                (1 | 2, _) => return Err(wrong_wire_type(start).into()),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        let known = |number: &u64| match number {
            0 => Some(ResponseType::Samples),
            1 => Some(ResponseType::StreamedChunks),
            _ => None,
        };
        let response_type = match (accepted.is_empty(), accepted.iter().find_map(known)) {
            (true, _) => ResponseType::Samples,
            (false, Some(first)) => first,
            (false, None) => {
                accepted.truncate(8);
                return Err(RequestError::ResponseTypes { asked: accepted });
            }
        };
        Ok(ReadRequest { queries, response_type })
    }
}

fn decode_query(bytes: &[u8]) -> Result<Query, RequestError> {
    let mut query = Query { range: TimeRange::new(0, 0), matchers: Vec::new() };
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_empty() {
        let start = cursor.position();
        let tag = cursor.uvarint()?;
        match (tag >> 3, tag & 7) {
            (1, WIRE_VARINT) => query.range.start_ms = cursor.uvarint()? as i64,
            (2, WIRE_VARINT) => query.range.end_ms = cursor.uvarint()? as i64,
            (3, WIRE_LENGTH) => {
                if query.matchers.len() >= MATCHERS_MAX {
                    return Err(RequestError::TooMany { what: "matchers in a query", limit: MATCHERS_MAX });
                }
                query.matchers.push(decode_matcher(cursor.uvarint_slice()?)?);
            }
            (1..=3, _) => return Err(wrong_wire_type(start).into()),
            // Hints say what the samples are for. All samples of the range serve for anything.
            _ => skip_field(&mut cursor, tag)?,
        }
    }
    Ok(query)
}

fn decode_matcher(bytes: &[u8]) -> Result<Matcher, RequestError> {
    let (mut number, mut name, mut value) = (0, "", "");
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_empty() {
        let start = cursor.position();
        let tag = cursor.uvarint()?;
        match (tag >> 3, tag & 7) {
            (1, WIRE_VARINT) => number = cursor.uvarint()?,
            (2, WIRE_LENGTH) => name = cursor.uvarint_str()?,
            (3, WIRE_LENGTH) => value = cursor.uvarint_str()?,
            (1..=3, _) => return Err(wrong_wire_type(start).into()),
            _ => skip_field(&mut cursor, tag)?,
        }
    }
    let label = || name.chars().take(100).collect::<String>();
    let op = match number {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        number => return Err(RequestError::MatcherType { label: label(), number }),
    };
    Matcher::new(name, op, value).map_err(|fault| RequestError::Pattern { label: label(), fault: fault.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::protobuf::{put_bytes, put_message, put_present_uint, put_uint};

    fn matcher(number: u64, name: &str, value: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_uint(&mut out, 1, number);
        put_bytes(&mut out, 2, name.as_bytes());
        put_bytes(&mut out, 3, value.as_bytes());
        out
    }

    fn query(matchers: &[Vec<u8>]) -> Vec<u8> {
        let mut query = Vec::new();
        put_uint(&mut query, 1, -5i64 as u64);
        put_uint(&mut query, 2, 1_700_000_000_000);
        matchers.iter().for_each(|matcher| put_message(&mut query, 3, matcher));
        put_message(&mut query, 4, &[0x08, 1]);
        let mut request = Vec::new();
        put_message(&mut request, 1, &query);
        request
    }

    #[test]
    fn request_is_read_with_matchers_of_every_kind_and_hints_are_passed_over() {
        let kinds = [(0, "__name__", "up"), (1, "job", ""), (2, "a", "x|y"), (3, "b", ".+")];
        let request = query(&kinds.map(|(number, name, value)| matcher(number, name, value)));
        let read = ReadRequest::decode(&request).unwrap();
        assert_eq!((read.queries.len(), read.response_type), (1, ResponseType::Samples));
        assert_eq!(read.queries[0].range, TimeRange::new(-5, 1_700_000_000_000));
        let shown: Vec<String> = read.queries[0].matchers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["__name__=\"up\"", "job!=\"\"", "a=~\"x|y\"", "b!~\".+\""]);
    }

    #[test]
    fn response_type_is_the_first_that_is_known_packed_or_not() {
        let with = |types: &[u64], packed: bool| {
            let mut request = query(&[]);
            match packed {
                true => put_message(&mut request, 2, &types.iter().map(|one| *one as u8).collect::<Vec<_>>()),
                false => types.iter().for_each(|one| put_present_uint(&mut request, 2, *one)),
            }
            ReadRequest::decode(&request).map(|request| request.response_type)
        };
        for packed in [false, true] {
            assert_eq!(with(&[1, 0], packed), Ok(ResponseType::StreamedChunks));
            assert_eq!(with(&[0, 1], packed), Ok(ResponseType::Samples));
            assert_eq!(with(&[7, 1], packed), Ok(ResponseType::StreamedChunks));
            assert_eq!(with(&[7], packed), Err(RequestError::ResponseTypes { asked: vec![7] }));
        }
    }

    #[test]
    fn matchers_that_mean_nothing_are_refused_by_name() {
        let refusal = |number, value| ReadRequest::decode(&query(&[matcher(number, "job", value)])).unwrap_err();
        assert_eq!(refusal(4, "x"), RequestError::MatcherType { label: "job".into(), number: 4 });
        assert!(matches!(refusal(2, "("), RequestError::Pattern { label, .. } if label == "job"));
    }

    #[test]
    fn request_cut_or_flipped_anywhere_never_panics() {
        let request = query(&[matcher(2, "a", "x|y"), matcher(0, "__name__", "up")]);
        for end in 0..request.len() {
            for flip in 0..=255u8 {
                let mut bytes = request[..=end].to_vec();
                bytes[end] ^= flip;
                let _read = ReadRequest::decode(&bytes);
            }
        }
    }
}
