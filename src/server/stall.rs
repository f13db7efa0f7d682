//! What a client does not take of what it is sent ends.
//!
//! Without this a client that asks for much and reads nothing would hold its answer, and its connection, for ever. A write
//! that waits ends the connection. Over HTTP/2 a client may go on reading that and open no window for one of its answers:
//! no write waits then, but the answer's next piece is not asked for, and the stream ends; others on the connection go on.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::clock::Clock;

/// A connection with a bound on how long a write may make no progress.
pub(super) struct StallGuard<S> {
    stream: S,
    timeout: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> StallGuard<S> {
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        StallGuard { stream, timeout, waiting: None }
    }

    /// Notes what became of a write; one that waits for too long becomes an error.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let timeout = self.timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, ended)
    }
}

tokio::task_local! {
    /// What is being sent by the task that polls.
    static SENDING: Arc<Sending>;
}

/// The answer that a stream sends.
struct Sending {
    clock: Arc<dyn Clock>,
    /// Since when its next piece was not asked for, in microseconds of the monotonic clock; [`NOTHING`] where it is ours to
    /// go on.
    untaken_since: AtomicU64,
}

const NOTHING: u64 = u64::MAX;

impl Sending {
    fn is_untaken(&self) {
        self.untaken_since.store(micros(self.clock.monotonic()), Ordering::Relaxed);
    }

    fn is_taken(&self) {
        self.untaken_since.store(NOTHING, Ordering::Relaxed);
    }

    /// What is left of the time for which a piece may be untaken; `None` where none is.
    fn left(&self, timeout: Duration) -> Option<Duration> {
        let since = Some(self.untaken_since.load(Ordering::Relaxed)).filter(|since| *since != NOTHING)?;
        let waited = micros(self.clock.monotonic()).saturating_sub(since);
        Some(timeout.saturating_sub(Duration::from_micros(waited)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Runs the streams of HTTP/2 connections, each as long as its client takes its answer.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) clock: Arc<dyn Clock>,
    /// How long a piece may be untaken.
    pub(super) timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        // What ends early is dropped, and that resets the stream.
        tokio::spawn(while_taken(self.clone(), stream));
    }
}

/// Runs `stream` to its end, or until a piece of the answer that it sends was untaken for too long.
async fn while_taken<F: Future>(Streams { clock, timeout }: Streams, stream: F) -> Option<F::Output> {
    let sending = Arc::new(Sending { clock, untaken_since: AtomicU64::new(NOTHING) });
    let mut stream = pin!(SENDING.scope(sending.clone(), stream));
    let mut waiting: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = stream.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        // Only the stream itself gives out pieces, so whatever changes this has just been polled.
        loop {
            let Some(left) = sending.left(timeout) else { return Poll::Pending };
            if left.is_zero() {
                return Poll::Ready(None);
            }
            // One that was set for an earlier piece wakes too early, and is set again.
            let sleep = waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            waiting = None;
        }
    })
    .await
}

/// A body that notes when its pieces are asked for, where a stream sends it.
pub(super) struct WatchedBody<B> {
    body: B,
    sending: Option<Arc<Sending>>,
}

impl<B> WatchedBody<B> {
    /// To be called by the stream that sends it.
    pub(super) fn new(body: B) -> Self {
        let sending = SENDING.try_with(Arc::clone).ok();
        sending.iter().for_each(|sending| sending.is_untaken());
        WatchedBody { body, sending }
    }
}

impl<B: Body + Unpin> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Some(sending) = &self.sending {
            // The next one is asked for when this one is sent.
            if matches!(frame, Poll::Ready(Some(_))) { sending.is_untaken() } else { sending.is_taken() }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        self.sending.iter().for_each(|sending| sending.is_taken());
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn stream_ends_when_its_next_piece_is_not_asked_for_and_not_while_it_waits_for_us() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock = Arc::new(ManualClock::at(0));
        let streams = Streams { clock: clock.clone(), timeout: Duration::from_secs(60) };
        // A stream that does `before`, waits for longer than a piece may, and looks whether it is still there.
        let survives = |before: fn(&mut WatchedBody<Full<&'static [u8]>>)| {
            let clock = clock.clone();
            let stream = async move {
                let mut body = WatchedBody::new(Full::new(&b"piece"[..]));
                before(&mut body);
                clock.advance(Duration::from_secs(61));
                tokio::task::yield_now().await;
                drop(body);
            };
            runtime.block_on(while_taken(streams.clone(), stream)).is_some()
        };
        fn ask(body: &mut WatchedBody<Full<&'static [u8]>>) {
            let context = &mut Context::from_waker(std::task::Waker::noop());
            let _ = Pin::new(body).poll_frame(context);
        }
        assert!(!survives(|_body| {}), "no window was ever opened");
        assert!(!survives(ask), "the first piece was sent, and then nothing was taken");
        assert!(survives(|body| (0..2).for_each(|_| ask(body))), "all was taken");
    }

    #[test]
    fn write_that_nobody_reads_ends_and_one_that_is_read_does_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(10);
            let mut guarded = StallGuard::new(near, Duration::from_millis(50));
            let writing = tokio::spawn(async move {
                let taken = guarded.write_all(&[7; 100]).await;
                (taken, guarded.write_all(&[7; 100]).await.map_err(|error| error.kind()))
            });
            let mut buffer = [0; 100];
            far.read_exact(&mut buffer).await.unwrap();
            let (taken, untaken) = writing.await.unwrap();
            taken.unwrap();
            assert_eq!(untaken, Err(io::ErrorKind::TimedOut));
        });
    }
}
