//! Metrics of the writers: the few that send most by name, the rest together, so that the number of series is bounded.

use crate::storage::RejectReason;
use crate::telemetry::{Exposition, Kind};
use crate::writers::{WriterBook, WriterCounts};

/// The address under which writers are counted that are not named.
const OTHER: &str = "other";

/// One writer's counts and the labels that name it.
struct Named {
    labels: [(&'static str, String); 3],
    counts: WriterCounts,
}

impl Named {
    fn labels(&self) -> Vec<(&str, &str)> {
        self.labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

/// Writes the counts of the writers.
pub(super) fn write_writers(out: &mut Exposition, book: &WriterBook) {
    let (named, unnamed) = book.named();
    let labels = |address: String, agent: &str, user: &str| {
        [("address", address), ("agent", agent.to_owned()), ("user", user.to_owned())]
    };
    let mut writers: Vec<Named> = named
        .into_iter()
        .map(|(writer, counts)| {
            let address = writer.address.map_or_else(String::new, |address| address.to_string());
            Named { labels: labels(address, &writer.agent, &writer.user), counts }
        })
        .collect();
    writers.push(Named { labels: labels(OTHER.to_owned(), "", ""), counts: unnamed });

    let name = "chronolith_writer_requests_total";
    out.family(name, Kind::Counter, "Write requests by writer and outcome.");
    for writer in &writers {
        let counts = &writer.counts;
        for (outcome, requests) in [
            ("ok", counts.requests_ok),
            ("refused", counts.requests_refused),
            ("unavailable", counts.requests_unavailable),
        ] {
            out.sample(name, &[writer.labels(), vec![("outcome", outcome)]].concat(), requests as f64);
        }
    }
    let name = "chronolith_writer_samples_total";
    out.family(name, Kind::Counter, "Samples of acknowledged write requests, by writer and what became of them.");
    for writer in &writers {
        for (outcome, samples) in
            [("added", writer.counts.samples_added), ("duplicate", writer.counts.samples_duplicate)]
        {
            out.sample(name, &[writer.labels(), vec![("outcome", outcome)]].concat(), samples as f64);
        }
    }
    let name = "chronolith_writer_rejected_samples_total";
    out.family(name, Kind::Counter, "Samples that were refused, by writer and reason.");
    for writer in &writers {
        for (reason, &samples) in
            RejectReason::ALL.iter().zip(&writer.counts.rejected).filter(|&(_, &samples)| samples > 0)
        {
            out.sample(name, &[writer.labels(), vec![("reason", reason.as_str())]].concat(), samples as f64);
        }
    }
    let name = "chronolith_writer_series_created_total";
    out.family(name, Kind::Counter, "Series that were created, by writer.");
    for writer in &writers {
        out.sample(name, &writer.labels(), writer.counts.series_created as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::BatchOutcome;
    use crate::telemetry::TextFormat;
    use crate::writers::accounts::NAMED_MAX;
    use crate::writers::{Answered, Protocol, Sender};

    fn text(book: &WriterBook) -> String {
        let mut out = Exposition::new(TextFormat::Prometheus);
        write_writers(&mut out, book);
        out.finish()
    }

    #[test]
    fn writers_past_the_bound_are_counted_together() {
        let book = WriterBook::default();
        for number in 0..2 * NAMED_MAX as u8 {
            let address = Some(std::net::IpAddr::from([10, 0, 0, number]));
            let sender = Sender { address, agent: Some("a\"b".to_owned()), ..Sender::unknown(Protocol::Text) };
            let mut outcome = BatchOutcome { added: 2, series_created: 1, ..BatchOutcome::default() };
            outcome.reject(RejectReason::TooOld, 0, 3, String::new);
            book.accepted(&sender, 0, &outcome, |_| None);
            book.stored(&sender, 0, &outcome);
            book.answered(&sender, 0, Answered::Refused);
        }
        let text = text(&book);
        for line in [
            r#"chronolith_writer_samples_total{address="10.0.0.0",agent="a\"b",user="",outcome="added"} 2"#,
            r#"chronolith_writer_rejected_samples_total{address="10.0.0.0",agent="a\"b",user="",reason="too_old"} 3"#,
            r#"chronolith_writer_series_created_total{address="other",agent="",user=""} 20"#,
            r#"chronolith_writer_requests_total{address="other",agent="",user="",outcome="refused"} 20"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        let created = text.lines().filter(|line| line.starts_with("chronolith_writer_series_created_total"));
        assert_eq!(created.count(), NAMED_MAX + 1);
    }
}
