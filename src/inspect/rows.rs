//! What the reports of this module have in common.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use crate::model::TimestampMs;

/// The first rows of a report; the rest are counted.
#[derive(Debug, Clone, Serialize)]
pub struct Rows<T> {
    /// The rows that were kept.
    pub rows: Vec<T>,
    /// How many more there are.
    pub rows_left_off: u64,
    #[serde(skip)]
    rows_max: usize,
}

impl<T> Rows<T> {
    /// None yet; at most `rows_max` will be kept.
    pub(super) fn new(rows_max: usize) -> Self {
        Rows { rows: Vec::new(), rows_left_off: 0, rows_max }
    }

    pub(super) fn push(&mut self, row: T) {
        if self.rows.len() < self.rows_max {
            self.rows.push(row);
        } else {
            self.rows_left_off += 1;
        }
    }

    /// Whether further rows are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= self.rows_max
    }

    /// Counts a row that nobody made.
    pub(super) fn leave_off(&mut self) {
        self.rows_left_off += 1;
    }

    /// The rows as a table.
    pub(super) fn to_table<const N: usize>(&self, header: [&str; N], cells: impl Fn(&T) -> [String; N]) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(header);
        for row in &self.rows {
            table.add_row(cells(row));
        }
        let mut out = table.to_string();
        if self.rows_left_off > 0 {
            out.push_str(&format!("\nand {} more rows", self.rows_left_off));
        }
        out
    }
}

/// A time as people read it.
pub(super) fn time_text(timestamp_ms: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(timestamp_ms)
        .map_or_else(|_| format!("{timestamp_ms} ms"), |moment| moment.to_string())
}

/// A number of bytes as people read it.
pub(super) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{scaled:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_the_largest_unit_that_fits() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB"), (5 << 50, "5120.0 TiB")]
        {
            assert_eq!(bytes_text(bytes), text);
        }
    }

    #[test]
    fn rows_past_the_bound_are_counted() {
        let mut rows = Rows::new(2);
        (0..5).for_each(|number| rows.push(number));
        let table = rows.to_table(["n"], |number| [number.to_string()]);
        assert_eq!((rows.rows.len(), rows.rows_left_off), (2, 3));
        assert!(table.contains("and 3 more rows"), "{table}");
    }
}
