//! What Redis loses, and what others write under larder's keys: misses, never a stale answer.

use axum::{Router, routing};
use larder::{Cache, CacheTags};
use redis::{Cmd, cmd};

use super::support::topology::{Node, Place, Site, everywhere};
use crate::support::{Gate, Runs, get, minute};

/// An application whose pages have a tag of the route's, and one of their own.
fn app(cache: &Cache, runs: &Runs) -> Router {
    let runs = runs.clone();
    let handler = async move || (CacheTags::new(["author:7"]), format!("run {}", runs.begin()));
    Router::new().route("/posts/{id}", routing::get(handler).layer(minute(cache).tags(["posts"])))
}

struct Pair {
    a: Node,
    b: Node,
    app_a: Router,
    app_b: Router,
    runs: Runs,
}

impl Pair {
    /// Two nodes, both of which know a page by heart.
    async fn warm(site: &Site<'_>) -> Self {
        let runs = Runs::default();
        let (a, b) = (site.node().await, site.node().await);
        let (app_a, app_b) = (app(&a.cache, &runs), app(&b.cache, &runs));
        for app in [&app_a, &app_b, &app_a, &app_b] {
            assert_eq!(get(app, "/posts/1").await.text(), "run 1");
        }
        Self { a, b, app_a, app_b, runs }
    }
}

#[test]
fn an_invalidation_holds_though_the_records_of_its_tags_are_lost() {
    everywhere(async |site| {
        for tag in ["posts", "author:7"] {
            for before in [true, false] {
                let (site, place) = (site.apart(), site.place);
                let pair = Pair::warm(&site).await;
                if before {
                    site.delete(site.record(tag));
                }
                pair.b.cache.invalidate_tags([tag]).await.unwrap();
                if !before {
                    site.delete(site.record(tag));
                }
                site.lease_ends().await;
                for app in [&pair.app_a, &pair.app_b, &pair.app_a] {
                    let answer = get(app, "/posts/1").await;
                    assert_eq!(answer.text(), "run 2", "{place:?} {tag} before={before}: {answer:?}");
                }
            }
        }
    });
}

#[test]
fn a_record_that_is_lost_while_its_page_lives_costs_a_miss_at_most() {
    everywhere(async |site| {
        let pair = Pair::warm(site).await;
        site.delete(site.record("author:7"));
        // Another invalidation advances the clock, so that earlier validations are out of date.
        pair.b.cache.invalidate_tags(["elsewhere"]).await.unwrap();
        site.lease_ends().await;
        let fresh = site.node().await;
        let answer = get(&app(&fresh.cache, &pair.runs), "/posts/1").await;
        assert_eq!(answer.text(), "run 2", "{:?}: who has no record knows nothing: {answer:?}", site.place);
        assert!(get(&pair.app_b, "/posts/1").await.is_hit(), "{:?}", site.place);
    });
}

#[test]
fn a_slow_fetch_does_not_make_a_lost_record_as_old_as_itself() {
    everywhere(async |site| {
        for lost_first in [true, false] {
            let (site, place) = (site.apart(), site.place);
            let (runs, gate) = (Runs::default(), Gate::closed());
            let (a, b) = site.nodes().await;
            let app = |cache: &Cache| {
                let (runs, gate) = (runs.clone(), gate.clone());
                let handler = async move || {
                    let run = runs.begin();
                    gate.pass().await;
                    (CacheTags::new(["author:7"]), format!("run {run}"))
                };
                Router::new().route("/posts/{id}", routing::get(handler).layer(minute(cache).tags(["posts"])))
            };
            let (app_a, app_b) = (app(&a), app(&b));
            let asking = app_a.clone();
            let slow = tokio::spawn(async move { get(&asking, "/posts/1").await });
            gate.arrival().await;
            let lose = || ["posts", "author:7"].iter().for_each(|tag| site.delete(site.record(tag)));
            if lost_first {
                lose();
            }
            b.invalidate_tags(["posts", "author:7"]).await.unwrap();
            if !lost_first {
                lose();
            }
            site.lease_ends().await;
            gate.open(100);
            assert_eq!(slow.await.unwrap().text(), "run 1");
            for app in [&app_a, &app_b] {
                assert_eq!(get(app, "/posts/1").await.text(), "run 2", "{place:?} lost_first={lost_first}");
            }
        }
    });
}

/// Something is done to the server while nodes hold a page, and the page is invalidated afterwards or before.
async fn survives(site: &Site<'_>, what: &str, accident: impl Fn(&Site<'_>)) {
    for before in [true, false] {
        let (site, place) = (site.apart(), site.place);
        let pair = Pair::warm(&site).await;
        if before {
            accident(&site);
        }
        pair.b.cache.invalidate_tags(["author:7"]).await.unwrap_or_else(|error| panic!("{place:?} {what}: {error:?}"));
        if !before {
            accident(&site);
        }
        site.lease_ends().await;
        for app in [&pair.app_a, &pair.app_b] {
            let answer = get(app, "/posts/1").await;
            assert_ne!(answer.text(), "run 1", "{place:?} {what} before={before}: {answer:?}");
        }
        // And it works as before.
        for app in [&pair.app_b, &pair.app_a, &pair.app_b] {
            get(app, "/posts/1").await;
        }
        let answer = get(&pair.app_a, "/posts/1").await;
        assert!(answer.is_hit(), "{place:?} {what} before={before}: {answer:?}");
        let told = pair.runs.count();
        pair.a.cache.invalidate_tags(["posts"]).await.unwrap();
        site.lease_ends().await;
        assert_eq!(get(&pair.app_b, "/posts/1").await.text(), format!("run {}", told + 1), "{place:?} {what}");
        assert!(!pair.a.redis.is_suspended() && !pair.b.redis.is_suspended(), "{place:?} {what}");
    }
}

