//! What explains that two responses to one URL differ: parts of the requests, or writes between them.

use std::collections::VecDeque;

use super::selector::Selector;

/// The most causes of one route that are told apart: a bit each.
const MOST_CAUSES: usize = 64;

/// The latest pairs of different responses whose possible causes are remembered one by one.
const MOST_PAIRS: usize = 512;

/// What may explain that two responses differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The requests differ in this part.
    Request(Selector),
    /// A write came between them.
    Write { name: u16, shared: Option<SharedCapture> },
}

/// A capture of the read route and one of the write's route that had the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedCapture {
    pub(super) read: Box<str>,
    pub(super) written: Box<str>,
}

#[derive(Debug)]
struct Candidate {
    cause: Cause,
    /// Requests that have this part.
    present: u64,
    /// Pairs with this cause whose responses differ, and those whose responses are equal.
    different: u64,
    equal: u64,
}

/// The possible causes of one route.
#[derive(Debug, Default)]
pub(super) struct Causes {
    candidates: Vec<Candidate>,
    /// For the latest pairs of different responses, which causes were there.
    pairs: VecDeque<u64>,
    different: u64,
    equal: u64,
}

/// A cause that explains different responses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Explanation {
    pub(super) cause: Cause,
    pub(super) bit: u64,
    /// The share of different pairs that it explains and no cause before it.
    pub(super) share: f64,
}

/// What follows from the pairs so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Findings {
    /// The causes, the one that explains most first.
    pub(super) explanations: Vec<Explanation>,
    /// The parameters of the query that change nothing, as bits.
    pub(super) needless: u64,
}

impl Findings {
    /// The bits of all causes that explain something.
    pub(super) fn bits(&self) -> u64 {
        self.explanations.iter().fold(0, |bits, explanation| bits | explanation.bit)
    }
}

impl Causes {
    /// Returns the bit of a cause, which is added if it is new; 0 if there are too many.
    pub(super) fn bit(&mut self, cause: Cause) -> u64 {
        self.index(cause).map_or(0, |index| 1 << index)
    }

    /// Returns the number of a part of a request that is present in one, or `None` if there are too many causes.
    pub(super) fn present(&mut self, selector: Selector) -> Option<usize> {
        let index = self.index(Cause::Request(selector))?;
        self.candidates[index].present += 1;
        Some(index)
    }

    fn index(&mut self, cause: Cause) -> Option<usize> {
        let known = self.candidates.iter().position(|candidate| candidate.cause == cause);
        known.or_else(|| {
            let has_room = self.candidates.len() < MOST_CAUSES;
            has_room.then(|| {
                self.candidates.push(Candidate { cause, present: 0, different: 0, equal: 0 });
                self.candidates.len() - 1
            })
        })
    }

    /// Counts a pair of responses with these possible causes.
    pub(super) fn compare(&mut self, causes: u64, differ: bool) {
        for (index, candidate) in self.candidates.iter_mut().enumerate().filter(|(index, _)| causes & (1 << index) != 0) {
            debug_assert!(index < MOST_CAUSES);
            *if differ { &mut candidate.different } else { &mut candidate.equal } += 1;
        }
        if !differ {
            self.equal += 1;
            return;
        }
        self.different += 1;
        if self.pairs.len() == MOST_PAIRS {
            self.pairs.pop_front();
        }
        self.pairs.push_back(causes);
    }

    /// Returns the number of requests that have the part.
    pub(super) fn presence(&self, bit: u64) -> u64 {
        self.candidates.get(bit.trailing_zeros() as usize).map_or(0, |candidate| candidate.present)
    }

    /// Returns the parts of requests among these causes.
    pub(super) fn selectors(&self, bits: u64) -> impl Iterator<Item = &Selector> {
        self.candidates.iter().enumerate().filter_map(move |(index, candidate)| match &candidate.cause {
            Cause::Request(selector) if bits & (1 << index) != 0 => Some(selector),
            _ => None,
        })
    }

    /// Returns the bits of the parts of requests that `matches`.
    pub(super) fn bits_of(&self, matches: impl Fn(&Selector) -> bool) -> u64 {
        let bits = self.candidates.iter().enumerate().filter_map(|(index, candidate)| match &candidate.cause {
            Cause::Request(selector) if matches(selector) => Some(1 << index),
            _ => None,
        });
        bits.fold(0, |bits, bit: u64| bits | bit)
    }

    /// Explains the different pairs: takes the cause that explains most of them, then the one that explains most of the rest, and so on.
    /// A cause that is there by chance explains nothing once the true one has been taken.
    pub(super) fn findings(&self) -> Findings {
        let mut rest: Vec<u64> = self.pairs.iter().copied().collect();
        let mut explanations: Vec<Explanation> = Vec::new();
        loop {
            let scored = self.candidates.iter().enumerate().filter_map(|(index, candidate)| {
                let (score, share) = self.score(index, candidate, &rest)?;
                Some((score, index, share))
            });
            let Some((_, index, share)) = scored.max_by(|(one, ..), (other, ..)| one.total_cmp(other)) else { break };
            let bit = 1 << index;
            rest.retain(|causes| causes & bit == 0);
            explanations.push(Explanation { cause: self.candidates[index].cause.clone(), bit, share });
        }
        let needless = self.needless(&rest, &explanations);
        Findings { explanations, needless }
    }

