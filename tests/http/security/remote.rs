//! A store outside of this process: others may read it, and write it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use http::header::{AUTHORIZATION, VARY};
use larder::{
    Cache, Error, Memory, Receipt,
    backend::{Backend, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag, Validity},
};

use crate::support::{Answer, Runs, get, get_with, minute, numbered, numbered_with, page};

/// Keeps entries as bytes, as what is not in this process must; invalidations are left to a store that has them.
#[derive(Debug, Clone)]
struct Bytewise {
    entries: Arc<Mutex<HashMap<Vec<u8>, Bytes>>>,
    clock: Arc<Memory>,
}

impl Bytewise {
    fn new() -> Self {
        Self { entries: Arc::default(), clock: Arc::new(Memory::new(1 << 20)) }
    }

    /// Everything that a reader of the store can see.
    fn text(&self) -> Vec<u8> {
        self.entries.lock().unwrap().iter().flat_map(|(key, value)| [key, &**value].concat()).collect()
    }

    fn change_all(&self, change: impl Fn(&mut Vec<u8>)) {
        for value in self.entries.lock().unwrap().values_mut() {
            let mut bytes = value.to_vec();
            change(&mut bytes);
            *value = bytes.into();
        }
    }
}

#[async_trait]
impl Backend for Bytewise {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        let epoch = self.clock.get(key, known).await?.epoch;
        let bytes = self.entries.lock().unwrap().get(key.as_bytes()).cloned();
        let stored = bytes.and_then(|bytes| Stored::from_bytes(key, bytes));
        Ok(match stored {
            Some(stored) if self.clock.is_alive(stored.born(), stored.tags()).await? => {
                ReadOutcome::hit(Arc::new(stored), Validity::Valid, epoch)
            }
            _ => ReadOutcome::miss(epoch),
        })
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let Some(bytes) = stored.to_bytes(key) else { return Ok(PutOutcome::TooLarge) };
        self.entries.lock().unwrap().insert(key.as_bytes().to_vec(), bytes.into());
        Ok(PutOutcome::Stored)
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.clock.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.clock.invalidate(invalidation).await
    }
}

/// An application that gives each principal and each session a response of its own.
fn site(cache: &Cache, runs: &Runs) -> Router {
    let principal = |parts: &http::request::Parts| Some(parts.headers.get("x-user")?.to_str().ok()?.to_owned());
    page(minute(cache).per_principal(principal).vary_on_cookies(["session"]), numbered(runs))
}

const ALICE: &[(&str, &str)] = &[("x-user", "alice@example.org"), ("cookie", "session=3141592653")];

#[tokio::test]
async fn p1_nodes_with_the_same_secret_share_entries_of_a_user() {
    let (store, runs) = (Bytewise::new(), Runs::default());
    let [one, other] = [(); 2].map(|()| site(&Cache::new(store.clone()).with_secret("the same on all nodes"), &runs));
    assert!(get_with(&one, "/page", ALICE).await.is_stored());
    let answer = get_with(&other, "/page", ALICE).await;
    assert_eq!((answer.text(), answer.is_hit()), ("run 1", true));
    assert!(!get_with(&other, "/page", &[("x-user", "bob@example.org"), ALICE[1]]).await.is_hit());
}

#[tokio::test]
async fn p1_nodes_with_different_secrets_share_nothing_of_a_user() {
    let (store, runs) = (Bytewise::new(), Runs::default());
    let nodes = ["one", "two"].map(|secret| Cache::new(store.clone()).with_secret(secret));
    for cache in [&nodes[0], &nodes[1], &Cache::new(store.clone())] {
        assert!(get_with(&site(cache, &runs), "/page", ALICE).await.is_stored());
    }
    assert_eq!(runs.count(), 3);
}

#[tokio::test]
async fn p7_no_credential_can_be_read_in_the_store() {
    for secret in [None, Some("the same on all nodes")] {
        let (store, runs) = (Bytewise::new(), Runs::default());
        let cache = secret.map_or(Cache::new(store.clone()), |secret| Cache::new(store.clone()).with_secret(secret));
        get_with(&site(&cache, &runs), "/page", ALICE).await;
        let varying = [("cache-control", "public"), (VARY.as_str(), AUTHORIZATION.as_str())];
        let app = page(minute(&cache), numbered_with(&runs, &varying));
        assert!(get_with(&app, "/page", &[("authorization", "Bearer 2718281828")]).await.is_stored());
        let text = store.text().escape_ascii().to_string();
        assert!(text.contains("run 1") && text.contains("run 2"));
        for credential in ["alice", "3141592653", "2718281828"] {
            assert!(!text.contains(credential), "{credential} in {text}");
        }
    }
}

#[tokio::test]
async fn c4_variants_and_rules_go_through_the_store_as_responses_do() {
    let (store, runs) = (Bytewise::new(), Runs::default());
    let fields = [("vary", "accept-language"), ("no-vary-search", r#"params=("utm")"#)];
    let nodes = [(); 2].map(|()| page(minute(&Cache::new(store.clone())).no_vary_search(true), numbered_with(&runs, &fields)));
    for language in ["de", "en"] {
        assert!(get_with(&nodes[0], "/page?utm=1", &[("accept-language", language)]).await.is_stored());
    }
    for (language, text) in [("de", "run 1"), ("en", "run 2")] {
        let answer = get_with(&nodes[1], "/page?utm=2", &[("accept-language", language)]).await;
        assert_eq!((answer.text(), answer.is_hit()), (text, true));
    }
}

/// The answer after the store has changed every value.
async fn answer_after(change: impl Fn(&mut Vec<u8>)) -> Answer {
    let (store, runs) = (Bytewise::new(), Runs::default());
    let app = page(minute(&Cache::new(store.clone())), numbered(&runs));
    assert!(get(&app, "/page").await.is_stored());
    assert!(get(&app, "/page").await.is_hit());
    store.change_all(change);
    let answer = get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit(), "what was found to be wrong is replaced");
    answer
}

#[tokio::test]
async fn c4_foreign_or_damaged_entry_is_a_miss() {
    let miss = |answer: Answer| (answer.text().to_owned(), answer.is_stored());
    let expected = ("run 2".to_owned(), true);
    assert_eq!(miss(answer_after(|value| *value = b"{\"somebody\":\"else's\"}".to_vec()).await), expected);
    assert_eq!(miss(answer_after(Vec::clear).await), expected);
    assert_eq!(miss(answer_after(|value| value.truncate(value.len() - 1)).await), expected);
    assert_eq!(miss(answer_after(|value| *value.last_mut().unwrap() ^= 1).await), expected);
    assert_eq!(miss(answer_after(|value| value[1] = 2).await), expected, "another version");
}
