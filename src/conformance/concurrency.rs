//! Cases about concurrency: the same rules with concurrent operations.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use tokio::task::{JoinError, JoinSet, yield_now};

use super::{
    backend_under_test::{BackendUnderTest, expiry, key, tags_of},
    report::{NotPassed, Verdict, ensure},
    sample_entry::{body, stored},
};
use crate::{
    backend::{
        contract::{Backend, Invalidation},
        validity::Validity,
    },
    clock::Clock,
    entry::{epoch::Epoch, stored::Stored},
};

const ROUNDS: usize = 20;
const TASKS: usize = 8;

/// The latest invalidation counts, even if another one is recorded last.
pub(super) async fn one_tag(subject: &BackendUnderTest<'_>) -> Verdict {
    for round in 0..ROUNDS {
        let tag = format!("tag {round}");
        // With a record of the tag and without one.
        if round % 2 == 0 {
            subject.fill("first", &[&tag]).await?;
        }
        let mut taken = invalidate_concurrently(subject, &vec![tag.clone(); TASKS]).await?;
        // Of one incarnation only the greatest counts; an entry of another incarnation is dead.
        taken.sort_by_key(|epoch| (epoch.incarnation(), epoch.get()));
        let latest = taken.pop().expect("several were invalidated");
        ensure!(!taken.contains(&latest), "two invalidations took the same epoch: {latest:?}");
        for born in taken.into_iter().filter(|born| born.incarnation() == latest.incarnation()) {
            let alive = subject.backend.is_alive(born, &tags_of(&[&tag])).await?;
            ensure!(
                !alive,
                "an entry that was born at {born:?} is alive after its tag was invalidated at {latest:?} and, concurrently, earlier"
            );
            subject.store("between", born, &[&tag]).await?;
            subject
                .must_miss("between", &format!("though its tag was invalidated at {latest:?} and, concurrently, earlier"))
                .await?;
        }
    }
    Ok(())
}

/// No invalidation undoes the record of another.
pub(super) async fn many_tags(subject: &BackendUnderTest<'_>) -> Verdict {
    for round in 0..ROUNDS {
        let tags: Vec<String> = (0..TASKS).map(|task| format!("tag {task}")).collect();
        for tag in &tags {
            subject.fill(tag, &[tag]).await?;
        }
        invalidate_concurrently(subject, &tags).await?;
        for tag in &tags {
            subject.must_miss(tag, &format!("after {TASKS} tags were invalidated concurrently ({round})")).await?;
        }
    }
    Ok(())
}

/// Invalidates each tag in a task of its own; returns the epochs.
async fn invalidate_concurrently(subject: &BackendUnderTest<'_>, tags: &[String]) -> Verdict<Vec<Epoch>> {
    let mut tasks = JoinSet::new();
    for tag in tags {
        let (backend, invalidation) = (Arc::clone(&subject.backend), Invalidation::Tags(tags_of(&[tag])));
        tasks.spawn(async move { backend.invalidate(&invalidation).await });
    }
    let mut taken = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        taken.push(outcome.map_err(panicked)??.epoch);
    }
    Ok(taken)
}

/// A value in a database with its cached copies, for concurrent writers and readers.
struct Register {
    backend: Arc<dyn Backend>,
    /// The value in the database.
    value: AtomicU64,
    /// The latest value whose invalidation has returned.
    settled: AtomicU64,
    written: AtomicBool,
    soft: bool,
}

const WRITERS: usize = 2;
const READERS: usize = 4;
const WRITES: usize = 40;

pub(super) async fn history(subject: &BackendUnderTest<'_>) -> Verdict {
    for soft in [false, true] {
        let register = Arc::new(Register {
            backend: Arc::clone(&subject.backend),
            value: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            written: AtomicBool::new(false),
            soft,
        });
        let mut writers = JoinSet::new();
        let mut readers = JoinSet::new();
        for _ in 0..WRITERS {
            writers.spawn(write(Arc::clone(&register)));
        }
        for _ in 0..READERS {
            readers.spawn(read(Arc::clone(&register)));
        }
        let written = join_all(writers).await;
        register.written.store(true, Ordering::SeqCst);
        join_all(readers).await?;
        written?;
    }
    Ok(())
}

