//! Schedules by cron patterns.

use std::{fmt, str::FromStr as _};

use chrono::{DateTime, Utc};
use croner::Cron;

use super::{schedule::Schedule, timetable::Timetable};
use crate::{cache::Cache, clock::Timestamp, error::Error};

/// A cron pattern, in UTC.
pub(super) struct Pattern(Cron);

impl Cache {
    /// Begins to describe a schedule as [`every`](Self::every) does, by a cron pattern **in UTC**: minute, hour, day of the month, month
    /// and day of the week, as in `"0 3 * * *"` or `"*/5 8-18 * * MON-FRI"`, with a leading field for seconds if there are six. Jitter is zero
    /// unless it is set.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let nightly = cache.cron("0 3 * * *")?;
    /// let error = cache.cron("0 25 * * *").unwrap_err();
    /// assert!(error.is_invalid_input());
    /// # let _ = nightly;
    /// # Ok::<(), larder::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the pattern is invalid, or never matches; the message says what is wrong.
    pub fn cron(&self, pattern: &str) -> Result<Schedule, Error> {
        let invalid =
            |problem: String| Error::invalid_input(format!("`{}` is not a cron pattern: {problem}", pattern.escape_debug()));
        let pattern = Pattern(Cron::from_str(pattern).map_err(|error| invalid(error.to_string()))?);
        if pattern.after(self.now()).is_none() {
            return Err(invalid("no time matches it".to_owned()));
        }
        Ok(Schedule::new(self, Timetable::Cron(Box::new(pattern))))
    }
}

impl Pattern {
    /// Returns the first time after `time` that matches.
    pub(super) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let whole_seconds = i64::try_from(time.as_millis() / 1000).ok()?;
        let time = DateTime::<Utc>::from_timestamp(whole_seconds, 0)?;
        let next = self.0.find_next_occurrence(&time, false).ok()?;
        Some(Timestamp::from_millis(u64::try_from(next.timestamp_millis()).ok()?))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_in_utc() {
        let pattern = Pattern(Cron::from_str("30 3 * * *").unwrap());
        // 2024-02-29 03:29:59.999
        let before = Timestamp::from_millis(1_709_177_399_999);
        let at = pattern.after(before).unwrap();
        assert_eq!(at.as_millis(), 1_709_177_400_000);
        assert_eq!(pattern.after(at).unwrap().as_millis(), at.as_millis() + 24 * 3_600_000);
    }
}