#[test]
fn lost_clock_begins_a_new_incarnation() {
    everywhere(async |site| {
        survives(site, "the clock is lost", |site| site.delete(site.clock())).await;
        survives(site, "everything is lost", |site| site.run_everywhere(&cmd("FLUSHALL"))).await;
        survives(site, "the stream is lost", |site| site.delete(site.stream())).await;
    });
}

fn set(key: impl redis::ToRedisArgs, value: &[u8]) -> Cmd {
    let mut command = cmd("SET");
    command.arg(key).arg(value);
    command
}

/// What another application might do by mistake.
#[test]
fn foreign_clock_record_or_stream_is_harmless() {
    everywhere(async |site| {
        for value in [&b""[..], b"hello", &[0; 24], &[0xff; 24], &[0; 80], &[0xff; 80], &[0xff; 112], &[b'x'; 1008]] {
            survives(site, "a foreign clock", |site| site.run_everywhere(&set(site.clock(), value))).await;
            survives(site, "a foreign record", |site| site.run_everywhere(&set(site.record("author:7"), value))).await;
        }
        // One of two epochs, as an earlier larder wrote it, and one with more expiries than any has.
        for more in [&[0; 8][..], &[0; 33 * 16]] {
            survives(site, "a record of another length", |site| {
                site.run_everywhere(cmd("APPEND").arg(site.record("author:7")).arg(more));
            })
            .await;
        }
        let a_list = |site: &Site<'_>, key: String| {
            site.delete(&key);
            site.run_everywhere(cmd("RPUSH").arg(key).arg("x"));
        };
        survives(site, "a list for a clock", |site| a_list(site, site.clock())).await;
        survives(site, "a list for a stream", |site| a_list(site, site.stream())).await;
        survives(site, "a list for a record", |site| a_list(site, site.record("author:7"))).await;
    });
}

#[test]
fn a_damaged_or_foreign_entry_is_a_miss_and_counted() {
    everywhere(async |site| {
        let (site, place) = (site.apart(), site.place);
        let pair = Pair::warm(&site).await;
        let [(server, key)] = &site.entries()[..] else { panic!("{place:?}: one entry") };
        let sound: Vec<u8> = server.query(cmd("GET").arg(key));
        let flipped = (0..sound.len()).step_by(sound.len() / 24 + 1).map(|at| {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << (at % 8);
            damaged
        });
        let cut = [0, 1, 9, 17, 25, sound.len() / 2, sound.len() - 1].map(|length| sound[..length].to_vec());
        let foreign = [b"hello".to_vec(), vec![0; 500], [&sound[..], b"x"].concat()];
        for (number, value) in flipped.chain(cut).chain(foreign).enumerate() {
            // A node that has never met the entry, so that nothing is copied or remembered.
            let node = site.node().await;
            server.query::<()>(&set(key, &value));
            let before = pair.runs.count();
            let answer = get(&app(&node.cache, &pair.runs), "/posts/1").await;
            assert_eq!(answer.text(), format!("run {}", before + 1), "{place:?} {number}: {answer:?}");
            assert!(answer.is_stored(), "{place:?} {number}: it is replaced: {answer:?}");
            // Some bits decide only whether the bytes are alive, and another incarnation is not an error.
            if number >= 24 {
                assert!(node.redis.corrupt_values() > 0, "{place:?} {number}: {value:?}");
            }
            assert!(!node.redis.is_suspended());
        }
        // Of another type.
        let node = site.node().await;
        server.query::<()>(cmd("DEL").arg(key));
        server.query::<()>(cmd("RPUSH").arg(key).arg("x"));
        let answer = get(&app(&node.cache, &pair.runs), "/posts/1").await;
        assert!(!answer.is_hit() && answer.is_stored(), "{place:?}: {answer:?}");
        if matches!(place, Place::Cluster | Place::TieredCluster) {
            assert_ne!(node.redis.corrupt_values(), 0, "{place:?}");
        }
        assert!(get(&app(&node.cache, &pair.runs), "/posts/1").await.is_hit(), "{place:?}");
    });
}

/// A clock far ahead of the time, and one that numbers can hardly express: it goes on growing.
#[test]
fn epochs_grow_with_any_clock() {
    everywhere(async |site| {
        for epoch in [0, 1, 1 << 40, 1 << 52, (1 << 53) - 3, 1 << 53, (1 << 53) + 2, 1 << 60, u64::MAX - 1, u64::MAX] {
            let (site, place) = (site.apart(), site.place);
            let pair = Pair::warm(&site).await;
            let (a, b) = (&pair.a.cache, &pair.b.cache);
            let set = |epoch: u64| site.run_everywhere(cmd("SETRANGE").arg(site.clock()).arg(16).arg(&epoch.to_be_bytes()));
            set(epoch);
            for app in [&pair.app_a, &pair.app_b, &pair.app_a] {
                get(app, "/posts/1").await;
            }
            for (number, cache) in [a, b, a, b, a, b].into_iter().enumerate() {
                let before = pair.runs.count();
                cache.invalidate_tags(["posts"]).await.unwrap();
                site.lease_ends().await;
                for app in [&pair.app_b, &pair.app_a] {
                    let answer = get(app, "/posts/1").await;
                    assert_eq!(answer.text(), format!("run {}", before + 1), "{place:?} {epoch} {number}: {answer:?}");
                }
            }
        }
    });
}
