//! What the logs say about an outage.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder::Redis;
use tokio::time::Instant;
use tracing_core::{Event, Level, Metadata, Subscriber, span};

use super::support::node::Node;
use crate::{servers::redis::Redis as Server, support::Runs};

/// Counts what is logged of an outage.
#[derive(Debug, Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Subscriber for Count {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target().starts_with("larder") {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn an_outage_does_not_flood_the_logs() {
    let count = Count::default();
    let dispatch = tracing_core::Dispatch::new(count.clone());
    let _guard = tracing_core::dispatcher::set_default(&dispatch);
    let mut server = Server::start();
    let runs = Runs::default();
    let node = Node::on(Redis::connect(&server.url()).await.unwrap(), &runs);
    node.text(1).await;
    server.kill();
    let began = Instant::now();
    let mut asked = 0;
    while began.elapsed() < Duration::from_secs(2) {
        node.text(1).await;
        node.cache.invalidate_tags(["post:1"]).await.unwrap_err();
        asked += 1;
    }
    server.start_again();
    node.recovered().await;
    let logged = count.0.load(Ordering::SeqCst);
    assert!(asked > 50, "{asked}");
    // One when it begins, one when it ends, and about one a second.
    assert!((2..=8).contains(&logged), "{logged} lines in {:?} for {asked} requests", began.elapsed());
}
