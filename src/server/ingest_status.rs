//! `/api/v1/storage/ingest`: what came by each protocol since the start, and what became of it. The counters are those of
//! `/metrics`; rates are for those who ask twice.

use std::time::Duration;

use hyper::Response;

use super::service::Service;
use crate::api::json::JsonWriter;
use crate::api::response::{self, ApiBody};
use crate::api::values::write_moment;
use crate::ingest::{IngestMetrics, Protocol, ProtocolMetrics};
use crate::storage::{ExemplarRejectReason, RejectReason};

pub(super) fn answer(service: &Service) -> Response<ApiBody> {
    let started_ms = (service.metrics.started_seconds * 1000.0).round() as i64;
    response::success(|json| {
        json.begin_object();
        write_moment(json.key("since"), Some(started_ms));
        write_moment(json.key("time"), Some(service.clock.now_ms()));
        write_protocols(json, &service.write.metrics, service.clock.monotonic());
        json.end_object();
    })
}

fn write_protocols(json: &mut JsonWriter<'_>, ingest: &IngestMetrics, now: Duration) {
    // By which rates are computed: it does not jump when somebody sets the clock.
    json.key("uptime_seconds").float(now.as_secs_f64()).key("protocols").begin_list();
    for protocol in Protocol::ALL {
        json.begin_object().key("protocol").string(protocol.as_str());
        write_protocol(json, ingest.of(protocol), now);
        json.end_object();
    }
    json.end_list();
}

fn write_protocol(json: &mut JsonWriter<'_>, metrics: &ProtocolMetrics, now: Duration) {
    let rejected = RejectReason::ALL.map(|reason| (reason.as_str(), metrics.rejected(reason)));
    let exemplars = ExemplarRejectReason::ALL.map(|reason| (reason.as_str(), metrics.exemplars_rejected(reason)));
    let total = |counts: &[(&str, u64)]| counts.iter().map(|(_, count)| count).sum::<u64>();
    json.key("requests").begin_object().key("ok").uint(metrics.requests_ok.get());
    json.key("refused").uint(metrics.requests_refused.get());
    json.key("unavailable").uint(metrics.requests_unavailable.get()).end_object();
    json.key("samples").begin_object().key("added").uint(metrics.samples_added.get());
    json.key("duplicate").uint(metrics.samples_duplicate.get()).key("rejected").uint(total(&rejected)).end_object();
    json.key("rejected").begin_object();
    for (reason, count) in rejected.iter().filter(|(_, count)| *count > 0) {
        json.key(reason).uint(*count);
    }
    json.end_object().key("histograms").uint(metrics.histograms_stored.get());
    json.key("exemplars").begin_object().key("stored").uint(metrics.exemplars_stored.get());
    json.key("rejected").uint(total(&exemplars)).end_object();
    json.key("body_bytes").uint(metrics.body_bytes.get()).key("decoded_bytes").uint(metrics.decoded_bytes.get());
    let [median, _, slow] = metrics.answer_time.values(now).quantiles;
    json.key("answer_seconds").begin_object().key("p50").float(median).key("p99").float(slow).end_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingest_counts_stand_under_their_protocol() {
        let ingest = IngestMetrics::default();
        let otlp = ingest.of(Protocol::OtlpHttp);
        otlp.samples_added.add(7);
        otlp.requests_refused.add(1);
        otlp.body_bytes.add(40);
        otlp.answer_time.observe(Duration::from_secs(1), Duration::from_millis(4));
        let mut text = Vec::new();
        let mut json = JsonWriter::new(&mut text);
        json.begin_object();
        write_protocols(&mut json, &ingest, Duration::from_secs(2));
        json.end_object();
        json.finish().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(answer["uptime_seconds"], 2);
        let of = |name: &str| {
            let protocols = answer["protocols"].as_array().unwrap();
            protocols.iter().find(|protocol| protocol["protocol"] == name).unwrap().clone()
        };
        let otlp = of("otlp-http");
        assert_eq!((&otlp["samples"]["added"], &otlp["requests"]["refused"]), (&7.into(), &1.into()));
        assert_eq!((&otlp["body_bytes"], &otlp["rejected"]), (&40.into(), &serde_json::json!({})));
        assert!((otlp["answer_seconds"]["p99"].as_f64().unwrap() - 0.004).abs() < 0.0005);
        let text = of("text");
        assert_eq!(text["samples"], serde_json::json!({ "added": 0, "duplicate": 0, "rejected": 0 }));
        assert!(text["answer_seconds"]["p99"].is_null());
    }
}
