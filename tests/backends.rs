//! Every backend that larder has passes the conformance suite, each in a line of its own.

use larder::{Memory, conformance::Suite};

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    Suite::new(|| async { Memory::new(256 << 20) }).keeps_bodies_up_to(4 << 20).run().await.assert();
}

#[tokio::test]
async fn memory_on_one_thread() {
    Suite::new(|| async { Memory::new(256 << 20) }).run().await.assert();
}
