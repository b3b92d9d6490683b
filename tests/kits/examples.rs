//! Each example, started as a user would start it and asked over TCP.

#[cfg(feature = "admin")]
mod operations;
mod recipes;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use axum::{Router, body::Body, http::HeaderMap, routing};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

#[cfg(feature = "admin")]
use crate::browser::chromium::{Chromium, screenshots};

/// A running example, ended by its own process id.
struct Example {
    process: Child,
    address: String,
}

impl Example {
    /// Starts one that cargo has built beside this test, and waits until it says where it listens.
    fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_with(name, arguments, &[])
    }

    fn start_with(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(built(name));
        command.args(arguments).env("LISTEN", "127.0.0.1:0").envs(variables.iter().copied());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let listening = lines.find_map(|line| Some(line.unwrap().strip_prefix("listening on http://")?.to_owned())).unwrap();
        // Read on, so that it never waits for us to.
        std::thread::spawn(move || lines.for_each(drop));
        let address = listening.split_whitespace().next().unwrap().to_owned();
        Self { process, address }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let (parts, body) = client.request(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn cache_status(&self) -> &str {
        self.headers["cache-status"].to_str().unwrap()
    }
}

fn built(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(example)
}

#[tokio::test(flavor = "multi_thread")]
async fn quickstart_answers_from_the_cache_until_a_post_is_updated() {
    let example = Example::start("quickstart", &[]);
    for path in ["/posts", "/posts/7"] {
        assert!(example.get(path).await.cache_status().contains("fwd=uri-miss; stored"), "{path}");
        assert!(example.get(path).await.cache_status().contains("hit"), "{path}");
    }
    let edit = r#"{"title":"New"}"#;
    let updated = example.ask(Method::PUT, "/posts/7", &[("content-type", "application/json")], edit).await;
    assert_eq!(updated.status, StatusCode::NO_CONTENT);
    assert!(example.get("/posts/7").await.body.contains("New"));
    assert!(!example.get("/posts").await.cache_status().contains("hit"));
}

/// What the page shows of its requests, once there are `rows`, the latest first.
#[cfg(feature = "admin")]
fn requests(browser: &mut Chromium, rows: usize) -> String {
    let script = format!(
        "new Promise(resolve => {{
            const log = document.getElementById('log');
            const look = () => log.rows.length >= {rows} ? resolve(log.innerText) : setTimeout(look, 20);
            look();
        }})"
    );
    browser.evaluate(&script).as_str().unwrap().to_owned()
}

#[cfg(feature = "admin")]
#[tokio::test(flavor = "multi_thread")]
async fn quickstart_shows_an_edit_at_once_in_a_browser() {
    let example = Example::start("quickstart", &[]);
    let address = example.address.clone();
    let drive = move || {
        let Some(mut browser) = Chromium::start() else {
            println!("skipped: there is no Chromium on this machine (Debian's package `chromium`)");
            return;
        };
        browser.open(&format!("http://{address}/"));
        assert!(requests(&mut browser, 1).contains("miss"));
        browser.evaluate("document.getElementById('visitors').checked = false");
        browser.evaluate("visit('you')");
        let post = browser.evaluate("document.querySelector('#posts button').dataset.post").as_str().unwrap().to_owned();
        let before = browser.evaluate("document.getElementById('log').rows.length").as_u64().unwrap() as usize;
        browser.evaluate("document.querySelector('#posts button').click()");
        let log = requests(&mut browser, before + 3);
        let latest: Vec<_> = log.lines().filter(|line| line.contains("/posts")).take(3).collect();
        let expected = [("next visitor", "hit".to_owned()), ("you", "miss".to_owned()), ("you", format!("PUT /posts/{post}"))];
        for (line, (who, what)) in latest.iter().zip(expected) {
            assert!(line.contains(who) && line.contains(&what), "{line}: {who}, {what}");
        }
        let title = browser.evaluate("document.querySelector('#posts tr').innerText").as_str().unwrap().to_owned();
        assert!(title.contains("(edited 1×)"), "{title}");
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            browser.picture(&screenshots().join(format!("quickstart-{scheme}.png")));
        }
        let link = "new Promise(resolve => {
            const look = () => document.getElementById('ops').hidden ? setTimeout(look, 20) : resolve();
            look();
        })";
        browser.evaluate(link);
        browser.follow("document.getElementById('ops').click()");
        assert!(browser.text().contains("Overview"));
    };
    tokio::task::spawn_blocking(drive).await.unwrap();
}

