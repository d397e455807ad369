//! Calendar events as systemd writes them (systemd.time(7)): `Sun 03:00`, `Mon..Fri 22:00 Europe/Berlin`, `*-*~01 04:30`.
//!
//! `[WEEKDAYS] [DATE] [TIME] [ZONE]`, each part left out when it says nothing: any day, every date, midnight, the host's
//! zone. Numbers are lists (`1,15`), ranges (`1..5`) and repetitions (`0/15`, `8..18/2`); `~` counts days from the end of
//! the month. The words `hourly`, `daily`, `weekly`, `monthly` and so on stand for what systemd means by them.
//!
//! When clocks are put forward, a time that is skipped happens as much later as was skipped (02:30 at 03:30); when they
//! are put back, a time that comes twice happens the first time.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

mod parse;

/// How far ahead an event is looked for, in years.
const HORIZON: i16 = 50;

/// A calendar event.
#[derive(Debug, Clone)]
pub struct Calendar {
    text: String,
    /// Days of the week, Monday first; all when none is named.
    weekdays: [bool; 7],
    years: Numbers,
    months: Numbers,
    days: Numbers,
    /// Whether `days` counts from the end of the month, 1 the last.
    from_end: bool,
    hours: Numbers,
    minutes: Numbers,
    seconds: Numbers,
    zone: Option<TimeZone>,
}

/// Some numbers: any of these ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbers(Vec<Range>);

/// Every `step`th number from `start` to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: i16,
    end: i16,
    step: i16,
}

impl Numbers {
    fn has(&self, number: i16) -> bool {
        self.0.iter().any(|r| (r.start..=r.end).contains(&number) && (number - r.start) % r.step == 0)
    }

    /// The first of these numbers that is `from` or more, up to `most`.
    fn first(&self, from: i16, most: i16) -> Option<i16> {
        (from..=most).find(|number| self.has(*number))
    }
}

/// A text that is no calendar event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no calendar event: {why}; write it as systemd does, such as `Sun 03:00` or `*-*-01 04:30`")]
pub struct CalendarError {
    text: String,
    why: String,
}

impl FromStr for Calendar {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        parse::calendar(text).map_err(|why| CalendarError { text: text.chars().take(100).collect(), why })
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Calendar {
    /// When it happens next after a moment; `None` when it never does again.
    pub fn next(&self, after: Timestamp, host: &TimeZone) -> Option<Timestamp> {
        let zone = self.zone.as_ref().unwrap_or(host);
        let local = after.to_zoned(zone.clone()).datetime();
        let mut from = local;
        while let Some(found) = self.next_local(from, local.year().saturating_add(HORIZON)) {
            if let Ok(at) = zone.to_ambiguous_timestamp(found).compatible()
                && at > after
            {
                return Some(at);
            }
            from = found.checked_add(1.second()).ok()?;
        }
        None
    }

    /// The first local time from `from` on, in whole seconds, whatever clocks do.
    fn next_local(&self, from: DateTime, last_year: i16) -> Option<DateTime> {
        let mut date = from.date();
        let mut time = from.time();
        loop {
            date = self.next_date(date, last_year)?;
            if date != from.date() {
                time = Time::midnight();
            }
            if let Some(time) = self.next_time(time) {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            time = Time::midnight();
            if date == from.date() {
                return None;
            }
        }
    }

    fn next_date(&self, mut date: Date, last_year: i16) -> Option<Date> {
        while date.year() <= last_year {
            if !self.years.has(date.year()) {
                date = Date::new(date.year().checked_add(1)?, 1, 1).ok()?;
            } else if !self.months.has(date.month().into()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.has_day(date) {
                return Some(date);
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = i16::from(date.day());
        let number = if self.from_end { i16::from(date.days_in_month()) - day + 1 } else { day };
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or_default();
        self.days.has(number) && self.weekdays.get(weekday) == Some(&true)
    }

    fn next_time(&self, from: Time) -> Option<Time> {
        let (h, m, s) = (i16::from(from.hour()), i16::from(from.minute()), i16::from(from.second()));
        let s = if from.subsec_nanosecond() > 0 { s + 1 } else { s };
        let time = |h: i16, m: i16, s: i16| {
            let part = |n: i16| i8::try_from(n).ok();
            Time::new(part(h)?, part(m)?, part(s)?, 0).ok()
        };
        if self.hours.has(h) {
            if self.minutes.has(m)
                && let Some(s) = self.seconds.first(s, 59)
            {
                return time(h, m, s);
            }
            if let Some(m) = self.minutes.first(m + 1, 59) {
                return time(h, m, self.seconds.first(0, 59)?);
            }
        }
        time(self.hours.first(h + 1, 23)?, self.minutes.first(0, 59)?, self.seconds.first(0, 59)?)
    }
}

/// The day's place in the week, Monday 0.
fn place(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
