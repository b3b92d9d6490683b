//! What is stored is found, whole, and under its own key alone.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    backend_under_test::{Subject, key, tags_of},
    report::{Finding, Verdict, ensure},
    sample_entry::{body, of_every_kind, stored, stored_until, vacant},
};
use crate::{
    backend::{contract::PutOutcome, validity::Validity},
    clock::{Clock, Timestamp},
    entry::stored::Stored,
    key::Key,
};

pub(super) async fn unknown_key(subject: &Subject<'_>) -> Verdict {
    subject.must_miss("nothing", "though nothing was ever stored").await?;
    subject.epoch(&key("nothing"), &[]).await?;
    Ok(())
}

pub(super) async fn round_trip(subject: &Subject<'_>) -> Verdict {
    let born = subject.fill("first", &["a", "b"]).await?;
    for (number, stored) in of_every_kind(born, &tags_of(&["a", "b"])).into_iter().enumerate() {
        let key = key(&format!("kind {number}"));
        put_kept(subject, &key, &stored, "a small thing").await?;
        subject.must_be(&key, &stored, "right after it was stored").await?;
    }
    Ok(())
}

pub(super) async fn replace(subject: &Subject<'_>) -> Verdict {
    let born = subject.fill("page", &["a"]).await?;
    for text in ["a longer second version", "third", ""] {
        let stored = stored(born, tags_of(&["a"]), text);
        put_kept(subject, &key("page"), &stored, "a new version").await?;
        subject.must_be(&key("page"), &stored, "after it replaced another").await?;
    }
    Ok(())
}

pub(super) async fn vacate(subject: &Subject<'_>) -> Verdict {
    let born = subject.fill("vacated", &["a"]).await?;
    subject.fill("outdated", &["a"]).await?;
    subject.backend.put(&key("vacated"), vacant(born, tags_of(&["a"]))).await?;
    let expired = stored_until(Timestamp::from_millis(1), born, tags_of(&["a"]), "expired");
    subject.backend.put(&key("outdated"), expired).await?;
    for name in ["vacated", "outdated"] {
        let found = subject.read(&key(name), &[]).await?.found;
        let text = found.as_ref().and_then(|(stored, _)| body(stored));
        ensure!(
            text.is_none_or(|text| text != name),
            "`{name}` is still found after it was replaced by something that may be forgotten at once"
        );
    }
    Ok(())
}

pub(super) async fn keys(subject: &Subject<'_>) -> Verdict {
    let long = |last: u8| [&vec![b'x'; 100 << 10][..], &[last]].concat();
    let middling = |first: u8| [&[first][..], &[b'y'; 250]].concat();
    let short: [&[u8]; 14] =
        [b"", b"a", b"ab", b"abc", b"A", b"a\0", b"\0", b"a b", b"a\r\nb", b"*", b"a:b", b"a/b", b"\xff\xfe", "ä".as_bytes()];
    let mut keys: Vec<Vec<u8>> = short.iter().map(|key| key.to_vec()).collect();
    keys.extend([middling(1), middling(2), long(1), long(2), vec![0; 300], vec![0; 301]]);
    let born = subject.fill("first", &["a"]).await?;
    let mut kept = Vec::new();
    for (number, bytes) in keys.into_iter().enumerate() {
        let key = Key::from_bytes(&bytes);
        let found = subject.read(&key, &[]).await?.found;
        ensure!(found.is_none(), "{} is found before it was stored: keys are not compared in full", name(&bytes));
        let stored = stored(born, tags_of(&["a"]), format!("number {number}"));
        if subject.backend.put(&key, Arc::clone(&stored)).await? == PutOutcome::Stored {
            kept.push((bytes, key, stored));
        }
    }
    for (bytes, key, stored) in &kept {
        subject.must_be(key, stored, &format!("under {}, with others that resemble it", name(bytes))).await?;
    }
    Ok(())
}

fn name(key: &[u8]) -> String {
    let start: String = key.iter().take(20).flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
    format!("the key `{start}` of {} bytes", key.len())
}

