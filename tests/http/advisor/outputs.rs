//! The advice as JSON and on the operator's page.

use std::time::Duration;

use axum::{Router, routing};
use larder::admin::{Access, Admin};

use crate::support::{MINUTE, Runs, cache, get, minute, numbered};

#[tokio::test(start_paused = true)]
async fn json_and_page_show_the_advice_and_the_differences() {
    let (cache, clock) = cache();
    let runs = Runs::default();
    let slow = clock.clone();
    let handler = move || {
        slow.advance(Duration::from_millis(10));
        async { "page" }
    };
    let observed = Router::new().route("/page", routing::get(handler)).layer(cache.observer().layer());
    for _ in 0..100 {
        get(&observed, "/page").await;
    }
    let json: serde_json::Value = serde_json::from_str(&cache.advice().to_json()).unwrap();
    let route = &json["routes"][0];
    let code = ".layer(cache.layer().ttl(Duration::from_secs(1)))";
    assert_eq!((&route["route"], &route["verdict"], &route["code"]), (&"/page".into(), &"store".into(), &code.into()));
    assert_eq!((&route["handler_seconds"], &route["simulations"][4]["hit_ratio"]), (&1.0.into(), &0.99.into()));

    let verified = Router::new().route("/numbered", routing::get(numbered(&runs)).layer(minute(&cache).verify_hits(1)));
    get(&verified, "/numbered").await;
    get(&verified, "/numbered").await;
    tokio::time::sleep(MINUTE).await;
    let page = Admin::new(&cache).authorize(|_| Access::full("ann")).into_router();
    let screen = get(&Router::new().nest("/ops", page), "/ops/advisor").await;
    let text = screen.text();
    assert!(text.contains("GET /page") && text.contains(code), "{text}");
    assert!(text.contains("<code>/numbered</code>") && text.contains("No write was seen in between"), "{text}");
}
