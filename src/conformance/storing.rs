//! Cases about storing: an entry is found completely, and under its own key only.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    backend_under_test::{BackendUnderTest, key, tags_of},
    report::{NotPassed, Verdict, ensure},
    sample_entry::{body, of_every_kind, stored, stored_until, tombstone},
};
use crate::{
    backend::{contract::PutOutcome, validity::Validity},
    clock::{Clock, Timestamp},
    entry::stored::Stored,
    key::Key,
};

pub(super) async fn unknown_key(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.must_miss("nothing", "though no entry was ever stored").await?;
    subject.epoch(&key("nothing"), &[]).await?;
    Ok(())
}

pub(super) async fn round_trip(subject: &BackendUnderTest<'_>) -> Verdict {
    let born = subject.fill("first", &["a", "b"]).await?;
    for (number, stored) in of_every_kind(born, &tags_of(&["a", "b"])).into_iter().enumerate() {
        let key = key(&format!("kind {number}"));
        put_kept(subject, &key, &stored, "a small entry").await?;
        subject.must_be(&key, &stored, "right after it was stored").await?;
    }
    Ok(())
}

pub(super) async fn replace(subject: &BackendUnderTest<'_>) -> Verdict {
    let born = subject.fill("page", &["a"]).await?;
    for text in ["a longer second version", "third", ""] {
        let stored = stored(born, tags_of(&["a"]), text);
        put_kept(subject, &key("page"), &stored, "a new version").await?;
        subject.must_be(&key("page"), &stored, "after it replaced another entry").await?;
    }
    Ok(())
}

