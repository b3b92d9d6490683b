//! Cases about the logical clock: it only grows, and an entry that was born before an invalidation is invalid, however late it is stored.

use std::sync::Arc;

use super::{
    backend_under_test::{BackendUnderTest, expiry, key, tags_of},
    report::{NotPassed, Verdict, ensure},
    sample_entry::stored,
};
use crate::{
    backend::{
        contract::{Invalidation, PutOutcome},
        validity::Validity,
    },
    clock::Clock,
    entry::epoch::Epoch,
    tag::Tag,
};

pub(super) async fn growing(subject: &BackendUnderTest<'_>) -> Verdict {
    let mut latest = subject.epoch(&key("page"), &tags_of(&["a"])).await?;
    let expiry = expiry(&["a"], Clock::default().now());
    for invalidation in [Invalidation::Tags(tags_of(&["a"])), expiry, Invalidation::Everything].iter().cycle().take(9) {
        let taken = subject.backend.invalidate(invalidation).await?.epoch;
        ensure!(is_after(taken, latest), "{invalidation:?} took {taken:?}, and {latest:?} had been read before");
        for _ in 0..2 {
            let read = subject.epoch(&key("page"), &tags_of(&["a"])).await?;
            ensure!(read.incarnation() != latest.incarnation() || read >= latest, "a read reports {read:?} after {latest:?}");
            latest = read;
        }
    }
    Ok(())
}

/// Numbers of two incarnations say nothing about each other.
fn is_after(later: Epoch, earlier: Epoch) -> bool {
    later.incarnation() != earlier.incarnation() || later.get() > earlier.get()
}

pub(super) async fn refill(subject: &BackendUnderTest<'_>) -> Verdict {
    for round in 0..3 {
        subject.fill("page", &["a"]).await?;
        subject.must_find("page", Validity::Valid, "after it was fetched").await?;
        subject.invalidate(&["a"]).await?;
        subject.must_miss("page", &format!("after its tag was invalidated ({round})")).await?;
    }
    subject.fill("page", &["a"]).await?;
    subject.must_find("page", Validity::Valid, "though it was fetched again after it was invalidated").await
}

pub(super) async fn late_store(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.fill("first", &["seen"]).await?;
    for tag in ["seen", "unseen"] {
        for known in [&[][..], &[tag]] {
            let born = subject.epoch(&key("slow"), &tags_of(known)).await?;
            subject.invalidate(&[tag]).await?;
            subject.store("slow", born, &[tag]).await?;
            subject
                .must_miss("slow", &format!("though its fetch began before `{tag}` was invalidated, and it was stored after it"))
                .await?;
        }
    }
    Ok(())
}

pub(super) async fn re_stamp(subject: &BackendUnderTest<'_>) -> Verdict {
    let born = subject.fill("page", &["a"]).await?;
    subject.invalidate(&["unrelated"]).await?;
    let late = stored(born, tags_of(&["a"]), "late");
    if subject.backend.put(&key("late"), Arc::clone(&late)).await? == PutOutcome::Stored {
        subject.must_be(&key("late"), &late, "though none of its tags was invalidated").await?;
    }
    let found = subject.read(&key("page"), &[]).await?.found;
    let (found, _) =
        found.ok_or_else(|| NotPassed::Broken("`page` is not found after another tag was invalidated".to_owned()))?;
    ensure!(found.born() == born, "an entry that was born at {born:?} is found as born at {:?}", found.born());
    // As another tier does, or a copy between stores.
    subject.invalidate(&["a"]).await?;
    subject.backend.put(&key("page"), found).await?;
    subject.must_miss("page", "though it is a copy of an invalidated entry").await
}

pub(super) async fn dead_on_arrival(subject: &BackendUnderTest<'_>) -> Verdict {
    let old = subject.fill("page", &["a"]).await?;
    subject.invalidate(&["a"]).await?;
    subject.fill("page", &["a"]).await?;
    let outcome = subject.store("page", old, &["a"]).await?;
    let found = subject.read(&key("page"), &[]).await?.found;
    let born = found.map(|(stored, _)| stored.born());
    ensure!(born != Some(old), "an invalid entry ({outcome:?}) has replaced a valid one, and is found");
    Ok(())
}

pub(super) async fn is_alive(subject: &BackendUnderTest<'_>) -> Verdict {
    let tags = tags_of(&["a", "b"]);
    let born = subject.fill("page", &["a", "b"]).await?;
    ensure!(subject.backend.is_alive(born, &tags).await?, "it is `false` for an entry that a read finds");
    subject.invalidate(&["unrelated"]).await?;
    ensure!(subject.backend.is_alive(born, &tags).await?, "it is `false` after another tag was invalidated");
    subject.expire(&["a"]).await?;
    ensure!(!subject.backend.is_alive(born, &tags).await?, "it is `true` for an entry that was expired");
    let born = subject.fill("page", &["a", "b"]).await?;
    subject.invalidate(&["b"]).await?;
    ensure!(!subject.backend.is_alive(born, &tags).await?, "it is `true` for an entry that was invalidated");
    let born = subject.fill("page", &["a", "b"]).await?;
    subject.backend.invalidate(&Invalidation::Everything).await?;
    ensure!(!subject.backend.is_alive(born, &tags).await?, "it is `true` after everything was invalidated");
    ensure!(!subject.backend.is_alive(born, &[]).await?, "it is `true` without tags, after everything was invalidated");
    Ok(())
}

