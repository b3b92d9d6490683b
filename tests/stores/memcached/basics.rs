use std::time::Duration;

use axum::{Router, routing};
use larder::{Cache, CacheTags, Memcached};

use super::{Node, Server};
use crate::support::{Gate, Runs, get, get_with, minute, numbered};

#[tokio::test]
async fn nodes_share_pages_until_an_invalidation() {
    let server = Server::start();
    let runs = Runs::default();
    let (a, b) = (Node::new(&[&server], &runs).await, Node::new(&[&server], &runs).await);
    let first = a.get("/pages/1").await;
    assert!(first.is_stored(), "{first:?}");
    assert!(b.get("/pages/1").await.is_hit());
    b.cache.invalidate_tags(["page:1"]).await.unwrap();
    let third = a.get("/pages/1").await;
    assert_eq!(third.text(), "run 2");
    assert!(b.get("/pages/1").await.is_hit());
}

#[tokio::test]
async fn a_hit_with_vary_costs_what_a_hit_without_costs() {
    let server = Server::start();
    let cache = Cache::connect(&server.url()).await.unwrap();
    let page = |vary: &'static str| {
        let handler = move || async move { (CacheTags::new(["post:1", "posts"]), [("vary", vary)], "page") };
        routing::get(handler).layer(minute(&cache))
    };
    let app = Router::new().route("/same", page("")).route("/varying", page("accept-encoding"));
    let ask = async |path, encoding| get_with(&app, path, &[("accept-encoding", encoding)]).await;
    for variants in [["gzip", "gzip"], ["gzip", "br"]] {
        let mut costs = Vec::new();
        for path in ["/same", "/varying"] {
            // The first response of a new tag is not stored, and the first hit on several variants learns that there are several.
            for encoding in variants.iter().cycle().take(6) {
                ask(path, encoding).await;
            }
            let before = server.stat("cmd_get");
            for encoding in variants {
                assert!(ask(path, encoding).await.is_hit(), "{path} {encoding}");
            }
            costs.push(server.stat("cmd_get") - before);
        }
        assert!(costs[0] > 0);
        assert_eq!(costs[0], costs[1]);
    }
}

#[tokio::test]
async fn a_url_makes_a_cache() {
    let server = Server::start();
    let runs = Runs::default();
    let cache = Cache::connect(&server.url()).await.unwrap();
    let app = Router::new().route("/", routing::get(numbered(&runs)).layer(minute(&cache)));
    assert!(get(&app, "/").await.is_stored());
    assert!(get(&app, "/").await.is_hit());
    assert!(Cache::connect("memcached://a b").await.unwrap_err().is_invalid_input());
}

#[tokio::test]
async fn near_tier_never_answers_an_invalidated_page() {
    let server = Server::start();
    let (runs, others) = (Runs::default(), Runs::default());
    let tiered = Cache::connect(&format!("tiered+{}", server.url())).await.unwrap();
    let layer = minute(&tiered).tags(["page"]);
    let app = Router::new().route("/", routing::get(numbered(&runs)).layer(layer));
    let other = Node::new(&[&server], &others).await;
    for run in ["run 1", "run 2"] {
        assert!(get(&app, "/").await.is_stored());
        // From memory: memcached has the entry no more.
        server.items("larder:e:").iter().for_each(|entry| server.delete(entry));
        let hit = get(&app, "/").await;
        assert!(hit.is_hit() && hit.text() == run, "{hit:?}");
        other.cache.invalidate_tags(["page"]).await.unwrap();
    }
    server.flush();
    assert_eq!(get(&app, "/").await.text(), "run 3", "the clock is lost, and what was born by it used");
}

