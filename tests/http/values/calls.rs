//! Calls for a value: what is stored, what is returned, what is counted.

use std::{convert::Infallible, sync::Arc};

use larder::{
    CacheMode, FillResult, Memory, Outcome, Reason, Trigger, ValuePolicy,
    testing::{Fault, Faulty, Operation},
};

use super::{policy, top};
use crate::support::{MINUTE, Runs, cache, get, minute, numbered, page};

#[tokio::test]
async fn a_value_is_computed_once_until_its_end() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    for _ in 0..3 {
        assert_eq!(top(&cache, &policy(), &runs).await, 1);
    }
    clock.advance(MINUTE);
    assert_eq!(top(&cache, &policy(), &runs).await, 2);
}

#[tokio::test]
async fn a_value_is_computed_again_after_its_tag_was_invalidated() {
    let ((cache, _), runs) = (cache(), Runs::default());
    top(&cache, &policy(), &runs).await;
    cache.invalidate_tags("elsewhere").await.unwrap();
    assert_eq!(top(&cache, &policy(), &runs).await, 1);
    cache.invalidate_tags("posts").await.unwrap();
    assert_eq!(top(&cache, &policy(), &runs).await, 2);
    cache.clear().await.unwrap();
    assert_eq!(top(&cache, &policy(), &runs).await, 3);
}

#[tokio::test]
async fn a_policy_is_shared_by_an_arc() {
    let (cache, _) = cache();
    let shared = Arc::new(policy());
    let computed = cache.get_or_compute("top", &shared, || async { Ok::<_, Infallible>(1) }).await;
    let stored = cache.get_or_compute("top", Arc::clone(&shared), || async { Ok::<_, Infallible>(2) }).await;
    let in_memory = cache.get_or_compute_in_memory("other", &shared, || async { Ok::<_, Infallible>(3) }).await;
    assert_eq!((computed, stored, in_memory), (Ok(1), Ok(1), Ok(3)));
}

#[tokio::test]
async fn a_computation_adds_tags_of_its_own() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let read = async || {
        let runs = runs.clone();
        let compute = || async move {
            assert!(larder::add_tags(["author:7"]));
            Ok::<_, Infallible>(runs.begin())
        };
        cache.get_or_compute("tagged", ValuePolicy::ttl(MINUTE), compute).await.unwrap()
    };
    assert_eq!((read().await, read().await), (1, 1));
    cache.invalidate_tags("author:7").await.unwrap();
    assert_eq!(read().await, 2);
}

#[tokio::test]
async fn a_value_is_invalidated_while_it_is_computed() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let (invalidated, begun) = (cache.clone(), runs.clone());
    let compute = || async move {
        let run = begun.begin();
        invalidated.invalidate_tags("posts").await.unwrap();
        Ok::<_, Infallible>(run)
    };
    assert_eq!(cache.get_or_compute("top", &policy(), compute).await, Ok(1));
    assert_eq!(top(&cache, &policy(), &runs).await, 2);
}

#[tokio::test]
async fn an_error_is_returned_and_not_stored() {
    let (cache, _) = cache();
    let failed = cache.get_or_compute("top", &policy(), || async { Err::<usize, _>("the database is down") }).await;
    assert_eq!(failed, Err("the database is down"));
    assert_eq!(top(&cache, &policy(), &Runs::default()).await, 1);
}

#[tokio::test]
async fn a_value_of_another_type_is_a_miss() {
    let (cache, _) = cache();
    for _ in 0..2 {
        let number = cache.get_or_compute("x", &policy(), || async { Ok::<_, Infallible>(7_u64) }).await;
        let text = cache.get_or_compute("x", &policy(), || async { Ok::<_, Infallible>("seven".to_owned()) }).await;
        assert_eq!((number, text.as_deref()), (Ok(7), Ok("seven")));
    }
}

#[tokio::test]
async fn values_and_responses_never_meet() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = page(minute(&cache), numbered(&Runs::default()));
    for name in ["/page", "http://example.com/page", ""] {
        let value = async |cache: &larder::Cache| {
            let runs = runs.clone();
            cache.get_or_compute(name, &policy(), || async move { Ok::<_, Infallible>(runs.begin()) }).await.unwrap()
        };
        let first = value(&cache).await;
        assert_eq!(get(&app, "/page").await.text(), "run 1");
        assert_eq!(value(&cache).await, first);
        // Each namespace and each revision has its own.
        assert_eq!(value(&cache.with_namespace("shop")).await, first + 1);
        assert_eq!(value(&cache.with_revision("2")).await, first + 2);
    }
}

/// Neither `Serialize` nor `Debug`.
#[derive(Clone)]
struct Opaque(usize);

