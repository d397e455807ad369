//! Text to a calendar event.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::{Calendar, Numbers, Range, place};

/// What systemd's words stand for.
const WORDS: &[(&str, &str)] = &[
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];

const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// Reads a calendar event, or says what is wrong with it.
pub(super) fn calendar(text: &str) -> Result<Calendar, String> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if let Some(word) = words.first().map(|w| w.to_ascii_lowercase())
        && let Some((_, meaning)) = WORDS.iter().find(|(name, _)| *name == word)
    {
        words.splice(0..1, meaning.split(' '));
    }
    let mut found = Calendar {
        text: text.trim().to_owned(),
        weekdays: [true; 7],
        years: any(1970, 9999),
        months: any(1, 12),
        days: any(1, 31),
        from_end: false,
        hours: one(0),
        minutes: one(0),
        seconds: one(0),
        zone: None,
    };
    let mut words = words.into_iter().peekable();
    let mut parts = 0;
    if let Some(word) = words.next_if(|w| w.starts_with(|c: char| c.is_ascii_alphabetic()) && is_days(w)) {
        found.weekdays = weekdays(word)?;
        parts += 1;
    }
    if let Some(word) = words.next_if(|w| is_date(w)) {
        date(word, &mut found)?;
        parts += 1;
    }
    if let Some(word) = words.next_if(|w| w.contains(':')) {
        time(word, &mut found)?;
        parts += 1;
    }
    if parts == 0 {
        return Err(words.next().map_or("it is empty".into(), |w| format!("{w:?} is no weekday, date or time")));
    }
    if let Some(word) = words.next() {
        let zone = if word == "UTC" { Ok(TimeZone::UTC) } else { TimeZone::get(word) };
        found.zone = Some(zone.map_err(|_| format!("{word:?} is no time zone of this host"))?);
    }
    words.next().map_or(Ok(found), |word| Err(format!("{word:?} is one word too many")))
}

fn is_date(word: &str) -> bool {
    !word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit() || c == '*') && word.contains(['-', '~'])
}

fn is_days(word: &str) -> bool {
    word.split([',', '.']).filter(|w| !w.is_empty()).all(|w| weekday(w).is_some())
}

fn weekday(word: &str) -> Option<Weekday> {
    let word = word.to_ascii_lowercase();
    DAYS.iter().find(|(name, _)| *name == word || (word.len() == 3 && name.starts_with(&word))).map(|(_, day)| *day)
}

fn weekdays(text: &str) -> Result<[bool; 7], String> {
    let mut days = [false; 7];
    let named = |word: &str| weekday(word).map(place).ok_or_else(|| format!("{word:?} is no weekday"));
    for part in text.trim_end_matches(',').split(',') {
        let (first, last) = match part.split_once("..") {
            Some((first, last)) => (named(first)?, named(last)?),
            None => (named(part)?, named(part)?),
        };
        if first > last {
            return Err(format!("{part} goes backwards; weeks begin on Monday"));
        }
        days[first..=last].fill(true);
    }
    Ok(days)
}

fn date(word: &str, found: &mut Calendar) -> Result<(), String> {
    found.from_end = word.contains('~');
    let parts: Vec<&str> = word.split(['-', '~']).collect();
    let (year, month, day) = match parts.as_slice() {
        [month, day] => ("*", *month, *day),
        [year, month, day] => (*year, *month, *day),
        _ => return Err(format!("{word:?} is no date")),
    };
    found.years = numbers(year, "year", 1970, 9999)?;
    found.months = numbers(month, "month", 1, 12)?;
    found.days = numbers(day, "day", 1, 31)?;
    Ok(())
}

fn time(word: &str, found: &mut Calendar) -> Result<(), String> {
    let parts: Vec<&str> = word.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, "0"),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return Err(format!("{word:?} is no time")),
    };
    found.hours = numbers(hour, "hour", 0, 23)?;
    found.minutes = numbers(minute, "minute", 0, 59)?;
    found.seconds = numbers(second, "second", 0, 59)?;
    Ok(())
}

fn numbers(text: &str, what: &str, least: i16, most: i16) -> Result<Numbers, String> {
    text.split(',').map(|part| range(part, what, least, most)).collect::<Result<_, _>>().map(Numbers)
}

fn range(text: &str, what: &str, least: i16, most: i16) -> Result<Range, String> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = digits.then(|| text.parse::<i16>().ok()).flatten();
        number
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| format!("{text:?} is no {what}; it is a whole number from {least} to {most}"))
    };
    let (span, step) = match text.split_once('/') {
        Some((span, step)) => {
            let bad = || format!("{step:?} is no repetition of a {what}; it is a whole number from 1");
            (span, Some(step.parse::<i16>().ok().filter(|n| *n > 0).ok_or_else(bad)?))
        }
        None => (text, None),
    };
    let (start, end) = match span.split_once("..") {
        Some((start, end)) => (number(start)?, number(end)?),
        None if span == "*" => (least, most),
        None => (number(span)?, if step.is_some() { most } else { number(span)? }),
    };
    if start > end {
        return Err(format!("{span} goes backwards"));
    }
    Ok(Range { start, end, step: step.unwrap_or(1) })
}

fn any(start: i16, end: i16) -> Numbers {
    Numbers(vec![Range { start, end, step: 1 }])
}

fn one(number: i16) -> Numbers {
    any(number, number)
}
