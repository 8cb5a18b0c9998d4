//! The date of a line, `yyyy-MM-dd HH:mm:ss,SSS` in local time, as logback writes it.

use std::fmt::Write;

use jiff::{Timestamp, tz::TimeZone};

/// Writes dates; remembers the last second, for most lines share it.
pub(super) struct Stamp {
    zone: TimeZone,
    second: Option<i64>,
    text: String,
}

impl Stamp {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone, second: None, text: String::new() }
    }

    /// The date to the second, and the milliseconds beyond, of this time in milliseconds since 1970.
    pub(super) fn at(&mut self, ms: i64) -> (&str, u16) {
        let second = ms.div_euclid(1000);
        if self.second != Some(second) {
            let time = self.zone.to_datetime(Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH));
            let (year, month, day) = (time.year(), time.month(), time.day());
            let (hour, minute, second_of_minute) = (time.hour(), time.minute(), time.second());
            self.text.clear();
            // Writing to a text cannot fail.
            let _ = write!(self.text, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second_of_minute:02}");
            self.second = Some(second);
        }
        (&self.text, ms.rem_euclid(1000) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_local_and_follow_daylight_saving() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        let mut stamp = Stamp::new(zone);
        // 2025-03-30 01:00 UTC: the clocks go from 02:00 to 03:00.
        assert_eq!(stamp.at(1_743_296_399_999), ("2025-03-30 01:59:59", 999));
        assert_eq!(stamp.at(1_743_296_400_000), ("2025-03-30 03:00:00", 0));
        assert_eq!(stamp.at(1_743_296_400_007), ("2025-03-30 03:00:00", 7));
    }

    #[test]
    fn odd_times_do_no_harm() {
        let mut stamp = Stamp::new(TimeZone::UTC);
        assert_eq!(stamp.at(-1), ("1969-12-31 23:59:59", 999));
        assert_eq!(stamp.at(i64::MAX).0, "1970-01-01 00:00:00");
    }
}
