//! Which encoding of an answer a client takes (RFC 9110, section 12.5.3).

use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Brotli.
    Brotli,
    /// Gzip.
    Gzip,
    /// As it is.
    Identity,
}

impl Encoding {
    /// The name in `Content-Encoding`; none for what is sent as it is.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Encoding::Brotli => Some("br"),
            Encoding::Gzip => Some("gzip"),
            Encoding::Identity => None,
        }
    }
}

/// The qualities that a client gave to what we may send.
#[derive(Debug, Clone, Copy, Default)]
struct Qualities {
    brotli: Option<f32>,
    gzip: Option<f32>,
    identity: Option<f32>,
    any: Option<f32>,
}

impl Qualities {
    fn of(headers: &HeaderMap) -> Self {
        let mut found = Qualities::default();
        for value in headers.get_all(ACCEPT_ENCODING) {
            for entry in value.to_str().unwrap_or("").split(',') {
                let mut parts = entry.split(';').map(str::trim);
                let name = parts.next().unwrap_or("").to_ascii_lowercase();
                let slot = match name.as_str() {
                    "br" => &mut found.brotli,
                    "gzip" => &mut found.gzip,
                    "identity" => &mut found.identity,
                    "*" => &mut found.any,
                    _ => continue,
                };
                let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
                slot.get_or_insert(quality.unwrap_or(1.0));
            }
        }
        found
    }

    /// The quality of one that has to be named, or covered by `*`.
    fn of_named(&self, named: Option<f32>) -> f32 {
        named.or(self.any).unwrap_or(0.0)
    }
}

/// Whether the client takes gzip: named, or covered by `*`, with a quality above zero.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let qualities = Qualities::of(headers);
    qualities.of_named(qualities.gzip) > 0.0
}

/// The encoding that the client likes best; of those that it likes alike, the smallest.
pub fn preferred(headers: &HeaderMap) -> Encoding {
    let qualities = Qualities::of(headers);
    let (brotli, gzip) = (qualities.of_named(qualities.brotli), qualities.of_named(qualities.gzip));
    // Where nothing is said of it, it is what is left.
    let identity = qualities.identity.unwrap_or(0.0);
    if brotli > 0.0 && brotli >= gzip && brotli >= identity {
        Encoding::Brotli
    } else if gzip > 0.0 && gzip >= identity {
        Encoding::Gzip
    } else {
        Encoding::Identity
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn gzip_is_accepted_as_the_header_says() {
        let accepts = |value| accepts_gzip(&headers(value));
        assert!(accepts("gzip") && accepts("br, gzip;q=0.5") && accepts("*"));
        assert!(!accepts("br") && !accepts("gzip;q=0") && !accepts("gzip;q=0, *") && !accepts(""));
    }

    #[test]
    fn encoding_is_chosen_by_quality_and_then_by_size() {
        use Encoding::{Brotli, Gzip, Identity};
        for (value, chosen) in [
            ("gzip, deflate, br, zstd", Brotli),
            ("gzip", Gzip),
            ("GZIP", Gzip),
            ("br;q=0.5, gzip;q=0.9", Gzip),
            ("br;q=0.9, gzip;q=0.5", Brotli),
            ("br; q=0, gzip; q=0.1", Gzip),
            ("*", Brotli),
            ("br;q=0, *", Gzip),
            ("identity, gzip;q=0.5", Identity),
            ("identity;q=0.5, gzip;q=0.5", Gzip),
            ("zstd", Identity),
            ("*;q=0", Identity),
            ("", Identity),
        ] {
            assert_eq!(preferred(&headers(value)), chosen, "{value:?}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Identity);
    }
}
