//! What a hit costs at the servers.

use std::collections::BTreeMap;

use axum::{Router, routing};
use larder::{Cache, CacheTags};

use super::{
    keys::{calls, larders},
    support::topology::{Site, everywhere},
};
use crate::support::{get_with, minute};

fn app(cache: &Cache) -> Router {
    let page = |vary: &'static str| {
        let handler = move || async move { (CacheTags::new(["post:1", "posts"]), [("vary", vary)], "page") };
        routing::get(handler).layer(minute(cache))
    };
    Router::new().route("/same", page("")).route("/varying", page("accept-encoding"))
}

/// The commands of ten hits.
async fn cost_of_hits(site: &Site<'_>, app: &Router, path: &str, encodings: [&str; 2]) -> BTreeMap<String, u64> {
    site.primaries().iter().for_each(|server| server.run("CONFIG RESETSTAT"));
    for encoding in encodings.iter().cycle().take(10) {
        let answer = get_with(app, path, &[("accept-encoding", encoding)]).await;
        assert!(answer.is_hit(), "{:?}: {answer:?}", site.place);
    }
    larders(&calls(site))
}

#[test]
fn a_hit_with_vary_costs_what_a_hit_without_costs() {
    everywhere(async |site| {
        let (a, b) = site.nodes().await;
        let (a, b) = (app(&a), app(&b));
        for variants in [["gzip", "gzip"], ["gzip", "br"]] {
            for path in ["/same", "/varying"] {
                // Both nodes learn what there is: tags, fields that select variants, and near copies.
                for encoding in variants.iter().cycle().take(6) {
                    get_with(&a, path, &[("accept-encoding", encoding)]).await;
                    get_with(&b, path, &[("accept-encoding", encoding)]).await;
                }
            }
            let same = cost_of_hits(site, &b, "/same", variants).await;
            let varying = cost_of_hits(site, &b, "/varying", variants).await;
            assert_eq!(same, varying, "{:?}", site.place);
        }
    });
}
