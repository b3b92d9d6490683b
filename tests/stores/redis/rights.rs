//! A user with the rights that the documentation of `Redis` lists, and with one of them less.

use std::{fs, time::Duration};

use axum::{Router, extract::Path, routing};
use larder::{Cache, CacheMode, Health};
use redis::{Client, cmd};
use tokio::time::sleep;

use crate::{
    servers::{
        process::eventually,
        redis::{Cluster, Redis as Server, Sentinel},
    },
    support::get,
};

/// The rules for a user, as words: the first ones in the documentation are for one server, the second ones for a Cluster.
fn documented(number: usize) -> Vec<String> {
    let documentation = fs::read_to_string("src/backend/redis/mod.rs").unwrap();
    let block = documentation.split("```text").filter(|block| block.contains("ACL SETUSER")).nth(number).unwrap();
    let rules: Vec<_> = block.split("```").next().unwrap().split_whitespace().filter(|word| *word != "///").collect();
    assert_eq!(rules[..3], ["ACL", "SETUSER", "larder"]);
    rules[3..].iter().map(|word| word.replace("PASSWORD", "secret")).collect()
}

fn set_user(server: &Server, rules: &[impl AsRef<str>]) {
    let rules: Vec<_> = rules.iter().map(AsRef::as_ref).collect();
    server.query::<()>(cmd("ACL").arg("SETUSER").arg("larder").arg(rules));
}

fn as_user(url: &str) -> String {
    url.replace("://", "://larder:secret@")
}

/// Returns whether these are the words of a server that misses a right: Redis 7.0 and Valkey word it differently inside a script.
fn misses_a_right(words: &str) -> bool {
    let inside_a_script =
        words.contains("ERR The user executing the script can't") || words.contains("ERR ACL failure in script");
    (inside_a_script || words.contains("NOPERM")) && words.contains("documentation of `larder::Redis`")
}

/// Does everything that a node does; returns its health afterwards.
async fn work(url: &str) -> Health {
    let url = format!("tiered+{}?read_timeout=5s&store_timeout=5s&invalidate_timeout=5s&lease=200ms", as_user(url));
    let (cache, other) = (Cache::connect(&url).await.unwrap(), Cache::connect(&url).await.unwrap());
    let inner = cache.clone();
    // The response of this route is expired while its handler runs.
    let expired = routing::get(async move || {
        let _ = inner.expire_tags(["expired"]).await;
        "expired"
    });
    let minute = cache.layer().ttl(Duration::from_secs(60)).collapse_across_nodes(Duration::from_secs(5));
    let hours = cache.layer().ttl(Duration::from_secs(9000)).tags(["posts"]);
    let app = Router::new()
        .route("/posts/{id}", routing::get(async |Path(id): Path<String>| id).layer(minute.clone().tags(["posts", "post:{id}"])))
        .route("/long/{id}", routing::get(async |Path(id): Path<String>| id).layer(hours))
        .route("/expired", expired.layer(minute.tags(["expired"]).stale_while_revalidate(Duration::from_secs(60))));
    for path in ["/posts/1", "/posts/1", "/expired", "/long/1", "/posts/2"] {
        get(&app, path).await;
    }
    let _ = cache.invalidate_tags(["post:1"]).await;
    let _ = cache.expire_tags(["post:2"]).await;
    let _ = other.invalidate_tags(["posts"]).await;
    // Both follow the feed.
    for _ in 0..3 {
        get(&app, "/posts/1").await;
        sleep(Duration::from_millis(100)).await;
    }
    let _ = cache.set_mode_everywhere(CacheMode::ReadOnly).await;
    let _ = cache.set_mode_everywhere(CacheMode::Enabled).await;
    let _ = cache.clear().await;
    cache.health().await
}

