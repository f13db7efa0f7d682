//! What the black-box tests stand on: the program as a process, real peers beside it, and a sender of their own.
//!
//! Nothing here links against the library: these tests see what a user sees. Everything that is started is killed when
//! its handle is dropped.

pub mod certificates;
pub mod chronolith;
pub mod faults;
pub mod http;
pub mod load;
pub mod packages;
pub mod peers;
pub mod process;
pub mod random;
pub mod remote_write;
pub mod remote_write_2;

pub use chronolith::{Chronolith, Settings};
pub use process::{Process, wait_for};
pub use random::Random;

/// The time by the wall clock.
pub fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}
