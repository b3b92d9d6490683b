use std::{iter, sync::Arc, time::Duration};

use redis::{Cmd, Value, cmd, pipe};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    batch::{ATTEMPTS, Readings},
    clock::{self, Reading},
    connection::{Link, Stand},
    error::{changing, failed, unconfirmed, unexpected},
    feed::{BATCH, WORTH_READING, announced, position},
    fetch_lock::Claims,
    key_names::Names,
    memo::{Memo, Note, Proof},
    options::Options,
    question::Keys,
    script::{Known, Sent, force, library},
    snapshot::{Moment, Opened},
    tag_record::{judge, judge_all},
};
use crate::{
    backend::{
        FeedBatch,
        contract::{FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
        remote::{FetchLocks, RemoteStore, with_deadline_since},
        validity::{Judgement, Validity},
    },
    codec::{self, Head},
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

/// One primary, with or without sentinels: its scripts change several keys at once.
///
/// A hit is one `MGET` of the clock, the entry and the records of its tags. Which tags those are is known from the route, or from
/// the last time that this node met the entry; if that was not all of them, they are read after it. While nothing is invalidated,
/// clock and entry are enough.
#[derive(Debug)]
pub(super) struct Single {
    link: Arc<Link>,
    readings: Arc<Readings>,
    names: Names,
    options: Options,
    memo: Memo,
    claims: Claims,
    scripts: Scripts,
}

#[derive(Debug)]
struct Scripts {
    prepare: Known,
    put: Known,
    invalidate: Known,
    poll: Known,
}

/// What a script has answered on the server that was greeted.
struct Settled {
    reading: Reading,
    replies: Vec<Value>,
    stand: Stand,
}

/// What is stored under a key by what this node has noted of it.
enum Noted {
    Usable(ReadOutcome),
    Miss(Epoch),
    /// Its records have to be read.
    Doubtful,
}

impl Single {
    pub(super) fn new(link: Link, names: Names, options: Options) -> Self {
        let (prepare, put) = (Known::prepare(), Known::put());
        let scripts = Scripts { prepare, put, invalidate: Known::invalidate(), poll: Known::poll() };
        let link = Arc::new(link);
        let readings = Readings::new(Arc::clone(&link), &names.clock, options.limits.read);
        Self { link, readings, names, options, memo: Memo::default(), claims: Claims::default(), scripts }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Reads the clock, together with all who read anything at this moment.
    pub(super) async fn clock(&self) -> Result<Epoch, Error> {
        Ok(self.read(Keys::new()).await?.clock.epoch)
    }

    async fn read(&self, names: Keys) -> Result<Arc<Moment>, Error> {
        let moment = self.readings.read(names).await?;
        self.memo.saw(moment.clock.epoch);
        Ok(moment)
    }

    /// What is usable by what this node has noted: while nothing is invalidated, clock and entry are enough.
    async fn noted(&self, key: &Key, note: &Note, entry: String) -> Result<Noted, Error> {
        let moment = self.read(smallvec![entry]).await?;
        let epoch = moment.clock.epoch;
        let Some(Opened { stored, id }) = self.open(key, &note.tags, &moment) else { return Ok(Noted::Miss(epoch)) };
        Ok(match note.proves(Proof { id, at: epoch }) {
            true => Noted::Usable(ReadOutcome { found: Some((stored, Validity::Valid)), epoch: Some(epoch) }),
            false => Noted::Doubtful,
        })
    }

    /// What is usable by the records of its tags, which are read with it as far as they are known.
    async fn judged(&self, key: &Key, digest: &[u8; 32], known: &[Tag], note: Option<Note>) -> Result<ReadOutcome, Error> {
        let asked = note.as_ref().map_or(known, |note| &note.tags);
        let names = iter::once(self.names.entry(digest)).chain(asked.iter().map(|tag| self.names.record(tag)));
        let mut moment = self.read(names.collect()).await?;
        let epoch = moment.clock.epoch;
        let Some(Opened { stored, id }) = self.open(key, asked, &moment) else { return self.missing(known, epoch).await };
        let judgement = match judge(epoch, &stored, asked, moment.values.get(1..).unwrap_or_default()) {
            Some(judgement) => judgement,
            // This node has not met the entry before, or not with these tags.
            None => {
                moment = self.records(stored.tags()).await?;
                judge_all(moment.clock.epoch, stored.born(), &moment.values)
            }
        };
        // The records were read together with the clock.
        let proof = (judgement == Judgement::Alive).then_some(Proof { id, at: moment.clock.epoch });
        self.memo.remember(digest, stored.tags(), proof);
        match Validity::of(judgement) {
            Some(standing) => Ok(ReadOutcome { found: Some((stored, standing)), epoch: Some(epoch) }),
            None => self.missing(known, epoch).await,
        }
    }

    /// A fetch is about to begin: what it stores will be judged by records, which have to be there before it begins.
    async fn missing(&self, known: &[Tag], epoch: Epoch) -> Result<ReadOutcome, Error> {
        // Read anew, since the records that are created now have the epoch of now.
        let epoch = if known.is_empty() { epoch } else { self.prepare(known).await? };
        Ok(ReadOutcome { found: None, epoch: Some(epoch) })
    }

    async fn records(&self, tags: &[Tag]) -> Result<Arc<Moment>, Error> {
        self.read(tags.iter().map(|tag| self.names.record(tag)).collect()).await
    }

    /// How something born at `born` with these tags stands now.
    async fn judge(&self, born: Epoch, tags: &[Tag]) -> Result<Judgement, Error> {
        let moment = self.records(tags).await?;
        Ok(judge_all(moment.clock.epoch, born, &moment.values))
    }

    /// The entry that was read first, unless it is somebody else's or damaged; `tags` are those that it may have.
    fn open(&self, key: &Key, tags: &[Tag], moment: &Moment) -> Option<Opened> {
        if let Some(opened) = moment.opened(key) {
            return Some(opened);
        }
        let entry = moment.values.first()?.as_ref()?;
        let opened = Head::split_knowing(entry, tags).and_then(|(head, body)| {
            let id = head.id;
            let stored = codec::decode(key, head, &entry.slice_ref(body), self.options.decoding)?;
            Ok(Opened { stored: Arc::new(stored), id })
        });
        let opened = opened.ok().or_else(|| self.options.note_corrupt())?;
        moment.leave(key, &opened);
        Some(opened)
    }

    /// Creates the records of these tags that are missing, and reads the epoch for a fetch that is about to begin.
    async fn prepare(&self, tags: &[Tag]) -> Result<Epoch, Error> {
        let life = self.options.record_life().as_millis().to_string();
        let arguments = |command: &mut Cmd| {
            command.arg(&self.names.record).arg(&life);
            tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        Ok(self.settled(&self.scripts.prepare, &[&self.names.clock], arguments, None).await?.reading.epoch)
    }

    /// Runs a script that answers with the clock, and a command behind it, until the server is the one that was greeted.
    async fn settled(
        &self,
        script: &Known,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
        further: Option<Cmd>,
    ) -> Result<Settled, Error> {
        for _ in 0..ATTEMPTS {
            let (replies, stand) = self.script(script, keys, &arguments, further.as_ref()).await?;
            let reading = replies.first().and_then(clock::of).ok_or_else(unexpected)?;
            if self.link.settles(stand, &reading) {
                return Ok(Settled { reading, replies, stand });
            }
        }
        Err(changing())
    }

    /// Runs a script, and a command behind it.
    async fn script(
        &self,
        script: &Known,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
        further: Option<&Cmd>,
    ) -> Result<(Vec<Value>, Stand), Error> {
        let commands = |sent, seen: &[u8]| {
            // Behind a script that is not known, a command that waits would wait for nothing, and once more behind the script.
            let sent = if further.is_some() { Sent::Whole } else { sent };
            let mut command = script.command(sent, keys);
            command.arg(seen);
            arguments(&mut command);
            let mut commands = pipe();
            commands.add_command(command);
            further.iter().for_each(|command| _ = commands.add_command((*command).clone()));
            commands
        };
        let (replies, stand) = self.link.run(commands).await.map_err(failed)?;
        Ok((replies.into_iter().collect::<Result<_, _>>().map_err(failed)?, stand))
    }

    pub(super) async fn invalidations_since(&self, last: u64) -> Result<FeedBatch, Error> {
        let arguments = |command: &mut Cmd| _ = command.arg(last).arg(BATCH).arg(WORTH_READING);
        let settled = self.settled(&self.scripts.poll, &[&self.names.clock, &self.names.stream], arguments, None).await?;
        announced(last, settled.replies.first().ok_or_else(unexpected)?)
    }

    /// Reads where the announcements end.
    pub(super) async fn position(&self) -> Result<FeedBatch, Error> {
        self.readings.clock().await.map(position)
    }

    /// Makes the function for other programs known to the server.
    pub(super) async fn install_function(&self) -> Result<(), Error> {
        let library = library(WORTH_READING, self.options.stream_life());
        let mut load = cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(library);
        self.link.ask(&load).await.map_err(failed).map(drop)
    }

    /// Whether as many replicas as the options ask for have what was written.
    fn check_replicas(&self, replies: &[Value]) -> Result<(), Error> {
        match (replies.get(1), self.options.replicas) {
            (Some(Value::Int(had)), Some(wanted)) if *had < i64::from(wanted) => Err(Error::unavailable(format!(
                "only {had} of {wanted} replicas have confirmed the invalidation, which is carried out again until they do: \
                 see to the replicas, or ask `durability` for fewer"
            ))),
            _ => Ok(()),
        }
    }

    /// Waits until as many replicas have what was written as the options ask for.
    fn confirmation(&self) -> Option<Cmd> {
        // Shorter than our own limit, so that Redis says who is missing; and never 0, which is for ever.
        let limit = self.options.limits.invalidate.mul_f64(0.8).as_millis().max(1);
        let mut wait = cmd("WAIT");
        wait.arg(self.options.replicas?).arg(limit.to_string());
        Some(wait)
    }
}

/// When tags expire, in milliseconds, as far as Lua can tell one number from the next; 0 if nothing expires.
fn expired_at(invalidation: &Invalidation) -> u64 {
    match invalidation {
        Invalidation::ExpireTags { at, .. } => at.as_millis().min(1 << 52),
        Invalidation::Tags(_) | Invalidation::Everything => 0,
    }
}

impl RemoteStore for Single {
    async fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> Result<ReadOutcome, Error> {
        let began = Instant::now();
        let digest = key.storage_digest();
        let note = self.memo.note(&digest);
        let noted = match note.as_ref().filter(|note| self.memo.may_hold(note)) {
            Some(note) => self.noted(key, note, self.names.entry(&digest)).await?,
            None => Noted::Doubtful,
        };
        match noted {
            Noted::Usable(read) => Ok(read),
            // Rarer, and large: they would make every look-up large.
            Noted::Miss(epoch) => with_deadline_since(began, limit, Box::pin(self.missing(known, epoch))).await,
            Noted::Doubtful => with_deadline_since(began, limit, Box::pin(self.judged(key, &digest, known, note))).await,
        }
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let life = self.options.life(&stored);
        let Some(entry) = codec::encode_whole(key, &stored, self.options.compression) else { return Ok(PutOutcome::TooLarge) };
        let digest = key.storage_digest();
        let arguments = |command: &mut Cmd| {
            let record_life = life + self.options.record_life();
            command.arg(&self.names.record).arg(record_life.as_millis().to_string());
            command.arg(&entry).arg(life.as_millis().to_string());
        };
        let keys = [self.names.clock.as_str(), &self.names.entry(&digest)];
        let (replies, _) = self.script(&self.scripts.put, &keys, arguments, None).await?;
        match replies.first() {
            Some(Value::BulkString(answer)) if answer == b"K" => {
                self.memo.remember(&digest, stored.tags(), None);
                Ok(PutOutcome::Stored)
            }
            Some(Value::BulkString(answer)) if answer == b"D" => Ok(PutOutcome::Invalidated),
            _ => Err(unexpected()),
        }
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(self.judge(born, tags).await? == Judgement::Alive)
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let tags = invalidation.tags();
        let arguments = |command: &mut Cmd| {
            command.arg(force(invalidation)).arg(expired_at(invalidation)).arg(&self.names.record);
            command.arg(WORTH_READING).arg(self.options.stream_life().as_secs());
            tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        let keys = [self.names.clock.as_str(), self.names.stream.as_str()];
        for _ in 0..ATTEMPTS {
            let settled = self.settled(&self.scripts.invalidate, &keys, arguments, self.confirmation()).await?;
            self.check_replicas(&settled.replies)?;
            if self.link.rules(settled.stand).await.map_err(unconfirmed)? {
                return Ok(Receipt::new(settled.reading.epoch, tags.len(), Scope::Nodes, self.options.replicas.is_some()));
            }
        }
        Err(changing())
    }

    async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(self.readings.clock().await?.epoch)
    }

    fn reset(&self) {
        self.link.reset();
    }
}

impl FetchLocks for Single {
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let command = self.claims.lock_fetch(&self.names.lock_fetch(&key.storage_digest()), life);
        let reply = self.link.ask(&command).await.map(|(reply, _)| reply).map_err(failed)?;
        Ok(self.claims.outcome(&reply))
    }

    async fn unlock_fetch(&self, key: &Key) {
        let command = self.claims.unlock_fetch(&self.names.lock_fetch(&key.storage_digest()));
        // If it cannot be given back, it ends by itself.
        let _ = self.link.ask(&command).await.map(|(reply, _)| reply);
    }
}
