//! The expiries of one tag, in bounded memory.

use crate::clock::Timestamp;

/// The soft invalidations of one tag, the oldest first.
///
/// An entry is stale since the earliest expiry after its birth. A record of the latest expiry alone would extend the stale window with
/// each further one. Neighbors are merged where that at most doubles the age of an expiry: a window never ends late, and lasts
/// at least half as long as it should until the history is full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expiries(Vec<Expiry>);

/// One expiry: an entry that was born before `epoch`, and not before an older expiry, is stale since `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) epoch: u64,
    pub(crate) at: Timestamp,
}

/// The largest number of expiries that are kept: those of two hours if a tag is expired all the time.
pub(crate) const MAX_EXPIRIES: usize = 32;

/// Expiries that are less than this many milliseconds apart count as one.
pub(crate) const MERGED_WITHIN: u64 = 100;

impl Expiries {
    /// Collects expiries, the oldest first; `None` if there are more than [`MAX_EXPIRIES`].
    pub(crate) fn read(expiries: impl Iterator<Item = Expiry>) -> Option<Self> {
        let expiries: Vec<_> = expiries.take(MAX_EXPIRIES + 1).collect();
        (expiries.len() <= MAX_EXPIRIES).then_some(Self(expiries))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Expiry> {
        self.0.iter()
    }

    /// Returns the time since which an entry that was born at `born` is stale, if it is.
    pub(crate) fn since(&self, born: u64) -> Option<Timestamp> {
        // Most entries are born after all expiries.
        self.latest().filter(|latest| born < *latest)?;
        self.0.iter().find(|expiry| born < expiry.epoch).map(|expiry| expiry.at)
    }

    /// Returns the epoch of the latest expiry.
    pub(crate) fn latest(&self) -> Option<u64> {
        self.0.last().map(|latest| latest.epoch)
    }

    /// Records an expiry. Expiries may be added in any order, and with the times of different clocks.
    pub(crate) fn add(&mut self, epoch: u64, at: Timestamp) {
        let place = self.0.partition_point(|expiry| expiry.epoch < epoch);
        match self.0.get_mut(place) {
            Some(present) if present.epoch == epoch => present.at = present.at.min(at),
            _ => self.0.insert(place, Expiry { epoch, at }),
        }
        self.thin();
    }

    /// Drops the expiries up to `epoch`: entries that were born before it are dead.
    pub(crate) fn forget(&mut self, epoch: u64) {
        self.0.retain(|expiry| epoch < expiry.epoch);
    }

    fn thin(&mut self) {
        let Some(now) = self.0.iter().map(|expiry| expiry.at).max() else { return };
        let mut place = 0;
        while place + 1 < self.0.len() {
            if self.can_merge(place, now) { self.merge(place) } else { place += 1 }
        }
        if self.0.len() > MAX_EXPIRIES {
            self.merge(0);
        }
    }

    /// Returns whether an expiry can be merged with the next newer one. An entry that belongs to either was expired before the one that
    /// follows both, so that its age is at most doubled.
    fn can_merge(&self, older: usize, now: Timestamp) -> bool {
        let age = |expiry: &Expiry| now.as_millis().saturating_sub(expiry.at.as_millis());
        let (older, newer, next) = (&self.0[older], &self.0[older + 1], self.0.get(older + 2));
        newer.at.as_millis() < older.at.as_millis().saturating_add(MERGED_WITHIN)
            || next.is_some_and(|next| age(older) <= age(next).saturating_mul(2))
    }

    fn merge(&mut self, older: usize) {
        let Expiry { at, .. } = self.0.remove(older);
        self.0[older].at = self.0[older].at.min(at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);

    fn after(millis: u64) -> Timestamp {
        NOON + Duration::from_millis(millis)
    }

    /// Expiries at these milliseconds after noon, with the epochs 1, 2, …
    fn expiries(times: impl IntoIterator<Item = u64>) -> Expiries {
        let mut expiries = Expiries::default();
        (1..).zip(times).for_each(|(epoch, millis)| expiries.add(epoch, after(millis)));
        expiries
    }

    #[test]
    fn the_first_expiry_after_the_birth_counts() {
        let expiries = expiries([0, 10_000, 20_000]);
        let since = [0, 1, 2, 3].map(|born| expiries.since(born));
        assert_eq!(since, [Some(after(0)), Some(after(10_000)), Some(after(20_000)), None]);
    }

    #[test]
    fn expiries_may_be_added_in_any_order_and_twice() {
        let mut expiries = Expiries::default();
        for epoch in [2, 1, 3, 2, 1] {
            expiries.add(epoch, after(epoch * 10_000));
        }
        assert_eq!(expiries.since(0), Some(after(10_000)));
        assert_eq!(expiries.since(1), Some(after(20_000)));
    }

    #[test]
    fn a_slow_clock_moves_earlier_expiries_back_too() {
        let mut expiries = expiries([10_000]);
        expiries.add(2, after(0));
        assert_eq!(expiries.since(0), Some(after(0)));
        assert_eq!(expiries.since(1), Some(after(0)));
    }

    #[test]
    fn expiries_in_quick_succession_count_as_one() {
        let expiries = expiries([0, 99, 100, 199]);
        assert_eq!(expiries.iter().count(), 2);
        assert_eq!(expiries.since(0), Some(after(0)));
        assert_eq!(expiries.since(3), Some(after(100)));
    }

    /// However often a tag is expired, an expiry is never reported as later than it was, and within the last hour its age is at most
    /// doubled.
    #[test]
    fn thinning_moves_frequent_expiries_only_to_earlier_times() {
        for step in [1, 10, 40, 100, 130, 1000, 7000] {
            let count: u64 = (3_600_000 / step).min(36_000);
            let expiries = expiries((0..count).map(|expiry| expiry * step));
            assert!(expiries.iter().count() <= MAX_EXPIRIES);
            let now = (count - 1) * step;
            for born in (0..count).step_by(7) {
                let (since, exact) = (expiries.since(born).unwrap(), after(born * step));
                assert!(since <= exact, "born at {born}, every {step} ms: {since:?} rather than {exact:?}");
                let (reported, age) = (after(now).since(since), after(now).since(exact));
                assert!(
                    reported <= age * 2 + Duration::from_millis(MERGED_WITHIN),
                    "every {step} ms: {reported:?} rather than {age:?}"
                );
            }
        }
    }

    #[test]
    fn rare_expiries_are_kept_apart() {
        const DAY: u64 = 24 * 3_600_000;
        let expiries = expiries((0..10).map(|day| day * DAY));
        for born in 6..10 {
            assert_eq!(expiries.since(born), Some(after(born * DAY)));
        }
    }

    #[test]
    fn the_number_of_expiries_is_bounded() {
        let growing: Vec<_> = (0..64).map(|power| u64::MAX / 2 - (1 << (63 - power.max(2)))).collect();
        let expiries = expiries(growing);
        assert!(expiries.iter().count() <= MAX_EXPIRIES);
    }

    #[test]
    fn an_invalidation_drops_earlier_expiries() {
        let mut expiries = expiries([0, 10_000, 20_000]);
        expiries.forget(2);
        assert_eq!(expiries.iter().count(), 1);
        assert_eq!(expiries.since(2), Some(after(20_000)));
    }

    #[test]
    fn too_many_expiries_are_rejected() {
        let many = |count| Expiries::read((1..=count).map(|epoch| Expiry { epoch, at: NOON }));
        assert!(many(MAX_EXPIRIES as u64).is_some());
        assert!(many(MAX_EXPIRIES as u64 + 1).is_none());
    }
}
