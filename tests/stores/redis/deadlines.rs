//! One deadline for all reads of a lookup.

use std::time::Duration;

use axum::{Router, routing};
use larder::{Cache, Memory, Redis, Tiered};
use tokio::time::Instant;

use super::support::topology::patient;
use crate::{
    servers::{
        proxy::{Fault, Proxy},
        redis::Redis as Server,
    },
    support::{Runs, get, minute, numbered_with},
};

/// The limit of a lookup; a round trip through the slow network takes two thirds of it.
const LIMIT: Duration = Duration::from_millis(600);
const ONE_WAY: Duration = Duration::from_millis(200);

#[tokio::test]
async fn the_reads_of_a_lookup_share_one_deadline() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let connect = async || {
        let limits = Redis::builder().read_timeout(LIMIT).failures(u32::MAX).store_timeout(LIMIT * 10);
        limits.connect(&proxy.url()).await.unwrap()
    };
    let vary = [("vary", "accept-language")];
    let tagged = Cache::new(Tiered::new(Memory::new(1 << 20), connect().await));
    for (what, cache, fields) in [
        ("two variants in Redis", Cache::new(connect().await), &vary[..]),
        ("strict copies", tagged.with_namespace("plain"), &[]),
        ("strict copies of variants", tagged.with_namespace("variants"), &vary[..]),
    ] {
        proxy.set(Fault::None);
        let runs = Runs::default();
        let layer = minute(&cache).tags(["page"]);
        let app = Router::new().route("/page", routing::get(numbered_with(&runs, fields)).layer(layer));
        for hit in [false, true] {
            assert_eq!(get(&app, "/page").await.is_hit(), hit, "{what}");
        }
        // A copy has to be validated again, which is one more read.
        let other = Cache::new(patient().connect(&server.url()).await.unwrap());
        other.invalidate_tags("another").await.unwrap();
        proxy.set(Fault::Delay(ONE_WAY));
        let began = Instant::now();
        let answer = get(&app, "/page").await;
        let took = began.elapsed();
        assert!(!answer.is_hit(), "{what}: {answer:?}");
        assert!(took >= LIMIT && took < LIMIT + ONE_WAY, "{what}: {took:?}");
    }
}
