//! Remote read requests: what was asked and is written again asks for the same.

use chronolith::api::remote_read::request::{ReadRequest, ResponseType};
use chronolith::encoding::protobuf::{put_bytes, put_message, put_uint};
use chronolith::model::{MatchOp, Matcher, TimeRange};

use super::{Target, no_repair};

pub(super) const REQUEST: Target = Target {
    name: "remote-read",
    seeds,
    words: &[
        b"\x0a\x00",
        b"\x1a\x00",
        b"\x12\x02\x00\x01",
        b"\x10\x01",
        b"\x1a\x0e\x08\x02\x12\x08__name__\x1a\x00",
        b".{990}",
        b"(?i)",
        b"[^a]|",
        b"\\p{L}",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    ],
    repair: no_repair,
    run,
    // The programs of all patterns, and what it takes to make the largest that there may be; read twice.
    bytes_fixed: 256 << 20,
    bytes_each: 2000,
};

fn matcher(op: MatchOp, name: &str, value: &str) -> Vec<u8> {
    let number = match op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    };
    let mut out = Vec::new();
    put_uint(&mut out, 1, number);
    put_bytes(&mut out, 2, name.as_bytes());
    put_bytes(&mut out, 3, value.as_bytes());
    out
}

fn query(range: TimeRange, matchers: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    put_uint(&mut out, 1, range.start_ms as u64);
    put_uint(&mut out, 2, range.end_ms as u64);
    matchers.for_each(|matcher| put_message(&mut out, 3, &matcher));
    out
}

fn seeds() -> Vec<Vec<u8>> {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let range = TimeRange { start_ms: -5, end_ms: 1_700_000_000_000 };
    let kinds =
        [(Equal, "__name__", "up"), (NotEqual, "job", ""), (Regex, "a", "x|y.*|[0-9]{3}"), (NotRegex, "b", ".+")];
    let mut all = query(range, kinds.into_iter().map(|(op, name, value)| matcher(op, name, value)));
    // Hints: step, function, start, end.
    put_message(&mut all, 4, &[0x08, 1, 0x12, 3, b's', b'u', b'm', 0x18, 5, 0x20, 9]);
    let mut request = Vec::new();
    put_message(&mut request, 1, &all);
    put_message(&mut request, 1, &query(range, std::iter::empty()));
    let mut streamed = request.clone();
    put_message(&mut streamed, 2, &[1, 0]);
    request.extend([0x10, 7, 0x10, 0]);
    vec![request, streamed]
}

fn run(input: &[u8]) -> bool {
    let Ok(request) = ReadRequest::decode(input) else { return false };
    let mut again = Vec::new();
    for asked in &request.queries {
        let matchers = asked.matchers.iter().map(|one| matcher(one.op, &one.name, &one.value));
        put_message(&mut again, 1, &query(asked.range, matchers));
    }
    put_message(&mut again, 2, &[u8::from(request.response_type == ResponseType::StreamedChunks)]);
    let second = ReadRequest::decode(&again).unwrap_or_else(|error| panic!("what was read is written well: {error}"));
    assert_eq!(second.response_type, request.response_type);
    let shown = |request: &ReadRequest| -> Vec<(TimeRange, Vec<String>)> {
        let shown = |matchers: &[Matcher]| matchers.iter().map(ToString::to_string).collect();
        request.queries.iter().map(|query| (query.range, shown(&query.matchers))).collect()
    };
    assert_eq!(shown(&second), shown(&request));
    !request.queries.is_empty()
}
