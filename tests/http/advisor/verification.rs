//! Shadow verification finds a forgotten invalidation, and nothing in an application that forgets none.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Path, routing};
use http::Method;
use larder::{Cache, Verification};
use tokio::time::sleep;

use crate::support::{MINUTE, cache, get, get_with, logs::Logs, minute, page, send_empty};

fn counts(cache: &Cache, route: &str) -> [u64; 3] {
    let stats = cache.stats();
    [Verification::Same, Verification::Different, Verification::Inconclusive]
        .map(|verification| stats.route(route).map_or(0, |route| route.verifications(verification)))
}

/// Posts, a list of them, and an update that forgets the list.
fn forgetful(cache: &Cache, one_in: u32) -> Router {
    let posts: Arc<Mutex<[u64; 10]>> = Arc::default();
    let (all, one) = (Arc::clone(&posts), Arc::clone(&posts));
    let list = move || std::future::ready(format!("{:?}", all.lock().unwrap()));
    let show = move |Path(id): Path<usize>| std::future::ready(one.lock().unwrap()[id].to_string());
    let of_write = cache.clone();
    let update = move |Path(id): Path<usize>| {
        let (posts, cache) = (Arc::clone(&posts), of_write.clone());
        async move {
            posts.lock().unwrap()[id] += 1;
            cache.invalidate_tags(format!("post:{id}")).await.map(drop)
        }
    };
    let layer = minute(cache).verify_hits(one_in);
    Router::new()
        .route("/posts", routing::get(list).layer(layer.clone().tags(["posts"])))
        .route("/posts/{id}", routing::get(show).put(update).layer(layer.tags(["post:{id}"])))
}

#[tokio::test(start_paused = true)]
async fn forgotten_invalidation_is_found_within_the_expected_hits() {
    const ONE_IN: u32 = 20;
    let (cache, clock) = cache();
    let app = forgetful(&cache, ONE_IN);
    let (logs, _guard) = Logs::collect();
    get(&app, "/posts").await;
    // Nothing has changed yet: all that is verified is right.
    for _ in 0..200 {
        assert!(get(&app, "/posts").await.is_hit());
    }
    sleep(MINUTE).await;
    assert_eq!(counts(&cache, "/posts")[1..], [0, 0]);
    clock.advance(Duration::from_secs(10));
    send_empty(&app, Method::PUT, "/posts/7").await;
    // Not to find it within twenty times the expected number of hits has a probability of 1 in 500 million.
    for _ in 0..20 * ONE_IN {
        assert!(get(&app, "/posts").await.is_hit());
    }
    sleep(MINUTE).await;
    let [same, different, inconclusive] = counts(&cache, "/posts");
    assert!(same > 0 && different > 0 && inconclusive == 0, "{same} {different}");
    let difference = cache.recent_differences(1).remove(0);
    let writes: Vec<_> = difference.writes.iter().map(ToString::to_string).collect();
    assert_eq!((difference.route.as_str(), writes, difference.age), ("/posts", vec!["PUT /posts/{id}".to_owned()], 10));
    let warnings: Vec<_> =
        logs.take().into_iter().filter(|line| line.contains("differs from what the handler responds")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("PUT /posts/{id}"), "{warnings:?}");
    let metrics = cache.stats().prometheus();
    let line = format!("larder_verifications_total{{cache=\"larder\",route=\"/posts\",result=\"different\"}} {different}");
    assert!(metrics.contains(&line), "{metrics}");
}

