//! The tool against a real server.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[path = "../../examples/recipes/other_programs.rs"]
#[allow(dead_code, reason = "its small program is tested where it is built")]
mod recipe;

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use axum::{Router, routing};
use larder::{
    Cache,
    admin::{Access, Admin},
};
use serde_json::Value;
use tokio::net::TcpListener;

/// A server on a port of its own, with the page at `/ops` and, for a reader, at `/read`.
struct Server {
    root: String,
    cache: Cache,
}

impl Server {
    async fn start() -> Self {
        Self::over(Cache::in_memory(1 << 20)).await
    }

    async fn over(cache: Cache) -> Self {
        let layer = cache.layer().ttl(Duration::from_secs(60)).tags(["posts", "post:{id}"]).status_header(true);
        let app: Router = Router::new()
            .route("/posts/{id}", routing::get(|| async { "post" }).layer(layer))
            .nest("/ops", Admin::new(&cache).bearer("secret").into_router())
            .nest("/read", Admin::new(&cache).authorize(|_| Access::read_only("reader")).into_router());
        Self::with(cache, app).await
    }

    async fn with(cache: Cache, app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { root, cache }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        larder(&[&["--admin", &format!("{}/ops", self.root), "--token", "secret"], arguments].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    fn get(&self, path: &str) -> String {
        let response = ureq::get(format!("{}{path}", self.root)).call().unwrap();
        response.headers()["cache-status"].to_str().unwrap().to_owned()
    }
}

fn larder(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the tool with a text as its standard input.
fn larder_reading(text: &str, arguments: &[&str]) -> Output {
    let mut process = command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may end before it has read everything.
    let _ = process.stdin.take().unwrap().write_all(text.as_bytes());
    process.wait_with_output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.env_remove("LARDER_ADMIN").env_remove("LARDER_TOKEN").env_remove("LARDER_STORE").args(arguments);
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_and_mode_are_shown_and_set() {
    let server = Server::start().await;
    for _ in 0..4 {
        server.get("/posts/7");
    }
    let stats = server.json(&["stats"]);
    assert_eq!(
        (&stats["requests"], &stats["outcomes"]["hit"], &stats["routes"][0]["route"]),
        (&4.into(), &3.into(), &"/posts/{id}".into())
    );
    let shown = server.run(&["stats"]);
    assert!(text(&shown).contains("75.0 %") && text(&shown).contains("mode: enabled"), "{shown:?}");
    assert_eq!(server.json(&["mode"])["mode"], "enabled");
    assert_eq!(text(&server.run(&["mode"])), "enabled\n");
    assert_eq!(code(&server.run(&["mode", "bypass"])), 0);
    assert_eq!(server.cache.mode(), larder::CacheMode::Bypass);
    assert_eq!(text(&server.run(&["mode"])), "bypass\n  this process: bypass\n  all nodes: enabled\n");
    assert_eq!(code(&server.run(&["mode", "off"])), 2);
    assert_eq!(code(&server.run(&["mode", "--everywhere"])), 2);
    let hot = server.run(&["hot"]);
    assert!(code(&hot) == 0 && text(&hot).contains("estimates") && text(&hot).contains("with_revealed_keys"), "{hot:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_curve_is_shown() {
    let server = Server::start().await;
    assert_eq!(text(&server.run(&["memory"])), "no estimate yet: no sampled response has been looked up\n");
    // One key of 64 is sampled.
    for id in 0..1_000 {
        server.get(&format!("/posts/{id}"));
        server.get(&format!("/posts/{id}"));
    }
    let curve = server.json(&["memory"])["curve"].clone();
    assert_eq!(curve["points"].as_array().map(Vec::len), Some(4), "{curve}");
    let shown = text(&server.run(&["memory"]));
    assert!(shown.contains("   2 x        2.0 MiB ") && shown.contains("measured "), "{shown}");
}

/// A store that other programs reach, and an application over it.
mod store {
    use super::*;

    /// A `redis-server` on a port of its own, ended with it.
    struct Redis {
        process: std::process::Child,
        url: String,
    }

    impl Redis {
        async fn start() -> Self {
            // Free now: the server takes it at once.
            let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            let mut command = Command::new(std::env::var("LARDER_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned()));
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).current_dir(std::env::temp_dir());
            let process = command.stdout(std::process::Stdio::null()).spawn().unwrap();
            Self { process, url: format!("redis://127.0.0.1:{port}?read_timeout=5s&store_timeout=5s&invalidate_timeout=5s") }
        }

        /// Connects when the server answers.
        async fn cache(&self) -> Cache {
            let cache = Cache::connect(&self.url).await.unwrap();
            while !cache.health().await.is_healthy() {
                tokio::task::yield_now().await;
            }
            cache
        }
    }

    impl Drop for Redis {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn invalidation_through_it_makes_a_running_application_miss() {
        let redis = Redis::start().await;
        let server = Server::over(redis.cache().await.with_namespace("shop")).await;
        let invalidate = |what: &[&str]| larder(&[&["--store", &redis.url, "--namespace", "shop", "invalidate"], what].concat());
        for what in [&["--tag", "post:7"][..], &["--uri", "/posts/7"], &["--route", "/posts/{id}"]] {
            server.get("/posts/7");
            assert!(server.get("/posts/7").contains("hit"));
            let other = larder(&["--store", &redis.url, "--namespace", "other", "invalidate", "--tag", "post:7"]);
            assert!(code(&other) == 0 && server.get("/posts/7").contains("hit"), "another namespace: {other:?}");
            let output = invalidate(what);
            assert!(code(&output) == 0 && text(&output).starts_with("invalidated (nodes"), "{output:?}");
            assert!(!server.get("/posts/7").contains("hit"), "{what:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tags_of_the_standard_input_are_invalidated_through_it() {
        let redis = Redis::start().await;
        let server = Server::over(redis.cache().await).await;
        let tags: String = (0..2_500).map(|id| format!("post:{id}\n")).collect();
        for id in [0, 1_234, 2_499, 2_500] {
            server.get(&format!("/posts/{id}"));
        }
        let output = larder_reading(&tags, &["--store", &redis.url, "--json", "invalidate", "--tags-from", "-"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!((code(&output), &answer["tags"]), (0, &2_500.into()), "{output:?}");
        for (id, is_hit) in [(0, false), (1_234, false), (2_499, false), (2_500, true)] {
            assert_eq!(server.get(&format!("/posts/{id}")).contains("hit"), is_hit, "{id}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn database_that_the_server_does_not_have_is_wrong_usage() {
        let redis = Redis::start().await;
        redis.cache().await;
        let url = redis.url.replace('?', "/99?");
        let output = larder(&["--store", &url, "invalidate", "--tag", "a"]);
        assert!(code(&output) == 2 && errors(&output).contains("DB index is out of range"), "{output:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn recipe_is_invalidated_as_its_file_says() {
        let redis = Redis::start().await;
        let cache = redis.cache().await;
        let app = recipe::app(&cache).await.unwrap();
        let server = Server::with(cache, app).await;
        server.get("/rates");
        assert!(server.get("/rates").contains("hit"));
        assert_eq!(code(&larder(&["--store", &redis.url, "invalidate", "--tag", "rates"])), 0);
        assert!(!server.get("/rates").contains("hit"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mode_everywhere_reaches_each_node() {
        let redis = Redis::start().await;
        let (one, other) = (Server::over(redis.cache().await).await, Server::over(redis.cache().await).await);
        other.get("/posts/7");
        assert!(other.get("/posts/7").contains("hit"));
        let set = one.run(&["mode", "bypass", "--everywhere"]);
        assert!(code(&set) == 0 && text(&set).starts_with("The mode of all nodes is bypass (nodes within"), "{set:?}");
        assert!(!other.get("/posts/7").contains("hit"), "the lookup that reads the mode obeys it");
        assert_eq!(other.json(&["mode"])["shared_mode"], "bypass");
        let in_store = |mode: &str| larder(&["--store", &redis.url, "mode", mode, "--everywhere"]);
        assert_eq!(code(&in_store("off")), 2);
        let set = in_store("enabled");
        assert!(code(&set) == 0 && text(&set).starts_with("the mode of all nodes is enabled"), "{set:?}");
        // A node that bypasses the cache reads the mode once a second.
        while !other.get("/posts/7").contains("hit") {}
        assert_eq!(code(&larder(&["--store", &redis.url, "mode", "bypass"])), 2, "one process has no mode in the store");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalidations_take_effect() {
    let server = Server::start().await;
    for what in [&["--tag", "post:7", "--tag", "other"][..], &["--uri", "/posts/7"], &["--route", "/posts/{id}"]] {
        server.get("/posts/7");
        assert!(server.get("/posts/7").contains("hit"));
        let output = server.run(&[&["invalidate"], what].concat());
        assert_eq!(code(&output), 0, "{output:?}");
        assert!(!server.get("/posts/7").contains("hit"), "{what:?}");
    }
    assert_eq!(code(&server.run(&["invalidate", "--uri", "/posts/*"])), 2);
    assert_eq!(code(&server.run(&["invalidate"])), 2);
    assert_eq!(code(&server.run(&["invalidate", "--tag", "a", "--uri", "/b"])), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_read_from_a_file_or_the_standard_input() {
    let server = Server::start().await;
    let page = format!("{}/ops", server.root);
    let from = |source: &str, input: &str, more: &[&str]| {
        let arguments = ["--admin", &page, "--token", "secret", "invalidate", "--tags-from", source];
        larder_reading(input, &[&arguments, more].concat())
    };
    let stored = |ids: &[usize]| {
        for id in ids {
            server.get(&format!("/posts/{id}"));
        }
    };
    let is_hit = |id: usize| server.get(&format!("/posts/{id}")).contains("hit");

    let many: String = (0..2_500).map(|id| format!("  post:{id}\r\n\n")).collect();
    stored(&[0, 1_500, 2_499, 3_000, 3_001]);
    let output = from("-", &many, &["--tag", "post:3000"]);
    assert_eq!((code(&output), text(&output).as_str()), (0, "2501 tags are invalidated, by 3 calls\n"), "{output:?}");
    assert!([0, 1_500, 2_499, 3_000].iter().all(|id| !is_hit(*id)) && is_hit(3_001));

    let path = std::env::temp_dir().join(format!("larder-tags-{}", std::process::id()));
    std::fs::write(&path, "post:7\npost:8").unwrap();
    stored(&[7, 8]);
    let output = from(path.to_str().unwrap(), "", &[]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!((code(&output), is_hit(7), is_hit(8)), (0, false, false), "{output:?}");

    // An invalid tag is an error, and all others are invalidated, those of later calls, too.
    let with_invalid = format!("{}\n{many}", "x".repeat(300));
    stored(&[0, 2_499]);
    let output = from("-", &with_invalid, &[]);
    assert!(code(&output) == 2 && errors(&output).contains("lines 1 to "), "{output:?}");
    assert!(errors(&output).contains("All other tags are invalidated"), "{output:?}");
    assert!(!is_hit(0) && !is_hit(2_499));

    for (source, input, problem) in [
        ("/no/such/file", "", "cannot be read from `/no/such/file`"),
        ("-", "\n \n", "the standard input has no tags: nothing was invalidated"),
        ("-", &*"x".repeat(5_000), "line 1 of the standard input is longer than 4 KiB"),
    ] {
        let output = from(source, input, &[]);
        assert!(code(&output) == 2 && errors(&output).contains(problem), "{output:?}");
    }
    assert_eq!(code(&from("-", "a", &["--uri", "/b"])), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_what_failed_where_and_what_to_do() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let at_page = larder(&["--admin", &format!("http://u:QZJX@{closed}/ops"), "invalidate", "--tag", "a"]);
    let in_store = larder(&["--store", &format!("redis://u:QZJX@{closed}"), "invalidate", "--tag", "a"]);
    let read = larder_reading("a\nb\n", &["--store", &format!("redis://{closed}"), "invalidate", "--tags-from", "-"]);
    for (output, what, todo) in [
        (&at_page, format!("`invalidate` failed: the operator's page at http://{closed}/ops does not answer"), "Check --admin"),
        (&in_store, format!("the invalidation failed in the store at redis://{closed}: "), "repeat the command"),
        (
            &read,
            format!("lines 1 to 2 of the standard input: the invalidation failed in the store at redis://{closed}"),
            "repeat",
        ),
    ] {
        let errors = errors(output);
        assert!(code(output) == 1 && errors.contains(&what) && errors.contains(todo) && !errors.contains("QZJX"), "{errors}");
    }
    assert_eq!(errors(&in_store).matches("Connection refused").count(), 1, "{in_store:?}");
    let server = Server::start().await;
    let denied = larder(&["--admin", &format!("{}/ops", server.root), "--token", "wrong", "stats"]);
    assert!(code(&denied) == 3 && errors(&denied).contains(&format!("{}/ops", server.root)), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_by_its_exit_code_if_the_cache_answers() {
    let server = Server::start().await;
    let url = format!("{}/posts/7", server.root);
    assert_eq!(code(&server.run(&["explain", &url])), 4);
    server.get("/posts/7");
    let hit = server.run(&["explain", &url]);
    assert_eq!(code(&hit), 0, "{hit:?}");
    assert!(text(&hit).starts_with("hit: ") && text(&hit).contains("tag post:7: valid"), "{hit:?}");
    let cookie = server.run(&["--json", "explain", &url, "-H", "cookie: a=b"]);
    assert_eq!((code(&cookie), text(&cookie).contains("request-cookie")), (4, true));
    assert_eq!(code(&server.run(&["explain", &url, "-H", "cookie"])), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn option_takes_precedence_over_the_environment() {
    let server = Server::start().await;
    let page = format!("{}/ops", server.root);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let store = format!("redis://{closed}");
    let run = |environment: &[(&str, &str)], arguments: &[&str]| {
        command(arguments).env("LARDER_TOKEN", "secret").envs(environment.iter().copied()).output().unwrap()
    };
    let (in_page, in_store) = (("LARDER_ADMIN", page.as_str()), ("LARDER_STORE", store.as_str()));

    let to_store = run(&[in_page], &["--store", &store, "--namespace", "shop", "invalidate", "--tag", "posts"]);
    assert!(code(&to_store) == 1 && errors(&to_store).contains(&store), "{to_store:?}");
    assert_eq!(code(&run(&[in_store], &["--admin", &page, "invalidate", "--tag", "posts"])), 0);
    // With both in the environment, the page: it can do everything. A namespace is of a store.
    assert_eq!(code(&run(&[in_page, in_store], &["stats"])), 0);
    let of_store = run(&[in_page, in_store], &["--namespace", "shop", "invalidate", "--tag", "posts"]);
    assert!(errors(&of_store).contains(&store), "{of_store:?}");
    for both in [["--store", &store, "stats"], ["--namespace", "shop", "stats"]] {
        let refused = run(&[in_store], &[&["--admin", &page], &both[..]].concat());
        assert!(code(&refused) == 2 && errors(&refused).contains("--admin cannot be used with"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_has_ended_is_no_failure() {
    let server = Server::start().await;
    let arguments = ["--admin", &format!("{}/ops", server.root), "--token", "secret", "stats"];
    let mut process = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert!(code(&output) == 0 && errors(&output).is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_takes_the_content_of_a_query() {
    let cache = Cache::in_memory(1 << 20);
    let layer = cache.layer().ttl(Duration::from_secs(60)).cache_post(64);
    let app = Router::new()
        .route("/search", routing::post(|| async { ([("cache-control", "max-age=60")], "found") }).layer(layer))
        .nest("/ops", Admin::new(&cache).bearer("secret").into_router());
    let server = Server::with(cache, app).await;
    let url = format!("{}/search", server.root);
    ureq::post(&url).content_type("text/plain").send("larders").unwrap();
    let question = ["explain", &url, "-X", "POST", "-H", "content-type: text/plain"];
    assert!(text(&server.run(&question)).starts_with("unknown: "), "without the content");
    let asked = |data: &str| server.run(&[&question[..], &["--data", data]].concat());
    assert!(text(&asked("larders")).starts_with("hit: "), "{:?}", asked("larders"));
    assert!(text(&asked("cellars")).starts_with("miss: "), "{:?}", asked("cellars"));
    let file = std::env::temp_dir().join(format!("larder-explain-{}", std::process::id()));
    std::fs::write(&file, "larders").unwrap();
    assert_eq!(code(&asked(&format!("@{}", file.display()))), 0);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(code(&asked(&format!("@{}", file.display()))), 2, "there is no such file");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_failures_apart() {
    let server = Server::start().await;
    let page = format!("{}/ops", server.root);
    assert_eq!(code(&larder(&["stats"])), 2);
    assert_eq!(code(&larder(&["--admin", &page, "stats"])), 3);
    assert_eq!(code(&larder(&["--admin", &page, "--token", "wrong", "stats"])), 3);
    assert_eq!(code(&larder(&["--admin", &format!("{}/read", server.root), "mode", "bypass"])), 3);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(code(&larder(&["--admin", &format!("http://{closed}"), "stats"])), 1);
    assert_eq!(code(&larder(&["--store", "memory:1mb", "invalidate", "--tag", "a"])), 2);
    assert_eq!(code(&larder(&["--store", "redis://localhost", "stats"])), 2);
    assert_eq!(code(&larder(&["--store", &format!("redis://{closed}"), "invalidate", "--tag", "a"])), 1);
    let failed = larder(&["--json", "--admin", &format!("http://{closed}"), "stats"]);
    assert!(serde_json::from_slice::<Value>(&failed.stderr).unwrap()["error"].is_string());
}
