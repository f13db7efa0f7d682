//! The bodies that are arriving, and what they may hold together.
//!
//! A body is charged for what has come of it, not for what it announces, so an upload that stalls holds no more than it
//! sent. Where the bytes or the places run out, the upload that has made no progress for the longest gives way, and only
//! where none has stalled is the newcomer told to come again. Progress counts in steps: a byte now and then is none.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::telemetry::Counter;

/// Bytes that count as progress.
const STEP_BYTES: u64 = 16 << 10;
/// An upload without progress for this long gives way where there is want.
const YIELD_AFTER: Duration = Duration::from_secs(1);
/// Time between two looks for an upload that has stalled.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a body waits for others to give way, before its sender is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What bodies may take.
#[derive(Debug, Clone, Copy)]
pub struct IntakeLimits {
    /// Bytes of all bodies together.
    pub bytes_max: u64,
    /// How long one body may take.
    pub body_timeout: Duration,
    /// How long one body may go on without progress.
    pub stall_timeout: Duration,
}

/// All bodies.
pub struct Intake {
    limits: IntakeLimits,
    clock: Arc<dyn Clock>,
    bytes: AtomicU64,
    /// Uploads that had to wait for their client.
    slow: Mutex<Vec<Arc<Upload>>>,
    /// Bodies that wait for room.
    wanting: AtomicUsize,
    freed: Notify,
    /// Uploads that gave way to others.
    pub gave_way: Counter,
    /// Bodies that were told to come again.
    pub refused: Counter,
}

/// An upload that waits for its client.
#[derive(Debug)]
struct Upload {
    /// When the last step was complete, in milliseconds of the monotonic clock.
    progress_ms: AtomicU64,
    /// It was told to give way.
    cancelled: AtomicBool,
    cancel: Notify,
}

/// Why a body does not come in. Each may be sent again: a Prometheus drops for ever what is answered with 408, and a slow
/// network is no reason for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// It made no progress, or took too long.
    #[error("the body took too long to arrive; try again")]
    TooSlow,
    /// It had stalled, and gave way to another.
    #[error("the body had stalled, and gave way to others; try again")]
    GaveWay,
    /// The bodies that are arriving take all the memory that they may.
    #[error("the bodies that are arriving take all the memory that they may; try again")]
    Full,
}

/// What one body holds, for as long as this lives.
pub struct Held {
    intake: Arc<Intake>,
    /// When the body has to be there, in the monotonic clock.
    end: Duration,
    /// How long it may go on without progress.
    patience: Duration,
    /// Bytes that count as progress.
    step: u64,
    bytes: u64,
    /// Bytes that came, let go or not.
    came: u64,
    /// Bytes when the last step was complete.
    step_at: u64,
    progress: Duration,
    upload: Option<Arc<Upload>>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("limits", &self.limits).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Intake {
    /// An intake without bodies.
    pub fn new(limits: IntakeLimits, clock: Arc<dyn Clock>) -> Self {
        Intake {
            limits,
            clock,
            bytes: AtomicU64::new(0),
            slow: Mutex::default(),
            wanting: AtomicUsize::new(0),
            freed: Notify::new(),
            gave_way: Counter::default(),
            refused: Counter::default(),
        }
    }

    /// Bytes that bodies hold now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Begins a body.
    pub fn begin(self: &Arc<Self>) -> Held {
        let end = self.clock.monotonic() + self.limits.body_timeout;
        self.begin_with(end, self.limits.stall_timeout, STEP_BYTES)
    }

    /// Begins a body that is worked on as it comes, which may go on without end: each byte is progress.
    pub fn begin_stream(self: &Arc<Self>) -> Held {
        self.begin_with(Duration::MAX, self.limits.body_timeout, 1)
    }

    fn begin_with(self: &Arc<Self>, end: Duration, patience: Duration, step: u64) -> Held {
        let progress = self.clock.monotonic();
        Held { intake: self.clone(), end, patience, step, bytes: 0, came: 0, step_at: 0, progress, upload: None }
    }

    /// Tells the upload that has stalled for the longest to give way; says whether there is one.
    pub fn make_way(&self) -> bool {
        let now = millis(self.clock.monotonic());
        let uploads = self.uploads();
        let stalled = uploads.iter().filter(|upload| !upload.cancelled.load(Ordering::Relaxed));
        let slowest = stalled.min_by_key(|upload| upload.progress_ms.load(Ordering::Relaxed));
        let Some(upload) = slowest else { return false };
        if now.saturating_sub(upload.progress_ms.load(Ordering::Relaxed)) < millis(YIELD_AFTER) {
            return false;
        }
        upload.cancelled.store(true, Ordering::Relaxed);
        upload.cancel.notify_one();
        self.gave_way.add(1);
        true
    }

    fn uploads(&self) -> MutexGuard<'_, Vec<Arc<Upload>>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, bytes: u64) -> bool {
        let take = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= self.limits.bytes_max);
        self.bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }
}

