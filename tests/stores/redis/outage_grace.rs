//! Copies that answer while Redis cannot be reached (`Tiered::outage_grace`), and what they must not bring back.

use std::time::Duration;

use axum::{Router, routing};
use http::{Method, StatusCode};
use larder::{Cache, CacheMode, ManualClock, Memory, Reason, Redis, Tiered};

use super::support::{
    node::{Node, resumes_without},
    topology::patient,
};
use crate::{
    servers::{
        process::eventually,
        proxy::{Fault, Proxy},
        redis::Redis as Server,
    },
    support::{Answer, MINUTE, Runs, fields, get, get_with, minute, send_empty},
};

const LEASE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(600);

/// How copies are validated while Redis can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Strict,
    Leased,
}

const KINDS: [Kind; 2] = [Kind::Strict, Kind::Leased];

/// A tiered node with a grace, and the clock that measures it, which stands still.
#[derive(Debug)]
struct Graced {
    node: Node,
    clock: ManualClock,
}

fn tiered(kind: Kind, redis: &Redis) -> (Tiered<Redis>, ManualClock) {
    let clock = ManualClock::new();
    let tiered = Tiered::new(Memory::new(16 << 20), redis.clone()).with_clock(&clock).outage_grace(GRACE);
    (if kind == Kind::Leased { tiered.lease(LEASE) } else { tiered }, clock)
}

async fn hasty(url: &str) -> Redis {
    Redis::builder().invalidate_timeout(Duration::from_millis(500)).connect(url).await.unwrap()
}

impl Graced {
    async fn new(kind: Kind, url: &str, runs: &Runs) -> Self {
        let redis = hasty(url).await;
        let (tiered, clock) = tiered(kind, &redis);
        Self { node: Node::with(Cache::new(tiered), redis, runs), clock }
    }

    async fn get(&self, id: u32) -> Answer {
        get(&self.node.app, &format!("/posts/{id}")).await
    }

    /// Requests the page until a copy answers that Redis has found valid; returns what it says.
    async fn warm(&self, id: u32) -> String {
        warm(&self.node.cache, async || self.get(id).await).await
    }

    /// Lets the lease end, after an outage has begun.
    fn lease_ends(&self) {
        self.clock.advance(LEASE);
    }

    async fn assert_outage_hit(&self, id: u32, text: &str) {
        let answer = self.get(id).await;
        assert_eq!(answer.text(), text);
        assert_is_outage_hit(&answer);
    }
}

fn assert_is_outage_hit(answer: &Answer) {
    assert!(answer.is_hit() && answer.cache.unwrap().is_outage_hit(), "{answer:?}");
    assert_eq!(answer.reason(), Some(Reason::StoreOutage));
}

async fn warm(cache: &Cache, request: impl AsyncFn() -> Answer) -> String {
    let mut text = String::new();
    eventually("a copy answers", async || {
        let before = lookups(cache);
        let answer = request().await;
        answer.text().clone_into(&mut text);
        answer.is_hit() && !answer.cache.unwrap().is_outage_hit() && lookups(cache) == before
    })
    .await;
    text
}

/// How many lookups were sent to Redis.
fn lookups(cache: &Cache) -> u64 {
    let stats = cache.stats();
    let operations = stats.stores().iter().flat_map(|store| &store.operations);
    operations.filter(|of| of.operation == "get").map(|of| of.durations.count()).sum()
}

