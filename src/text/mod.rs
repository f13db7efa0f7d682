//! Samples as text: Prometheus' text format and OpenMetrics, read line by line from a stream of any length.
//!
//! | | Prometheus text 0.0.4 | OpenMetrics 1.0 |
//! |---|---|---|
//! | time of a sample | milliseconds, whole | seconds, a decimal number |
//! | end | end of the file | the line `# EOF`, without which the text was cut off |
//! | behind a sample | nothing | perhaps an exemplar |
//! | metadata | `# TYPE`, `# HELP` | also `# UNIT` |
//!
//! Names outside of `[a-zA-Z_:][a-zA-Z0-9_:]*` stand in quotes, the metric's own among the labels. Both formats are read
//! a little more generously than they are defined: any run of blanks separates, lines may be empty, and a comment that tells
//! nothing known is a comment. The series `..._created` of OpenMetrics are series like others, as in Prometheus. A fault
//! is told with its line and column; who reads says whether it ends the reading.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/> and <https://prometheus.io/docs/specs/om/>.

mod line;
mod reader;

pub use line::{Dialect, ExemplarLine, Fact, LabelPairs, Line, LineError, SampleLine, TextFormat, parse_line};
pub use reader::{LINE_BYTES_MAX, LineReader, TextError, TextReader};
