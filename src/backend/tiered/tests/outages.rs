//! Copies that answer while the far store cannot be reached, and those that must not.

use super::*;
use crate::http::no_vary_search::{Order, Parameters, QueryVariance};

const GRACE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

/// A tier over a far store with one entry, of which it has taken a copy.
struct Tier {
    tiered: Tiered<FarStore>,
    clock: ManualClock,
    key: Key,
}

/// An entry that never expires.
fn tagged(born: Epoch) -> Arc<Stored> {
    let rule = QueryVariance { parameters: Parameters::Ignored(Vec::new()), order: Order::Matters };
    Arc::new(Stored::new(born, vec![Tag::new("post:7").unwrap()], Content::QueryVariance(rule)))
}

impl Tier {
    /// A strict tier, or one whose lease has lapsed as soon as it has been polled.
    async fn new(is_leased: bool, far: FarStore) -> Self {
        let (clock, key) = (ManualClock::new(), Key::from_bytes(b"page"));
        let tiered = Tiered::new(Memory::new(1 << 20), far).with_clock(&clock).outage_grace(GRACE);
        let tiered = if is_leased { tiered.lease(Duration::ZERO) } else { tiered };
        let tier = Self { tiered, clock, key };
        tier.take().await;
        // Only while this test sleeps does the follower poll. The first poll drops what was copied before.
        sleep(Duration::from_secs(1)).await;
        tier.take().await;
        assert!(tier.answers());
        tier
    }

    /// Reads the entry from the far store.
    async fn take(&self) {
        assert!(self.tiered.get(&self.key, &[]).await.unwrap().found.is_some());
    }

    async fn fail(&self) {
        self.tiered.far.is_down.store(true, Ordering::Relaxed);
        self.tiered.get(&self.key, &[]).await.unwrap_err();
    }

    fn answers(&self) -> bool {
        self.tiered.copy_in_outage(&self.key).is_some()
    }
}

async fn tiers() -> [Tier; 2] {
    let far = || FarStore::new(Epoch::of(2, 2), Some(tagged(Epoch::of(2, 2))));
    [Tier::new(false, far()).await, Tier::new(true, far()).await]
}