async fn upstream() -> SocketAddr {
    let app = Router::new()
        .route("/page", routing::get(|| async { ([("cache-control", "max-age=60")], "0123456789") }).post(|| async {}))
        .route(
            "/hop",
            routing::get(|| async { ([("cache-control", "max-age=60"), ("connection", "x-hop"), ("x-hop", "1")], "") }),
        )
        .route("/echo", routing::post(|body: String| async { body }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn reverse_proxy_caches_as_its_upstream_allows() {
    let upstream = format!("http://{}", upstream().await);
    for profile in ["default", "strict"] {
        let proxy = Example::start("reverse_proxy", &["--listen", "127.0.0.1:0", "--upstream", &upstream, "--profile", profile]);
        let first = proxy.get("/page").await;
        assert!(first.cache_status().contains("fwd=uri-miss; stored"), "{first:?}");
        let hit = proxy.get("/page").await;
        assert_eq!(
            (hit.body.as_str(), hit.cache_status().contains("hit"), &hit.headers["age"] == "0"),
            ("0123456789", true, true)
        );
        let head = proxy.ask(Method::HEAD, "/page", &[], "").await;
        assert_eq!((head.body.as_str(), &head.headers["content-length"] == "10"), ("", true));
        let part = proxy.ask(Method::GET, "/page", &[("range", "bytes=2-4")], "").await;
        assert_eq!((part.status, part.body.as_str()), (StatusCode::PARTIAL_CONTENT, "234"));
        for _ in 0..2 {
            assert!(!proxy.get("/hop").await.headers.contains_key("x-hop"));
        }
        assert_eq!(proxy.ask(Method::POST, "/echo", &[], "said").await.body, "said");
        proxy.ask(Method::POST, "/page", &[], "").await;
        assert!(!proxy.get("/page").await.cache_status().contains("hit"));
    }
}

/// A site that answers which host, language and trailers it was asked with, and tunnels.
async fn attentive_upstream() -> SocketAddr {
    let told = |headers: HeaderMap, trailers: bool| {
        let told = |name| headers.get(name).map_or("none", |value| value.to_str().unwrap()).to_owned();
        format!("host {}, language {}, upgrade {}, trailers {trailers}", told("host"), told("accept-language"), told("upgrade"))
    };
    let page = async move |headers: HeaderMap, body: Body| {
        let trailers = body.collect().await.unwrap().trailers().is_some();
        ([("cache-control", "max-age=60"), ("vary", "accept-language")], told(headers, trailers))
    };
    let app = Router::new().route("/page", routing::get(page).post(page));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// What comes back, head and body, when these bytes are sent and no more.
async fn raw(proxy: &Example, request: &str) -> String {
    let mut connection = TcpStream::connect(&proxy.address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn proxy_before_attentive_upstream() -> Example {
    let upstream = format!("http://{}", attentive_upstream().await);
    Example::start("reverse_proxy", &["--listen", "127.0.0.1:0", "--upstream", &upstream])
}

#[tokio::test(flavor = "multi_thread")]
async fn reverse_proxy_stores_nothing_under_a_host_unknown_to_the_upstream() {
    let proxy = proxy_before_attentive_upstream().await;
    raw(&proxy, "GET /page HTTP/1.1\r\nHost: victim.example\r\nConnection: close, Host\r\n\r\n").await;
    let victim = raw(&proxy, "GET /page HTTP/1.1\r\nHost: victim.example\r\nConnection: close\r\n\r\n").await;
    assert!(victim.contains("host victim.example,"), "{victim}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reverse_proxy_stores_nothing_under_a_language_unknown_to_the_upstream() {
    let proxy = proxy_before_attentive_upstream().await;
    let with = |connection: &str| {
        format!("GET /page HTTP/1.1\r\nHost: a.example\r\nAccept-Language: de\r\nConnection: {connection}\r\n\r\n")
    };
    raw(&proxy, &with("close, Accept-Language")).await;
    let german = raw(&proxy, &with("close")).await;
    assert!(german.contains("language de,"), "{german}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reverse_proxy_refuses_two_hosts_and_connect() {
    let proxy = proxy_before_attentive_upstream().await;
    let two = raw(&proxy, "GET /page HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\nConnection: close\r\n\r\n").await;
    assert!(two.starts_with("HTTP/1.1 400 "), "{two}");
    let connect = raw(&proxy, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nConnection: close\r\n\r\n").await;
    assert!(connect.starts_with("HTTP/1.1 405 ") && connect.contains("allow: GET"), "{connect}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reverse_proxy_passes_no_upgrade_but_that_to_websocket() {
    let proxy = proxy_before_attentive_upstream().await;
    let with = |protocol: &str| {
        format!("GET /page HTTP/1.1\r\nHost: a.example\r\nConnection: close, upgrade\r\nUpgrade: {protocol}\r\n\r\n")
    };
    for protocol in ["h2c", "websocket, h2c", "tls/1.0"] {
        let answer = raw(&proxy, &with(protocol)).await;
        assert!(answer.contains("upgrade none,"), "{answer}");
    }
    assert!(raw(&proxy, &with("websocket")).await.contains("upgrade websocket,"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reverse_proxy_drops_request_trailers() {
    let proxy = proxy_before_attentive_upstream().await;
    let head =
        "POST /page HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x-a\r\n\r\n";
    let answer = raw(&proxy, &format!("{head}3\r\nabc\r\n0\r\nx-a: 1\r\n\r\n")).await;
    assert!(answer.contains("trailers false"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reverse_proxy_answers_502_for_an_upstream_that_is_gone() {
    // Bound and released: no server listens there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Example::start("reverse_proxy", &["--listen", "127.0.0.1:0", "--upstream", &format!("http://{gone}")]);
    assert_eq!(proxy.get("/page").await.status, StatusCode::BAD_GATEWAY);
}

#[test]
fn advisor_prints_layers_tags_and_where_to_invalidate() {
    let output = Command::new(built("advisor")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let advice = String::from_utf8(output.stdout).unwrap();
    for line in [
        "1.  GET /",
        r#".tags(["posts"]))"#,
        "tag it `post:{id}`, and invalidate `post:{id}` there",
        r#".ignore_query(["utm_*"])"#,
        "differs by user: `per_principal`, or leave it",
    ] {
        assert!(advice.contains(line), "{line}\n\n{advice}");
    }
}

/// Pages are hits from the first request on, and the report is computed again without one.
#[cfg(feature = "progress")]
async fn pages_are_warm(url: &str) {
    let example = Example::start_with("warm_and_schedule", &[], &[("CACHE_URL", url), ("PERIOD_MILLIS", "300")]);
    for page in [1, 25, 50] {
        let first = example.get(&format!("/pages/{page}")).await;
        assert!(first.cache_status().contains("hit"), "{first:?}");
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let report = example.get("/report").await;
        assert!(report.cache_status().contains("hit"), "no visitor waits for the report: {report:?}");
        if seen.last() != Some(&report.body) {
            seen.push(report.body);
        }
    }
}

#[cfg(feature = "progress")]
#[tokio::test(flavor = "multi_thread")]
async fn warm_and_schedule_lets_no_visitor_wait() {
    pages_are_warm("memory:16mb").await;
}

#[cfg(all(feature = "progress", feature = "redis"))]
#[tokio::test(flavor = "multi_thread")]
async fn warm_and_schedule_lets_no_visitor_wait_on_redis() {
    pages_are_warm(&crate::servers::redis::Redis::start().url()).await;
}

#[cfg(feature = "conformance")]
mod kits {
    use std::process::Command;

    use super::built;

    /// What an example that ends by itself prints; it has to end well.
    fn run(example: &str) -> String {
        let output = Command::new(built(example)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn testing_tests_an_application() {
        assert_eq!(run("testing"), "all tests passed\n");
    }

    #[cfg(all(feature = "typed-tags", feature = "values"))]
    #[test]
    fn values_are_queried_once_and_after_a_write_again() {
        let lines = [
            "GET /: Cocoa and Brie [top]",
            "GET /posts/1: Ale, beside Cocoa and Brie [post 1]",
            "GET /posts/2: Brie, beside Cocoa and Brie [post 2]",
            "GET /posts/2: Brie, beside Cocoa and Brie []",
            "PUT /posts/1/title:  []",
            "GET /posts/1: Apple, beside Apple and Cocoa [post 1, top]",
            "GET /posts/2: Brie, beside Apple and Cocoa []",
            "all tags covered",
        ];
        assert_eq!(run("values").lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn pending_write_keeps_the_row_of_a_lagging_replica_from_being_stored() {
        let lines = [
            r#"POST /invalidated: """#,
            r#"GET /post: "" (stored)"#,
            "the replica has caught up",
            r#"GET /post: "" (hit)"#,
            r#"GET /post: "" (hit)"#,
            r#"POST /pending: """#,
            r#"GET /post: "first" (not stored: pending-write)"#,
            "the replica has caught up",
            r#"GET /post: "second" (stored)"#,
            r#"GET /post: "second" (hit)"#,
        ];
        assert_eq!(run("pending_write").lines().collect::<Vec<_>>(), lines);
    }

    /// It does not hold tags, and has no fetch locks, which a backend may leave.
    #[test]
    fn custom_backend_passes_every_case() {
        let report = run("custom_backend");
        assert!(report.contains("cases passed, 0 failed, 5 were skipped\n"), "{report}");
        assert_eq!(report.matches("skipped held").count(), 4, "{report}");
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn quickstart_runs_on_redis_with_no_other_change() {
    let server = crate::servers::redis::Redis::start();
    let example = Example::start_with("quickstart", &[], &[("CACHE_URL", &server.url())]);
    let first = example.get("/posts/7").await;
    assert_eq!(first.status, StatusCode::OK);
    let json = [("content-type", "application/json")];
    let updated = example.ask(Method::PUT, "/posts/7", &json, r#"{"title":"new"}"#).await;
    assert_eq!(updated.status, StatusCode::NO_CONTENT);
    assert!(example.get("/posts/7").await.body.contains(r#""new""#));
}

/// The columns of the rows that an example prints.
#[cfg(feature = "redis")]
fn rows(printed: &str) -> Vec<Vec<&str>> {
    let rows = printed.lines().skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    rows.collect()
}

#[cfg(feature = "redis")]
#[test]
fn blog_answers_nothing_outdated_where_the_promise_holds() {
    let server = crate::servers::redis::Redis::start();
    let output = Command::new(built("blog")).args(["0.5", &server.url()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let rows = rows(&printed);
    assert_eq!(rows.len(), 8, "{printed}");
    for row in rows {
        let promised = matches!(row[0], "nothing" | "tags" | "Redis");
        assert!(!promised || row[6] == "0", "{printed}");
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn sessions_and_cache_share_a_redis() {
    let server = crate::servers::redis::Redis::start();
    let example = Example::start_with("shared_redis", &[], &[("REDIS_URL", &server.url())]);
    let login = example.ask(Method::POST, "/login/ann", &[], "").await;
    let cookie = login.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    assert_eq!(example.ask(Method::GET, "/whoami", &[("cookie", cookie)], "").await.body, "ann");
    assert_eq!(example.ask(Method::GET, "/news", &[("cookie", cookie)], "").await.body, "nothing happened");
    let published = example.ask(Method::POST, "/news/new", &[], "").await;
    assert_eq!(published.status, StatusCode::NO_CONTENT);
    // The session is none of the cache's business.
    assert_eq!(example.ask(Method::GET, "/whoami", &[("cookie", cookie)], "").await.body, "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_post_answers_queries_from_the_cache_until_a_mutation() {
    let example = Example::start("graphql_post", &[]);
    let ask = async |operation| example.ask(Method::POST, "/graphql", &[("content-type", "application/json")], operation).await;
    let (posts, add) = (r#"{"query":"{ posts }"}"#, r#"{"query":"mutation { add }","variables":{"title":"New"}}"#);
    for round in 0..2 {
        assert!(ask(posts).await.cache_status().contains("fwd=uri-miss; stored"), "round {round}");
        assert!(ask(posts).await.cache_status().contains("hit"), "round {round}");
        assert!(ask(r#"{"query":"query { posts }"}"#).await.cache_status().contains("fwd=uri-miss; stored"), "round {round}");
        assert!(ask(add).await.cache_status().contains("detail=write"), "round {round}");
    }
    assert_eq!(ask(posts).await.body, r#"{"data":{"posts":["New","New"]}}"#);
}
