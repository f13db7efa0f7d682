//! How far a replay is: a bar where stderr is a terminal, and a line in the log every few seconds.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::db::ReplayWatch;

/// Time between two looks at the replay.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// Looks between two lines in the log.
const LOOKS_PER_LINE: u32 = 15;

/// Reports a replay.
#[derive(Debug)]
pub struct ReplayReport {
    bar: Option<ProgressBar>,
    looks: u32,
}

impl ReplayReport {
    /// A report that has shown nothing yet.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let template = "replaying {wide_bar} {bytes}/{total_bytes}, {eta} left";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        ReplayReport { bar, looks: 0 }
    }

    /// Shows how far the replay is now.
    pub fn show(&mut self, watch: &ReplayWatch) {
        let (done, total) = watch.bytes();
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS_PER_LINE) {
            let segments = watch.segments();
            let percent = if total == 0 { 0 } else { u128::from(done) * 100 / u128::from(total) };
            tracing::info!(
                segment = segments.current,
                last_segment = segments.last,
                bytes = done,
                bytes_total = total,
                percent = percent as u64,
                "replaying the log"
            );
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for ReplayReport {
    fn default() -> Self {
        ReplayReport::new()
    }
}