#[tokio::test(start_paused = true)]
async fn copies_answer_until_the_grace_has_passed() {
    for tier in tiers().await {
        tier.fail().await;
        assert!(tier.answers());
        tier.clock.advance(GRACE - MOMENT);
        assert!(tier.answers());
        assert_eq!(tier.tiered.grace_left(), Some(MOMENT));
        tier.clock.advance(MOMENT);
        assert!(!tier.answers());
        assert_eq!(tier.tiered.grace_left(), Some(Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn grace_begins_again_when_the_store_has_agreed() {
    for tier in tiers().await {
        tier.fail().await;
        tier.clock.advance(GRACE);
        tier.tiered.far.is_down.store(false, Ordering::Relaxed);
        tier.take().await;
        sleep(Duration::from_secs(60)).await;
        tier.fail().await;
        tier.clock.advance(GRACE - MOMENT);
        assert!(tier.answers());
    }
}

#[tokio::test(start_paused = true)]
async fn copies_never_answer_without_a_grace_or_before_the_store_has_agreed() {
    let copy = || Some(tagged(Epoch::of(2, 2)));
    let key = Key::from_bytes(b"page");
    for grace in [None, Some(Duration::ZERO)] {
        let tiered = Tiered::new(Memory::new(1 << 20), FarStore::new(Epoch::of(2, 2), copy()));
        let tiered = grace.into_iter().fold(tiered, Tiered::outage_grace);
        assert!(tiered.get(&key, &[]).await.unwrap().found.is_some());
        assert!(tiered.copy_in_outage(&key).is_none() && tiered.grace_left().is_none(), "{grace:?}");
    }
    let tiered = Tiered::new(Memory::new(1 << 20), FarStore::new(Epoch::of(2, 2), copy())).outage_grace(GRACE).lease(GRACE);
    assert!(tiered.get(&key, &[]).await.unwrap().found.is_some());
    assert!(tiered.copy_in_outage(&key).is_none(), "before the first poll");
}

#[tokio::test(start_paused = true)]
async fn failed_invalidation_of_this_node_kills_its_copies() {
    let other = || vec![Tag::new("post:8").unwrap()];
    let own = || vec![Tag::new("post:7").unwrap()];
    let at = Timestamp::from_millis(0);
    for (kills, invalidation) in [
        (false, Invalidation::Tags(other())),
        (true, Invalidation::Tags(own())),
        (true, Invalidation::ExpireTags { tags: own(), at }),
        (true, Invalidation::Everything),
    ] {
        for tier in tiers().await {
            tier.fail().await;
            tier.tiered.invalidate(&invalidation).await.unwrap_err();
            assert_eq!(tier.answers(), !kills, "{invalidation:?}");
        }
    }
}

/// The copy is taken while the far store has not invalidated the entry yet, which fails then.
#[tokio::test(start_paused = true)]
async fn failed_invalidation_kills_although_its_caller_has_left() {
    for is_leased in [false, true] {
        let far = FarStore { invalidating: Some(Notify::new()), ..FarStore::new(Epoch::of(2, 2), Some(tagged(Epoch::of(2, 2)))) };
        let tier = Tier::new(is_leased, far).await;
        let invalidation = Invalidation::Tags(vec![Tag::new("post:7").unwrap()]);
        tokio::time::timeout(MOMENT, tier.tiered.invalidate(&invalidation)).await.unwrap_err();
        tier.take().await;
        tier.fail().await;
        tier.tiered.far.invalidating.as_ref().unwrap().notify_one();
        sleep(MOMENT).await;
        assert!(!tier.answers(), "leased: {is_leased}");
    }
}

#[tokio::test(start_paused = true)]
async fn copy_that_the_store_has_refuted_does_not_answer_in_a_later_outage() {
    for tier in tiers().await {
        tier.tiered.far.set(Epoch::of(2, 3), None);
        assert!(tier.tiered.get(&tier.key, &[]).await.unwrap().found.is_none());
        tier.fail().await;
        assert!(!tier.answers());
    }
}

#[tokio::test(start_paused = true)]
async fn strict_copy_of_another_incarnation_does_not_answer_in_a_later_outage() {
    let [strict, _] = tiers().await;
    strict.tiered.far.set(Epoch::of(3, 2), None);
    // Another entry is read: the copy is not looked at.
    strict.tiered.get(&Key::from_bytes(b"other"), &[]).await.unwrap();
    strict.fail().await;
    assert!(!strict.answers());
}

#[tokio::test(start_paused = true)]
async fn strict_copy_answers_from_the_time_at_which_its_epoch_was_seen_last() {
    let [strict, _] = tiers().await;
    strict.clock.advance(GRACE / 2);
    strict.tiered.far.set(Epoch::of(2, 3), None);
    strict.tiered.get(&Key::from_bytes(b"other"), &[]).await.unwrap();
    strict.fail().await;
    strict.clock.advance(GRACE / 2 - MOMENT);
    assert!(strict.answers());
    strict.clock.advance(MOMENT);
    assert!(!strict.answers(), "it may have been invalidated at 3");
}

#[tokio::test(start_paused = true)]
async fn suspended_store_is_not_read_and_the_last_shared_mode_counts() {
    for tier in tiers().await {
        let far = &tier.tiered.far;
        tier.fail().await;
        far.is_suspended.store(true, Ordering::Relaxed);
        let reads = far.reads.load(Ordering::Relaxed);
        assert!(tier.answers());
        assert_eq!(far.reads.load(Ordering::Relaxed), reads);
        *far.mode.lock().unwrap() = CacheMode::Bypass;
        assert!(!tier.answers());
    }
    let [_, leased] = tiers().await;
    leased.tiered.far.is_suspended.store(true, Ordering::Relaxed);
    let reads = leased.tiered.far.reads.load(Ordering::Relaxed);
    leased.tiered.get(&leased.key, &[]).await.unwrap_err();
    assert_eq!(leased.tiered.far.reads.load(Ordering::Relaxed), reads);
}