async fn write(register: Arc<Register>) -> Verdict {
    let tags = ["register"];
    let invalidation = if register.soft { expiry(&tags, Clock::default().now()) } else { Invalidation::Tags(tags_of(&tags)) };
    for _ in 0..WRITES {
        let value = register.value.fetch_add(1, Ordering::SeqCst) + 1;
        yield_now().await;
        register.backend.invalidate(&invalidation).await?;
        register.settled.fetch_max(value, Ordering::SeqCst);
        yield_now().await;
    }
    Ok(())
}

/// Reads the value as requests do, and compares it with the value that was settled before.
async fn read(register: Arc<Register>) -> Verdict {
    let (key, tags) = (key(if register.soft { "soft" } else { "hard" }), tags_of(&["register"]));
    while !register.written.load(Ordering::SeqCst) {
        let settled = register.settled.load(Ordering::SeqCst);
        let read = match register.backend.get_now(&key) {
            Some(read) => read,
            None => register.backend.get(&key, &tags).await?,
        };
        let usable = read.found.filter(|(_, validity)| !register.soft || *validity == Validity::Valid);
        if let Some((found, _)) = usable {
            let value = body(&found).and_then(|body| std::str::from_utf8(body).ok()?.parse::<u64>().ok());
            let value = value.ok_or_else(|| NotPassed::Broken("a read found an entry that was never stored".to_owned()))?;
            ensure!(value >= settled, "a read found version {value} after version {settled} was written and its tag invalidated");
        } else if let Some(born) = read.epoch {
            let value = register.value.load(Ordering::SeqCst);
            yield_now().await;
            register.backend.put(&key, stored(born, tags.clone(), value.to_string())).await?;
        }
        yield_now().await;
    }
    Ok(())
}

/// After concurrent puts under one key, one of the entries is found, and it is complete.
pub(super) async fn one_key(subject: &BackendUnderTest<'_>) -> Verdict {
    let born = subject.fill("page", &["a"]).await?;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let backend = Arc::clone(&subject.backend);
        tasks.spawn(async move {
            let (key, body) = (key("page"), version(task));
            for _ in 0..ROUNDS {
                backend.put(&key, stored(born, tags_of(&["a"]), body.clone())).await?;
                if let Some((found, _)) = backend.get(&key, &[]).await?.found {
                    ensure_whole(&found)?;
                }
            }
            Ok(())
        });
    }
    join_all(tasks).await
}

/// At least 10 KB of one letter; each task has another length.
fn version(task: usize) -> Vec<u8> {
    vec![b'a' + u8::try_from(task % 26).unwrap_or_default(); 10_000 + task]
}

fn ensure_whole(found: &Stored) -> Verdict {
    let body = body(found).map_or(&[][..], |body| body);
    let first = body.first().copied().unwrap_or_default();
    let whole = body == b"page"
        || (body.iter().all(|byte| *byte == first) && *body == version(usize::from(first.wrapping_sub(b'a') % 26)));
    ensure!(whole, "a read found a mixture of several entries of one key, of {} bytes", body.len());
    Ok(())
}

/// An operation that is dropped at any await point does not affect later operations.
pub(super) async fn dropped(subject: &BackendUnderTest<'_>) -> Verdict {
    const POLLS: usize = 12;
    for polls in 0..POLLS {
        let born = subject.fill("page", &["a"]).await?;
        let replacement = stored(born, tags_of(&["a"]), version(1));
        let _ = dropped_after(polls, subject.backend.put(&key("page"), replacement)).await;
        let _ = dropped_after(polls, subject.backend.get(&key("page"), &tags_of(&["a"]))).await;
        if let Some((found, _)) = subject.read(&key("page"), &[]).await?.found {
            ensure_whole(&found)?;
        }
        let _ = dropped_after(polls, subject.backend.invalidate(&Invalidation::Tags(tags_of(&["a", "b"])))).await;
        let after = format!("after an invalidation was dropped ({polls} polls) and another has succeeded");
        for tag in ["a", "b"] {
            subject.fill(tag, &["a", "b"]).await?;
            subject.invalidate(&[tag]).await?;
            subject.must_miss(tag, &after).await?;
        }
        subject.must_miss("page", &after).await?;
    }
    Ok(())
}

/// Returns the output of the future, unless it needs more than `polls` polls.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn join_all(mut tasks: JoinSet<Verdict>) -> Verdict {
    while let Some(outcome) = tasks.join_next().await {
        outcome.map_err(panicked)??;
    }
    Ok(())
}

fn panicked(error: JoinError) -> NotPassed {
    NotPassed::Broken(format!("the backend panicked: {error}"))
}
