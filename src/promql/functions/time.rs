//! Functions of time: the evaluation time itself, and parts of a date in UTC.

use super::columns::{Args, map_floats};
use super::{CallContext, FunctionError};
use crate::model::LabelSet;
use crate::promql::value::{ABSENT, SeriesSteps, StepsValue, is_absent};

type Result = std::result::Result<StepsValue, FunctionError>;

/// `time()`: the time of the step, in seconds.
pub(super) fn time(context: &CallContext<'_>, _: Vec<StepsValue>) -> Result {
    Ok(StepsValue::Scalar((0..context.steps.count).map(|step| context.steps.at(step) as f64 / 1000.0).collect()))
}

/// `timestamp(v)` of anything but a selector: the values are as old as the step.
pub(super) fn timestamp(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let vector = Args::new(context.call.function.name, args).vector()?;
    let stamped = vector.into_iter().map(|series| {
        let value_at = |step: usize| {
            let present = !is_absent(series.values[step]);
            if present { context.steps.at(step) as f64 / 1000.0 } else { ABSENT }
        };
        let values = (0..series.values.len()).map(value_at).collect();
        SeriesSteps { labels: series.labels.clone(), drop_name: true, values, histograms: Vec::new() }
    });
    Ok(StepsValue::Vector(stamped.collect()))
}

/// A moment in UTC on the proleptic Gregorian calendar.
struct Moment {
    days: i64,
    second_of_day: i64,
}

/// A day on the calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

/// Seconds from the first day that Go's calendar has, 1 January of the year -292277022399, to the epoch.
const FIRST_DAY: u64 = 9_223_372_028_715_321_600;

impl Moment {
    /// Seconds are counted from Go's first day without a sign, so what lies before it comes out at the far end.
    fn from_seconds(seconds: i64) -> Self {
        let counted = seconds.cast_unsigned().wrapping_add(FIRST_DAY);
        let days = (counted / 86_400).cast_signed() - (FIRST_DAY / 86_400).cast_signed();
        Moment { days, second_of_day: (counted % 86_400).cast_signed() }
    }

    /// The calendar repeats every 400 years of 146,097 days. Counted from a 1 March, the leap day ends a year, so
    /// years, and months of 153 days per five, follow by division.
    fn date(&self) -> Date {
        let from_march_of_year_0 = self.days + 719_468;
        let cycle = from_march_of_year_0.div_euclid(146_097);
        let day_of_cycle = from_march_of_year_0.rem_euclid(146_097);
        let year_of_cycle =
            (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
        Date { year, month, day }
    }
}

impl Date {
    fn is_leap_year(&self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(&self) -> i64 {
        self.days_of(self.month)
    }

    fn days_of(&self, month: i64) -> i64 {
        match month {
            2 if self.is_leap_year() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(&self) -> i64 {
        (1..self.month).map(|month| self.days_of(month)).sum::<i64>() + self.day
    }
}

/// Applies `part` to each value as seconds since the epoch; without an argument, to the time of each step.
fn part_of_date(context: &CallContext<'_>, args: Vec<StepsValue>, part: fn(&Moment) -> i64) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    if args.is_empty() {
        let seconds = (0..context.steps.count).map(|step| context.steps.at(step) / 1000);
        let values = seconds.map(|seconds| part(&Moment::from_seconds(seconds)) as f64).collect();
        let series = SeriesSteps { labels: LabelSet::empty(), drop_name: false, values, histograms: Vec::new() };
        return Ok(StepsValue::Vector(vec![series]));
    }
    Ok(map_floats(args.vector()?, |_, value| part(&Moment::from_seconds(whole_seconds(value))) as f64))
}

/// The value without its fraction. What fits no integer becomes the smallest, as on the processors that Prometheus
/// mostly runs on.
fn whole_seconds(value: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&value) { value as i64 } else { i64::MIN }
}

macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident = $part:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) fn $name(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
                part_of_date(context, args, $part)
            }
        )*
    };
}

parts! {
    /// `day_of_month`: from 1.
    day_of_month = |moment| moment.date().day;
    /// `day_of_week`: from 0, Sunday. The epoch was a Thursday.
    day_of_week = |moment| (moment.days + 4).rem_euclid(7);
    /// `day_of_year`: from 1.
    day_of_year = |moment| moment.date().day_of_year();
    /// `days_in_month`: 28 to 31.
    days_in_month = |moment| moment.date().days_in_month();
    /// `hour`: from 0.
    hour = |moment| moment.second_of_day / 3_600;
    /// `minute`: from 0.
    minute = |moment| moment.second_of_day / 60 % 60;
    /// `month`: from 1.
    month = |moment| moment.date().month;
    /// `year`.
    year = |moment| moment.date().year;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_agrees_with_the_calendar_library_on_many_days() {
        for days in (-700_000..2_000_000).step_by(317) {
            let moment = Moment::from_seconds(days * 86_400 + 86_399);
            let date = moment.date();
            let epoch = jiff::civil::date(1970, 1, 1);
            let expected = epoch.checked_add(jiff::Span::new().days(days)).expect("a date in range");
            assert_eq!((date.year, date.month, date.day), {
                (i64::from(expected.year()), i64::from(expected.month()), i64::from(expected.day()))
            });
            assert_eq!(date.day_of_year(), i64::from(expected.day_of_year()));
            assert_eq!(date.days_in_month(), i64::from(expected.days_in_month()));
        }
    }

    #[test]
    fn whole_seconds_of_what_fits_no_integer_is_the_smallest() {
        assert_eq!(whole_seconds(-1.9), -1);
        assert_eq!(whole_seconds(f64::NAN), i64::MIN);
        assert_eq!(whole_seconds(f64::INFINITY), i64::MIN);
        assert_eq!(whole_seconds(1e300), i64::MIN);
        let wrapped = Moment::from_seconds(i64::MIN).date();
        assert_eq!((wrapped.year, wrapped.month, wrapped.day), (292_277_026_596, 12, 4));
        assert_eq!(Moment::from_seconds(i64::MAX).date().year, 292_277_026_596);
        assert_eq!(Moment::from_seconds(-1).date().year, 1969);
    }
}