pub(super) async fn replace_present(subject: &BackendUnderTest<'_>) -> Verdict {
    let born = subject.fill("page", &["a"]).await?;
    let (page, entry) = (key("page"), |text: &'static str| stored(born, tags_of(&["a"]), text));
    let [first, second, third] = ["first", "second", "third"].map(entry);
    for stored in [&first, &second] {
        put_kept(subject, &page, stored, "a new version").await?;
    }
    let replace = async |key: &Key, present: &Stored, expected: PutOutcome, what: &str| {
        let outcome = subject.backend.replace(key, present, Arc::clone(&third)).await?;
        ensure!(outcome == expected, "replacing {what} returned {outcome:?}");
        Ok::<_, NotPassed>(())
    };
    replace(&page, &first, PutOutcome::Invalidated, "a response that is no longer stored").await?;
    subject.must_be(&page, &second, "after another response should have been replaced").await?;
    replace(&key("nothing"), &first, PutOutcome::Invalidated, "a response under a key without one").await?;
    subject.must_miss("nothing", "though nothing was replaced there").await?;
    replace(&page, &second, PutOutcome::Stored, "the stored response").await?;
    subject.must_be(&page, &third, "after it replaced the stored one").await?;

    // The same response of a later handler run.
    subject.invalidate(&["a"]).await?;
    let later = stored(subject.epoch(&page, &tags_of(&["a"])).await?, tags_of(&["a"]), "third");
    put_kept(subject, &page, &later, "the same version again").await?;
    replace(&page, &third, PutOutcome::Invalidated, "a response that has an earlier epoch than the stored one").await?;
    subject.must_be(&page, &later, "after an earlier one should have been replaced").await?;
    subject.backend.put(&page, tombstone(later.born(), tags_of(&["a"]))).await?;
    replace(&page, &later, PutOutcome::Invalidated, "a response that was withdrawn").await?;
    let found = subject.read(&page, &[]).await?.found;
    ensure!(found.is_none_or(|(stored, _)| body(&stored).is_none()), "a response that was withdrawn is found again");
    Ok(())
}

pub(super) async fn tombstone_put(subject: &BackendUnderTest<'_>) -> Verdict {
    let born = subject.fill("withdrawn", &["a"]).await?;
    subject.fill("outdated", &["a"]).await?;
    subject.backend.put(&key("withdrawn"), tombstone(born, tags_of(&["a"]))).await?;
    let expired = stored_until(Timestamp::from_millis(1), born, tags_of(&["a"]), "expired");
    subject.backend.put(&key("outdated"), expired).await?;
    for name in ["withdrawn", "outdated"] {
        let found = subject.read(&key(name), &[]).await?.found;
        let text = found.as_ref().and_then(|(stored, _)| body(stored));
        ensure!(text.is_none_or(|text| text != name), "`{name}` is still found after it was replaced by an expired entry");
    }
    Ok(())
}

pub(super) async fn keys(subject: &BackendUnderTest<'_>) -> Verdict {
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

pub(super) async fn keeps(subject: &BackendUnderTest<'_>) -> Verdict {
    const ENTRIES: usize = 100;
    let born = subject.fill("first", &["a"]).await?;
    let names: Vec<_> = (0..ENTRIES).map(|number| format!("entry {number}")).collect();
    for name in &names {
        let outcome = subject.store(name, born, &["a"]).await?;
        ensure!(outcome == PutOutcome::Stored, "storing the small entry `{name}` returned {outcome:?}");
    }
    for name in &names {
        subject.must_find(name, Validity::Valid, &format!("after {ENTRIES} small entries were stored")).await?;
    }
    Ok(())
}

pub(super) async fn sizes(subject: &BackendUnderTest<'_>) -> Verdict {
    let born = subject.fill("first", &["a"]).await?;
    let limit = subject.claims.body;
    let sizes = [0, 1, 100, 64 << 10, (1 << 20) - 1, 1 << 20, 4 << 20].into_iter().chain([limit, limit + 1]);
    for size in sizes {
        let key = key(&format!("{size} bytes"));
        // Incompressible, and different at each position.
        let body: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let stored = stored(born, tags_of(&["a"]), body);
        match subject.backend.put(&key, Arc::clone(&stored)).await.map_err(NotPassed::from) {
            Ok(PutOutcome::Stored) => subject.must_be(&key, &stored, &format!("of {size} bytes")).await?,
            Ok(PutOutcome::TooLarge) if size > limit => {
                let found = subject.read(&key, &[]).await?.found;
                ensure!(found.is_none(), "a body of {size} bytes was refused, and an entry is found");
            }
            Ok(outcome) => return Err(NotPassed::Broken(format!("a body of {size} bytes returned {outcome:?}"))),
            Err(NotPassed::Broken(error)) => {
                return Err(NotPassed::Broken(format!("a body of {size} bytes is an error instead of `TooLarge`: {error}")));
            }
            Err(skipped) => return Err(skipped),
        }
    }
    Ok(())
}

/// How long a store may take to remove an expired entry.
const REMOVAL_LIMIT: Duration = Duration::from_secs(4);

pub(super) async fn expiry(subject: &BackendUnderTest<'_>) -> Verdict {
    if !subject.claims.expiry {
        return Err(NotPassed::Skipped("needs a store that removes expired entries: `Suite::forgets_expired`"));
    }
    let born = subject.fill("first", &["a"]).await?;
    subject.must_find("first", Validity::Valid, "an hour before it expires").await?;
    let expires = Clock::default().now() + Duration::from_millis(300);
    subject.backend.put(&key("brief"), stored_until(expires, born, tags_of(&["a"]), "brief")).await?;
    // The clock of the store decides, so the case must poll.
    while subject.read(&key("brief"), &[]).await?.found.is_some() {
        let late = Clock::default().now().since(expires);
        ensure!(late < REMOVAL_LIMIT, "it is still found {late:?} after it expired");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub(super) async fn corrupt(subject: &BackendUnderTest<'_>) -> Verdict {
    let Some(corrupt) = &subject.corrupt else {
        return Err(NotPassed::Skipped("needs a way to damage an entry: `Suite::corrupt_with`"));
    };
    let born = subject.fill("first", &["a"]).await?;
    let good = stored(born, tags_of(&["a"]), "damaged".repeat(100));
    put_kept(subject, &key("damaged"), &good, "a small entry").await?;
    subject.must_be(&key("damaged"), &good, "before it was damaged").await?;
    corrupt(key("damaged")).await;
    subject.must_miss("damaged", "though it was damaged").await?;
    put_kept(subject, &key("damaged"), &good, "an entry over a damaged one").await?;
    subject.must_be(&key("damaged"), &good, "after it was stored over a damaged entry").await
}

async fn put_kept(subject: &BackendUnderTest<'_>, key: &Key, stored: &Arc<Stored>, what: &str) -> Verdict {
    let outcome = subject.backend.put(key, Arc::clone(stored)).await?;
    ensure!(outcome == PutOutcome::Stored, "storing {what} returned {outcome:?}");
    Ok(())
}