fn words(health: &Health) -> String {
    health.last_error.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// Leaves out one right after another; `optional` are those that only a moving slot or a broken connection needs.
async fn each_right_is_needed(url: &str, servers: &[&Server], rules: &[String], optional: &[&str]) {
    servers.iter().for_each(|server| set_user(server, rules));
    let health = work(url).await;
    assert!(health.is_healthy() && health.last_error.is_none(), "{health}");
    for right in rules.iter().filter(|rule| rule.starts_with('+') && !optional.contains(&rule.as_str())) {
        let fewer: Vec<_> = rules.iter().filter(|rule| *rule != right).collect();
        servers.iter().for_each(|server| {
            set_user(server, &fewer);
            // Records that exist already would hide the need for some rights.
            server.run::<()>("FLUSHALL");
        });
        let health = work(url).await;
        assert!(misses_a_right(&words(&health)), "without `{right}`: {health:?}");
        assert!(!health.to_string().contains("unreachable"), "without `{right}`: {health}");
    }
}

#[tokio::test]
async fn one_server_needs_the_documented_rights_and_names_a_missing_one() {
    let server = Server::start();
    each_right_is_needed(&server.url(), &[&server], &documented(0), &[]).await;
}

#[tokio::test]
async fn cluster_needs_the_documented_rights_and_names_a_missing_one() {
    let cluster = Cluster::start();
    let servers: Vec<_> = cluster.nodes.iter().collect();
    each_right_is_needed(&cluster.url(), &servers, &documented(1), &["+asking", "+ping"]).await;
}

#[tokio::test]
async fn servers_of_sentinels_need_the_rights_of_one_server() {
    let sentinel = Sentinel::start();
    for server in [&sentinel.primary, &sentinel.replica] {
        set_user(server, &documented(0));
    }
    let health = work(&sentinel.url()).await;
    assert!(health.is_healthy() && health.last_error.is_none(), "{health}");
}

#[tokio::test]
async fn settings_that_need_further_rights_name_them() {
    let server = Server::start();
    let rules = documented(0);
    set_user(&server, &rules);
    let connect =
        async |query: &str| Cache::connect(&format!("{}?read_timeout=5s&{query}", as_user(&server.url()))).await.unwrap();
    let with = |right: &str| set_user(&server, &[&rules[..], &[right.to_owned()]].concat());

    let error = connect("").await.install_function().await.unwrap_err();
    assert!(error.to_string().contains("NOPERM") && error.to_string().contains("function|load"), "{error}");
    with("+function|load");
    connect("").await.install_function().await.unwrap();

    let error = connect("durability=1").await.invalidate_tags(["posts"]).await.unwrap_err();
    assert!(error.to_string().contains("NOPERM") && error.to_string().contains("wait"), "{error}");
    with("+wait");
    let error = connect("durability=1").await.invalidate_tags(["posts"]).await.unwrap_err();
    assert!(error.is_unconfirmed(), "{error:?}");

    let health = connect("db=1").await.health().await;
    assert!(words(&health).contains("no permissions") && words(&health).contains("select"), "{health:?}");
    with("+select");
    assert!(connect("db=1").await.health().await.is_healthy());
}

#[tokio::test]
async fn function_needs_the_rights_of_its_caller() {
    let server = Server::start();
    Cache::connect(&server.url()).await.unwrap().install_function().await.unwrap();
    set_user(&server, &[&documented(0)[..], &["+fcall".to_owned(), "+exists".to_owned()]].concat());
    let client = Client::open(as_user(&server.url())).unwrap();
    let call = |right: &str| {
        set_user(&server, &[right]);
        let mut call = cmd("FCALL");
        call.arg("larder_invalidate").arg(0).arg("larder").arg("posts");
        call.query::<i64>(&mut client.get_connection().unwrap())
    };
    // Nothing is stored.
    assert_eq!(call("+fcall"), Ok(0));
    assert!(call("-info").is_err());
}

#[tokio::test]
async fn rejected_login_is_no_broken_connection() {
    let (server, cluster) = (Server::start(), Cluster::start());
    set_user(&server, &documented(0));
    for url in [server.url(), cluster.url()] {
        let cache = Cache::connect(&url.replace("://", "://larder:QZJX@")).await.unwrap();
        eventually("the server has answered", async || {
            let shown = cache.health().await.to_string();
            shown.contains("rejected the user and the password") && !shown.contains("QZJX")
        })
        .await;
    }
}