#[tokio::test]
async fn copies_answer_during_an_outage_until_the_grace_has_passed() {
    for (kind, killed) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut server = Server::start();
        let runs = Runs::default();
        let graced = Graced::new(kind, &server.url(), &runs).await;
        let cache = &graced.node.cache;
        let old = graced.warm(1).await;
        if killed {
            server.kill();
        } else {
            server.pause();
        }
        graced.lease_ends();
        let (before, counted) = (runs.count(), cache.stats().outage_hits());
        for _ in 0..20 {
            graced.assert_outage_hit(1, &old).await;
        }
        assert!(graced.node.redis.is_suspended(), "{kind:?}, killed: {killed}, {:?}", cache.stats().stores());
        let sent = lookups(cache);
        for _ in 0..20 {
            graced.assert_outage_hit(1, &old).await;
        }
        assert_eq!(lookups(cache), sent, "a suspended store is not asked");
        assert_eq!((runs.count(), cache.stats().outage_hits()), (before, counted + 40));
        let health = cache.health().await;
        assert_eq!((health.is_healthy(), health.grace_left), (false, Some(GRACE - LEASE)));

        // What is not there comes from the handler, and is not stored.
        for _ in 0..2 {
            let answer = graced.get(2).await;
            assert_eq!((answer.is_hit(), answer.reason()), (false, Some(Reason::StoreSuspended)));
        }
        assert_eq!(runs.count(), before + 2);

        graced.clock.advance(GRACE - LEASE - Duration::from_millis(1));
        graced.assert_outage_hit(1, &old).await;
        graced.clock.advance(Duration::from_millis(1));
        for _ in 0..2 {
            let answer = graced.get(1).await;
            assert_eq!((answer.is_hit(), answer.reason()), (false, Some(Reason::StoreSuspended)), "{kind:?}");
        }
        assert_eq!(cache.health().await.grace_left, Some(Duration::ZERO));

        if killed {
            server.start_again();
        } else {
            server.resume();
        }
        graced.node.recovered().await;
        let again = graced.warm(1).await;
        assert_eq!(again == old, !killed, "Redis has lost it, or has kept it");
        assert_eq!(cache.health().await.grace_left, None);
    }
}

/// Every way to invalidate page 1, and whether page 2 is left.
const INVALIDATIONS: [(&str, bool); 5] = [("tag", true), ("expire", true), ("uri", true), ("write", true), ("clear", false)];

async fn invalidate(way: &str, node: &Node) {
    let outcome = match way {
        "tag" => node.cache.invalidate_tags("post:1").await.err(),
        "expire" => node.cache.expire_tags("post:1").await.err(),
        "uri" => node.cache.invalidate_uri("/posts/1").await.err(),
        "clear" => node.cache.clear().await.err(),
        _ => {
            // The write itself is done, and its invalidation is queued.
            let answer = send_empty(&node.app, Method::DELETE, "/posts/1").await;
            assert_eq!(answer.status, StatusCode::OK);
            return;
        }
    };
    assert!(outcome.is_some(), "{way}: the store cannot be reached");
}

#[tokio::test]
async fn invalidation_by_this_node_during_an_outage_kills_at_once_and_for_good() {
    for kind in KINDS {
        let server = Server::start();
        for (way, leaves_another) in INVALIDATIONS {
            let runs = Runs::default();
            let mut graced = Graced::new(kind, &format!("{}?key_prefix={way}", server.url()), &runs).await;
            let write = routing::delete(async || "deleted").layer(graced.node.cache.layer());
            graced.node.app = graced.node.app.route("/posts/{id}", write);
            let [old, other] = [graced.warm(1).await, graced.warm(2).await];
            server.pause();
            graced.lease_ends();
            graced.assert_outage_hit(1, &old).await;
            invalidate(way, &graced.node).await;
            for _ in 0..10 {
                let answer = graced.get(1).await;
                assert!(answer.text() != old && !answer.is_hit(), "{kind:?}, {way}: {answer:?}");
            }
            assert_eq!(graced.get(2).await.text() == other, leaves_another, "{kind:?}, {way}");
            server.resume();
            let nodes = [graced.node];
            resumes_without(&nodes, 1, &old).await;
            nodes[0].recovered().await;
            resumes_without(&nodes, 1, &old).await;
        }
    }
}

/// What becomes of Redis while a node cannot reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Invalidated,
    Flushed,
    Restarted,
}

#[tokio::test]
async fn nothing_of_an_outage_is_believed_when_redis_can_be_reached_again() {
    let meanwhiles = [Meanwhile::Invalidated, Meanwhile::Flushed, Meanwhile::Restarted];
    for (kind, meanwhile) in KINDS.into_iter().flat_map(|kind| meanwhiles.map(|meanwhile| (kind, meanwhile))) {
        let mut server = Server::start();
        let proxy = Proxy::start(server.port).await;
        let runs = Runs::default();
        let graced = Graced::new(kind, &proxy.url(), &runs).await;
        let other = Node::on(patient().connect(&server.url()).await.unwrap(), &runs);
        let old = graced.warm(1).await;
        proxy.set(Fault::Cut);
        graced.lease_ends();
        match meanwhile {
            Meanwhile::Invalidated => drop(other.cache.invalidate_tags("post:1").await.unwrap()),
            Meanwhile::Flushed => server.run("FLUSHALL"),
            Meanwhile::Restarted => {
                server.kill();
                server.start_again();
            }
        }
        // This is what the grace costs.
        for _ in 0..10 {
            graced.assert_outage_hit(1, &old).await;
        }
        proxy.set(Fault::None);
        graced.node.recovered().await;
        assert_ne!(graced.get(1).await.text(), old, "{kind:?}, {meanwhile:?}");
        // Nor in the next outage.
        proxy.set(Fault::Cut);
        for _ in 0..10 {
            assert_ne!(graced.get(1).await.text(), old, "{kind:?}, {meanwhile:?}");
        }
        proxy.set(Fault::None);
        resumes_without(&[graced.node], 1, &old).await;
    }
}

