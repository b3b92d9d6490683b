//! URLs of remote stores: their options, and errors that show no password.

use std::{error::Error as _, fs, time::Duration};

use axum::{Router, routing};
use larder::{Cache, Memcached, Memory, Redis, Tiered};

use crate::{
    servers::{process::Folder, redis::Redis as Server},
    support::{Runs, get, minute, numbered},
};

const NOWHERE: &str = "127.0.0.1:1";

async fn refused(url: &str) -> larder::Error {
    let error = Cache::connect(url).await.err().unwrap_or_else(|| panic!("{url}"));
    assert!(error.is_invalid_input(), "{url}: {error}");
    error
}

#[tokio::test]
async fn options_of_a_near_tier_are_those_of_its_setters() {
    let url = format!("tiered+redis://{NOWHERE}?near=32mb&tag_capacity=9&lease=200ms&key_prefix=shop");
    let far = Redis::builder().key_prefix("shop").connect(&format!("redis://{NOWHERE}")).await.unwrap();
    let near = || Memory::new(32 << 20).tag_capacity(9);
    let leased = Cache::new(Tiered::new(near(), far.clone()).lease(Duration::from_millis(200)));
    assert_eq!(format!("{:?}", Cache::connect(&url).await.unwrap()), format!("{leased:?}"));

    let strict = Cache::new(Tiered::new(near(), far.clone()));
    let url = url.replace("200ms", "off");
    assert_eq!(format!("{:?}", Cache::connect(&url).await.unwrap()), format!("{strict:?}"));
    assert_eq!(format!("{:?}", Cache::connect(&format!("{url}&outage_grace=off")).await.unwrap()), format!("{strict:?}"));

    let minute = Duration::from_secs(60);
    let graced = Cache::new(Tiered::new(near(), far).outage_grace(minute));
    assert_eq!(format!("{:?}", Cache::connect(&format!("{url}&outage_grace=1m")).await.unwrap()), format!("{graced:?}"));

    let url = format!("tiered+memcached://{NOWHERE}?near=32mb&tag_capacity=9&key_prefix=shop");
    let far = Memcached::builder().key_prefix("shop").connect(&format!("memcached://{NOWHERE}")).await.unwrap();
    let strict = Cache::new(Tiered::new(near(), far.clone()));
    assert_eq!(format!("{:?}", Cache::connect(&url).await.unwrap()), format!("{strict:?}"));
    let graced = Cache::new(Tiered::new(near(), far).outage_grace(minute));
    assert_eq!(format!("{:?}", Cache::connect(&format!("{url}&outage_grace=1m")).await.unwrap()), format!("{graced:?}"));
}

/// The options of each kind of URL, as the error for an unknown one lists them.
async fn options(url: &str) -> Vec<String> {
    let message = refused(&format!("{url}?nonsense=1")).await.to_string();
    let (_, known) =
        message.split_once("unknown option `nonsense`: this store has ").unwrap_or_else(|| panic!("{url}: {message}"));
    let mut known: Vec<_> = known.split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
    known.sort();
    known
}

#[tokio::test]
async fn unknown_option_of_any_store_is_an_error_that_lists_those_it_has() {
    let remote = [
        "compress_from",
        "connect_timeout",
        "failures",
        "invalidate_timeout",
        "key_prefix",
        "max_owed_tags",
        "read_timeout",
        "store_timeout",
    ];
    let redis = ["db", "durability"];
    let near = ["engine", "near", "outage_grace", "tag_capacity"];
    for (url, further) in [
        ("redis://host", &[&redis[..]][..]),
        ("redis+unix:///run/redis.sock", &[&redis]),
        ("redis+sentinel://a,b/mymaster", &[&redis]),
        ("redis+cluster://a,b", &[&["durability"]]),
        ("memcached://a,b", &[&["max_value"]]),
        ("tiered+redis://host", &[&redis, &near, &["lease"]]),
        ("tiered+redis+unix:///run/redis.sock", &[&redis, &near, &["lease"]]),
        ("tiered+redis+sentinel://a,b/mymaster", &[&redis, &near, &["lease"]]),
        ("tiered+redis+cluster://a,b", &[&["durability"], &near, &["lease"]]),
        ("tiered+memcached://a,b", &[&["max_value"], &near]),
    ] {
        let mut expected: Vec<&str> = remote.iter().chain(further.iter().copied().flatten()).copied().collect();
        if cfg!(feature = "redis-tls") && url.contains("redis") {
            expected.push("root_certificates");
        }
        expected.sort_unstable();
        assert_eq!(options(url).await, expected, "{url}");
    }
}

#[tokio::test]
async fn every_option_has_a_row_in_the_documentation() {
    let [connect, readme] = ["src/cache/connect.rs", "README.md"].map(|path| fs::read_to_string(path).unwrap());
    for url in ["redis://host", "memcached://a", "tiered+redis://host", "tiered+memcached://a", "memory:1mb"] {
        for option in options(url).await {
            assert!(connect.contains(&format!("    /// | `{option}` |")), "{option}");
            let in_readme = |line: &str| {
                line.starts_with("| `") && line.split(" | ").next().is_some_and(|cell| cell.contains(&format!("`{option}`")))
            };
            assert!(readme.lines().any(in_readme), "{option}");
        }
    }
}

