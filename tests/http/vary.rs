//! Variants of a URI.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use larder::{
    Cache, Error, Forward, Memory,
    backend::{Backend, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Receipt, Stored, Tag},
};

use crate::support::{MINUTE, Runs, answering, cache, field, fields, get, get_with, minute, numbered_with, page};

/// A memory that counts lookups.
#[derive(Debug, Clone)]
struct Counting {
    memory: Arc<Memory>,
    lookups: Arc<AtomicUsize>,
}

impl Counting {
    fn new() -> Self {
        Self { memory: Arc::new(Memory::new(64 << 20)), lookups: Arc::default() }
    }

    fn lookups(&self) -> usize {
        self.lookups.swap(0, Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Backend for Counting {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.memory.get_now(key)
    }

    async fn get(&self, key: &Key, hint: &[Tag]) -> Result<ReadOutcome, Error> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.memory.get(key, hint).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.memory.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memory.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.memory.invalidate(invalidation).await
    }
}

#[tokio::test]
async fn the_only_variant_is_one_entry_and_a_hit_on_it_one_lookup() {
    let store = Counting::new();
    let handler = answering(|parts| (fields(&[("vary", "accept-encoding")]), field(parts, "accept-encoding").to_owned()));
    let app = page(minute(&Cache::new(store.clone())), handler);
    assert!(get_with(&app, "/page", &[("accept-encoding", "gzip, br")]).await.is_stored());
    assert_eq!(store.memory.entries(), 1);
    store.lookups();
    assert!(get_with(&app, "/page", &[("accept-encoding", "gzip, br")]).await.is_hit());
    assert_eq!(store.lookups(), 1);
}

#[tokio::test]
async fn a_hit_on_one_of_several_variants_is_one_lookup() {
    let store = Counting::new();
    let handler = answering(|parts| (fields(&[("vary", "accept-encoding")]), field(parts, "accept-encoding").to_owned()));
    let app = page(minute(&Cache::new(store.clone())), handler.clone());
    let ask = async |encoding| get_with(&app, "/page", &[("accept-encoding", encoding)]).await;
    for encoding in ["gzip", "br", "zstd"] {
        assert!(ask(encoding).await.is_stored());
    }
    assert_eq!(store.memory.entries(), 3 + 1, "three variants, and the list of them");
    store.lookups();
    for encoding in ["gzip", "br", "zstd", "gzip"] {
        let answer = ask(encoding).await;
        assert_eq!((answer.text().starts_with(encoding), answer.is_hit(), store.lookups()), (true, true, 1), "{encoding}");
    }
    // A process that has not stored them learns from the first hit.
    let other = page(minute(&Cache::new(store.clone())), handler);
    let mut lookups = Vec::new();
    for encoding in ["gzip", "br", "zstd"] {
        assert!(get_with(&other, "/page", &[("accept-encoding", encoding)]).await.is_hit());
        lookups.push(store.lookups());
    }
    assert_eq!(lookups, [2, 1, 1]);
}

/// What is predicted is only where to look first.
#[tokio::test]
async fn a_wrong_prediction_finds_what_is_right() {
    let (cache, clock) = cache();
    let handler = answering(|parts| {
        let vary = field(parts, "x-vary").to_owned();
        ([("vary", vary.clone())], format!("{vary}: {}", field(parts, "accept-language")))
    });
    let app = page(minute(&cache), handler);
    let ask = async |vary, language| get_with(&app, "/page", &[("x-vary", vary), ("accept-language", language)]).await;
    for language in ["de", "en", "fr"] {
        ask("accept-language", language).await;
    }
    assert!(ask("accept-language", "de").await.is_hit());
    // From now on, the handler varies by another field.
    clock.advance(MINUTE);
    for language in ["de", "en", "it"] {
        assert_eq!(ask("x-other", language).await.text(), "x-other: de");
    }
    clock.advance(MINUTE);
    for language in ["it", "en", "it"] {
        assert_eq!(ask("accept-language", language).await.text(), format!("accept-language: {language}"));
    }
}

#[tokio::test]
async fn a_response_without_vary_replaces_the_only_variant_and_joins_several() {
    for variants in [1, 2] {
        let runs = Runs::default();
        let counted = runs.clone();
        let handler = answering(move |parts| {
            let (language, run) = (field(parts, "accept-language"), counted.begin());
            (fields(if language == "none" { &[] } else { &[("vary", "accept-language")] }), format!("{language} {run}"))
        });
        let app = page(minute(&cache().0), handler);
        let ask = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
        for language in ["de", "en"].into_iter().take(variants) {
            assert!(ask(language).await.is_stored());
        }
        assert!(ask("none").await.is_stored());
        assert!(ask("de").await.is_hit() && ask("none").await.is_hit() && ask("it").await.is_hit());
        assert_eq!(runs.count(), variants + 1);
    }
}

#[tokio::test]
async fn two_languages_of_a_page_do_not_evict_each_other() {
    let handler = answering(|parts| (fields(&[("vary", "Accept-Language")]), format!("in {}", field(parts, "accept-language"))));
    let app = page(minute(&cache().0), handler);
    let ask = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
    for language in ["de", "en"] {
        assert_eq!(ask(language).await.text(), format!("in {language}"));
    }
    for language in ["de", "en", "de"] {
        let answer = ask(language).await;
        assert_eq!((answer.text(), answer.is_hit()), (format!("in {language}").as_str(), true));
    }
    assert_eq!(get(&app, "/page").await.forward(), Some(Forward::VaryMiss));
}

#[tokio::test]
async fn response_that_changes_its_vary_never_answers_the_wrong_request() {
    let (cache, clock) = cache();
    let handler = answering(|parts| match field(parts, "accept-language") {
        "" => ([("vary", "accept-encoding")], "default".to_owned()),
        language => ([("vary", "accept-language")], language.to_owned()),
    });
    let app = page(minute(&cache), handler);
    for language in ["de", "en", "de", "fr", "en"] {
        assert_eq!(get_with(&app, "/page", &[("accept-language", language)]).await.text(), language);
    }
    clock.advance(MINUTE);
    assert_eq!(get_with(&app, "/page", &[("accept-language", "de")]).await.text(), "de");
}

#[tokio::test]
async fn vary_star_is_never_served_again() {
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &[("vary", "*")]));
    get(&app, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_compressed_body_keeps_its_content_encoding() {
    const GZIP: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];
    let app = page(minute(&cache().0), || async { (fields(&[("content-encoding", "gzip"), ("vary", "accept-encoding")]), GZIP) });
    for _ in 0..2 {
        let answer = get_with(&app, "/page", &[("accept-encoding", "gzip")]).await;
        assert_eq!((answer.header("content-encoding"), &answer.body[..]), (Some("gzip"), GZIP));
    }
    assert!(get_with(&app, "/page", &[("accept-encoding", "gzip")]).await.is_hit());
}

#[tokio::test]
async fn accept_encodings_share_a_response_only_with_equal_meaning() {
    let handler = answering(|parts| (fields(&[("vary", "accept-encoding")]), field(parts, "accept-encoding").to_owned()));
    let mut mixed = Vec::new();
    for (first, second) in [
        ("*;q=0.5", "*;q=0.5, gzip;q=0"),
        ("gzip, compress", "gzip"),
        ("gzip;q=nan", ""),
        ("gzip;q=0.0001", "br;q=0"),
        ("gzip", "gzip, br"),
        ("gzip, br;q=0.5", "gzip;q=0.5, br"),
        ("gzip", "identity"),
        ("gzip, identity;q=0", "gzip"),
        ("*", ""),
    ] {
        let [app, alone] = [(), ()].map(|()| page(minute(&cache().0), handler.clone()));
        get_with(&app, "/page", &[("accept-encoding", first)]).await;
        let answer = get_with(&app, "/page", &[("accept-encoding", second)]).await;
        if answer.is_hit() || answer.text() != get_with(&alone, "/page", &[("accept-encoding", second)]).await.text() {
            mixed.push((first, second));
        }
    }
    assert_eq!(mixed, [("", ""); 0], "the second was answered as the first");
}
