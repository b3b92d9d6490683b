//! The grace of a near tier: for how long its copies answer while the far store cannot be reached.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{clock::Timestamp, entry::epoch::Epoch};

/// The grace, and when copies last agreed with the far store.
///
/// A copy may answer during an outage until the grace has passed since the store agreed with it. With a lease, the last complete poll says
/// so of all copies. Without one, it follows from the reads of the store's clock that are noted here: a copy that was found valid at some
/// epoch agreed with the store whenever the clock showed that epoch.
#[derive(Debug)]
pub(super) struct Grace {
    span: Duration,
    /// The oldest first. Neither the times nor the epochs decrease, and all epochs are of one incarnation.
    readings: Mutex<VecDeque<Reading>>,
}

/// A read of the far store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The time before the read was sent.
    pub(super) sent_at: Timestamp,
    /// The epoch of the near copies before it was sent.
    pub(super) near: Epoch,
    /// What the clock showed.
    pub(super) far: Epoch,
}

/// How many readings are kept. Those in between are dropped: a copy may then stop to answer earlier, by this part of the grace.
const PARTS: u32 = 16;

impl Grace {
    pub(super) fn new(span: Duration) -> Self {
        Self { span, readings: Mutex::default() }
    }

    pub(super) fn span(&self) -> Duration {
        self.span
    }

    /// Notes a read of the far store's clock.
    pub(super) fn note(&self, reading: Reading) {
        let mut readings = self.readings();
        match readings.back().copied() {
            // A later read has come first, and says more.
            Some(last) if reading.sent_at < last.sent_at => return,
            Some(last) if reading.far.incarnation() != last.far.incarnation() => readings.clear(),
            Some(last) if reading.far < last.far => return,
            Some(last) if reading.far == last.far || self.is_crowded(&readings) => _ = readings.pop_back(),
            _ => {}
        }
        readings.push_back(reading);
        while readings.front().is_some_and(|first| first.sent_at + self.span <= reading.sent_at) {
            readings.pop_front();
        }
    }

    /// Returns whether the last two readings are too close to each other to keep both.
    fn is_crowded(&self, readings: &VecDeque<Reading>) -> bool {
        let mut latest = readings.iter().rev();
        match (latest.next(), latest.next()) {
            (Some(last), Some(before)) => last.sent_at.since(before.sent_at) < self.span / PARTS,
            _ => false,
        }
    }

    /// Returns the epoch of the near copies since which a copy must not have been invalidated, if it was found valid at `validated_at`
    /// by the far store and its grace has not passed at `now`.
    pub(super) fn agreed_since(&self, validated_at: Epoch, now: Timestamp) -> Option<Epoch> {
        let readings = self.readings();
        // The copy was found valid at this reading or later: the clock of the store never runs backwards.
        let reading = readings.iter().rev().find(|reading| reading.far <= validated_at)?;
        (now < reading.sent_at + self.span).then_some(reading.near)
    }

    /// Returns when the last noted read was sent.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        self.readings().back().map(|reading| reading.sent_at)
    }

    fn readings(&self) -> MutexGuard<'_, VecDeque<Reading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(1600);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn reading(sent_at: u64, far: u64) -> Reading {
        Reading { sent_at: at(sent_at), near: Epoch::new(sent_at), far: Epoch::of(7, far) }
    }

    fn grace(readings: &[(u64, u64)]) -> Grace {
        let grace = Grace::new(SPAN);
        readings.iter().for_each(|&(sent_at, far)| grace.note(reading(sent_at, far)));
        grace
    }

    /// The times from which the grace of a copy counts that was found valid at these epochs; its near epoch is the same number.
    fn agreed<const N: usize>(grace: &Grace, epochs: [u64; N]) -> [Option<u64>; N] {
        epochs.map(|far| {
            let agreed_at = grace.agreed_since(Epoch::of(7, far), at(0))?;
            let end = at(agreed_at.get()) + SPAN;
            assert!(grace.agreed_since(Epoch::of(7, far), end - Duration::from_millis(1)).is_some());
            assert!(grace.agreed_since(Epoch::of(7, far), end).is_none());
            Some(agreed_at.get())
        })
    }

    #[test]
    fn copy_agreed_when_the_clock_showed_its_epoch_last() {
        let grace = grace(&[(1000, 5), (1100, 5), (1200, 6), (1400, 9)]);
        assert_eq!(
            agreed(&grace, [0, 4, 5, 6, 8, 9, 10]),
            [None, None, Some(1100), Some(1200), Some(1200), Some(1400), Some(1400)]
        );
        assert_eq!(grace.latest(), Some(at(1400)));
    }

    #[test]
    fn nothing_agreed_with_another_incarnation_or_before_the_first_reading() {
        assert_eq!(agreed(&Grace::new(SPAN), [0, u64::MAX]), [None, None]);
        let grace = grace(&[(1000, 5)]);
        assert_eq!(grace.agreed_since(Epoch::of(8, 5), at(1000)), None);
        grace.note(Reading { far: Epoch::of(8, 1), ..reading(1001, 1) });
        assert_eq!(agreed(&grace, [5]), [None]);
        assert!(grace.agreed_since(Epoch::of(8, 1), at(1001)).is_some());
    }

    #[test]
    fn late_reply_changes_nothing() {
        let grace = grace(&[(1000, 5), (1200, 7), (1100, 6), (1300, 6)]);
        assert_eq!(agreed(&grace, [5, 6, 7]), [Some(1000), Some(1000), Some(1200)]);
    }

    #[test]
    fn readings_are_few_and_a_copy_loses_a_part_of_its_grace_at_most() {
        let grace = Grace::new(SPAN);
        for now in 0..10_000 {
            grace.note(reading(now, now));
            assert!(grace.readings().len() <= PARTS as usize + 3, "{}", grace.readings().len());
        }
        for far in 10_000 - 1_500..10_000 {
            let [agreed] = agreed(&grace, [far]);
            let lost = far - agreed.unwrap();
            assert!(lost <= 1600 / u64::from(PARTS) + 1, "{lost}");
        }
    }

    #[test]
    fn extreme_spans_neither_panic_nor_wrap() {
        for (span, is_within) in [(Duration::ZERO, false), (Duration::MAX, true)] {
            let grace = Grace::new(span);
            (0..100).for_each(|now| grace.note(reading(now, now)));
            assert_eq!(grace.agreed_since(Epoch::of(7, 99), at(u64::MAX - 1)).is_some(), is_within);
        }
    }
}