#[tokio::test]
async fn value_of_another_type_is_an_error_that_says_how_to_write_it() {
    for (url, message) in [
        ("redis://host?read_timeout=1", "`read_timeout` in the URL of the store must be a number with the unit"),
        ("redis://host?failures=many", "`failures` in the URL of the store must be a number"),
        ("redis://host?durability=-1", "`durability` in the URL"),
        ("redis://host?db=x", "`db` in the URL"),
        ("redis://host?compress_from=x", "`compress_from` in the URL of the store must be a size such as `4kb`, or `off`"),
        ("redis://host?key_prefix={x}", "without braces"),
        ("redis://host?key_prefix=", "`key_prefix` in the URL of the store must be a name such as `shop`"),
        ("redis://host?lease=1s", "unknown option `lease`"),
        ("redis://host?outage_grace=1s", "unknown option `outage_grace`"),
        ("tiered+redis://host?outage_grace=1", "`outage_grace` in the URL of the store must be a duration such as"),
        ("redis+cluster://host?durability=1", "`durability` is not supported on a Cluster"),
        ("tiered+redis://host?lease=1", "`lease` in the URL of the store must be a duration such as `200ms` or `2s`, or `off`"),
        ("tiered+redis://host?near=much", "`near` in the URL"),
        ("tiered+redis://host?near=1mb&near=2mb", "`near` twice"),
        ("tiered+memcached://host?lease=1s", "unknown option `lease`"),
        ("memcached://host?max_value=x", "`max_value` in the URL"),
        ("memcached://host?durability=1", "unknown option `durability`"),
    ] {
        let error = refused(url).await;
        assert!(error.to_string().contains(message), "{url}: {error}");
    }
}

