//! Events as systemd-analyze calendar tells them, the hours that clocks skip and repeat, and any event at all.

use proptest::prelude::*;

use super::*;

fn next(event: &str, after: &str, zone: &str) -> String {
    let zone = TimeZone::get(zone).unwrap();
    let after: Timestamp = after.parse().unwrap();
    let calendar: Calendar = event.parse().unwrap();
    match calendar.next(after, &zone) {
        Some(at) => at.to_zoned(calendar.zone.clone().unwrap_or(zone)).strftime("%a %Y-%m-%d %H:%M:%S %z").to_string(),
        None => "never".into(),
    }
}

#[test]
fn events_happen_when_systemd_says() {
    // 2026-11-23 is a Monday.
    let after = "2026-11-23T10:20:30Z";
    for (event, at) in [
        ("Sun 03:00", "Sun 2026-11-29 03:00:00 +0000"),
        ("Mon..Fri 22:00", "Mon 2026-11-23 22:00:00 +0000"),
        ("Sat,Sun 03:00", "Sat 2026-11-28 03:00:00 +0000"),
        ("daily", "Tue 2026-11-24 00:00:00 +0000"),
        ("weekly", "Mon 2026-11-30 00:00:00 +0000"),
        ("monthly", "Tue 2026-12-01 00:00:00 +0000"),
        ("quarterly", "Fri 2027-01-01 00:00:00 +0000"),
        ("*:0/15", "Mon 2026-11-23 10:30:00 +0000"),
        ("*:*:45", "Mon 2026-11-23 10:20:45 +0000"),
        ("8..18/2:00", "Mon 2026-11-23 12:00:00 +0000"),
        ("*-*-01 04:30", "Tue 2026-12-01 04:30:00 +0000"),
        ("*-*~01 04:30", "Mon 2026-11-30 04:30:00 +0000"),
        ("*-02-29 12:00", "Tue 2028-02-29 12:00:00 +0000"),
        ("2027-06-01 00:00", "Tue 2027-06-01 00:00:00 +0000"),
        ("12-24 18:00", "Thu 2026-12-24 18:00:00 +0000"),
        ("Sun", "Sun 2026-11-29 00:00:00 +0000"),
        ("Fri *-*-13 13:00", "Fri 2027-08-13 13:00:00 +0000"),
        ("2020-01-01 00:00", "never"),
        ("*-02-30 00:00", "never"),
        ("Sun 03:00 Europe/Berlin", "Sun 2026-11-29 03:00:00 +0100"),
    ] {
        assert_eq!(next(event, after, "UTC"), at, "{event}");
    }
}

#[test]
fn a_skipped_hour_happens_later_and_a_repeated_one_once() {
    // Berlin: 2027-03-28 02:00 becomes 03:00, 2027-10-31 03:00 becomes 02:00.
    assert_eq!(next("Sun 02:30", "2027-03-27T12:00:00Z", "Europe/Berlin"), "Sun 2027-03-28 03:30:00 +0200");
    assert_eq!(next("Sun 02:30", "2027-03-28T01:30:00Z", "Europe/Berlin"), "Sun 2027-04-04 02:30:00 +0200");
    assert_eq!(next("02:30", "2027-10-30T12:00:00Z", "Europe/Berlin"), "Sun 2027-10-31 02:30:00 +0200");
    assert_eq!(next("02:30", "2027-10-31T00:30:00Z", "Europe/Berlin"), "Mon 2027-11-01 02:30:00 +0100");
    assert_eq!(next("*:00", "2027-10-31T00:00:00Z", "Europe/Berlin"), "Sun 2027-10-31 03:00:00 +0100");
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    for (text, why) in [
        ("", "it is empty"),
        ("yesterday", "\"yesterday\" is no weekday, date or time"),
        ("Sun..Mon 03:00", "Sun..Mon goes backwards; weeks begin on Monday"),
        ("25:00", "\"25\" is no hour; it is a whole number from 0 to 23"),
        ("*:0/0", "\"0\" is no repetition of a minute; it is a whole number from 1"),
        ("*-13-01", "\"13\" is no month; it is a whole number from 1 to 12"),
        ("Sun 03:00 Mars/Base", "\"Mars/Base\" is no time zone of this host"),
        ("Sun 03:00 UTC now", "\"now\" is one word too many"),
    ] {
        assert_eq!(text.parse::<Calendar>().unwrap_err().why, why, "{text}");
    }
}

proptest! {
    #[test]
    fn the_next_is_later_and_nothing_lies_between(
        weekday in prop::option::of(0_usize..7),
        hour in 0_u8..24,
        step in 1_u8..60,
        after in 1_700_000_000_i64..2_100_000_000,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    ) {
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let day = weekday.and_then(|d| names.get(d)).map(|d| format!("{d} ")).unwrap_or_default();
        let calendar: Calendar = format!("{day}{hour}:0/{step}").parse().unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let after = Timestamp::from_second(after).unwrap();
        let first = calendar.next(after, &zone).unwrap();
        prop_assert!(first > after);
        // Whoever asks a second before it hears of the same, and an event never moves when it is asked for later.
        let before = first - std::time::Duration::from_secs(1);
        if before > after {
            prop_assert_eq!(calendar.next(before, &zone), Some(first));
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "[A-Za-z0-9*~:,./ -]{0,30}") {
        if let Ok(calendar) = text.parse::<Calendar>() {
            let _ = calendar.next(Timestamp::from_second(1_800_000_000).unwrap(), &TimeZone::UTC);
        }
    }
}
