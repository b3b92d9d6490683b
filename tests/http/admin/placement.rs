//! Where the page is mounted, and what is around it.

use axum::Router;
use http::StatusCode;
use larder::admin::{Access, Admin};
use tower::Layer as _;

use super::{ROOT, SCREENS, app, assert_protected};
use crate::support::{cache, get, minute};

/// The URLs of the navigation, as a browser resolves them.
fn links(page: &str, url: &str) -> Vec<String> {
    let navigation = page.split("<nav").nth(1).unwrap().split("</nav>").next().unwrap();
    let hrefs = navigation.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    hrefs.map(|href| resolved(url, href)).collect()
}

/// RFC 3986 §5.2.4, as far as these links need it.
fn resolved(url: &str, href: &str) -> String {
    let mut segments: Vec<&str> = url.split('/').collect();
    segments.pop();
    for segment in href.split('/') {
        match segment {
            "." => {}
            ".." => _ = segments.pop(),
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

#[tokio::test]
async fn links_lead_to_the_screens_from_every_url() {
    let (cache, _) = cache();
    let admin = || Admin::new(&cache).authorize(|_| Access::full("ann"));
    let service: Router = Router::new().nest_service(ROOT, admin().into_router());
    let nested: Router = Router::new().nest(ROOT, admin().into_router());
    let twice: Router = Router::new().nest("/a", Router::new().nest_service("/b", admin().into_router()));
    let root: Router = admin().into_router();
    for (app, root, is_nested) in [(service, ROOT, false), (nested, ROOT, true), (twice, "/a/b", false), (root, "", false)] {
        for screen in SCREENS {
            for url in [format!("{root}{screen}"), format!("{root}{screen}/")] {
                // `Router::nest` does not pass it on, whatever is nested.
                if is_nested && url == format!("{ROOT}/") {
                    continue;
                }
                let url = if url.is_empty() { "/".to_owned() } else { url };
                let answer = get(&app, &url).await;
                assert_eq!(answer.status, StatusCode::OK, "{url}");
                let links = links(answer.text(), &url);
                let expected: Vec<_> =
                    SCREENS.iter().map(|screen| format!("{root}{}", if screen.is_empty() { "/" } else { screen })).collect();
                assert_eq!(links, expected, "from {url}");
            }
        }
    }
}

#[tokio::test]
async fn layer_around_the_application_stores_nothing_of_it() {
    let (cache, _) = cache();
    let inside: Router = app(&cache);
    let around = Router::new().fallback_service(minute(&cache).layer(inside));
    for screen in SCREENS.into_iter().filter(|screen| *screen != "/live").chain(["/api/stats", "/api/hot", "/no-such"]) {
        for _ in 0..2 {
            let answer = get(&around, &format!("{ROOT}{screen}")).await;
            assert!(!answer.is_hit() && !answer.is_stored(), "{screen}");
            assert_protected(&answer.headers);
        }
    }
}

#[tokio::test]
async fn policy_has_a_new_nonce_each_time_and_admits_nothing_else() {
    let (cache, _) = cache();
    let app = app(&cache);
    let mut policies = Vec::new();
    for screen in SCREENS.into_iter().chain([""]) {
        let answer = get(&app, &format!("{ROOT}{screen}")).await;
        let policy = answer.header("content-security-policy").unwrap().to_owned();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(nonce.len(), 32);
        assert!(answer.text().contains(&format!("<style nonce=\"{nonce}\">")), "{screen}");
        for forbidden in [" style=\"", " onclick", "javascript:", "http://", "<script>", "<style>"] {
            assert!(!answer.text().contains(forbidden), "{screen} contains {forbidden}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        policies.push(policy);
    }
    policies.sort();
    policies.dedup();
    assert_eq!(policies.len(), SCREENS.len() + 1);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let (cache, _) = cache();
    let app = app(&cache);
    for path in ["/no-such", "/api", "/api/no-such", "/routes/more", "/actions/mode"] {
        assert_eq!(get(&app, &format!("{ROOT}{path}")).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let put = crate::support::send_empty(&app, http::Method::PUT, &format!("{ROOT}/api/mode")).await;
    assert_eq!(put.status, StatusCode::METHOD_NOT_ALLOWED);
}