#[tokio::test]
async fn copies_do_not_answer_where_the_last_shared_mode_is_bypass() {
    for kind in KINDS {
        let server = Server::start();
        let runs = Runs::default();
        let graced = Graced::new(kind, &server.url(), &runs).await;
        let other = Node::on(patient().connect(&server.url()).await.unwrap(), &runs);
        let old = graced.warm(1).await;
        other.cache.set_mode_everywhere(CacheMode::Bypass).await.unwrap();
        eventually("the node bypasses the cache", async || graced.get(1).await.reason() == Some(Reason::SwitchedOff)).await;
        server.pause();
        graced.lease_ends();
        for _ in 0..10 {
            let answer = graced.get(1).await;
            assert!(answer.text() != old && answer.reason() == Some(Reason::SwitchedOff), "{kind:?}: {answer:?}");
        }
    }
}

/// One lookup of a variant reads several entries.
#[tokio::test]
async fn each_request_gets_its_own_variant_during_an_outage() {
    for kind in KINDS {
        let server = Server::start();
        let redis = hasty(&server.url()).await;
        let (tiered, clock) = tiered(kind, &redis);
        let cache = Cache::new(tiered);
        let handler = async |headers: http::HeaderMap| {
            let language = headers["accept-language"].to_str().unwrap().to_owned();
            (fields(&[("vary", "accept-language")]), language)
        };
        let app = Router::new().route("/page", routing::get(handler).layer(minute(&cache)));
        let request = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
        for language in ["de", "en", "de", "en"] {
            warm(&cache, async || request(language).await).await;
        }
        server.pause();
        clock.advance(LEASE);
        for language in ["de", "en", "de", "en", "de", "en"] {
            let answer = request(language).await;
            assert_eq!(answer.text(), language);
            assert_is_outage_hit(&answer);
        }
        let answer = request("fr").await;
        assert!(answer.text() == "fr" && !answer.is_hit(), "{kind:?}: {answer:?}");
    }
}

#[tokio::test]
async fn stale_copy_answers_during_an_outage_if_the_handler_fails_and_never_otherwise() {
    for kind in KINDS {
        let server = Server::start();
        let redis = hasty(&server.url()).await;
        let (time, fails) = (ManualClock::new(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let (tiered, clock) = tiered(kind, &redis);
        let cache = Cache::new(tiered).with_clock(&time);
        let handler = {
            let fails = fails.clone();
            async move || match fails.load(std::sync::atomic::Ordering::Relaxed) {
                true => Err(StatusCode::BAD_GATEWAY),
                false => Ok("page"),
            }
        };
        let layer = minute(&cache).stale_while_revalidate(MINUTE).stale_if_error(MINUTE);
        let app = Router::new().route("/page", routing::get(handler).layer(layer));
        warm(&cache, async || get(&app, "/page").await).await;
        server.pause();
        clock.advance(LEASE);
        time.advance(MINUTE + Duration::from_secs(1));
        let answer = get(&app, "/page").await;
        assert!(
            !answer.is_hit() && matches!(answer.reason(), Some(Reason::StoreTimeout | Reason::StoreSuspended)),
            "{kind:?}: {answer:?}"
        );
        fails.store(true, std::sync::atomic::Ordering::Relaxed);
        let answer = get(&app, "/page").await;
        assert_eq!((answer.text(), answer.reason()), ("page", Some(Reason::StaleOnError)), "{kind:?}");
        time.advance(MINUTE);
        assert_eq!(get(&app, "/page").await.status, StatusCode::BAD_GATEWAY, "{kind:?}");
    }
}