pub(super) async fn keeps(subject: &Subject<'_>) -> Verdict {
    const ENTRIES: usize = 100;
    let born = subject.fill("first", &["a"]).await?;
    let names: Vec<_> = (0..ENTRIES).map(|number| format!("entry {number}")).collect();
    for name in &names {
        let outcome = subject.store(name, born, &["a"]).await?;
        ensure!(outcome == PutOutcome::Stored, "storing `{name}`, a small thing, gave {outcome:?}");
    }
    for name in &names {
        subject.must_find(name, Validity::Valid, &format!("after {ENTRIES} small things were stored")).await?;
    }
    Ok(())
}

pub(super) async fn sizes(subject: &Subject<'_>) -> Verdict {
    let born = subject.fill("first", &["a"]).await?;
    let limit = subject.claims.body;
    let sizes = [0, 1, 100, 64 << 10, (1 << 20) - 1, 1 << 20, 4 << 20].into_iter().chain([limit, limit + 1]);
    for size in sizes {
        let key = key(&format!("{size} bytes"));
        // Neither compressible nor the same at any two places.
        let body: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let stored = stored(born, tags_of(&["a"]), body);
        match subject.backend.put(&key, Arc::clone(&stored)).await.map_err(Finding::from) {
            Ok(PutOutcome::Stored) => subject.must_be(&key, &stored, &format!("of {size} bytes")).await?,
            Ok(PutOutcome::TooLarge) if size > limit => {
                let found = subject.read(&key, &[]).await?.found;
                ensure!(found.is_none(), "a body of {size} bytes was refused, and something is found");
            }
            Ok(outcome) => return Err(Finding::Broken(format!("a body of {size} bytes gave {outcome:?}"))),
            Err(Finding::Broken(error)) => {
                return Err(Finding::Broken(format!("a body of {size} bytes is an error rather than `Refused`: {error}")));
            }
            Err(skipped) => return Err(skipped),
        }
    }
    Ok(())
}

/// How long a store may take to forget.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) async fn expiry(subject: &Subject<'_>) -> Verdict {
    if !subject.claims.expiry {
        return Err(Finding::Skipped("say that the store forgets what has expired: `Suite::forgets_expired`"));
    }
    let born = subject.fill("first", &["a"]).await?;
    subject.must_find("first", Validity::Valid, "an hour before it expires").await?;
    let expires = Clock::default().now() + Duration::from_millis(300);
    subject.backend.put(&key("brief"), stored_until(expires, born, tags_of(&["a"]), "brief")).await?;
    // The store's own clock decides: all one can do is ask again.
    while subject.read(&key("brief"), &[]).await?.found.is_some() {
        let late = Clock::default().now().since(expires);
        ensure!(late < PATIENCE, "it is still there {late:?} after it has expired");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub(super) async fn corrupt(subject: &Subject<'_>) -> Verdict {
    let Some(corrupt) = &subject.corrupt else {
        return Err(Finding::Skipped("give a way to damage what is stored: `Suite::corrupt_with`"));
    };
    let born = subject.fill("first", &["a"]).await?;
    let good = stored(born, tags_of(&["a"]), "damaged".repeat(100));
    put_kept(subject, &key("damaged"), &good, "a small thing").await?;
    subject.must_be(&key("damaged"), &good, "before it was damaged").await?;
    corrupt(key("damaged")).await;
    subject.must_miss("damaged", "though it was damaged").await?;
    put_kept(subject, &key("damaged"), &good, "something over what is damaged").await?;
    subject.must_be(&key("damaged"), &good, "after it was stored over what was damaged").await
}

async fn put_kept(subject: &Subject<'_>, key: &Key, stored: &Arc<Stored>, what: &str) -> Verdict {
    let outcome = subject.backend.put(key, Arc::clone(stored)).await?;
    ensure!(outcome == PutOutcome::Stored, "storing {what} gave {outcome:?}");
    Ok(())
}