#[tokio::test]
async fn a_call_of_many_tags_invalidates_each_of_them_and_nothing_else() {
    let server = Server::start();
    let runs = Runs::default();
    let (a, b) = (Node::new(&[&server], &runs).await, Node::new(&[&server], &runs).await);
    let (invalidated, other) = (["/pages/0", "/pages/999", "/pages/1000", "/pages/29999"], "/pages/30000");
    for page in invalidated.into_iter().chain([other]) {
        assert!(b.get(page).await.is_stored());
    }
    let receipt = a.cache.invalidate_tags((0..30_000).map(|number| format!("page:{number}"))).await.unwrap();
    assert_eq!(receipt.tag_count, 30_000);
    for page in invalidated {
        assert!(!b.get(page).await.is_hit(), "{page}");
    }
    assert!(b.get(other).await.is_hit());
}

#[tokio::test]
async fn tags_of_the_handler_are_looked_up_too() {
    let server = Server::start();
    let runs = Runs::default();
    let (a, b) = (Node::new(&[&server], &runs).await, Node::new(&[&server], &runs).await);
    assert!(a.get("/late/1").await.is_stored());
    assert!(a.get("/late/1").await.is_hit());
    b.cache.invalidate_tags(["late"]).await.unwrap();
    assert_eq!(a.get("/late/1").await.text(), "run 2");
    assert!(b.get("/late/1").await.is_hit());
}

#[tokio::test]
async fn expired_page_is_refetched_and_usable_within_its_window() {
    let server = Server::start();
    let runs = Runs::default();
    let cache = Cache::connect(&server.url()).await.unwrap();
    let layer = minute(&cache).tags(["page"]).stale_while_revalidate(Duration::from_secs(60));
    let app = Router::new().route("/", routing::get(numbered(&runs)).layer(layer));
    assert!(get(&app, "/").await.is_stored());
    cache.expire_tags(["page"]).await.unwrap();
    let stale = get(&app, "/").await;
    assert!(stale.is_hit() && stale.text() == "run 1", "{stale:?}");
    cache.invalidate_tags(["page"]).await.unwrap();
    assert_ne!(get(&app, "/").await.text(), "run 1");
}

#[tokio::test]
async fn no_tags_are_invalidated_too() {
    let server = Server::start();
    let node = Node::new(&[&server], &Runs::default()).await;
    assert!(node.get("/pages/1").await.is_stored());
    assert_eq!(node.cache.invalidate_tags([""; 0]).await.unwrap().tag_count, 0);
    assert!(node.get("/pages/1").await.is_hit());
}

#[tokio::test]
async fn clearing_forgets_everything_of_this_namespace() {
    let server = Server::start();
    let (runs, others) = (Runs::default(), Runs::default());
    let node = Node::new(&[&server], &runs).await;
    let other = Node::on(Memcached::builder().key_prefix("other").connect(&server.url()).await.unwrap(), &others);
    for node in [&node, &other] {
        assert!(node.get("/pages/1").await.is_stored());
    }
    node.cache.clear().await.unwrap();
    assert_eq!(node.get("/pages/1").await.text(), "run 2");
    assert!(node.get("/pages/1").await.is_hit());
    assert_eq!(other.get("/pages/1").await.text(), "run 1");
}

#[tokio::test]
async fn a_fetch_that_is_overtaken_by_an_invalidation_is_not_used() {
    let server = Server::start();
    let runs = Runs::default();
    let (cache, door) = (Cache::connect(&server.url()).await.unwrap(), Gate::closed());
    let other = Node::new(&[&server], &runs).await;
    let (handler_door, handler_runs) = (door.clone(), runs.clone());
    let handler = async move || {
        let run = handler_runs.begin();
        handler_door.pass().await;
        format!("run {run}")
    };
    let app = Router::new().route("/slow", routing::get(handler).layer(minute(&cache).tags(["slow"])));
    let slow = tokio::spawn({
        let app = app.clone();
        async move { get(&app, "/slow").await }
    });
    door.arrival().await;
    other.cache.invalidate_tags(["slow"]).await.unwrap();
    door.open(2);
    assert!(!slow.await.unwrap().is_stored());
    let next = get(&app, "/slow").await;
    assert_eq!(next.text(), "run 2");
    assert!(get(&app, "/slow").await.is_hit());
}

