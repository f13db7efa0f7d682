//! The floor: the time up to which a block has the head's in-order samples.
//!
//! It rises in three steps, each of which must be over before the next begins: samples below are not accepted any more
//! ([`Head::raise_floor`]), so that the block misses none; queries that begin don't read them here any more
//! ([`Head::read_from`]), as the block has them; and when the queries that did are gone
//! ([`Head::wait_for_readers`]), they are dropped ([`Head::truncate`]).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Head;
use crate::model::TimestampMs;

impl Head {
    /// From now on no in-order sample below `floor_ms` is accepted. A floor never falls.
    ///
    /// To be called while no request is admitted: a request that is under way goes by the floor that it found. A start
    /// sets it before replay, which then passes over the samples below it.
    pub fn raise_floor(&self, floor_ms: TimestampMs) {
        self.shared.floor_ms.fetch_max(floor_ms, Ordering::AcqRel);
    }

    /// Lets replay pass over the out-of-order samples of groups up to this one: blocks have them. To be called before it.
    pub fn raise_out_of_order_floor(&self, group: u64) {
        self.shared.out_of_order_floor.fetch_max(group, Ordering::AcqRel);
    }

    /// The oldest time for which in-order samples are accepted.
    pub fn floor_ms(&self) -> TimestampMs {
        self.shared.floor_ms.load(Ordering::Acquire)
    }

    /// Queriers that are made from now on see no in-order sample below `from_ms`: blocks have them.
    pub fn read_from(&self, from_ms: TimestampMs) {
        self.shared.readers.read_from(from_ms);
    }

    /// Waits until all queriers, sources of their samples, sources of chunks and snapshots that are there now and may
    /// ask for in-order samples below `below_ms` are gone; says whether that was so in time. With the greatest time it
    /// waits for all of them.
    pub fn wait_for_readers(&self, below_ms: TimestampMs, timeout: Duration) -> bool {
        self.shared.readers.wait(below_ms, timeout)
    }

    /// The number of the next reader: those that are there now have smaller ones.
    pub fn next_reader(&self) -> u64 {
        self.shared.readers.epoch()
    }

    /// The number of the oldest reader that is there; that of the next one where there is none.
    pub fn oldest_reader(&self) -> u64 {
        self.shared.readers.oldest()
    }
}