/// The write is committed a while before its invalidation, and readers read at any moment.
#[tokio::test(start_paused = true)]
async fn right_application_shows_no_difference_while_it_is_written() {
    let (cache, clock) = cache();
    let posts: Arc<[AtomicU64; 8]> = Arc::default();
    let (read, written, of_write) = (Arc::clone(&posts), posts, cache.clone());
    let show = move |Path(id): Path<usize>| {
        let posts = Arc::clone(&read);
        async move {
            sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            let body = posts[id].load(Ordering::SeqCst).to_string();
            sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            body
        }
    };
    let update = move |Path(id): Path<usize>| {
        let (posts, cache) = (Arc::clone(&written), of_write.clone());
        async move {
            sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            posts[id].fetch_add(1, Ordering::SeqCst);
            // Now and then, longer than shadow verification waits.
            let slow = if fastrand::u8(..10) == 0 { 5_000 } else { 100 };
            sleep(Duration::from_millis(fastrand::u64(0..slow))).await;
            cache.invalidate_tags(format!("post:{id}")).await.map(drop)
        }
    };
    let layer = minute(&cache).verify_hits(3).tags(["post:{id}"]);
    let app = Router::new().route("/posts/{id}", routing::get(show).put(update).layer(layer));
    let clients = (0..16).map(|client| {
        let (app, clock) = (app.clone(), clock.clone());
        tokio::spawn(async move {
            for _ in 0..600 {
                let path = format!("/posts/{}", fastrand::u8(..8));
                if client < 3 {
                    send_empty(&app, Method::PUT, &path).await;
                    sleep(Duration::from_millis(fastrand::u64(0..200))).await;
                } else {
                    get(&app, &path).await;
                    clock.advance(Duration::from_millis(1));
                    sleep(Duration::from_millis(fastrand::u64(0..40))).await;
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    sleep(MINUTE).await;
    let [same, different, inconclusive] = counts(&cache, "/posts/{id}");
    println!("{same} same, {inconclusive} inconclusive");
    assert_eq!(different, 0, "{:?}", cache.recent_differences(3));
    assert!(same > 200 && inconclusive > 10, "{same} {inconclusive}");
}

#[tokio::test(start_paused = true)]
async fn stale_response_and_refresh_are_no_differences() {
    let (cache, clock) = cache();
    let runs = crate::support::Runs::default();
    let layer = minute(&cache).stale_while_revalidate(MINUTE).verify_hits(1);
    let app = page(layer, crate::support::numbered(&runs));
    get(&app, "/page").await;
    clock.advance(Duration::from_secs(61));
    // Stale: it is refreshed, and not verified.
    assert!(get(&app, "/page").await.is_hit());
    sleep(MINUTE).await;
    assert_eq!((runs.count(), counts(&cache, "/page")), (2, [0, 0, 0]));
    // Fresh, and different each time; but expired before it is certain.
    assert!(get(&app, "/page").await.is_hit());
    crate::support::paused::settled().await;
    assert_eq!(runs.count(), 3);
    clock.advance(Duration::from_secs(61));
    sleep(MINUTE).await;
    assert_eq!(counts(&cache, "/page"), [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn response_that_is_different_each_time_is_a_difference_without_a_write() {
    let (cache, _) = cache();
    let runs = crate::support::Runs::default();
    let app = page(minute(&cache).verify_hits(1), crate::support::numbered(&runs));
    get(&app, "/page").await;
    get(&app, "/page").await;
    sleep(MINUTE).await;
    assert_eq!(counts(&cache, "/page"), [0, 1, 0]);
    assert!(cache.recent_differences(9)[0].writes.is_empty());
    // Nothing was stored.
    assert_eq!(get(&app, "/page").await.text(), "run 1");
}

#[tokio::test(start_paused = true)]
async fn only_shared_responses_of_the_setting_are_verified() {
    let (cache, _) = cache();
    let runs = crate::support::Runs::default();
    let handler = || crate::support::numbered_with(&runs, &[("cache-control", "public, max-age=60")]);
    let apps = [
        (page(minute(&cache), handler()), &[][..]),
        (page(minute(&cache).verify_hits(1).verify_hits(0), handler()), &[]),
        (page(minute(&cache).verify_hits(1), handler()), &[("authorization", "Bearer x")]),
        (page(minute(&cache).verify_hits(1).per_principal(|_| Some("ann".into())), handler()), &[]),
    ];
    for (number, (app, lines)) in apps.iter().enumerate() {
        let uri = format!("/page?{number}");
        get_with(app, &uri, lines).await;
        for _ in 0..10 {
            assert!(get_with(app, &uri, lines).await.is_hit());
        }
    }
    sleep(MINUTE).await;
    assert_eq!((runs.count(), counts(&cache, "/page")), (apps.len(), [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn verification_has_the_budget_of_background_refreshes() {
    let (cache, _) = cache();
    let cache = cache.with_max_fetches(2);
    let gate = crate::support::Gate::closed();
    let runs = crate::support::Runs::default();
    let handler = {
        let (gate, runs) = (gate.clone(), runs.clone());
        move || {
            let gate = gate.clone();
            let run = runs.begin();
            async move {
                if run > 1 {
                    gate.pass().await;
                }
                "page"
            }
        }
    };
    let app = page(minute(&cache).verify_hits(1), handler);
    for _ in 0..20 {
        get(&app, "/page").await;
    }
    crate::support::paused::settled().await;
    assert_eq!(runs.count(), 1 + 2);
    gate.open(2);
    sleep(MINUTE).await;
    assert_eq!(counts(&cache, "/page"), [2, 0, 0]);
}