    /// How well a cause explains the rest of the pairs, and which share of all pairs it explains; `None` if it explains too few, or if the
    /// responses differ as often without it.
    fn score(&self, index: usize, candidate: &Candidate, rest: &[u64]) -> Option<(f64, f64)> {
        const FEWEST: usize = 3;
        const SMALLEST_SHARE: f64 = 0.05;
        const MARGIN: f64 = 0.1;
        let with = rest.iter().filter(|causes| **causes & (1 << index) != 0).count();
        let share = with as f64 / self.pairs.len().max(1) as f64;
        if with < FEWEST || share < SMALLEST_SHARE {
            return None;
        }
        // The remembered pairs stand for all of them.
        let scale = self.different as f64 / self.pairs.len().max(1) as f64;
        let (with, without) = (with as f64 * scale, (rest.len() - with) as f64 * scale);
        let likely = with / (with + candidate.equal as f64);
        let otherwise = match without + (self.equal - candidate.equal) as f64 {
            0.0 => 0.0,
            all => without / all,
        };
        (likely - otherwise > MARGIN).then(|| (share * likely * candidate.cause.preference(), share))
    }

    /// The parameters of the query in which requests with equal responses differ.
    fn needless(&self, rest: &[u64], explanations: &[Explanation]) -> u64 {
        let scale = self.different as f64 / self.pairs.len().max(1) as f64;
        let is_needless = |index: usize, candidate: &Candidate| {
            let Cause::Request(selector @ Selector::Query(_)) = &candidate.cause else { return false };
            let different = rest.iter().filter(|causes| **causes & (1 << index) != 0).count() as f64 * scale;
            let equal = candidate.equal as f64;
            let evidence = if selector.is_tracking() {
                equal >= 3.0 && different <= 0.05 * equal
            } else {
                equal >= 20.0 && different == 0.0
            };
            evidence && explanations.iter().all(|explanation| explanation.bit != 1 << index)
        };
        let bits = self.candidates.iter().enumerate().filter(|(index, candidate)| is_needless(*index, candidate));
        bits.fold(0, |bits, (index, _)| bits | 1 << index)
    }
}

impl Cause {
    /// Which of two causes is meant if both explain the same.
    fn preference(&self) -> f64 {
        match self {
            Self::Write { shared: Some(_), .. } => 1.1,
            Self::Request(Selector::Credentials) => 1.05,
            Self::Request(selector) if selector.is_tracking() => 0.9,
            Self::Request(Selector::Cookie(_)) => 1.02,
            Self::Request(_) => 1.0,
            Self::Write { shared: None, .. } => 0.99,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str) -> Cause {
        Cause::Request(Selector::Query(name.to_owned()))
    }

    fn found(causes: &Causes) -> Vec<Cause> {
        causes.findings().explanations.into_iter().map(|explanation| explanation.cause).collect()
    }

    #[test]
    fn cause_that_is_there_by_chance_explains_nothing() {
        let mut causes = Causes::default();
        let put = Cause::Write { name: 0, shared: None };
        let other = Cause::Write { name: 1, shared: None };
        let (put_bit, other_bit) = (causes.bit(put.clone()), causes.bit(other));
        for pair in 0..1_000_u64 {
            let causing = if pair % 10 == 0 { put_bit } else { 0 };
            let by_chance = if pair % 3 == 0 { other_bit } else { 0 };
            causes.compare(causing | by_chance, causing != 0);
        }
        assert_eq!(found(&causes), [put]);
        assert!((causes.findings().explanations[0].share - 1.0).abs() < 0.01);
    }

    #[test]
    fn responses_that_always_differ_have_no_cause() {
        let mut causes = Causes::default();
        let bits = [causes.bit(query("a")), causes.bit(Cause::Request(Selector::Credentials))];
        (0..1_000).for_each(|pair| causes.compare(bits[pair % 2], true));
        (0..1_000).for_each(|_| causes.compare(0, true));
        assert_eq!(found(&causes), []);
    }

    #[test]
    fn parameters_that_change_nothing_are_needless() {
        let mut causes = Causes::default();
        let (page, source, medium) =
            (causes.bit(query("page")), causes.bit(query("utm_source")), causes.bit(query("utm_medium")));
        for pair in 0..100 {
            causes.compare(source | medium, false);
            causes.compare(page | if pair % 2 == 0 { source } else { 0 }, true);
        }
        assert_eq!((found(&causes), causes.findings().needless), (vec![query("page")], source | medium));
    }

    #[test]
    fn causes_are_bounded() {
        let mut causes = Causes::default();
        for number in 0..10_000 {
            causes.present(Selector::Query(number.to_string()));
            causes.compare(u64::MAX, true);
        }
        assert_eq!((causes.candidates.len(), causes.pairs.len()), (MOST_CAUSES, MOST_PAIRS));
        causes.findings();
    }
}
