//! Cases about tags that are held for a write: no entry with them is stored.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    backend_under_test::{BackendUnderTest, key, tags_of},
    report::{NotPassed, Verdict, ensure},
    sample_entry::stored,
};
use crate::backend::contract::{Backend, PutOutcome};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn held(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.must_hold()?;
    subject.fill("page", &["a", "b"]).await?;
    let before = subject.epoch(&key("slow"), &tags_of(&["a"])).await?;
    subject.hold(&["a", "c"], 7, MINUTE).await?;
    let born = subject.epoch(&key("late"), &tags_of(&["a"])).await?;
    for (name, born, tags) in [("slow", before, &["a"][..]), ("late", born, &["a"]), ("late", born, &["b", "c"])] {
        let put = subject.store(name, born, tags).await?;
        ensure!(put == PutOutcome::PendingWrite, "an entry with the tags {tags:?} is {put:?} while one of them is held");
        subject.must_miss(name, "though it was stored while one of its tags was held").await?;
    }
    subject.fill("other", &["b"]).await?;
    subject.release(&["a", "c"], 7).await?;
    subject.fill("late", &["a", "c"]).await?;
    Ok(())
}

pub(super) async fn several_writers(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.must_hold()?;
    for writer in 1..=3 {
        subject.hold(&["a"], writer, MINUTE).await?;
    }
    // Again, as one does who renews it.
    subject.hold(&["a"], 2, MINUTE).await?;
    for writer in [2, 9, 1] {
        subject.release(&["a"], writer).await?;
        let born = subject.epoch(&key("page"), &tags_of(&["a"])).await?;
        let put = subject.store("page", born, &["a"]).await?;
        ensure!(
            put == PutOutcome::PendingWrite,
            "an entry is {put:?} while a writer holds its tag, after another has released it"
        );
    }
    subject.release(&["a"], 3).await?;
    subject.fill("page", &["a"]).await?;
    Ok(())
}

pub(super) async fn lapsed(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.must_hold()?;
    let life = Duration::from_millis(50);
    subject.hold(&["a", "b"], 7, life).await?;
    let began = [subject.epoch(&key("one"), &tags_of(&["a"])).await?, subject.epoch(&key("two"), &tags_of(&["a"])).await?];
    sleep(life * 3).await;
    let put = subject.store("one", began[0], &["a"]).await?;
    ensure!(put == PutOutcome::Invalidated, "the first entry with a tag that was not released in time is {put:?}");
    subject.fill("page", &["a"]).await?;
    subject.store("two", began[1], &["a"]).await?;
    subject.must_miss("two", "though its tag was held when its handler started, and was not released in time").await?;
    // A hold that is longer again, whether its mark has lapsed or not.
    subject.hold(&["b"], 7, MINUTE).await?;
    let born = subject.epoch(&key("three"), &tags_of(&["b"])).await?;
    let put = subject.store("three", born, &["b"]).await?;
    ensure!(put == PutOutcome::PendingWrite, "an entry is {put:?} while its tag is held again");
    Ok(())
}

pub(super) async fn by_peer(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.must_hold()?;
    let peer = subject.peer.as_ref().ok_or(NotPassed::Skipped("needs a second node on the same store: `Suite::peer`"))?;
    let peer: Arc<dyn Backend> = peer(()).await;
    peer.hold_tags(&tags_of(&["a"]), 7, MINUTE).await?;
    let born = subject.epoch(&key("page"), &tags_of(&["a"])).await?;
    let put = subject.store("page", born, &["a"]).await?;
    ensure!(put == PutOutcome::PendingWrite, "an entry is {put:?} while another node holds its tag");
    subject.release(&["a"], 7).await?;
    let born = peer.get(&key("page"), &tags_of(&["a"])).await?.epoch;
    let born = born.ok_or_else(|| NotPassed::Broken("a read reports no epoch".to_owned()))?;
    let put = peer.put(&key("page"), stored(born, tags_of(&["a"]), "page".to_owned())).await?;
    ensure!(put != PutOutcome::PendingWrite, "an entry is refused after another node has released its tag");
    Ok(())
}
