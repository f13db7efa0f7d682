//! Tests of the book of writers.

use std::net::Ipv4Addr;

use super::accounts::{AGENTS_MAX, NAMED_MAX, OTHER_AGENTS, WRITERS_MAX};
use super::journal::{BYTES_MAX, RING_ENTRIES, RINGS_MAX};
use super::*;

fn sender(address: u32, agent: &str) -> Sender {
    Sender {
        protocol: Protocol::RemoteWrite1,
        address: Some(Ipv4Addr::from(address).into()),
        agent: Some(agent.to_owned()),
        user: None,
    }
}

fn stored(added: u64) -> BatchOutcome {
    BatchOutcome { added, ..BatchOutcome::default() }
}

fn refused(samples: u64, detail: &str) -> BatchOutcome {
    let mut outcome = BatchOutcome::default();
    (0..samples).for_each(|index| {
        outcome.reject(RejectReason::OutOfOrder, index as usize, 1, || format!("{detail} {index}"));
    });
    outcome
}

fn total(view: &AccountsView) -> u64 {
    view.writers.iter().map(|account| account.counts.samples_added).sum::<u64>() + view.others.samples_added
}

#[test]
fn writers_are_told_apart_by_address_agent_and_user() {
    let book = WriterBook::default();
    let mut alice = sender(1, "a");
    alice.user = Some("alice".to_owned());
    for (sender, added) in [(&sender(1, "a"), 1), (&sender(1, "b"), 2), (&sender(2, "a"), 4), (&alice, 8)] {
        book.stored(sender, 5, &stored(added));
        book.answered(sender, 5, Answered::Ok);
        book.answered(sender, 9, Answered::Refused);
    }
    let view = book.accounts();
    let mut added: Vec<u64> = view.writers.iter().map(|account| account.counts.samples_added).collect();
    added.sort_unstable();
    assert_eq!(added, [1, 2, 4, 8]);
    assert!(view.writers.iter().all(|account| (account.first_ms, account.last_ms) == (5, 9)));
    assert!(view.writers.iter().all(|account| account.counts.requests_ok + account.counts.requests_refused == 2));
}

#[test]
fn writer_keeps_its_number_and_shares_it_with_nobody() {
    let book = WriterBook::default();
    let numbers: Vec<WriterNumber> = (0..3).map(|address| book.number(&sender(address, "a"), 0)).collect();
    assert_eq!(numbers, [1, 2, 3].map(WriterNumber));
    assert_eq!(book.number(&sender(1, "a"), 9), WriterNumber(2));
}

#[test]
fn writers_past_the_bound_take_the_place_of_the_smallest_and_no_count_is_lost() {
    let book = WriterBook::default();
    book.stored(&sender(0, "steady"), 0, &stored(1000));
    for address in 1..3 * WRITERS_MAX as u32 {
        book.stored(&sender(address, "passing"), 0, &stored(1));
    }
    let view = book.accounts();
    assert_eq!(view.writers.len(), WRITERS_MAX);
    assert!(view.writers.iter().any(|account| account.writer.agent == "steady"));
    assert_eq!(total(&view), 1000 + 3 * WRITERS_MAX as u64 - 1);
}

#[test]
fn number_of_a_writer_that_made_room_is_not_given_again() {
    let book = WriterBook::default();
    let numbers: std::collections::BTreeSet<WriterNumber> =
        (0..2 * WRITERS_MAX as u32).map(|address| book.number(&sender(address, "a"), 0)).collect();
    assert_eq!(numbers.len(), 2 * WRITERS_MAX);
}

#[test]
fn writers_without_a_number_left_are_others() {
    let book = WriterBook::default();
    let last = (0..70_000).map(|address| book.number(&sender(address, "a"), 0)).last();
    assert_eq!(last, Some(WriterNumber::OTHERS));
}

#[test]
fn program_with_ever_new_names_is_one_writer_past_a_few() {
    let book = WriterBook::default();
    book.stored(&sender(7, "good"), 0, &stored(1));
    for number in 0..1000 {
        book.stored(&sender(9, &format!("agent-{number}")), 0, &stored(1));
    }
    let view = book.accounts();
    assert_eq!(view.writers.len(), 1 + AGENTS_MAX + 1);
    let others = view.writers.iter().find(|account| account.writer.agent == OTHER_AGENTS);
    assert_eq!(others.map(|account| account.counts.samples_added), Some(1000 - AGENTS_MAX as u64));
    assert_eq!(total(&view), 1001);
}

#[test]
fn long_names_are_cut_at_a_character() {
    let book = WriterBook::default();
    book.stored(&sender(1, &"é".repeat(1000)), 0, &stored(1));
    assert_eq!(book.accounts().writers[0].writer.agent.len(), NAME_BYTES_MAX);
}

