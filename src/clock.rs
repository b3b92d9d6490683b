//! Timestamps, and the clocks that caches read.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A point in time, in whole milliseconds since the start of 1970 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Creates the timestamp `millis` milliseconds after the start of 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the start of 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the whole seconds since `earlier`; zero if `earlier` is later than this.
    pub const fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }

    /// Rounds down to whole seconds.
    pub(crate) const fn whole_seconds(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }

    /// Returns the time since `earlier`; zero if `earlier` is later than this.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The clock of a cache.
///
/// The default is the operating system's coarse monotonic clock, added to the wall clock's time at the start of the process. It never
/// runs backwards: when the wall clock is set back, stored responses do not become younger.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Returns the current time. The default clock has a resolution of about 4 ms; a read costs a few nanoseconds.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(millis) => Timestamp(millis.load(Ordering::Relaxed)),
        }
    }
}

fn system_now() -> Timestamp {
    /// Wall-clock milliseconds at the monotonic clock's zero.
    static ANCHOR: LazyLock<u64> = LazyLock::new(|| wall_clock_millis().saturating_sub(monotonic_millis()));
    Timestamp(ANCHOR.saturating_add(monotonic_millis()))
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_clock_millis() -> u64 {
    Timestamp::from(SystemTime::now()).0
}

fn monotonic_millis() -> u64 {
    // `now` would also update coarsetime's process-wide cache, a write to memory that all threads share.
    let ticks = coarsetime::Instant::now_without_cache_update().as_ticks(); // seconds in the high half, their fraction in the low
    (ticks >> 32) * 1000 + (((ticks & u64::from(u32::MAX)) * 1000) >> 32)
}

/// A clock for tests, which changes only by [`advance`](Self::advance) and [`set`](Self::set).
///
/// Clones share the time, as do all caches that were given the clock.
///
/// ```
/// use std::time::Duration;
/// use larder::{Cache, ManualClock};
///
/// let clock = ManualClock::new();
/// let cache = Cache::in_memory(1 << 20).with_clock(&clock);
/// clock.advance(Duration::from_secs(61));
/// # let _ = cache;
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Creates a clock that shows the current time.
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(system_now().0)))
    }

    /// Moves the clock forward, to the latest time that it can show at most.
    pub fn advance(&self, by: Duration) {
        let later = |now: u64| Some(now.saturating_add(millis(by)));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// Sets the clock, forwards or backwards.
    pub fn set(&self, to: SystemTime) {
        self.0.store(Timestamp::from(to).0, Ordering::Relaxed);
    }

    /// Returns the time that the clock shows.
    pub fn now(&self) -> SystemTime {
        Timestamp(self.0.load(Ordering::Relaxed)).into()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&ManualClock> for Clock {
    fn from(clock: &ManualClock) -> Self {
        Self(Source::Manual(Arc::clone(&clock.0)))
    }
}
