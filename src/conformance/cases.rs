//! The list of cases, by name.

use super::{
    backend_under_test::{Subject, Waiting},
    concurrency, epochs, outage,
    report::Verdict,
    serving, storing, tags,
};

/// One rule of the contract, and how it is tried.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) rule: &'static str,
    pub(super) run: for<'s> fn(&'s Subject<'_>) -> Waiting<'s, Verdict>,
}

macro_rules! cases {
    ($($name:literal: $run:path = $rule:literal,)+) => {
        /// Every case, the simplest first.
        pub(super) const CASES: &[Case] = &[$(Case { name: $name, rule: $rule, run: |subject| Box::pin($run(subject)) }),+];
    };
}

cases! {
    "unknown-key": storing::unknown_key = "a key under which nothing is stored is a miss that reports an epoch",
    "round-trip": storing::round_trip = "what is stored is found, in every part, right after `put` has returned `Kept`",
    "replace": storing::replace = "what is stored replaces what was there",
    "vacate": storing::vacate = "what has expired when it is put replaces what was there all the same",
    "keys": storing::keys = "keys are compared in full, whatever their bytes and length",
    "keeps": storing::keeps = "a hundred small things that were kept are found",
    "sizes": storing::sizes = "a body is kept whole, or is `Refused` if it is too large; neither is an error",
    "expiry": storing::expiry = "what has expired is forgotten",
    "corrupt": storing::corrupt = "what was damaged in the store is a miss, and can be replaced",
    "epoch-grows": epochs::growing = "the epoch never decreases, and an invalidation takes a later one than any that was read",
    "refill": epochs::refill = "what is fetched after an invalidation is found",
    "late-store": epochs::late_store = "what was fetched before an invalidation and stored after it is not found",
    "re-stamp": epochs::re_stamp = "what is stored keeps the epoch it was born at",
    "dead-on-arrival": epochs::dead_on_arrival = "what is dead does not come to life by replacing what is alive",
    "is-alive": epochs::is_alive = "`is_alive` is `true` for what a read finds `Current`, and for nothing else",
    "everything": epochs::everything = "`Everything` reaches all that is stored or being fetched, and nothing that comes later",
    "evicted": epochs::evicted = "what a tag's record said still holds when the record is evicted",
    "amnesia": epochs::amnesia = "what was born before the store lost everything is dead",
    "peer": epochs::peer = "another node's invalidation holds as soon as it has returned",
    "tag-hard": tags::hard = "an invalidated tag reaches what carries it, and nothing else",
    "tag-soft": tags::soft = "an expired tag makes `Expired` what carries it, until it is fetched anew",
    "soft-since": tags::earliest = "what was expired is so since the earliest expiry after its birth, by any of its tags",
    "soft-often": tags::often = "what is expired again and again is said to be stale since its first expiry, or earlier, or is forgotten",
    "late-store-soft": tags::late_soft_store = "what was fetched before its tag was expired and stored after it is not `Current`",
    "hard-after-soft": tags::soft_then_hard = "what was expired can still be invalidated",
    "soft-after-hard": tags::hard_then_soft = "what was invalidated does not come back when its tag is expired",
    "several-tags": tags::several = "each of several tags reaches an entry, alone or together with others",
    "odd-tags": tags::odd_names = "a tag of any characters and length reaches what carries it, and nothing else",
    "unknown-tag": tags::unknown = "a tag that nobody carries, or no tag at all, reaches nothing",
    "known-tags": tags::known = "the tags that a read knows ahead change nothing about what it finds",
    "receipts": tags::receipts = "a receipt tells the epoch and how many tags there were",
    "one-tag-at-once": concurrency::one_tag = "of several invalidations of one tag at once the latest counts",
    "many-tags-at-once": concurrency::many_tags = "invalidations of several tags at once are all recorded",
    "one-key-at-once": concurrency::one_key = "of several things stored under one key at once, one is found whole",
    "history": concurrency::history = "no read finds what was older than an invalidation that had returned before it began",
    "given-up": concurrency::given_up = "an operation that is dropped at any of its waits does not hurt later ones",
    "layer-hit": serving::hit = "a request is answered from the cache, and only by its own response",
    "layer-vary": serving::vary = "variants are kept apart, and invalidated together",
    "layer-ttl": serving::ttl = "a response is answered for as long as it is fresh",
    "layer-stale": serving::stale = "what was expired is answered if the handler fails, what was invalidated is not",
    "layer-withdrawn": serving::withdrawn = "what the handler no longer allows to be stored is not answered stale",
    "layer-uri": serving::uri = "a URI can be invalidated, by name or by a write, with all its queries and no other",
    "layer-clear": serving::clear = "`clear` reaches everything that is stored before it, and nothing after",
    "layer-namespaces": serving::namespaces = "namespaces do not reach each other, the store reaches all of them",
    "lost-invalidation": serving::lost_invalidation = "after an invalidation no request is answered from a handler that began before it",
    "outage-reads": outage::reads = "reads that fail leave the answer to the handler",
    "outage-puts": outage::puts = "puts that fail leave the answer to the handler, and nothing that is not seen to by invalidation",
    "outage-invalidations": outage::invalidations = "an invalidation that fails is an error, and holds once it has succeeded",
    "outage": outage::everything = "a store that fails altogether is no client's failure",
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the documentation is the one that is run.
    #[test]
    fn the_documentation_lists_every_case() {
        let table: String = CASES.iter().map(|case| format!("| `{}` | {} |\n", case.name, case.rule)).collect();
        assert_eq!(include_str!("cases.md"), table);
    }
}