#[tokio::test]
async fn tags_are_compared_byte_for_byte() {
    let server = Server::start();
    let runs = Runs::default();
    let node = Node::new(&[&server], &runs).await;
    let odd = ["*", "page:*", "a\nb", "a b", "\r\nflush_all\r\n", "page:1 c v\r\nmd x", "in:5:other:t:page:1", "\0", "ä"];
    assert!(node.get("/pages/1").await.is_stored());
    for tag in odd {
        node.cache.invalidate_tags([tag]).await.unwrap();
        assert!(node.get("/pages/1").await.is_hit(), "{tag:?} has invalidated another tag");
    }
    node.cache.with_namespace("other").invalidate_tags(["page:1"]).await.unwrap();
    assert!(node.get("/pages/1").await.is_hit(), "another namespace's tag is another tag");
    for (number, tag) in odd.iter().enumerate() {
        let path = format!("/{number}");
        let layer = minute(&node.cache).tags([*tag]);
        let app = Router::new().route(&path, routing::get(numbered(&runs)).layer(layer));
        assert!(get(&app, &path).await.is_stored());
        assert!(get(&app, &path).await.is_hit(), "{tag:?}");
        node.cache.invalidate_tags([tag]).await.unwrap();
        assert!(!get(&app, &path).await.is_hit(), "{tag:?} did not invalidate its own");
    }
}

#[tokio::test]
async fn entries_end_with_their_use_and_records_much_later() {
    let server = Server::start();
    let node = Node::new(&[&server], &Runs::default()).await;
    assert!(node.get("/pages/1").await.is_stored());
    let (entries, records) = (server.items("larder:e:"), server.items("larder:t:"));
    assert!(!entries.is_empty() && records.len() >= 2, "{entries:?} {records:?}");
    for entry in entries {
        assert!((55..=60).contains(&server.ttl(&entry)), "{} s", server.ttl(&entry));
    }
    for record in records {
        assert!(server.ttl(&record) > 29 * 24 * 3600, "{} s", server.ttl(&record));
    }
    assert_eq!(server.ttl(&server.items("larder:c:")[0]), -1);
}

#[tokio::test]
async fn oversized_response_is_served_and_counted() {
    let server = Server::start();
    let store = Memcached::builder().compress_from(None).max_value(64 << 20).connect(&server.url()).await.unwrap();
    let small = Memcached::builder().compress_from(None).max_value(10_000).connect(&server.url()).await.unwrap();
    for (store, size) in [(&store, 2 << 20), (&small, 20_000)] {
        let cache = Cache::new(store.clone());
        let app = Router::new().route("/", routing::get(async move || vec![b'x'; size]).layer(minute(&cache).max_body(4 << 20)));
        for _ in 0..2 {
            let answer = get(&app, "/").await;
            assert_eq!(answer.body.len(), size);
            assert!(!answer.is_hit() && !answer.is_stored(), "{answer:?}");
        }
        assert_eq!(store.refused_values(), 2);
        assert!(!store.is_suspended());
    }
}

#[tokio::test]
async fn long_bodies_are_compressed() {
    let server = Server::start();
    let cache = Cache::connect(&server.url()).await.unwrap();
    let app = Router::new().route("/", routing::get(async || "long ".repeat(1 << 20)).layer(minute(&cache).max_body(8 << 20)));
    assert!(get(&app, "/").await.is_stored());
    let hit = get(&app, "/").await;
    assert!(hit.is_hit() && hit.text() == "long ".repeat(1 << 20));
}

#[tokio::test]
async fn debug_output_is_short_and_shows_no_internals() {
    let urls = ["memcached://127.0.0.1:1", "tiered+memcached://127.0.0.1:1,127.0.0.1:2"];
    for url in urls {
        let shown = format!("{:?}", Cache::connect(&format!("{url}?key_prefix=shop")).await.unwrap());
        assert!(shown.contains("shop") && shown.contains("suspended: true") && shown.len() < 500, "{shown}");
        assert!(!["hasher", "RandomState", "seed", "digest"].iter().any(|internal| shown.contains(internal)), "{shown}");
    }
}
