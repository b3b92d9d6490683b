//! Which keys there are, and what commands they cost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, extract::Path, routing};
use larder::{Cache, CacheTags};
use redis::cmd;
use tokio::task::JoinSet;

use super::support::{
    node::Node,
    topology::{Place, Site, everywhere, patient},
};
use crate::{
    servers::redis::Redis as Server,
    support::{Runs, get, get_with, minute, numbered},
};

fn tagged(cache: &Cache, runs: &Runs, tag: &str) -> Router {
    Router::new().route("/posts/{id}", routing::get(numbered(runs)).layer(minute(cache).tags([tag])))
}

/// The tag comes from the handler: in a route's, braces have a meaning.
fn saying(cache: &Cache, runs: &Runs, tag: &'static str) -> Router {
    let runs = runs.clone();
    let handler = async move || (CacheTags::new([tag]), format!("run {}", runs.begin()));
    Router::new().route("/posts/{id}", routing::get(handler).layer(minute(cache)))
}

#[test]
fn every_key_but_the_clock_goes_by_itself() {
    everywhere(async |site| {
        let runs = Runs::default();
        let (a, b) = site.nodes().await;
        for id in 0..10 {
            get(&tagged(&a, &runs, "posts"), &format!("/posts/{id}")).await;
        }
        b.invalidate_tags(["posts", "nobody"]).await.unwrap();
        b.expire_tags(["posts"]).await.unwrap();
        get(&tagged(&b, &runs, "posts"), "/posts/1").await;
        b.clear().await.unwrap();
        get(&tagged(&a, &runs, "posts"), "/posts/1").await;
        let keys = site.keys();
        assert!(keys.len() >= 4, "{:?}: {keys:?}", site.place);
        for (server, key) in keys {
            let ttl: i64 = server.query(cmd("PTTL").arg(&key));
            let is_clock = key == site.clock().as_bytes();
            assert_eq!(ttl > 0, !is_clock, "{:?}: {} has {ttl} ms", site.place, String::from_utf8_lossy(&key));
            if key.starts_with(format!("{}:e:", site.namespace).as_bytes()) {
                assert!(ttl <= 60_000, "{:?}: an entry of a minute has {ttl} ms", site.place);
            }
        }
    });
}

/// What `src/docs/sizing.md` says.
#[tokio::test]
async fn entries_and_tags_take_as_many_keys_as_the_documentation_says() {
    let server = Server::start();
    let count = || {
        let keys: Vec<String> = server.run("KEYS *");
        let of = |kind: &str| keys.iter().filter(|key| key.starts_with(kind)).count();
        assert!(
            keys.iter().filter(|key| key.starts_with('{')).all(|key| ["{larder}:clock", "{larder}:stream"].contains(&&**key)),
            "{keys:?}"
        );
        [of("larder:e:"), of("larder:t:")]
    };
    let cache = Cache::new(patient().connect(&server.url()).await.unwrap());
    let app = |cache: &Cache| {
        let varied = async || ([("vary", "x-variant")], "page");
        Router::new()
            .route("/posts/{id}", routing::get(async || "post").layer(minute(cache).tags(["posts", "post:{id}"])))
            .route("/varied", routing::get(varied).layer(minute(cache)))
    };
    let posts = app(&cache);
    let grown_by = async |app: &Router, uri: &str, variant: &str| {
        let before = count();
        assert!(get_with(app, uri, &[("x-variant", variant)]).await.is_stored());
        let after = count();
        [after[0] - before[0], after[1] - before[1]]
    };
    // The common tag, the route, its own tag, and two for the URI.
    assert_eq!(grown_by(&posts, "/posts/1", "").await, [1, 5]);
    assert_eq!(grown_by(&posts, "/posts/2", "").await, [1, 3]);
    assert_eq!(grown_by(&posts, "/posts/2?query", "").await, [1, 0]);
    assert_eq!(grown_by(&posts, "/varied", "1").await, [1, 3]);
    // The list of the variants.
    assert_eq!(grown_by(&posts, "/varied", "2").await, [2, 0]);
    assert_eq!(grown_by(&posts, "/varied", "3").await, [1, 0]);
    // The same as the first, and the namespace.
    assert_eq!(grown_by(&app(&cache.with_namespace("shop")), "/posts/1", "").await, [1, 6]);
    let [_, records] = count();
    cache.invalidate_tags(["posts", "unused"]).await.unwrap();
    assert_eq!(count()[1], records, "an invalidation makes no key");
}