#[tokio::test]
async fn any_type_can_be_kept_in_memory() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let read = async |cache: &larder::Cache| {
        let runs = runs.clone();
        let compute = || async move { Ok::<_, Infallible>(Arc::new(Opaque(runs.begin()))) };
        cache.get_or_compute_in_memory("opaque", policy().weight(1000), compute).await.unwrap()
    };
    let (one, two) = (read(&cache).await, read(&cache).await);
    assert!(Arc::ptr_eq(&one, &two) && one.0 == 1);
    cache.invalidate_tags("posts").await.unwrap();
    assert_eq!(read(&cache).await.0, 2);
}

#[tokio::test]
async fn large_values_are_weighed() {
    let memory = Arc::new(Memory::new(1 << 20));
    let cache = larder::Cache::from_arc(Arc::clone(&memory) as _);
    let text = "x".repeat(100_000);
    for name in 0..100 {
        let text = text.clone();
        let stored = cache.get_or_compute(format!("text {name}"), &policy(), || async move { Ok::<_, Infallible>(text) }).await;
        assert_eq!(stored.unwrap().len(), 100_000);
        let heavy = policy().weight(200_000);
        let stated = cache.get_or_compute_in_memory(format!("stated {name}"), &heavy, || async { Ok::<_, Infallible>(()) }).await;
        assert_eq!(stated, Ok(()));
    }
    assert!(memory.bytes() <= 1 << 20 && memory.entries() <= 6, "{} entries, {} bytes", memory.entries(), memory.bytes());
}

#[tokio::test]
async fn a_cache_that_is_off_or_read_only_stores_nothing() {
    let ((cache, _), runs) = (cache(), Runs::default());
    cache.set_mode(CacheMode::Bypass);
    assert_eq!((top(&cache, &policy(), &runs).await, top(&cache, &policy(), &runs).await), (1, 2));
    cache.set_mode(CacheMode::ReadOnly);
    assert_eq!((top(&cache, &policy(), &runs).await, top(&cache, &policy(), &runs).await), (3, 4));
    cache.set_mode(CacheMode::Enabled);
    assert_eq!((top(&cache, &policy(), &runs).await, top(&cache, &policy(), &runs).await), (5, 5));
    cache.set_mode(CacheMode::ReadOnly);
    assert_eq!(top(&cache, &policy(), &runs).await, 5);
}

#[tokio::test]
async fn a_store_that_fails_is_a_miss() {
    let (faulty, runs) = (Faulty::new(Memory::new(1 << 20)), Runs::default());
    let cache = larder::Cache::new(faulty.clone());
    faulty.fail_all();
    assert_eq!((top(&cache, &policy(), &runs).await, top(&cache, &policy(), &runs).await), (1, 2));
    faulty.heal();
    assert_eq!((top(&cache, &policy(), &runs).await, top(&cache, &policy(), &runs).await), (3, 3));
    faulty.fail(Operation::Read, Fault::Unavailable);
    assert_eq!(top(&cache, &policy(), &runs).await, 4);
}

#[tokio::test]
async fn a_value_that_cannot_be_tagged_or_lasts_no_time_is_not_stored() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let many: Vec<String> = (0..200).map(|tag| tag.to_string()).collect();
    let policies = [policy().tags([""]), policy().tags(many), ValuePolicy::ttl(std::time::Duration::ZERO)];
    for policy in &policies {
        let first = top(&cache, policy, &runs).await;
        assert_eq!(top(&cache, policy, &runs).await, first + 1);
    }
    let stats = cache.stats();
    let reasons: Vec<_> = stats.route("value").unwrap().not_stored().into_iter().map(|(reason, _)| reason).collect();
    for reason in [Reason::InvalidTag, Reason::TooManyTags, Reason::ZeroTtl] {
        assert!(reasons.contains(&reason), "{reason:?} in {reasons:?}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_their_label_and_not_among_requests() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let policy = policy().label("top posts");
    for _ in 0..3 {
        top(&cache, &policy, &runs).await;
    }
    let failed = cache.get_or_compute("other", &policy, || async { Err::<usize, _>(()) }).await;
    assert_eq!(failed, Err(()));
    let stats = cache.stats();
    let label = stats.route("value top posts").unwrap();
    let outcomes = [Outcome::Hit, Outcome::Miss, Outcome::Error].map(|outcome| label.outcome(outcome));
    assert_eq!(outcomes, [2, 1, 1]);
    assert_eq!(label.fills(Trigger::Request, FillResult::Stored), 1);
    assert_eq!((stats.requests(), stats.hit_ratio()), (0, None));
}
