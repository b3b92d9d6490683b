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

/// Reads keys together with the clock; what is asked for at the same time goes in one command, and what several ask for, once.
///
/// Each command costs its way through the client, the kernel and the server; a key more costs a fraction of that. Nobody waits
/// for company: whoever else is ready to ask at this moment comes along. Once they are enough they go ahead, so that the server has
/// something to do while others still make their questions.
#[derive(Debug)]
pub(super) struct Readings {
    link: Arc<Link>,
    clock: String,
    limit: Duration,
    asked: Mutex<Questions>,
    /// How many bytes were answered lately, on an average, to one question.
    typical: AtomicUsize,
}

/// What it is to those who ask together that one more has joined them.
enum Joined {
    First,
    Between,
    /// They are enough, and are to go.
    Last(Vec<Question>),
}

/// As many go in one command at the most. With more, the server would be asked less often, and wait for longer.
const COMPANY: usize = 16;
/// As many bytes are to be answered to one command: of a long answer, the first who asked waits for the last.
const ANSWER: usize = 64 << 10;
/// How often a reading is begun again because the term of the clock has changed meanwhile.
pub(super) const ATTEMPTS: usize = 4;

impl Readings {
    /// `clock` is the name of the clock, and `limit` for each command.
    pub(super) fn new(link: Arc<Link>, clock: &str, limit: Duration) -> Arc<Self> {
        Arc::new(Self { link, clock: clock.to_owned(), limit, asked: Mutex::default(), typical: AtomicUsize::new(1) })
    }

    /// Reads the keys of these names, after now, and fails if that takes longer than the limit.
    pub(super) async fn read(self: &Arc<Self>, names: Keys) -> Result<Arc<Moment>, Error> {
        let (answered, joined) = self.join(names);
        // A task of its own: whoever leaves does not leave the others without an answer.
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
                // If a connection is being made for it, the next ones have it.
                let _ = reading.await;
            }
        }
    }

    /// Reads the clock alone, however long that takes: of all that is asked of Redis the least.
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

/// What gathers those who are ready to ask. If its runtime ends first, those learn that nobody asks for them, and the next one
/// gathers anew.
struct Gathering(Option<Arc<Readings>>);

impl Gathering {
    async fn ask(mut self) {
        let Some(readings) = &self.0 else { return };
        let began = Instant::now();
        // Those who are ready to run come first, and maybe along; but nobody waits for one who does not let go of a thread.
        let _ = timeout(readings.limit, yield_now()).await;
        // Who asks from here on is answered by another command; who has asked before may have gone ahead.
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

/// What stands under a key, as far as larder can have written it.
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
            // The same question makes no more of them.
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