impl Held {
    /// Charges the body for bytes that have come; waits for others to give way where there is no room.
    pub async fn grow(&mut self, bytes: u64) -> Result<(), IntakeError> {
        if !self.intake.charge(bytes) {
            let intake = self.intake.clone();
            let _wanting = Wanting::new(&intake);
            let room = async {
                loop {
                    let freed = intake.freed.notified();
                    tokio::pin!(freed);
                    // Listens before it looks, so that what is freed in between is not missed.
                    freed.as_mut().enable();
                    if intake.charge(bytes) {
                        return;
                    }
                    // It is not for its client that this one waits.
                    if let Some(upload) = &self.upload {
                        upload.progress_ms.store(millis(intake.clock.monotonic()), Ordering::Relaxed);
                    }
                    // Where none has stalled yet, one may have by the next look.
                    let _ = intake.make_way();
                    let _ = tokio::time::timeout(LOOK_INTERVAL, freed).await;
                }
            };
            if tokio::time::timeout(WAIT_MAX, room).await.is_err() {
                self.intake.refused.add(1);
                return Err(IntakeError::Full);
            }
            self.progress = intake.clock.monotonic();
        }
        self.bytes += bytes;
        self.came += bytes;
        if self.came - self.step_at >= self.step {
            self.step_at = self.came;
            self.progress = self.intake.clock.monotonic();
            if let Some(upload) = &self.upload {
                upload.progress_ms.store(millis(self.progress), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Waits for what the client sends next, no longer than it may take.
    pub async fn next<T>(&mut self, next: impl Future<Output = T>) -> Result<T, IntakeError> {
        tokio::pin!(next);
        // What is there already needs no clock and no place on the list.
        if let Some(there) = now_or_never(next.as_mut()).await {
            return Ok(there);
        }
        let intake = &self.intake;
        let upload = self.upload.get_or_insert_with(|| {
            let upload = Arc::new(Upload {
                progress_ms: AtomicU64::new(millis(self.progress)),
                cancelled: AtomicBool::new(false),
                cancel: Notify::new(),
            });
            intake.uploads().push(upload.clone());
            upload
        });
        let end = (self.progress + self.patience).min(self.end);
        let left = end.saturating_sub(intake.clock.monotonic());
        tokio::select! {
            arrived = tokio::time::timeout(left, next) => arrived.map_err(|_| IntakeError::TooSlow),
            () = upload.cancel.notified() => Err(IntakeError::GaveWay),
        }
    }

    /// Lets go of what was worked on.
    pub fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            self.intake.bytes.fetch_sub(bytes, Ordering::SeqCst);
            if self.intake.wanting.load(Ordering::SeqCst) > 0 {
                self.intake.freed.notify_waiters();
            }
        }
    }

    /// The body is whole: it waits for its client no more.
    pub fn complete(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.intake.uploads().retain(|other| !Arc::ptr_eq(other, &upload));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.complete();
        self.release();
    }
}

/// A body that waits for room, for as long as this lives.
struct Wanting<'a>(&'a AtomicUsize);

impl<'a> Wanting<'a> {
    fn new(intake: &'a Intake) -> Self {
        intake.wanting.fetch_add(1, Ordering::SeqCst);
        Wanting(&intake.wanting)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The future's value, if it has it now.
async fn now_or_never<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::clock::ManualClock;

    fn intake(bytes_max: u64) -> (Arc<ManualClock>, Arc<Intake>) {
        let clock = Arc::new(ManualClock::at(0));
        let limits = IntakeLimits {
            bytes_max,
            body_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_millis(50),
        };
        (clock.clone(), Arc::new(Intake::new(limits, clock)))
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn body_that_comes_at_once_is_charged_until_it_is_let_go() {
        let (_, intake) = intake(100);
        run(async {
            let mut held = intake.begin();
            assert_eq!(held.next(async { 7 }).await, Ok(7));
            held.grow(60).await.unwrap();
            assert!(intake.uploads().is_empty() && intake.bytes() == 60);
            drop(held);
            assert_eq!(intake.bytes(), 0);
        });
    }

    #[test]
    fn upload_that_stalled_gives_way_to_a_newcomer() {
        let (clock, intake) = intake(100);
        run(async {
            let mut stalled = intake.begin();
            stalled.grow(90).await.unwrap();
            let stalled = tokio::spawn(async move { stalled.next(pending::<()>()).await });
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(2));
            let mut newcomer = intake.begin();
            newcomer.grow(50).await.unwrap();
            assert_eq!(stalled.await.unwrap(), Err(IntakeError::GaveWay));
            assert_eq!((intake.bytes(), intake.gave_way.get()), (50, 1));
        });
    }

    #[test]
    fn upload_that_trickles_counts_as_stalled_and_one_that_goes_on_does_not() {
        let (clock, intake) = intake(1 << 20);
        run(async {
            let mut trickle = intake.begin();
            let mut steady = intake.begin();
            let _ = tokio::time::timeout(Duration::ZERO, trickle.next(pending::<()>())).await;
            let _ = tokio::time::timeout(Duration::ZERO, steady.next(pending::<()>())).await;
            clock.advance(Duration::from_secs(2));
            trickle.grow(1).await.unwrap();
            steady.grow(STEP_BYTES).await.unwrap();
            assert!(intake.make_way());
            assert!(!intake.make_way(), "the steady one stays");
            assert_eq!(trickle.next(pending::<()>()).await, Err(IntakeError::GaveWay));
        });
    }

    #[test]
    fn body_that_finds_no_room_is_told_to_come_again() {
        let (_, intake) = intake(100);
        run(async {
            let mut busy = intake.begin();
            busy.grow(90).await.unwrap();
            let mut newcomer = intake.begin();
            assert_eq!(newcomer.grow(50).await, Err(IntakeError::Full));
            assert_eq!((intake.bytes(), intake.refused.get()), (90, 1));
        });
    }

    #[test]
    fn body_that_waited_for_room_has_not_stalled() {
        let (clock, intake) = intake(100);
        run(async {
            let mut busy = intake.begin();
            busy.grow(60).await.unwrap();
            let mut waiting = intake.begin();
            let _ = tokio::time::timeout(Duration::ZERO, waiting.next(pending::<()>())).await;
            let grows = async {
                waiting.grow(60).await.unwrap();
                waiting.next(tokio::task::yield_now()).await
            };
            let frees = async {
                tokio::task::yield_now().await;
                clock.advance(YIELD_AFTER * 2);
                // It looks again, and for others that have stalled.
                intake.freed.notify_waiters();
                tokio::task::yield_now().await;
                drop(busy);
            };
            let (grown, ()) = tokio::join!(grows, frees);
            assert_eq!((grown, intake.gave_way.get()), (Ok(()), 0));
        });
    }

    #[test]
    fn body_that_stalls_or_takes_too_long_ends() {
        let (clock, intake) = intake(100);
        run(async {
            let mut stalled = intake.begin();
            assert_eq!(stalled.next(pending::<()>()).await, Err(IntakeError::TooSlow));
            let mut long = intake.begin();
            clock.advance(Duration::from_secs(301));
            assert_eq!(long.next(pending::<()>()).await, Err(IntakeError::TooSlow));
            drop((stalled, long));
            assert!(intake.uploads().is_empty());
        });
    }
}
