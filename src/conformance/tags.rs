//! Cases about tags: invalidating or expiring a tag affects the entries that carry it, and no others.

use super::{
    backend_under_test::{BackendUnderTest, abridged, key, tags_of},
    report::{NotPassed, Verdict, ensure},
};
use std::time::Duration;

use crate::{
    backend::{contract::PutOutcome, validity::Validity},
    clock::{Clock, Timestamp},
};

pub(super) async fn hard(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.fill("page", &["a"]).await?;
    subject.fill("other", &["b"]).await?;
    subject.fill("bare", &[]).await?;
    subject.must_find("page", Validity::Valid, "before its tag was invalidated").await?;
    subject.invalidate(&["a"]).await?;
    subject.must_miss("page", "after its tag was invalidated").await?;
    for name in ["other", "bare"] {
        subject.must_find(name, Validity::Valid, "after a tag was invalidated that it does not carry").await?;
    }
    Ok(())
}

pub(super) async fn soft(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.fill("page", &["a"]).await?;
    subject.fill("other", &["b"]).await?;
    subject.must_find("page", Validity::Valid, "before its tag was expired").await?;
    let at = Clock::default().now();
    subject.expire_at(&["a"], at).await?;
    subject.must_find("page", Validity::Stale { since: at }, "after its tag was expired").await?;
    subject.must_find("other", Validity::Valid, "after a tag was expired that it does not carry").await?;
    refetch(subject, "page", "a").await
}

/// A fetch that begins after the expiry of its tag stores a valid entry.
async fn refetch(subject: &BackendUnderTest<'_>, name: &str, tag: &str) -> Verdict {
    subject.fill_again(name, &[tag]).await?;
    subject.must_find(name, Validity::Valid, "after it was fetched again").await
}

pub(super) async fn late_soft_store(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.fill("first", &["seen"]).await?;
    for tag in ["seen", "unseen"] {
        let born = subject.epoch(&key("slow"), &tags_of(&[tag])).await?;
        subject.expire(&[tag]).await?;
        subject.store("slow", born, &[tag]).await?;
        let found = subject.read(&key("slow"), &tags_of(&[tag])).await?.found;
        let current = found.is_some_and(|(_, validity)| validity == Validity::Valid);
        ensure!(!current, "an entry that was fetched before `{tag}` was expired, and stored after it, is found valid");
    }
    Ok(())
}

/// The times are those of the node that expires: the clock of the store is not used.
pub(super) async fn earliest(subject: &BackendUnderTest<'_>) -> Verdict {
    let at = |seconds| Timestamp::from_millis(1_000_000_000_000) + Duration::from_secs(seconds);
    subject.expire_at(&["a", "b"], at(0)).await?;
    subject.fill("page", &["a", "b"]).await?;
    subject.must_find("page", Validity::Valid, "though its tags were only expired before it was fetched").await?;
    for (tag, seconds) in [("b", 10), ("a", 20), ("b", 30), ("a", 40)] {
        subject.expire_at(&[tag], at(seconds)).await?;
        let after = format!("after its tags were expired several times, first at {}", at(10).as_millis());
        subject.must_find("page", Validity::Stale { since: at(10) }, &after).await?;
    }
    subject.fill_again("page", &["a", "b"]).await?;
    subject.must_find("page", Validity::Valid, "after it was fetched again").await?;
    subject.expire_at(&["a"], at(7200)).await?;
    let after = "after it was expired, fetched again, and expired again hours later";
    subject.must_find("page", Validity::Stale { since: at(7200) }, after).await
}

/// An entry that was expired often is stale for long enough, or a miss.
pub(super) async fn often(subject: &BackendUnderTest<'_>) -> Verdict {
    const EXPIRIES: u64 = 300;
    let at = |expiry| Timestamp::from_millis(1_000_000_000_000 + expiry * 100);
    for expiry in 0..EXPIRIES {
        if expiry % 7 == 0 {
            subject.fill_again(&format!("page {expiry}"), &["a"]).await?;
        }
        subject.expire_at(&["a"], at(expiry)).await?;
    }
    for expiry in (0..EXPIRIES).step_by(7) {
        let name = format!("page {expiry}");
        match subject.read(&key(&name), &tags_of(&["a"])).await?.found {
            None => {}
            Some((_, Validity::Valid)) => return Err(NotPassed::Broken(format!("`{name}` is found valid"))),
            Some((_, Validity::Stale { since })) => {
                let (since, right) = (since.as_millis(), at(expiry).as_millis());
                ensure!(since <= right, "`{name}`, first expired at {right}, is reported as stale only since {since}");
            }
        }
    }
    Ok(())
}

pub(super) async fn soft_then_hard(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.fill("page", &["a"]).await?;
    subject.expire(&["a"]).await?;
    subject.invalidate(&["a"]).await?;
    subject.must_miss("page", "after its tag was expired and then invalidated").await
}

