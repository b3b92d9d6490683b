//! A cache under a lease: bypassed unless the lease is extended.

use std::time::Duration;

use larder::{CacheMode, Reason};

use crate::support::{Runs, cache, get, minute, numbered, page};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_cache_is_bypassed_when_its_lease_has_ended_and_keeps_its_entries() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let app = page(minute(&cache).tags(["a"]), numbered(&runs));
    let lease = cache.lease();
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::SwitchedOff));
    lease.extend(lease.now(), SECOND);
    assert!(get(&app, "/page").await.is_stored() && get(&app, "/page").await.is_hit());
    clock.advance(SECOND - Duration::from_millis(1));
    assert!(get(&app, "/page").await.is_hit());
    // What was invalidated meanwhile stays so; everything else answers again.
    let sent = lease.now();
    clock.advance(Duration::from_millis(1));
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::SwitchedOff));
    assert_eq!((cache.mode(), cache.own_mode()), (CacheMode::Bypass, CacheMode::Enabled));
    lease.extend(sent, SECOND);
    assert!(get(&app, "/page").await.is_hit());
    clock.advance(2 * SECOND);
    cache.invalidate_tags("a").await.unwrap();
    lease.extend(lease.now(), SECOND);
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_response_that_was_begun_under_a_lease_is_not_stored_after_its_end() {
    let (cache, clock) = cache();
    let lease = cache.lease();
    lease.extend(lease.now(), SECOND);
    let later = clock.clone();
    let slow = async move || {
        later.advance(SECOND);
        "page"
    };
    let app = page(minute(&cache), slow);
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::ReadOnly));
    lease.extend(lease.now(), SECOND);
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn leases_count_in_every_revision_and_for_values() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let app = page(minute(&cache), numbered(&runs));
    let lease = cache.lease();
    lease.extend(lease.now(), SECOND);
    let mut computed = 0;
    let policy = larder::ValuePolicy::ttl(60 * SECOND);
    let mut value = async || {
        computed += 1;
        let number = computed;
        cache.get_or_compute_in_memory("value", &policy, async move || Ok::<_, std::convert::Infallible>(number)).await.unwrap()
    };
    assert_eq!((value().await, value().await), (1, 1));
    clock.advance(SECOND);
    assert_eq!(value().await, 3, "computed");
    cache.prepare_revision("next").activate();
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::SwitchedOff));
    lease.extend(lease.now(), SECOND);
    assert!(get(&app, "/page").await.is_stored() && get(&app, "/page").await.is_hit());
}
