//! The times at which a schedule runs: the same on every node.

use std::time::Duration;

use crate::clock::Timestamp;

/// One run of a schedule, by all nodes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Grows from turn to turn, and is the same on every node.
    pub(super) number: u64,
    pub(super) at: Timestamp,
}

/// When a schedule runs.
#[derive(Debug)]
pub(super) enum Timetable {
    /// At the multiples of a period since the start of 1970, so that nodes need not agree on a start.
    Every(Duration),
    #[cfg(feature = "cron")]
    Cron(Box<super::cron::Pattern>),
}

impl Timetable {
    /// Returns the first turn after `time`; `None` if there is none.
    pub(super) fn after(&self, time: Timestamp) -> Option<Turn> {
        match self {
            Self::Every(period) => {
                let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
                let number = time.as_millis() / period + 1;
                Some(Turn { number, at: Timestamp::from_millis(number.saturating_mul(period)) })
            }
            #[cfg(feature = "cron")]
            Self::Cron(pattern) => {
                let at = pattern.after(time)?;
                Some(Turn { number: at.as_millis(), at })
            }
        }
    }

    /// Returns the longest delay of a run, unless the application sets one.
    pub(super) fn default_jitter(&self) -> Duration {
        match self {
            Self::Every(period) => (*period / 10).min(Duration::from_secs(10)),
            #[cfg(feature = "cron")]
            Self::Cron(_) => Duration::ZERO,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Every(period) => format!("every {period:?}"),
            #[cfg(feature = "cron")]
            Self::Cron(pattern) => format!("cron {pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_the_multiples_of_the_period() {
        let table = Timetable::Every(Duration::from_secs(60));
        for (time, turn) in [(0, 1), (59_999, 1), (60_000, 2), (60_001, 2)] {
            let next = table.after(Timestamp::from_millis(time)).unwrap();
            assert_eq!((next.number, next.at.as_millis()), (turn, turn * 60_000));
        }
        assert_eq!(Timetable::Every(Duration::ZERO).after(Timestamp::from_millis(7)).unwrap().at.as_millis(), 8);
    }
}