pub(super) async fn hard_then_soft(subject: &BackendUnderTest<'_>) -> Verdict {
    let born = subject.fill("page", &["a"]).await?;
    subject.invalidate(&["a"]).await?;
    subject.expire(&["a"]).await?;
    subject.must_miss("page", "after its tag was invalidated and then expired").await?;
    subject.store("page", born, &["a"]).await?;
    subject.must_miss("page", "though its fetch began before its tag was invalidated and then expired").await
}

pub(super) async fn several(subject: &BackendUnderTest<'_>) -> Verdict {
    for tag in ["a", "b", "c"] {
        subject.fill("page", &["a", "b", "c"]).await?;
        subject.invalidate(&[tag]).await?;
        subject.must_miss("page", &format!("tagged `a`, `b` and `c`, after `{tag}` was invalidated")).await?;
    }
    for tag in ["d", "e", "f"] {
        subject.fill(tag, &[tag]).await?;
    }
    subject.invalidate(&["d", "e", "e", "f"]).await?;
    for tag in ["d", "e", "f"] {
        subject.must_miss(tag, "after its tag was invalidated together with others").await?;
    }
    let many: Vec<String> = (0..130).map(|number| format!("tag {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for tag in ["tag 0", "tag 77", "tag 129"] {
        subject.fill("page", &many).await?;
        subject.invalidate(&[tag]).await?;
        subject.must_miss("page", &format!("with 130 tags, after `{tag}` was invalidated")).await?;
    }
    Ok(())
}

pub(super) async fn odd_names(subject: &BackendUnderTest<'_>) -> Verdict {
    let path = format!("path:/{}", "x".repeat(60 << 10));
    let other_path = format!("{path}y");
    let tags = [
        "*",
        "a*",
        "a",
        "A",
        "ab",
        " a",
        "a ",
        "a\nb",
        "a\0b",
        "a\r\nDEL a",
        "[a]",
        "?",
        "%",
        "{a}",
        "'",
        "ä",
        "a,b",
        "a:b",
        &path,
        &other_path,
    ];
    let mut present = Vec::new();
    let born = subject.epoch(&key("first"), &[]).await?;
    for tag in tags {
        let refused = tag.len() > 256 && subject.store(tag, born, &[tag]).await? == PutOutcome::TooLarge;
        if !refused {
            subject.fill(tag, &[tag]).await?;
            present.push(tag);
        }
    }
    while let Some((tag, rest)) = present.split_first() {
        subject.invalidate(&[tag]).await?;
        subject.must_miss(tag, "after the tag of that name was invalidated").await?;
        for other in rest {
            subject.must_find(other, Validity::Valid, &format!("after the tag {} was invalidated", abridged(tag))).await?;
        }
        present.remove(0);
    }
    Ok(())
}

pub(super) async fn unknown(subject: &BackendUnderTest<'_>) -> Verdict {
    subject.fill("page", &["a"]).await?;
    subject.invalidate(&["unknown"]).await?;
    subject.expire(&["also unknown"]).await?;
    subject.invalidate(&[]).await?;
    subject.must_find("page", Validity::Valid, "after unknown tags and no tags were invalidated").await
}

pub(super) async fn known(subject: &BackendUnderTest<'_>) -> Verdict {
    let choices: [&[&str]; 5] = [&[], &["a"], &["a", "b"], &["other"], &["a", "b", "more"]];
    for known in choices {
        subject.fill("page", &["a", "b"]).await?;
        let found = subject.backend.get(&key("page"), &tags_of(known)).await?.found;
        ensure!(found.is_some(), "it is not found by a read with the hint {known:?}");
        subject.invalidate(&["b"]).await?;
        let found = subject.backend.get(&key("page"), &tags_of(known)).await?.found;
        ensure!(found.is_none(), "after `b` was invalidated, it is found by a read with the hint {known:?}");
    }
    // The hint may be wrong.
    let born = subject.epoch(&key("slow"), &tags_of(&["a"])).await?;
    subject.invalidate(&["b"]).await?;
    subject.store("slow", born, &["a", "b"]).await?;
    subject.must_miss("slow", "though a tag was invalidated that only its handler knew").await
}

pub(super) async fn receipts(subject: &BackendUnderTest<'_>) -> Verdict {
    let receipt = subject.invalidate(&["a", "b"]).await?;
    ensure!(receipt.tag_count == 2, "two tags were invalidated, and the receipt says {}", receipt.tag_count);
    let later = subject.invalidate(&["a"]).await?;
    let same_clock = later.epoch.incarnation() == receipt.epoch.incarnation();
    if !same_clock {
        return Err(NotPassed::Broken("the incarnation of the clock changed between two invalidations".to_owned()));
    }
    ensure!(later.epoch.get() > receipt.epoch.get(), "a later invalidation took {:?} after {:?}", later.epoch, receipt.epoch);
    Ok(())
}
