//! What is measured of one route.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, StatusCode};
use smallvec::SmallVec;

use super::{
    causes::{Cause, Causes, Findings, SharedCapture},
    key_sample::KeySample,
    selector::Selector,
    simulation::{Entries, SimulatedCounts, SimulatedRequest, Simulation},
    writes::{CapturedValues, Writes},
};
use crate::{clock::Timestamp, http::cache_status::Reason};

/// The most keys of a route in the sample. With a key of 150 bytes on average, 150 KB.
pub(super) const MOST_KEYS: usize = 1_024;

/// The most keys in the sample of the simulated caches with the advised settings. 40 KB.
const MOST_ADVISED_KEYS: usize = 512;

/// The most paths whose latest response is compared with that of another URL. 20 KB.
const MOST_PATHS: usize = 256;

/// After so many requests, the simulated caches follow the findings; then whenever the number of requests has doubled.
const FIRST_FINDINGS: u64 = 64;

/// A GET whose response has been observed to its end.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) requested: Timestamp,
    pub(super) received: Timestamp,
    /// The position of the request in the sequence of writes.
    pub(super) moment: u64,
    /// Larder's key, and the values of the fields that the response's `Vary` names.
    pub(super) key: u64,
    pub(super) path: u64,
    pub(super) selectors: Vec<(Selector, u32)>,
    pub(super) captures: CapturedValues,
    pub(super) varied: SmallVec<[HeaderName; 2]>,
    pub(super) status: StatusCode,
    /// The digest of the response; `None` if it is not a whole one.
    pub(super) digest: Option<u32>,
}

/// A response that later ones are compared with.
#[derive(Debug, Clone)]
struct Latest {
    key: u64,
    digest: u32,
    moment: u64,
    /// The parts of its request: the number of the cause in the upper 8 bits, and a hash of the value.
    values: Box<[u32]>,
}

/// What is remembered of a key.
#[derive(Debug, Default)]
struct Remembered {
    entries: Entries,
    latest: Option<Latest>,
}

/// What is measured of one route.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) began: Timestamp,
    pub(super) last: Timestamp,
    /// GET requests, and how long the handler ran for them.
    pub(super) requests: u64,
    pub(super) handler_time: Duration,
    /// Requests whose response was observed to its end.
    pub(super) observed: u64,
    /// Those of them whose response is not a whole one: 206 and 304.
    pub(super) partial: u64,
    /// Bodies that did not end while they were observed: clients that left, and streams.
    pub(super) unfinished: u64,
    /// Requests that a layer of the cache answered from a stored response.
    pub(super) from_cache: u64,
    /// Pairs of responses between which more writes came than are remembered.
    pub(super) unattributed: u64,
    pub(super) with_cookies: u64,
    /// Responses that state a lifetime and may be stored.
    pub(super) with_lifetime: u64,
    pub(super) blocked: [u64; Reason::ALL.len()],
    pub(super) plain: SimulatedCounts,
    keys: KeySample<Remembered>,
    paths: KeySample<Option<Latest>>,
    pub(super) causes: Causes,
    /// Parts of requests that responses name in `Vary`.
    pub(super) varied: u64,
    pub(super) findings: Findings,
    pub(super) advised: Simulation,
}

