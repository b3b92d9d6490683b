//! The list of cases, by name.

use super::{
    backend_under_test::{BackendUnderTest, LocalBoxFuture},
    concurrency, epochs, holds, locks, outage,
    report::Verdict,
    serving, storing, tags,
};

/// One rule of the contract, and its test.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) rule: &'static str,
    pub(super) run: for<'s> fn(&'s BackendUnderTest<'_>) -> LocalBoxFuture<'s, Verdict>,
}

macro_rules! cases {
    ($($name:literal: $run:path = $rule:literal,)+) => {
        /// All cases, the simplest first.
        pub(super) const CASES: &[Case] = &[$(Case { name: $name, rule: $rule, run: |subject| Box::pin($run(subject)) }),+];
    };
}

cases! {
    "unknown-key": storing::unknown_key = "a lookup of an unknown key is a miss, and returns an epoch",
    "round-trip": storing::round_trip = "an entry is found, equal in every part, as soon as `put` has returned `Stored`",
    "replace": storing::replace = "an entry replaces the previous entry of its key",
    "replace-present": storing::replace_present = "`replace` stores an entry in place of the expected one only",
    "tombstone": storing::tombstone_put = "an entry that is already expired when it is put replaces the previous entry, too",
    "keys": storing::keys = "keys of any bytes and length are compared in full",
    "keeps": storing::keeps = "a hundred small entries are all found",
    "sizes": storing::sizes = "a body is stored completely, or is `TooLarge`; neither is an error",
    "expiry": storing::expiry = "an expired entry is removed",
    "corrupt": storing::corrupt = "a damaged entry is a miss, and can be replaced",
    "epoch-grows": epochs::growing = "the epoch never decreases, and an invalidation takes a later epoch than any that was read before",
    "refill": epochs::refill = "an entry that is fetched after an invalidation is found",
    "late-store": epochs::late_store = "an entry that is fetched before an invalidation and stored after it is not found",
    "re-stamp": epochs::re_stamp = "an entry keeps its epoch of birth",
    "dead-on-arrival": epochs::dead_on_arrival = "an invalid entry that replaces a valid one is not found",
    "is-alive": epochs::is_alive = "`is_alive` is `true` exactly for entries that a read finds `Valid`",
    "everything": epochs::everything = "`Everything` invalidates all entries that are stored or being fetched, and none that is fetched later",
    "evicted": epochs::evicted = "an invalidation still holds after the record of its tag was evicted",
    "data-loss": epochs::data_loss = "an entry that was born before the store lost its data is invalid",
    "peer": epochs::peer = "an invalidation by another node holds as soon as it has returned",
    "tag-hard": tags::hard = "invalidating a tag affects the entries that carry it, and no others",
    "tag-soft": tags::soft = "expiring a tag makes the entries that carry it `Stale`, until they are fetched again",
    "soft-since": tags::earliest = "an entry is stale since the earliest expiry of any of its tags after its birth",
    "soft-often": tags::often = "after many expiries, an entry is stale since its first expiry or earlier, or is a miss",
    "late-store-soft": tags::late_soft_store = "an entry that is fetched before an expiry of its tag and stored after it is not `Valid`",
    "hard-after-soft": tags::soft_then_hard = "an expired entry can still be invalidated",
    "soft-after-hard": tags::hard_then_soft = "expiring a tag does not restore an invalidated entry",
    "several-tags": tags::several = "each tag of an entry invalidates it, alone or together with other tags",
    "odd-tags": tags::odd_names = "a tag of any characters and length affects the entries that carry it, and no others",
    "unknown-tag": tags::unknown = "an unknown tag, or an empty list of tags, affects no entry",
    "known-tags": tags::known = "the tags that a read is given as a hint do not change its result",
    "receipts": tags::receipts = "a receipt contains the epoch and the number of tags",
    "held": holds::held = "while a tag is held, no entry with it is stored",
    "held-by-several": holds::several_writers = "a tag is held until every writer has released it",
    "held-too-long": holds::lapsed = "a tag that was not released in time is invalidated before an entry with it is stored",
    "held-by-peer": holds::by_peer = "a tag is held for all nodes",
    "one-tag-at-once": concurrency::one_tag = "of concurrent invalidations of one tag, the latest counts",
    "many-tags-at-once": concurrency::many_tags = "concurrent invalidations of several tags are all recorded",
    "one-key-at-once": concurrency::one_key = "after concurrent puts under one key, one of the entries is found, and it is complete",
    "history": concurrency::history = "no read finds an entry that is older than an invalidation which returned before the read began",
    "dropped-calls": concurrency::dropped = "an operation that is dropped at any await point does not affect later operations",
    "layer-hit": serving::hit = "a repeated request is a hit, with its own response",
    "layer-vary": serving::vary = "variants are selected by their fields, and invalidated together",
    "layer-ttl": serving::ttl = "a response is served while it is fresh",
    "layer-stale": serving::stale = "an expired response is served if the handler fails, an invalidated one is not",
    "layer-withdrawn": serving::withdrawn = "a response is not served stale after the handler has answered with `no-store`",
    "layer-uri": serving::uri = "a URI is invalidated by name or by a write, with all its queries, and no other URI is",
    "layer-clear": serving::clear = "`clear` invalidates everything that was stored before, and nothing that is stored later",
    "layer-namespaces": serving::namespaces = "invalidations affect their own namespace only; clearing the whole store affects all",
    "fetch-lock": locks::fetch_lock = "a fetch lock is held by one node, until that node releases it or its life ends",
    "lost-invalidation": serving::lost_invalidation = "after an invalidation, no response is served whose handler started before it",
    "outage-reads": outage::reads = "if reads fail, the handler answers",
    "outage-puts": outage::puts = "if puts fail, the handler answers, and invalidations affect what was stored in spite of the error",
    "outage-invalidations": outage::invalidations = "a failed invalidation returns an error, and holds once it is repeated with success",
    "outage": outage::everything = "a store that fails completely does not cause a failed request",
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cases.md` is the table in the documentation.
    #[test]
    fn documentation_lists_every_case() {
        let table: String = CASES.iter().map(|case| format!("| `{}` | {} |\n", case.name, case.rule)).collect();
        assert_eq!(include_str!("cases.md"), table);
    }
}