#[tokio::test]
async fn the_stream_is_bounded() {
    let server = Server::start();
    let cache = Cache::new(patient().connect(&server.url()).await.unwrap());
    let mut tasks = JoinSet::new();
    for task in 0..20 {
        let cache = cache.clone();
        tasks.spawn(async move {
            for number in 0..1000 {
                cache.invalidate_tags([format!("{task}:{number}")]).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    // 256 KiB, in which each announcement counts for its tags and 64 bytes more.
    let length: u64 = server.run("XLEN {larder}:stream");
    assert!((3500..4200).contains(&length), "{length}");
    let bytes: u64 = server.run("MEMORY USAGE {larder}:stream");
    assert!(bytes < 512 << 10, "{bytes}");
}

/// How often each command was carried out, by scripts or by clients.
pub(super) fn calls(site: &Site<'_>) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for server in site.primaries() {
        for line in server.run::<String>("INFO commandstats").lines() {
            let Some((name, rest)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls=")) else { continue };
            *calls.entry(name.to_owned()).or_default() += rest.split(',').next().unwrap().parse::<u64>().unwrap();
        }
    }
    calls
}

/// What larder's commands are: others are the servers' own, or these tests'.
pub(super) fn larders(calls: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let others = ["ping", "replconf", "psync", "publish", "subscribe", "hello", "client", "cluster", "info", "config", "time"];
    let is_larders = |name: &str| !others.iter().any(|other| name == *other || name.starts_with(&format!("{other}|")));
    calls.iter().filter(|(name, _)| is_larders(name)).map(|(name, calls)| (name.clone(), *calls)).collect()
}

#[test]
fn an_invalidation_takes_as_many_commands_for_one_entry_as_for_thousands() {
    everywhere(async |site| {
        // Those who follow the stream ask now and then.
        if site.place == Place::TieredLease {
            return;
        }
        let (runs, place) = (Runs::default(), site.place);
        let (a, b) = site.nodes().await;
        let mut costs = Vec::new();
        // All scripts are known after the first.
        for entries in [1, 1, 2000] {
            let app = tagged(&a, &runs, "posts");
            for id in 0..entries {
                get(&app, &format!("/posts/{id}")).await;
            }
            site.primaries().iter().for_each(|server| server.run("CONFIG RESETSTAT"));
            b.invalidate_tags(["posts"]).await.unwrap();
            let calls = calls(site);
            for forbidden in ["keys", "scan", "smembers", "sscan"] {
                assert!(!calls.contains_key(forbidden), "{place:?}: {calls:?}");
            }
            costs.push(larders(&calls));
        }
        assert!(!costs[1].is_empty(), "{place:?}");
        assert_eq!(costs[1], costs[2], "{place:?}");
    });
}

#[test]
fn tags_are_compared_byte_for_byte() {
    everywhere(async |site| {
        let (runs, place) = (Runs::default(), site.place);
        let (a, b) = site.nodes().await;
        let odd = ["*", "pos*", "a\nb", "a b", "\r\nFLUSHALL\r\n", "\0", "{other}", "}{", "ä", "posts\0", "t:posts", "%s"];
        let other = tagged(&a, &runs, "posts");
        get(&other, "/posts/other").await;
        for tag in odd {
            b.invalidate_tags([tag]).await.unwrap();
        }
        site.lease_ends().await;
        assert!(get(&other, "/posts/other").await.is_hit(), "{place:?}: another tag was invalidated");
        for (number, tag) in odd.iter().enumerate() {
            let (app_a, app_b) = (saying(&a, &runs, tag), saying(&b, &runs, tag));
            let path = format!("/posts/{number}");
            get(&app_a, &path).await;
            let old = get(&app_b, &path).await;
            assert!(old.is_hit(), "{place:?} {tag:?}: {old:?}");
            b.invalidate_tags([*tag]).await.unwrap();
            assert_ne!(get(&app_b, &path).await.text(), old.text(), "{place:?} {tag:?}");
        }
        assert!(get(&other, "/posts/other").await.is_hit(), "{place:?}");
    });
}

#[test]
fn namespaces_do_not_meet() {
    everywhere(async |site| {
        let (one, other) = (site.apart(), site.apart());
        let (one, other) = (one.node().await.cache, other.node().await.cache);
        let (runs, others) = (Runs::default(), Runs::default());
        let (app_one, app_other) = (tagged(&one, &runs, "posts"), tagged(&other, &others, "posts"));
        for app in [&app_one, &app_other] {
            let answer = get(app, "/posts/1").await;
            assert!(!answer.is_hit() && answer.is_stored(), "{:?}: {answer:?}", site.place);
        }
        one.invalidate_tags(["posts"]).await.unwrap();
        one.clear().await.unwrap();
        site.lease_ends().await;
        assert!(!get(&app_one, "/posts/1").await.is_hit(), "{:?}", site.place);
        assert!(get(&app_other, "/posts/1").await.is_hit(), "{:?}", site.place);
    });
}

/// Writers and readers of registers, on a server that has to evict all the time, the clock too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_forgets_much_and_serves_nothing_old() {
    const REGISTERS: u64 = 40;
    let server = Server::start_with(&["--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru"]);
    let values: Arc<[AtomicU64]> = (0..REGISTERS).map(|_| AtomicU64::new(0)).collect();
    let app = |cache: &Cache| {
        let values = Arc::clone(&values);
        let handler = async move |Path(id): Path<usize>| {
            let value = values[id].load(Ordering::SeqCst);
            format!("{value} {}", "x".repeat(50_000))
        };
        Router::new().route("/{id}", routing::get(handler).layer(minute(cache).tags(["register:{id}"])))
    };
    let mut caches = Vec::new();
    for _ in 0..2 {
        caches.push(Cache::new(patient().compress_from(None).connect(&server.url()).await.unwrap()));
    }
    let mut tasks = JoinSet::new();
    for (task, cache) in caches.iter().cycle().take(6).cloned().enumerate() {
        let (app, values) = (app(&cache), Arc::clone(&values));
        tasks.spawn(async move {
            let mut hits = 0_u64;
            for step in 0..300_u64 {
                let register = (step * 7 + task as u64 * 13 + step / 9) % REGISTERS;
                // Each register has one writer, so that what is there has been acknowledged when the next read begins.
                let written = register % 6 == task as u64 && step % 5 == 0;
                if written {
                    values[register as usize].fetch_add(1, Ordering::SeqCst);
                    cache.invalidate_tags([format!("register:{register}")]).await.unwrap();
                }
                let own = register % 6 == task as u64;
                let least = if own { values[register as usize].load(Ordering::SeqCst) } else { 0 };
                for _ in 0..2 {
                    let answer = get(&app, &format!("/{register}")).await;
                    let value: u64 = answer.text().split(' ').next().unwrap().parse().unwrap();
                    assert!(value >= least, "{value} after {least} was acknowledged: {:?}", answer.cache);
                    hits += u64::from(answer.is_hit());
                }
            }
            hits
        });
    }
    let hits: u64 = tasks.join_all().await.iter().sum();
    let stats: String = server.run("INFO stats");
    let evicted = stats.lines().find_map(|line| line.strip_prefix("evicted_keys:")).unwrap().parse::<u64>().unwrap();
    assert!(evicted > 100 && hits > 100, "{evicted} evicted, {hits} hits: this shows little");
}

#[tokio::test]
async fn ten_thousand_copies_are_invalidated_at_once() {
    let server = Server::start();
    let runs = Runs::default();
    let node = Node::strict(patient().connect(&server.url()).await.unwrap(), &runs);
    for id in 0..10_000 {
        node.text(id).await;
    }
    node.cache.invalidate_tags(["posts"]).await.unwrap();
    let before = runs.count();
    for id in (0..10_000).step_by(97) {
        node.text(id).await;
    }
    assert_eq!(runs.count(), before + 104);
}