pub(super) async fn everything(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.fill("tagged", &["a"]).await?;
    subject.fill("bare", &[]).await?;
    let slow = subject.epoch(&key("slow"), &tags_of(&["a"])).await?;
    subject.backend.invalidate(&Invalidation::Everything).await?;
    for name in ["tagged", "bare"] {
        subject.must_miss(name, "after everything was invalidated").await?;
    }
    for tags in [&["a"][..], &["new"], &[]] {
        subject.store("slow", slow, tags).await?;
        subject.must_miss("slow", &format!("tagged {tags:?}, though its fetch began before everything was invalidated")).await?;
    }
    subject.fill("tagged", &["a"]).await?;
    subject.must_find("tagged", Validity::Valid, "though it was fetched after everything was invalidated").await
}

pub(super) async fn evicted(subject: &BackendUnderTest<'_>) -> Verdict {
    let Some(evict) = &subject.evict else {
        return Err(NotPassed::Skipped("needs a way to evict the record of a tag: `Suite::evict_with`"));
    };
    let record = || Tag::unchecked("a");
    for soft in [false, true] {
        let how = if soft { "expired" } else { "invalidated" };
        let slow = subject.epoch(&key("slow"), &tags_of(&["a"])).await?;
        subject.fill("page", &["a"]).await?;
        invalidate(subject, soft).await?;
        evict(record()).await;
        subject.must_not_be_valid("page", &format!("though its tag was {how}, and its record was evicted")).await?;
        subject.store("slow", slow, &["a"]).await?;
        let after = format!("though its tag was {how}, and its record was evicted, before it was stored");
        subject.must_not_be_valid("slow", &after).await?;

        let slow = subject.epoch(&key("slow"), &tags_of(&["a"])).await?;
        subject.fill("page", &["a"]).await?;
        evict(record()).await;
        invalidate(subject, soft).await?;
        subject.must_not_be_valid("page", &format!("though its tag was {how} after its record was evicted")).await?;
        subject.store("slow", slow, &["a"]).await?;
        subject.must_not_be_valid("slow", &format!("though its tag was {how}, with no record, before it was stored")).await?;
    }
    subject.fill("page", &["a"]).await?;
    subject.must_find("page", Validity::Valid, "though it was fetched after the record of its tag was evicted").await
}

async fn invalidate(subject: &BackendUnderTest<'_>, soft: bool) -> Verdict {
    if soft { subject.expire(&["a"]).await.map(drop) } else { subject.invalidate(&["a"]).await.map(drop) }
}

pub(super) async fn data_loss(subject: &BackendUnderTest<'_>) -> Verdict {
    let Some(lose_all) = &subject.lose_all else {
        return Err(NotPassed::Skipped("needs a way to make the store lose its data: `Suite::lose_with`"));
    };
    let before = subject.fill("page", &["a"]).await?;
    for _ in 0..3 {
        subject.invalidate(&["a"]).await?;
    }
    let old = [before, subject.epoch(&key("slow"), &tags_of(&["a"])).await?];
    for refilled in [false, true] {
        lose_all(()).await;
        if refilled {
            subject.fill("other", &["a"]).await?;
        }
        for born in old {
            subject.store("slow", born, &["a"]).await?;
            subject.must_miss("slow", "though the store has lost its data since its fetch began").await?;
        }
    }
    subject.fill("page", &["a"]).await?;
    subject.invalidate(&["a"]).await?;
    subject.must_miss("page", "after its tag was invalidated in a store that had lost its data").await
}

pub(super) async fn peer(subject: &BackendUnderTest<'_>) -> Verdict {
    let Some(peer) = &subject.peer else {
        return Err(NotPassed::Skipped("needs a second node on the same store: `Suite::peer`"));
    };
    let peer = peer(()).await;
    for tag in ["a", "b"] {
        let slow = subject.epoch(&key("slow"), &tags_of(&[tag])).await?;
        subject.fill("page", &[tag]).await?;
        subject.must_find("page", Validity::Valid, "before an operation of the other node").await?;
        peer.get(&key("page"), &tags_of(&[tag])).await?;
        peer.invalidate(&Invalidation::Tags(tags_of(&[tag]))).await?;
        subject.must_miss("page", &format!("after another node has invalidated `{tag}`")).await?;
        subject.store("slow", slow, &[tag]).await?;
        subject.must_miss("slow", "though its fetch began before another node invalidated its tag").await?;
        peer.put(&key("slow"), stored(slow, tags_of(&[tag]), "slow")).await?;
        subject.must_miss("slow", "though another node stored an invalidated entry").await?;
    }
    let slow = subject.fill("page", &["a"]).await?;
    peer.invalidate(&Invalidation::Everything).await?;
    subject.must_miss("page", "after another node has invalidated everything").await?;
    subject.store("page", slow, &["a"]).await?;
    subject.must_miss("page", "though its fetch began before another node invalidated everything").await
}
