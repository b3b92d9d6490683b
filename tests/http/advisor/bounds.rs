//! What an observer remembers is bounded, whatever clients send.

use axum::{Router, routing};
use http::Method;

use crate::support::{cache, get_with, send_empty};

#[tokio::test]
async fn random_paths_queries_cookies_and_routes_are_bounded() {
    const REQUESTS: usize = 64_000;
    let (cache, _) = cache();
    let mut routes = Router::new().route("/wild/{*path}", routing::any(|| async { "page" }));
    for route in 0..300 {
        routes = routes.route(&format!("/route-{route}/{{id}}"), routing::get(|| async { "page" }));
    }
    let app = routes.layer(cache.observer().layer());
    let mut sizes = Vec::new();
    for number in 0..REQUESTS {
        let path = match number % 4 {
            0 => format!("/route-{}/{number}", number / 4 % 300),
            _ => format!("/wild/{number}?p{number}={number}&q={number}"),
        };
        let (cookie, token) = (format!("c{number}={number}; d={number}"), format!("Bearer {number}"));
        get_with(&app, &path, &[("cookie", &cookie), ("authorization", &token), ("accept-language", &token)]).await;
        if number % 100 == 0 {
            let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
            send_empty(&app, method, &format!("/wild/{number}")).await;
        }
        if number % (REQUESTS / 4) == REQUESTS / 8 {
            sizes.push(cache.advice().size());
        }
    }
    let advice = cache.advice();
    assert_eq!(advice.routes().len(), 64);
    assert_eq!(advice.requests(), REQUESTS as u64 + REQUESTS as u64 / 100);
    assert!(advice.not_measured().0 > 10_000, "{:?}", advice.not_measured());
    println!("{sizes:?}, {}", advice.size());
    assert!(advice.size() < 64 * 250_000, "{}", advice.size());
    // The one route of random paths was full long before.
    assert!(advice.size() - sizes[1] < 64 * 120 * 1_000, "{sizes:?}, {}", advice.size());
    assert!(advice.to_string().contains("not measured"), "{advice}");
}