impl Measured {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            began: now,
            last: now,
            requests: 0,
            handler_time: Duration::ZERO,
            observed: 0,
            partial: 0,
            unfinished: 0,
            from_cache: 0,
            unattributed: 0,
            with_cookies: 0,
            with_lifetime: 0,
            blocked: [0; Reason::ALL.len()],
            plain: SimulatedCounts::default(),
            keys: KeySample::of(MOST_KEYS),
            paths: KeySample::of(MOST_PATHS),
            causes: Causes::default(),
            varied: 0,
            findings: Findings::default(),
            advised: Simulation::of(MOST_ADVISED_KEYS),
        }
    }

    /// Counts a request whose response has been observed to its end.
    pub(super) fn observe(&mut self, read: Read, writes: &Arc<Writes>) {
        self.observed += 1;
        self.partial += u64::from(read.digest.is_none());
        let mut values: Vec<u32> = Vec::with_capacity(read.selectors.len());
        for (selector, value) in &read.selectors {
            if let Some(index) = self.causes.present(selector.clone()) {
                values.push(packed(index, *value));
            }
        }
        values.sort_unstable();
        self.varied |= self.causes.bits_of(|selector| selector.field().is_some_and(|field| read.varied.contains(&field)));
        let request = self.simulated(&read);
        self.compare(&read, &values, request, writes);
        let advised = SimulatedRequest { invalidated: self.invalidated(&read, writes), ..request };
        self.advised.request(self.advised_key(&read, &values), advised);
        if self.observed >= FIRST_FINDINGS && self.observed.is_power_of_two() {
            self.find();
        }
    }

    /// Makes the findings, and simulates the caches again if others follow.
    fn find(&mut self) {
        let findings = self.causes.findings();
        let is_same = (findings.bits(), findings.needless) == (self.findings.bits(), self.findings.needless);
        self.findings = findings;
        if !is_same {
            self.advised.restart();
        }
    }

    fn simulated(&self, read: &Read) -> SimulatedRequest {
        let since = |time: Timestamp| u32::try_from(time.since(self.began).as_millis()).unwrap_or(u32::MAX - 1);
        SimulatedRequest {
            requested: since(read.requested),
            received: since(read.received),
            digest: read.digest,
            storable: !(read.status.is_server_error() || read.status.is_informational()),
            moment: read.moment,
            invalidated: 0,
        }
    }

    /// Simulates the caches with larder's key, and compares the response with the latest one for the same URL, and with that for another URL
    /// with the same path.
    fn compare(&mut self, read: &Read, values: &[u32], request: SimulatedRequest, writes: &Arc<Writes>) {
        let latest = read.digest.filter(|_| request.storable).map(|digest| Latest {
            key: read.key,
            digest,
            moment: read.moment,
            values: values.into(),
        });
        let mut pairs: SmallVec<[Latest; 2]> = SmallVec::new();
        match self.keys.get(read.key) {
            Some((remembered, stands)) => {
                self.plain.count(Some((&mut remembered.entries, stands)), request);
                if let Some(latest) = &latest {
                    pairs.extend(remembered.latest.replace(latest.clone()));
                }
            }
            None => self.plain.count(None, request),
        }
        if let Some(latest) = latest {
            if let Some((remembered, _)) = self.paths.get(read.path) {
                pairs.extend(remembered.replace(latest.clone()).filter(|before| before.key != read.key));
            }
            for before in pairs {
                self.compare_pair(&before, &latest, &read.captures, writes);
            }
        }
    }

    fn compare_pair(&mut self, before: &Latest, after: &Latest, captures: &CapturedValues, writes: &Arc<Writes>) {
        let mut causes = differences(&before.values, &after.values);
        /// A write, and a capture of the read with one of the write that has the same value.
        type Seen = (u16, Option<(usize, usize)>);
        let mut seen: SmallVec<[Seen; 8]> = SmallVec::new();
        let is_complete = writes.between(before.moment, |name, written| {
            let shared = captures.iter().enumerate().flat_map(|(read, (_, value))| {
                let same = written.iter().enumerate().filter(move |(_, (_, other))| other == value);
                same.map(move |(written, _)| Some((read, written)))
            });
            for shared in shared.chain([None]) {
                if seen.contains(&(name, shared)) {
                    continue;
                }
                seen.push((name, shared));
                let shared =
                    shared.map(|(at, other)| SharedCapture { read: captures[at].0.clone(), written: written[other].0.clone() });
                causes |= self.causes.bit(Cause::Write { name, shared });
            }
        });
        match is_complete {
            true => self.causes.compare(causes, before.digest != after.digest),
            false => self.unattributed += 1,
        }
    }

    /// The position in the sequence of writes before which the findings would have invalidated the response to this request.
    fn invalidated(&self, read: &Read, writes: &Arc<Writes>) -> u64 {
        let causes = self.findings.explanations.iter().map(|explanation| &explanation.cause);
        let ends = causes.filter_map(|cause| match cause {
            Cause::Request(_) => None,
            Cause::Write { name, shared } => Some(writes.latest_end(|other, written| {
                let value = |captures: &CapturedValues, name: &str| {
                    captures.iter().find(|(own, _)| **own == *name).map(|(_, value)| *value)
                };
                let matches = |shared: &SharedCapture| value(&read.captures, &shared.read) == value(written, &shared.written);
                other == *name && shared.as_ref().is_none_or(matches)
            })),
        });
        ends.max().unwrap_or(0)
    }

    /// The key with the advised settings: without the parameters that change nothing, with the parts of the request that select the response.
    fn advised_key(&self, read: &Read, values: &[u32]) -> u64 {
        let query = self.causes.bits_of(|selector| matches!(selector, Selector::Query(_) | Selector::Host));
        let counts = ((query & !self.findings.needless) | self.findings.bits() | self.varied) & !self.findings.needless;
        let kept = values.iter().filter(|value| counts & (1 << (*value >> 24)) != 0);
        kept.fold(read.path, |key, value| (key ^ u64::from(*value)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
    }

    /// Returns the approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let key = size_of::<(u64, Remembered)>() + 4 * 8;
        let (advised, path) = (size_of::<(u64, Entries)>(), size_of::<(u64, Option<Latest>)>() + 4 * 8);
        size_of::<Self>() + self.keys.len() * key + self.advised.keys() * advised + self.paths.len() * path
    }

    /// Returns the number of keys in the sample.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }
}

fn packed(index: usize, value: u32) -> u32 {
    (index as u32) << 24 | value & 0x00ff_ffff
}

/// The causes in which two sorted lists of values differ.
fn differences(before: &[u32], after: &[u32]) -> u64 {
    let missing = |from: &[u32], values: &[u32]| {
        let missing = values.iter().filter(|value| from.binary_search(value).is_err());
        missing.fold(0, |bits, value| bits | 1_u64 << (value >> 24))
    };
    missing(before, after) | missing(after, before)
}
