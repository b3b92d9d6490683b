//! The batching of concurrent reads into one Redis command.

use std::{
    iter,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::{
    sync::oneshot::Receiver,
    task::yield_now,
    time::{Instant, timeout},
};

use super::{
    clock::Reading,
    connection::Link,
    error::{changing, failed, unexpected},
    question::{Answer, Keys, Question, Questions},
    snapshot::Moment,
};
use crate::{backend::remote::deadline_exceeded, error::Error};

/// Reads keys together with the clock. Concurrent reads are sent in one command, and equal reads only once.
///
/// Each command passes through the client, the kernel and the server; one more key costs a fraction of that. Reads that are ready
/// at the same time are sent as one batch; a read is never delayed to fill it. A full batch is sent immediately, so that the
/// server works while further reads are prepared.
#[derive(Debug)]
pub(super) struct Readings {
    link: Arc<Link>,
    clock: String,
    limit: Duration,
    asked: Mutex<Questions>,
    /// The moving average of the reply size per read, in bytes.
    typical: AtomicUsize,
}

/// The effect of adding a read to the current batch.
enum Joined {
    First,
    Between,
    /// The batch is full and must be sent.
    Last(Vec<Question>),
}

/// The maximum number of reads in one command. With larger batches the server would idle for longer between commands.
const COMPANY: usize = 16;
/// The target size of a reply. The first read of a batch waits for the last, so a long reply delays all of them.
const ANSWER: usize = 64 << 10;
/// The maximum number of attempts at a read while the term of the clock keeps changing.
pub(super) const ATTEMPTS: usize = 4;

impl Readings {
    /// Creates a batcher; `clock` is the key of the clock, and `limit` applies to each command.
    pub(super) fn new(link: Arc<Link>, clock: &str, limit: Duration) -> Arc<Self> {
        Arc::new(Self { link, clock: clock.to_owned(), limit, asked: Mutex::default(), typical: AtomicUsize::new(1) })
    }

    /// Reads the keys with these names. The read starts after this call, and fails if it takes longer than the limit.
    pub(super) async fn read(self: &Arc<Self>, names: Keys) -> Result<Arc<Moment>, Error> {
        let (answered, joined) = self.join(names);
        // Spawned: if one caller is dropped, the others must still receive the reply.
        match joined {
            Joined::First => _ = tokio::spawn(Gathering(Some(Arc::clone(self))).ask()),
            Joined::Last(asked) => _ = tokio::spawn(Arc::clone(self).send(asked, Instant::now())),
            Joined::Between => {}
        }
        answered.await.map_err(|gone| Error::unavailable("Redis was asked, and nobody took the answer").with_source(gone))?
    }

    fn join(&self, names: Keys) -> (Receiver<Answer>, Joined) {
        let mut questions = self.lock();
        let (answered, number) = questions.join(names);
        let joined = match number {
            Some(1) => Joined::First,
            Some(COMPANY) => Joined::Last(questions.take()),
            _ => Joined::Between,
        };
        (answered, joined)
    }

    async fn send(self: Arc<Self>, mut asked: Vec<Question>, began: Instant) {
        let most = (ANSWER / self.typical.load(Ordering::Relaxed).max(1)).clamp(1, COMPANY);
        while asked.len() > most {
            let company = asked.split_off(asked.len() - most);
            let this = Arc::clone(&self);
            tokio::spawn(async move { this.answer(company, began).await });
        }
        self.answer(asked, began).await;
    }

    async fn answer(&self, mut asked: Vec<Question>, began: Instant) {
        asked.retain(Question::matters);
        if asked.is_empty() {
            return;
        }
        let command = self.command(asked.iter().flat_map(Question::names));
        let mut reading = pin!(self.read_together(&command));
        match timeout(self.limit.saturating_sub(began.elapsed()), reading.as_mut()).await {
            Ok(Ok((clock, values))) => {
                self.note_size(&values, asked.len());
                let mut values = values.into_iter();
                asked.into_iter().for_each(|question| question.answer(clock, &mut values));
            }
            Ok(Err(error)) => fail(asked, &error),
            Err(elapsed) => {
                fail(asked, &deadline_exceeded(self.limit, elapsed));
                // Awaited even so: later reads use the connection that it may be establishing.
                let _ = reading.await;
            }
        }
    }

    /// Reads the clock alone, without a time limit. This is the cheapest command that larder sends to Redis.
    pub(super) async fn clock(&self) -> Result<Reading, Error> {
        Ok(self.read_together(&self.command(iter::empty())).await?.0)
    }

    fn command<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Cmd {
        let (count, length) = names.clone().fold((0, 0), |(count, length), name| (count + 1, length + name.len()));
        let mut command = Cmd::with_capacity(count + 2, length + self.clock.len() + 4);
        command.arg("MGET").arg(&self.clock);
        names.for_each(|name| _ = command.arg(name));
        command
    }

    async fn read_together(&self, command: &Cmd) -> Result<(Reading, Vec<Option<Bytes>>), Error> {
        for _ in 0..ATTEMPTS {
            let (value, stand) = self.link.ask(command).await.map_err(failed)?;
            let Value::Array(values) = value else { return Err(unexpected()) };
            let mut values = values.into_iter().map(bytes);
            let clock = values.next().flatten().and_then(|clock| Some(Reading::split(&clock)?.0));
            if let Some(clock) = self.link.accepted(stand, clock) {
                return Ok((clock, values.collect()));
            }
        }
        Err(changing())
    }

    fn note_size(&self, values: &[Option<Bytes>], asked: usize) {
        let bytes: usize = values.iter().flatten().map(Bytes::len).sum();
        let typical = self.typical.load(Ordering::Relaxed);
        self.typical.store((typical * 7 + bytes / asked.max(1)).div_ceil(8), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects a batch. If its runtime shuts down first, dropping it fails the reads of the batch, and the next read opens another.
struct Gathering(Option<Arc<Readings>>);

impl Gathering {
    async fn ask(mut self) {
        let Some(readings) = &self.0 else { return };
        let began = Instant::now();
        // Tasks that are ready run first, and may add their reads. The timeout bounds the wait for a task that blocks its thread.
        let _ = timeout(readings.limit, yield_now()).await;
        // Later reads are sent with another command. Earlier ones may already have been sent as a full batch.
        let asked = readings.lock().take();
        if let Some(readings) = self.0.take() {
            readings.send(asked, began).await;
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if let Some(readings) = &self.0 {
            let left = readings.lock().take();
            drop(left);
        }
    }
}

fn fail(asked: Vec<Question>, error: &Error) {
    asked.into_iter().for_each(|question| question.fail(error));
}

/// Returns the value of a key, if larder can have written it.
fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::Client;
    use smallvec::smallvec;

    use super::*;
    use crate::backend::redis::connection::Source;

    fn readings() -> Arc<Readings> {
        let nowhere = Source::Client(Box::new(Client::open("redis://127.0.0.1:1").unwrap()));
        let limit = Duration::from_secs(1);
        Readings::new(Arc::new(Link::new(nowhere, "clock", limit)), "clock", limit)
    }

    fn join(readings: &Readings, number: usize) -> (Receiver<Answer>, Joined) {
        readings.join(smallvec![format!("entry {number}")])
    }

    #[test]
    fn enough_go_ahead_and_the_next_is_the_first_again() {
        let readings = readings();
        assert!(matches!(join(&readings, 0).1, Joined::First));
        for number in 1..COMPANY - 1 {
            assert!(matches!(join(&readings, number).1, Joined::Between));
            // An equal read does not enlarge the batch.
            assert!(matches!(join(&readings, number).1, Joined::Between));
        }
        let Joined::Last(asked) = join(&readings, COMPANY).1 else { panic!("they are enough") };
        assert_eq!(asked.len(), COMPANY);
        assert!(matches!(join(&readings, 0).1, Joined::First));
    }

    #[tokio::test]
    async fn whose_gathering_ends_is_told_and_the_next_gathers_anew() {
        let readings = readings();
        let (first, _) = join(&readings, 1);
        let (other, joined) = join(&readings, 2);
        assert!(matches!(joined, Joined::Between));
        drop(Gathering(Some(Arc::clone(&readings))).ask());
        assert!(first.await.is_err() && other.await.is_err());
        assert!(matches!(join(&readings, 1).1, Joined::First));
    }
}
