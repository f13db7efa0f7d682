//! The request: `prometheus.ReadRequest`.
//!
//! Source: Prometheus `prompb/remote.proto`, `prompb/types.proto`; `storage/remote/codec.go`, `FromLabelMatchers`,
//! `NegotiateResponseType`.

use std::fmt::Display;

use crate::encoding::protobuf::{WIRE_LENGTH, WIRE_VARINT, skip_field, wrong_wire_type};
use crate::encoding::{Corruption, Cursor};
use crate::model::pattern::PatternBudget;
use crate::model::{MatchOp, Matcher, TimeRange};

/// The most queries of one request.
const QUERIES_MAX: usize = 1000;
/// The most matchers of one request.
const MATCHERS_MAX: usize = 10_000;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The body is no message of this kind.
    #[error("body is not a valid remote read message: {0}")]
    Malformed(#[from] Corruption),
    /// There is more of something than a request may have.
    #[error("request has more than {limit} {what}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A matcher is of no kind that there is.
    #[error("matcher of label {label:?} has the unknown type {number}")]
    MatcherType {
        /// The start of the label's name.
        label: String,
        /// What it says.
        number: u64,
    },
    /// A regular expression is none, or too large, alone or with those before it.
    #[error("matcher of label {label:?}: {fault}")]
    Pattern {
        /// The start of the label's name.
        label: String,
        /// What is wrong.
        fault: String,
    },
    /// Of the forms of answers that the client takes none is known.
    #[error(
        "server does not support any of the requested response types: {asked:?}; supported: SAMPLES, STREAMED_XOR_CHUNKS"
    )]
    ResponseTypes {
        /// The first of those that it takes.
        asked: Vec<u64>,
    },
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseType {
    /// One message with all samples.
    Samples,
    /// Messages of chunks, one after the other.
    StreamedChunks,
}

/// One of the queries of a request.
#[derive(Debug, Clone)]
pub struct Query {
    /// Of which time samples are wanted; it may end before it starts, and is empty then.
    pub range: TimeRange,
    /// Which series.
    pub matchers: Vec<Matcher>,
}

/// A request.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Its queries, which are answered one by one.
    pub queries: Vec<Query>,
    /// The first form that the client takes and that is known here.
    pub response_type: ResponseType,
}

impl ReadRequest {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// It is none, asks for what there is not, or for more than a request may.
    pub fn decode(message: &[u8]) -> Result<Self, RequestError> {
        let (mut queries, mut bounds) = (Vec::new(), Bounds::default());
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
                    queries.push(decode_query(cursor.uvarint_slice()?, &mut bounds)?);
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

/// What the queries of a request have taken together.
#[derive(Default)]
struct Bounds {
    matchers: usize,
    patterns: PatternBudget,
}

fn decode_query(bytes: &[u8], bounds: &mut Bounds) -> Result<Query, RequestError> {
    let mut query = Query { range: TimeRange::new(0, 0), matchers: Vec::new() };
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_empty() {
        let start = cursor.position();
        let tag = cursor.uvarint()?;
        match (tag >> 3, tag & 7) {
            (1, WIRE_VARINT) => query.range.start_ms = cursor.uvarint()? as i64,
            (2, WIRE_VARINT) => query.range.end_ms = cursor.uvarint()? as i64,
            (3, WIRE_LENGTH) => {
                if bounds.matchers >= MATCHERS_MAX {
                    return Err(RequestError::TooMany { what: "matchers", limit: MATCHERS_MAX });
                }
                bounds.matchers += 1;
                query.matchers.push(decode_matcher(cursor.uvarint_slice()?, &mut bounds.patterns)?);
            }
            (1..=3, _) => return Err(wrong_wire_type(start).into()),
            // Hints say what the samples are for. All samples of the range serve for anything.
            _ => skip_field(&mut cursor, tag)?,
        }
    }
    Ok(query)
}

fn decode_matcher(bytes: &[u8], patterns: &mut PatternBudget) -> Result<Matcher, RequestError> {
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
    let pattern = |fault: &dyn Display| RequestError::Pattern { label: label(), fault: fault.to_string() };
    let matcher = Matcher::new(name, op, value).map_err(|fault| pattern(&fault))?;
    if let Some(compiled) = matcher.pattern() {
        patterns.spend(compiled).map_err(|fault| pattern(&fault))?;
    }
    Ok(matcher)
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
    fn patterns_and_matchers_of_all_queries_together_are_bounded() {
        let of = |times: usize, matchers: &[Vec<u8>]| ReadRequest::decode(&query(matchers).repeat(times));
        let large = [matcher(2, "a", "(.{990}|c)d")];
        assert_eq!(of(20, &large).unwrap().queries.len(), 20);
        let refusal = of(990, &large).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "matcher of label \"a\": regular expressions are too large: at most 67108864 bytes are allowed"
        );
        let small = vec![matcher(0, "a", "b"); 20];
        assert_eq!(of(500, &small).unwrap().queries.len(), 500);
        assert_eq!(of(501, &small).unwrap_err(), RequestError::TooMany { what: "matchers", limit: 10_000 });
        assert_eq!(of(1001, &[]).unwrap_err(), RequestError::TooMany { what: "queries", limit: 1000 });
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
