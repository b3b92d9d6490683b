//! The operator's page over real servers: what it says of them, and the mode of all nodes.

use axum::{Router, routing};
use http::Method;
use larder::{
    Cache, CacheMode,
    admin::{Access, Admin},
};
use serde_json::{Value, json};

use crate::{
    servers::{
        memcached::{Memcached, url as of_servers},
        process::eventually,
        redis::{Cluster, Redis, Sentinel},
    },
    support::{get, minute, request, send},
};

const PATIENT: &str = "read_timeout=5s&store_timeout=5s&invalidate_timeout=5s";

struct Node {
    cache: Cache,
    app: Router,
}

impl Node {
    /// A node over a store that answers.
    async fn new(url: &str) -> Self {
        let cache = Cache::connect(&format!("{url}{}{PATIENT}", if url.contains('?') { '&' } else { '?' })).await.unwrap();
        eventually("the store answers", async || cache.health().await.is_healthy()).await;
        let admin = Admin::new(&cache).authorize(|_| Access::full("ann")).into_router();
        let page = routing::get(|| async { "page" }).layer(minute(&cache).tags(["pages"]));
        let app = Router::new().route("/page", page).nest("/ops", admin);
        get(&app, "/page").await;
        Self { cache, app }
    }

    async fn screen(&self, path: &str) -> String {
        get(&self.app, &format!("/ops{path}")).await.text().to_owned()
    }

    async fn servers(&self) -> Vec<Value> {
        let stats: Value = serde_json::from_str(&self.screen("/api/stats").await).unwrap();
        stats["stores"].as_array().unwrap().iter().flat_map(|store| store["servers"].as_array().unwrap().clone()).collect()
    }

    async fn set_mode(&self, body: &Value) -> Value {
        let mut request = request(Method::POST, "/ops/api/mode", &[("content-type", "application/json")]);
        *request.body_mut() = body.to_string().into();
        serde_json::from_slice(&send(&self.app, request).await.body).unwrap()
    }
}

#[tokio::test]
async fn servers_of_a_store_are_listed() {
    let redis = Redis::start();
    let address = format!("127.0.0.1:{}", redis.port);
    for url in [redis.url(), format!("tiered+{}?near=1mb", redis.url())] {
        let node = Node::new(&url.replace("redis://", "redis://default:canary@")).await;
        assert_eq!(node.servers().await, [json!({ "address": address, "role": "primary", "connected": true })], "{url}");
        let page = node.screen("/store").await;
        assert!(page.contains(&address) && page.contains("connected") && !page.contains("canary"), "{page}");
    }

    let memcached = [Memcached::start(), Memcached::start()];
    let mut node = Node::new(&of_servers(&[&memcached[0], &memcached[1]])).await;
    let expected = |connected: [bool; 2]| -> Vec<Value> {
        let servers = memcached.iter().zip(connected);
        servers
            .map(|(server, connected)| json!({ "address": server.address(), "role": "server", "connected": connected }))
            .collect()
    };
    assert_eq!(node.servers().await, expected([true, true]));
    let [_kept, mut other] = memcached;
    let gone = other.address();
    other.kill();
    eventually("the page notices", async || {
        node.cache.health().await;
        node.servers().await.iter().any(|server| server["address"] == *gone && server["connected"] == false)
    })
    .await;

    let sentinel = Sentinel::start();
    node = Node::new(&sentinel.url()).await;
    let servers = node.servers().await;
    assert_eq!((&servers[0]["role"], &servers[0]["connected"]), (&"primary".into(), &true.into()), "{servers:?}");
    assert!(servers[1..].iter().all(|server| server["role"] == "sentinel") && servers.len() > 1, "{servers:?}");

    let cluster = Cluster::start();
    node = Node::new(&cluster.url()).await;
    let primaries = |servers: &[Value]| servers.iter().filter(|server| server["role"] == "primary").count();
    eventually("a server has said which there are", async || {
        node.cache.health().await;
        primaries(&node.servers().await) >= 3
    })
    .await;
}

#[tokio::test]
async fn memory_screen_says_where_there_is_no_curve() {
    let redis = Redis::start();
    let shared = Node::new(&redis.url()).await;
    assert!(shared.screen("/memory").await.contains("There is no memory curve"));
    assert_eq!(shared.screen("/api/memory").await, r#"{"curve":null}"#);
    let tiered = Node::new(&format!("tiered+{}?near=1mb", redis.url())).await;
    assert!(!tiered.screen("/memory").await.contains("There is no memory curve"));
}

#[tokio::test]
async fn mode_of_all_nodes_is_set_by_one_of_them() {
    let redis = Redis::start();
    let (one, other) = (Node::new(&redis.url()).await, Node::new(&redis.url()).await);
    assert!(get(&other.app, "/page").await.is_hit());
    let set = one.set_mode(&json!({ "mode": "bypass", "everywhere": true })).await;
    assert!(set["scope"].as_str().unwrap().starts_with("nodes"), "{set}");
    assert!(!get(&other.app, "/page").await.is_hit(), "the lookup that reads the mode obeys it");
    assert_eq!((other.cache.own_mode(), other.cache.shared_mode()), (CacheMode::Enabled, CacheMode::Bypass));
    assert!(other.screen("").await.contains("this process: enabled, all nodes: bypass"));
    // The stricter of both modes is in force, and the answer says so.
    let own = one.set_mode(&json!({ "mode": "enabled" })).await;
    assert_eq!((&own["scope"], &own["in_force"]), (&"process".into(), &"bypass".into()), "{own}");
    assert!(own["done"].as_str().unwrap().contains("the stricter mode of all nodes"), "{own}");
    one.set_mode(&json!({ "mode": "enabled", "everywhere": true })).await;
    eventually("the other node follows", async || get(&other.app, "/page").await.is_hit()).await;
}
