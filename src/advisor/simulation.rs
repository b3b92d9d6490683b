//! Simulated caches: five lifetimes, without the responses.

use std::time::Duration;

use super::key_sample::{KeySample, Stands};

/// The lifetimes that are simulated.
pub(super) const LIFETIMES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3_600),
];

/// What five caches with these lifetimes hold for one key.
pub(super) type Entries = [Entry; LIFETIMES.len()];

/// What a simulated cache holds for one key. 12 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// When it was stored, in milliseconds; [`VACANT`] if nothing is.
    stored: u32,
    digest: u32,
    /// The position of its request in the sequence of writes.
    moment: u32,
}

const VACANT: u32 = u32::MAX;

impl Default for Entry {
    fn default() -> Self {
        Self { stored: VACANT, digest: 0, moment: 0 }
    }
}

/// A request and its response, as a simulated cache sees them. Times are in milliseconds since the route was first met.
#[derive(Debug, Clone, Copy)]
pub(super) struct SimulatedRequest {
    pub(super) requested: u32,
    pub(super) received: u32,
    /// The digest of the response; `None` if it is not a whole one, such as a 304.
    pub(super) digest: Option<u32>,
    /// Whether a cache stores responses with this status.
    pub(super) storable: bool,
    /// The position of the request in the sequence of writes.
    pub(super) moment: u64,
    /// Entries whose request was before this position are invalidated.
    pub(super) invalidated: u64,
}

/// What simulated caches have counted.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    requests: f64,
    hits: [f64; LIFETIMES.len()],
    /// Hits whose stored response differs from that of the handler.
    wrong: [f64; LIFETIMES.len()],
}

impl Counts {
    /// Counts one request for a key that stands for `weight` keys.
    fn count(&mut self, entries: &mut Entries, request: SimulatedRequest, weight: f64) {
        self.requests += weight;
        for (at, entry) in entries.iter_mut().enumerate() {
            if entry.answers(LIFETIMES[at], &request) {
                self.hits[at] += weight;
                if request.digest.is_some_and(|digest| digest != entry.digest) {
                    self.wrong[at] += weight;
                }
            } else if let Some(digest) = request.digest.filter(|_| request.storable) {
                *entry = Entry { stored: request.received, digest, moment: saturated(request.moment) };
            }
        }
    }
}

/// What simulated caches have counted for the keys of a sample: for the first keys and for the further ones apart, because the number of
/// requests for the latter is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SimulatedCounts {
    first: Counts,
    further: Counts,
    further_requests: u64,
}

impl SimulatedCounts {
    /// Counts one request, with what is held for its key and for what the key stands; `None` for a key that is not in the sample.
    pub(super) fn count(&mut self, sampled: Option<(&mut Entries, Stands)>, request: SimulatedRequest) {
        match sampled {
            Some((entries, Stands::ForItself)) => self.first.count(entries, request, 1.0),
            Some((entries, Stands::For(keys))) => {
                self.further_requests += 1;
                self.further.count(entries, request, keys);
            }
            None => self.further_requests += 1,
        }
    }

    pub(super) fn requests(&self) -> f64 {
        self.first.requests + self.further_requests as f64
    }

    /// Returns the shares of would-be hits and of would-be wrong answers among all requests.
    pub(super) fn ratios(&self, lifetime: usize) -> (f64, f64) {
        let scale = if self.further.requests > 0.0 { self.further_requests as f64 / self.further.requests } else { 0.0 };
        let share =
            |first: f64, further: f64| if self.requests() > 0.0 { (first + scale * further) / self.requests() } else { 0.0 };
        let Self { first, further, .. } = self;
        (share(first.hits[lifetime], further.hits[lifetime]), share(first.wrong[lifetime], further.wrong[lifetime]))
    }
}

impl Entry {
    fn answers(&self, lifetime: Duration, request: &SimulatedRequest) -> bool {
        let until = u64::from(self.stored) + lifetime.as_millis() as u64;
        self.stored != VACANT && u64::from(request.requested) < until && u64::from(self.moment) >= request.invalidated
    }
}

fn saturated(moment: u64) -> u32 {
    u32::try_from(moment).unwrap_or(u32::MAX)
}

/// Five simulated caches with keys of their own.
#[derive(Debug)]
pub(super) struct Simulation {
    keys: KeySample<Entries>,
    pub(super) counts: SimulatedCounts,
}

impl Simulation {
    pub(super) fn of(most_keys: usize) -> Self {
        Self { keys: KeySample::of(most_keys), counts: SimulatedCounts::default() }
    }

    pub(super) fn request(&mut self, key: u64, request: SimulatedRequest) {
        self.counts.count(self.keys.get(key), request);
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Begins again, with other keys.
    pub(super) fn restart(&mut self) {
        self.keys.clear();
        self.counts = SimulatedCounts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(at: u32, digest: u32) -> SimulatedRequest {
        SimulatedRequest { requested: at, received: at, digest: Some(digest), storable: true, moment: 0, invalidated: 0 }
    }

    #[test]
    fn entry_answers_within_its_lifetime_and_may_be_wrong() {
        let (mut counts, mut entries) = (Counts::default(), Entries::default());
        for (at, digest) in [(0, 1), (999, 1), (1_000, 2), (9_999, 2), (10_000, 2)] {
            counts.count(&mut entries, request(at, digest), 1.0);
        }
        assert_eq!((counts.hits, counts.wrong), ([2.0, 3.0, 4.0, 4.0, 4.0], [0.0, 2.0, 3.0, 3.0, 3.0]));
    }

    #[test]
    fn invalidated_entry_does_not_answer() {
        let (mut counts, mut entries) = (Counts::default(), Entries::default());
        counts.count(&mut entries, SimulatedRequest { moment: 4, ..request(0, 1) }, 1.0);
        counts.count(&mut entries, SimulatedRequest { moment: 6, invalidated: 5, ..request(1, 2) }, 1.0);
        counts.count(&mut entries, SimulatedRequest { moment: 6, invalidated: 5, ..request(2, 2) }, 1.0);
        assert_eq!((counts.hits[2], counts.wrong[2]), (1.0, 0.0));
    }
}
