//! Stores by URL, and errors for clients.

use std::{env, process::Command};

use axum::{Router, routing};
use http::StatusCode;
use larder::{Cache, CacheMode, Memory, Reason};

use crate::support::{Runs, cache, get, logs::Logs, minute, numbered, page};

#[tokio::test]
async fn cache_error_in_a_handler_answers_503_without_details() {
    let cache = cache().0;
    let handler = move || async move { cache.invalidate_tags([""]).await.map(|_| StatusCode::NO_CONTENT) };
    let answer = get(&Router::new().route("/page", routing::get(handler)), "/page").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::SERVICE_UNAVAILABLE, ""));
}

#[tokio::test]
async fn url_selects_the_store() {
    for url in [
        "memory:64mb",
        "memory:1GB",
        "memory:65536",
        "memory:64kib",
        "memory:100000b",
        "memory:64mb?tag_capacity=9",
        "memory:64mb?engine=moka",
    ] {
        let cache = Cache::connect(url).await.unwrap();
        let app = page(minute(&cache), numbered(&Runs::default()));
        get(&app, "/page").await;
        assert!(get(&app, "/page").await.is_hit(), "{url}");
    }
}

#[tokio::test]
async fn invalid_store_url_names_a_valid_form() {
    for (url, hint) in [
        ("", "memory:64mb"),
        ("64mb", "memory:64mb"),
        ("memory:", "memory:64mb"),
        ("memory:lots", "memory:64mb"),
        ("memory:-1", "memory:64mb"),
        ("memory:64tb", "memory:64mb"),
        ("memory:64", "memory:64mb"),
        ("memory:0mb", "memory:64mb"),
        ("memory:99999999999999999999", "memory:64mb"),
        ("memory:99999999999gb", "memory:64mb"),
        ("nosuchstore://localhost", "unknown scheme"),
    ] {
        let error = Cache::connect(url).await.unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(hint), "{url}: {error}");
    }
}

#[tokio::test]
async fn option_of_a_memory_url_is_that_of_its_setter() {
    let by_url = Cache::connect("memory:32mb?tag_capacity=9").await.unwrap();
    let by_setters = Cache::new(Memory::new(32 << 20).tag_capacity(9));
    assert_eq!(format!("{by_url:?}"), format!("{by_setters:?}"));
    assert_ne!(format!("{by_url:?}"), format!("{:?}", Cache::in_memory(32 << 20)));
    let moka = Cache::connect("memory:32mb?engine=moka").await.unwrap();
    assert_eq!(format!("{moka:?}"), format!("{:?}", Cache::in_memory(32 << 20)));
}

#[cfg(feature = "memory-quick")]
#[tokio::test]
async fn url_selects_the_engine_of_the_memory_store() {
    let by_url = Cache::connect("memory:32mb?engine=quick").await.unwrap();
    assert_eq!(format!("{by_url:?}"), format!("{:?}", Cache::new(Memory::quick(32 << 20))));
    let app = page(minute(&by_url), numbered(&Runs::default()));
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
}

#[cfg(not(feature = "memory-quick"))]
#[tokio::test]
async fn engine_whose_feature_is_off_is_refused_with_the_feature_that_it_needs() {
    let error = Cache::connect("memory:32mb?engine=quick").await.unwrap_err();
    assert!(error.is_invalid_input() && error.to_string().contains("feature `memory-quick`"), "{error}");
}

#[tokio::test]
async fn option_that_cannot_be_used_is_named() {
    for (query, message) in [
        ("timeout=1", "unknown option `timeout`: this store has `engine`, `tag_capacity`"),
        ("key_prefix=shop", "unknown option `key_prefix`: this store has `engine`, `tag_capacity`"),
        ("engine=redis", "`engine` in the URL of the store must be `moka` or `quick`"),
        ("engine", "`engine` in the URL of the store must be `moka` or `quick`"),
        ("tag_capacity=1&tag_capacity=1", "`tag_capacity` twice"),
        ("tag_capacity=-1", "`tag_capacity` in the URL of the store must be a number"),
        ("tag_capacity=99999999999999999999", "`tag_capacity` in the URL of the store must be a number"),
        ("tag_capacity", "`tag_capacity` in the URL of the store must be a number"),
    ] {
        let error = Cache::connect(&format!("memory:64mb?{query}")).await.unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(message), "{query}: {error}");
    }
}

/// Runs in the environment of the tests, in which the variable is not set, and in those of the next test.
#[tokio::test]
async fn caches_begin_in_the_mode_of_the_environment() {
    let (logs, _guard) = Logs::collect();
    let cache = Cache::in_memory(1 << 20);
    let (lines, connected) = (logs.take(), Cache::connect("memory:1mb").await);
    let answer = get(&page(minute(&cache), numbered(&Runs::default())), "/page").await;
    match env::var("LARDER_MODE").as_deref() {
        Ok("bypass") => {
            assert_eq!((cache.mode(), connected.unwrap().mode(), lines.len()), (CacheMode::Bypass, CacheMode::Bypass, 0));
            assert_eq!(answer.reason(), Some(Reason::SwitchedOff));
            cache.set_mode(CacheMode::Enabled);
            assert_eq!(cache.mode(), CacheMode::Enabled, "the variable is the initial mode only");
        }
        Ok(invalid) => {
            assert!(connected.unwrap_err().to_string().contains("LARDER_MODE"));
            assert!(cache.mode() == CacheMode::Enabled && answer.is_stored(), "{answer:?}");
            assert!(lines.len() == 1 && lines[0].contains("LARDER_MODE") && lines[0].contains(invalid), "{lines:?}");
        }
        Err(_) => assert!(connected.unwrap().mode() == CacheMode::Enabled && answer.is_stored() && lines.is_empty()),
    }
}

#[test]
fn environment_of_a_process_sets_the_initial_mode() {
    for mode in ["bypass", "off", ""] {
        let mut elsewhere = Command::new(env::current_exe().unwrap());
        let run = elsewhere.args(["--exact", "connect::caches_begin_in_the_mode_of_the_environment"]);
        let run = if mode.is_empty() { run.env_remove("LARDER_MODE") } else { run.env("LARDER_MODE", mode) };
        let output = run.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{mode}: {said}");
    }
}