#[test]
fn named_counts_never_fall_and_add_up_whoever_is_named() {
    let book = WriterBook::default();
    let (mut before, mut others_before) = (std::collections::HashMap::new(), 0);
    let mut sent = 0;
    for round in 0..60u64 {
        for address in 0..2 * NAMED_MAX as u64 {
            // Those with higher addresses overtake the others.
            let added = if round < 20 { 100 - address } else { address * address };
            book.stored(&sender(address as u32, "a"), 0, &stored(added));
            sent += added;
        }
        let (named, others) = book.named();
        assert_eq!(named.len(), NAMED_MAX);
        assert!(others.samples_added >= others_before);
        others_before = others.samples_added;
        for (writer, counts) in named {
            let last = before.insert(writer.clone(), (round, counts.samples_added));
            assert!(last.is_none_or(|(at, last)| at + 1 < round || last <= counts.samples_added), "{writer:?}");
        }
    }
    let (named, others) = book.named();
    let (named_sum, least) = (
        named.iter().map(|(_, counts)| counts.samples_added).sum::<u64>(),
        named.iter().map(|(writer, _)| writer.address).min(),
    );
    assert!(named_sum + others.samples_added <= sent);
    assert!(least > Some(Some(Ipv4Addr::from(NAMED_MAX as u32 / 2).into())), "{least:?}");
}

#[test]
fn noisy_writer_pushes_out_nothing_of_others() {
    let book = WriterBook::default();
    let labels = |_| Some(LabelSet::from_pairs([("__name__", "up")]));
    book.accepted(&sender(1, "quiet"), 1, &refused(1, "quiet"), labels);
    for round in 0..1000 {
        book.accepted(&sender(2, "noisy"), 2 + round, &refused(20, "noisy"), labels);
        book.refuse(&sender(2, "noisy"), 2 + round, Answered::Refused, RequestFault::Malformed, "no protobuf");
    }
    let view = book.rejects();
    assert_eq!(view.entries.len(), 1 + 2 * RING_ENTRIES);
    assert!(view.entries.iter().any(|entry| entry.detail == "quiet 0"));
    assert!(view.entries.windows(2).all(|pair| pair[0].sequence > pair[1].sequence));
    let of = |agent: &str, cause| {
        view.rings.iter().find(|ring| ring.writer.agent == agent && ring.cause == cause).map(|ring| ring.refused)
    };
    assert_eq!(of("noisy", Cause::Sample(RejectReason::OutOfOrder)), Some(20_000));
    assert_eq!(of("noisy", Cause::Request(RequestFault::Malformed)), Some(1000));
    assert_eq!(of("quiet", Cause::Sample(RejectReason::OutOfOrder)), Some(1));
}

#[test]
fn journal_stays_within_its_bounds_whoever_sends_what() {
    let book = WriterBook::default();
    let long = "x".repeat(10_000);
    let labels = |series: usize| {
        Some(LabelSet::from_pairs([("__name__", "up"), ("series", &series.to_string()), ("l", &long[..3000])]))
    };
    for address in 0..2 * RINGS_MAX as u32 {
        book.accepted(&sender(address, &long), address.into(), &refused(16, &long), labels);
    }
    let view = book.rejects();
    assert_eq!(view.rings.len(), RINGS_MAX);
    let bytes: usize = view
        .entries
        .iter()
        .map(|entry| entry.detail.len() + entry.labels.as_ref().map_or(0, LabelSet::heap_bytes))
        .sum();
    assert!((BYTES_MAX / 2..=BYTES_MAX).contains(&bytes), "{bytes}");
    assert!(view.entries[0].detail.len() <= 1024);
    // The newest is there, and what was silent for longest is gone.
    assert!(view.entries.iter().any(|entry| entry.at_ms == 2 * RINGS_MAX as i64 - 1));
    assert!(view.rings.iter().all(|ring| ring.first_ms >= RINGS_MAX as i64));
}

#[test]
fn labels_of_a_refused_series_are_kept_unless_they_are_too_long() {
    let book = WriterBook::default();
    let outcome = refused(2, "late");
    let long = "v".repeat(10_000);
    let labels =
        |series| Some(LabelSet::from_pairs([("__name__", "up"), ("l", if series == 0 { "short" } else { &long })]));
    book.accepted(&sender(1, "a"), 1, &outcome, labels);
    let kept: Vec<bool> = book.rejects().entries.iter().map(|entry| entry.labels.is_some()).collect();
    assert_eq!(kept, [false, true]);
}

#[test]
fn causes_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = Cause::all().map(|cause| (cause.unit(), cause.as_str())).collect();
    assert_eq!(names.len(), Cause::all().count());
}
