//! Maintenance windows: when more may be done than at any time.
//!
//! A window opens as a calendar event says and stays open for a while; within it everything up to its class may be done.
//! Several windows may be open at once; the greatest class counts.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::Disruption;
use crate::base::calendar::Calendar;

/// One window.
#[derive(Debug, Clone)]
pub struct Window {
    /// The greatest disruption that may be done while it is open.
    pub allow: Disruption,
    /// When it opens.
    pub opens: Calendar,
    /// How long it stays open.
    pub lasts: Duration,
}

/// All windows of a node.
#[derive(Debug, Clone)]
pub struct Windows {
    /// The windows.
    pub list: Vec<Window>,
    /// The zone of calendar events that name none.
    pub zone: TimeZone,
}

impl Default for Windows {
    fn default() -> Self {
        Self { list: Vec::new(), zone: TimeZone::UTC }
    }
}

impl Windows {
    /// The greatest disruption that may be done now, when `always` may be done at any time.
    pub fn allowed(&self, always: Disruption, now: Timestamp) -> Disruption {
        let open = self.list.iter().filter(|w| self.is_open(w, now)).map(|w| w.allow);
        open.fold(always, Disruption::max)
    }

    fn is_open(&self, window: &Window, now: Timestamp) -> bool {
        // It is open when it opened less than its length ago.
        let Ok(before) = now.checked_sub(window.lasts) else { return false };
        window.opens.next(before, &self.zone).is_some_and(|opened| opened <= now)
    }

    /// When a window next opens in which this class may be done.
    pub fn next(&self, class: Disruption, now: Timestamp) -> Option<Timestamp> {
        self.list.iter().filter(|w| w.allow >= class).filter_map(|w| w.opens.next(now, &self.zone)).min()
    }

    /// The same in words.
    pub fn words(&self, class: Disruption, now: Timestamp) -> Option<String> {
        let at = self.next(class, now)?.to_zoned(self.zone.clone());
        Some(format!("the next window for it opens on {}", at.strftime("%a %Y-%m-%d %H:%M %Z")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows() -> Windows {
        let window = |allow, opens: &str, hours: u64| Window {
            allow,
            opens: opens.parse().unwrap(),
            lasts: Duration::from_secs(hours * 3_600),
        };
        let list = vec![window(Disruption::Restart, "Sun 03:00", 2), window(Disruption::Migrate, "*-*-01 22:00", 4)];
        Windows { list, zone: TimeZone::get("Europe/Berlin").unwrap() }
    }

    #[test]
    fn a_window_is_open_from_its_event_for_its_length() {
        let windows = windows();
        // 2026-11-29 is a Sunday; Berlin is an hour ahead.
        for (now, allowed) in [
            ("2026-11-29T01:59:59Z", Disruption::Live),
            ("2026-11-29T02:00:00Z", Disruption::Restart),
            ("2026-11-29T03:59:59Z", Disruption::Restart),
            ("2026-11-29T04:00:00Z", Disruption::Live),
            ("2026-12-02T00:30:00Z", Disruption::Migrate),
        ] {
            assert_eq!(windows.allowed(Disruption::Live, now.parse().unwrap()), allowed, "{now}");
        }
        assert_eq!(Windows::default().allowed(Disruption::Live, Timestamp::UNIX_EPOCH), Disruption::Live);
    }

    #[test]
    fn the_next_window_is_the_first_that_allows_enough() {
        let now = "2026-11-25T12:00:00Z".parse().unwrap();
        let words = |class| windows().words(class, now).unwrap();
        assert_eq!(words(Disruption::Restart), "the next window for it opens on Sun 2026-11-29 03:00 CET");
        assert_eq!(words(Disruption::Migrate), "the next window for it opens on Tue 2026-12-01 22:00 CET");
        assert_eq!(windows().next(Disruption::Destroy, now), None);
    }
}