type Extremes = (&'static str, &'static str, [(&'static str, bool); 2], &'static str);

/// The options, a URL that has them, which of their extremes are accepted (zero and the largest number), and how errors say that they are
/// written. `-1`, `x` and nothing are accepted by none, except that any text but nothing is a name or a path.
const EXTREMES: [Extremes; 18] = [
    ("near", "tiered+redis", [("0", false), ("18446744073709551615", true)], "a size such as `64mb`, and not zero"),
    ("near", "tiered+memcached", [("0mb", false), ("17179869183gb", true)], "without `tiered+` has no memory in front"),
    ("lease", "tiered+redis", [("0s", false), ("18446744073709551615ms", true)], "or `off` instead of zero"),
    ("engine", "tiered+redis", [("0", false), ("18446744073709551615", false)], "`moka` or `quick`"),
    ("tag_capacity", "tiered+redis", [("0", false), ("18446744073709551615", true)], "a number such as `65536`, and not zero"),
    ("key_prefix", "redis", [("0", true), ("18446744073709551615", true)], "a name such as `shop`"),
    ("key_prefix", "memcached", [("0", true), ("18446744073709551615", true)], "a name such as `shop`"),
    ("read_timeout", "redis", [("0ms", false), ("18446744073709551615ms", true)], "such as `200ms` or `2s`, and not zero"),
    ("store_timeout", "redis", [("0s", false), ("18446744073709551615ms", true)], "such as `200ms` or `2s`, and not zero"),
    ("invalidate_timeout", "redis", [("0m", false), ("18446744073709551615ms", true)], "such as `200ms` or `2s`, and not zero"),
    ("connect_timeout", "redis", [("0h", false), ("18446744073709551615ms", true)], "such as `200ms` or `2s`, and not zero"),
    ("failures", "redis", [("0", false), ("4294967295", true)], "a number such as `5`, and not zero"),
    ("max_owed_tags", "redis", [("0", true), ("18446744073709551615", true)], "a number such as `65536`"),
    ("compress_from", "redis", [("0", true), ("18446744073709551615", true)], "a size such as `4kb`, or `off`"),
    ("durability", "redis", [("0", true), ("4294967295", true)], "a number such as `1`, or `0`"),
    ("db", "redis", [("0", true), ("4294967295", true)], "a number such as `1`, or `0`"),
    ("max_value", "memcached", [("0", false), ("18446744073709551615", true)], "a number of bytes, or a size"),
    // No such file.
    ("root_certificates", "rediss", [("0", false), ("18446744073709551615", false)], "the path of a file"),
];

#[tokio::test]
async fn extreme_of_an_option_is_accepted_or_explained() {
    for (option, scheme, extremes, written) in EXTREMES {
        if option == "root_certificates" && !cfg!(feature = "redis-tls") {
            continue;
        }
        let is_text = option == "key_prefix" || option == "root_certificates";
        let malformed = [("-1", is_text), ("x", is_text), ("", false)];
        for (value, is_accepted) in extremes.into_iter().chain(malformed) {
            let url = format!("{scheme}://{NOWHERE}?{option}={value}");
            match (Cache::connect(&url).await, is_accepted || (option == "root_certificates" && !value.is_empty())) {
                (Ok(_), true) => {}
                (Err(error), false) => {
                    assert!(error.is_invalid_input(), "{url}");
                    let message = error.to_string();
                    assert!(message.contains(&format!("`{option}` in the URL of the store must be ")), "{url}: {message}");
                    assert!(message.contains(written), "{url}: {message}");
                }
                // A file that is missing, in the words of the system.
                (Err(error), true) if option == "root_certificates" => assert!(error.is_invalid_input(), "{url}"),
                (outcome, _) => panic!("{url}: {outcome:?}"),
            }
        }
    }
    for size in ["0", "0mb", "-1", "x", ""] {
        let message = refused(&format!("memory:{size}")).await.to_string();
        assert!(message.contains("as in `memory:64mb`, of `16kb` at least"), "{size}: {message}");
    }
}

#[tokio::test]
async fn mistake_in_a_url_is_explained_without_the_password() {
    for (url, what) in [
        ("ridis://user:QZJX@host", "unknown scheme"),
        ("redis:user:QZJX@host", "must begin with `redis://`"),
        ("redis+clutser://user:QZJX@host", "unknown Redis scheme `redis+clutser`"),
        ("redis://QZJX@host", "a user without a password"),
        ("redis://user:QZ/JX@host", "percent-encode"),
        ("redis://user:QZ?JX@host", "percent-encode"),
        ("redis://user:QZ#JX@host", "percent-encode"),
        ("redis://user:QZ@JX@host", "percent-encode"),
        ("redis://user:QZ%JX@host", "percent-encode"),
        ("redis://user:1/QZ@host", "percent-encode"),
        ("redis://user:1?QZ=JX@host", "percent-encode"),
        ("redis://user:1#QZ@host", "percent-encode"),
        ("redis://user:QZJX@host:", "a port is missing"),
        ("redis://user:QZJX@host:x", "1 to 65535"),
        ("redis://user:QZJX@::1:6379", "brackets"),
        ("redis://user:QZJX@", "a host is missing"),
        ("redis://user:QZJX@a,b", "one host"),
        ("redis+cluster://user:QZJX@a:,b", "a port is missing"),
        ("redis+cluster://user:QZJX@a/1", "no databases"),
        ("redis+sentinel://user:QZJX@a", "/mymaster"),
        ("tiered+redis+sentinel://user:QZJX@a:/m", "a port is missing"),
        ("redis+unix://user:QZJX@host/run/x", "a Unix socket has a path"),
        ("memcached://user:QZJX@host", "neither users nor databases"),
        ("memcached://user:QZ/JX@host", "percent-encode"),
        ("tiered+memcached://user:QZ?JX@host", "percent-encode"),
    ] {
        let error = refused(url).await;
        let logged = format!("{error} {error:?} {:?}", error.source());
        assert!(error.to_string().contains(what), "{url}: {error}");
        assert!(!logged.contains("QZ") && !logged.contains("JX"), "{url}: {logged}");
    }
}

#[tokio::test]
async fn unix_socket_and_options_reach_a_server() {
    let folder = Folder::new();
    let socket = folder.0.join("redis.sock").display().to_string();
    let server = Server::start_with(&["--unixsocket", &socket]);
    for url in [
        format!("redis+unix://{socket}?db=3&key_prefix=shop&read_timeout=10s&store_timeout=10s"),
        format!("tiered+redis+unix://{socket}?db=4&key_prefix=shop&read_timeout=10s&store_timeout=10s&lease=off"),
        format!("{}?db=5&key_prefix=shop&read_timeout=10s&store_timeout=10s", server.url()),
    ] {
        let runs = Runs::default();
        let layer = minute(&Cache::connect(&url).await.unwrap());
        let app = Router::new().route("/page", routing::get(numbered(&runs)).layer(layer));
        assert!(get(&app, "/page").await.is_stored(), "{url}");
        assert!(get(&app, "/page").await.is_hit(), "{url}");
    }
    let keyspace: String = server.run("INFO keyspace");
    assert!(["db3:", "db4:", "db5:"].iter().all(|db| keyspace.contains(db)) && !keyspace.contains("db0:"), "{keyspace}");
}

#[tokio::test]
async fn database_that_the_server_does_not_have_is_an_error_with_its_words() {
    let server = Server::start();
    for url in [format!("{}/99", server.url()), format!("tiered+{}?db=16&near=1mb", server.url())] {
        let error = refused(&url).await.to_string();
        assert!(error.contains("DB index is out of range") && error.contains("16 by default"), "{error}");
    }
    let last = Cache::connect(&format!("{}/15", server.url())).await.unwrap();
    assert!(last.health().await.is_healthy());
}
