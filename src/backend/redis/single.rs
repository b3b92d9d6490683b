//! The store on one Redis primary.

use std::{iter, sync::Arc, time::Duration};

use redis::{Cmd, Value, cmd, pipe};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    batch::{ATTEMPTS, ReadBatcher},
    clock::{self, Reading},
    connection::{Link, Stand},
    error::{changing, failed, unconfirmed, unexpected},
    feed::{BATCH, WORTH_READING, announced, position},
    fetch_lock::Claims,
    key_names::Names,
    memo::{Memo, Note, Proof},
    options::Options,
    question::Keys,
    script::{Known, ScriptForm, force, library},
    snapshot::{DecodedEntry, Snapshot},
    tag_record::{covers, validity_among, validity_by},
};
use crate::{
    backend::{
        FeedBatch,
        contract::{Durability, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
        remote::{FetchLocks, RemoteStore, with_deadline_since},
        validity::Validity,
    },
    codec::{self, Head},
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

/// One primary, with or without sentinels: its scripts change several keys at once.
///
/// A hit is one `MGET` of the clock, the entry and the records of its tags. The tags are known from the route, or from the last
/// time that this node read the entry; the records of other tags are read after it. While nothing is invalidated, the clock and
/// the entry are enough.
#[derive(Debug)]
pub(super) struct Single {
    link: Arc<Link>,
    readings: Arc<ReadBatcher>,
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

/// The reply of a script on the server of the handshake.
struct Settled {
    reading: Reading,
    replies: Vec<Value>,
    stand: Stand,
}

/// The entry of a key, as far as this node's remembered validation can decide.
enum Noted {
    Usable(ReadOutcome),
    Miss(Epoch),
    /// The records of its tags must be read.
    Doubtful,
}

impl Single {
    pub(super) fn new(link: Link, names: Names, options: Options) -> Self {
        let (prepare, put) = (Known::prepare(), Known::put());
        let scripts = Scripts { prepare, put, invalidate: Known::invalidate(), poll: Known::poll() };
        let link = Arc::new(link);
        let readings = ReadBatcher::new(Arc::clone(&link), &names.clock, options.limits.read);
        Self { link, readings, names, options, memo: Memo::default(), claims: Claims::default(), scripts }
    }

    /// Replicas that have confirmed an invalidation keep it over a failover.
    fn durability(&self) -> Durability {
        if self.options.replicas.is_some() { Durability::Durable } else { Durability::Volatile }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Reads the clock, batched with concurrent reads.
    pub(super) async fn clock(&self) -> Result<Epoch, Error> {
        Ok(self.read(Keys::new()).await?.clock.epoch)
    }

    async fn read(&self, names: Keys) -> Result<Arc<Snapshot>, Error> {
        let moment = self.readings.read(names).await?;
        self.memo.saw(moment.clock.epoch);
        Ok(moment)
    }

    /// Returns the entry if the remembered validation is current: while nothing is invalidated, the clock and the entry are enough.
    async fn noted(&self, key: &Key, note: &Note, entry: String) -> Result<Noted, Error> {
        let moment = self.read(smallvec![entry]).await?;
        let epoch = moment.clock.epoch;
        let Some(DecodedEntry { stored, id }) = self.open(key, &note.tags, &moment) else { return Ok(Noted::Miss(epoch)) };
        Ok(match note.proves(Proof { id, at: epoch }) {
            true => Noted::Usable(ReadOutcome { found: Some((stored, Validity::Valid)), epoch: Some(epoch) }),
            false => Noted::Doubtful,
        })
    }

    /// Returns the entry if the records of its tags allow it. The records of known tags are read together with the entry.
    async fn judged(&self, key: &Key, digest: &[u8; 32], known: &[Tag], note: Option<Note>) -> Result<ReadOutcome, Error> {
        let asked = note.as_ref().map_or(known, |note| &note.tags);
        let names = iter::once(self.names.entry(digest)).chain(asked.iter().map(|tag| self.names.record(tag)));
        let mut moment = self.read(names.collect()).await?;
        let epoch = moment.clock.epoch;
        let Some(DecodedEntry { stored, id }) = self.open(key, asked, &moment) else { return self.missing(known, epoch).await };
        let validity = if covers(asked, &stored) {
            validity_among(epoch, &stored, asked, moment.values.get(1..).unwrap_or_default())
        } else {
            // This node has not read the entry before, or not with these tags.
            moment = self.records(stored.tags()).await?;
            validity_by(moment.clock.epoch, stored.born(), &moment.values)
        };
        // The records were read together with the clock.
        let proof = (validity == Some(Validity::Valid)).then_some(Proof { id, at: moment.clock.epoch });
        self.memo.remember(digest, stored.tags(), proof);
        match validity {
            Some(validity) => Ok(ReadOutcome { found: Some((stored, validity)), epoch: Some(epoch) }),
            None => self.missing(known, epoch).await,
        }
    }

    /// Prepares a fetch: the records that decide about its response must exist before the handler runs.
    async fn missing(&self, known: &[Tag], epoch: Epoch) -> Result<ReadOutcome, Error> {
        // Read again, since records that are created now have the current epoch.
        let epoch = if known.is_empty() { epoch } else { self.prepare(known).await? };
        Ok(ReadOutcome { found: None, epoch: Some(epoch) })
    }

    async fn records(&self, tags: &[Tag]) -> Result<Arc<Snapshot>, Error> {
        self.read(tags.iter().map(|tag| self.names.record(tag)).collect()).await
    }

    /// Returns the current validity of a response with these tags that was born at `born`.
    async fn validity(&self, born: Epoch, tags: &[Tag]) -> Result<Option<Validity>, Error> {
        let moment = self.records(tags).await?;
        Ok(validity_by(moment.clock.epoch, born, &moment.values))
    }

    /// Decodes the entry, the first value, unless it belongs to another key or is damaged; `tags` are those that it may have.
    fn open(&self, key: &Key, tags: &[Tag], moment: &Snapshot) -> Option<DecodedEntry> {
        if let Some(opened) = moment.opened(key) {
            return Some(opened);
        }
        let entry = moment.values.first()?.as_ref()?;
        let opened = Head::split_with_hint(entry, tags).and_then(|(head, body)| {
            let id = head.id;
            let stored = codec::decode(key, head, &entry.slice_ref(body), self.options.decoding)?;
            Ok(DecodedEntry { stored: Arc::new(stored), id })
        });
        let opened = opened.ok().or_else(|| self.options.note_corrupt())?;
        moment.memoize(key, &opened);
        Some(opened)
    }

    /// Creates the missing records of these tags, and reads the epoch for a fetch that is about to start.
    async fn prepare(&self, tags: &[Tag]) -> Result<Epoch, Error> {
        let life = self.options.record_life().as_millis().to_string();
        let arguments = |command: &mut Cmd| {
            command.arg(&self.names.record).arg(&life);
            tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        Ok(self.settled(&self.scripts.prepare, &[&self.names.clock], arguments, None).await?.reading.epoch)
    }

    /// Runs a script that returns the clock, followed by a command, until the server is the one of the handshake.
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

    /// Runs a script, followed by a command.
    async fn script(
        &self,
        script: &Known,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
        further: Option<&Cmd>,
    ) -> Result<(Vec<Value>, Stand), Error> {
        let commands = |sent, seen: &[u8]| {
            // If the server lacks the script, a blocking command behind it would wait in vain, and wait again on the retry.
            let sent = if further.is_some() { ScriptForm::Source } else { sent };
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

    /// Reads the position of the end of the invalidation stream.
    pub(super) async fn position(&self) -> Result<FeedBatch, Error> {
        self.readings.clock().await.map(position)
    }

    /// Registers the function for other programs on the server.
    pub(super) async fn install_function(&self) -> Result<(), Error> {
        let library = library(WORTH_READING, self.options.stream_life());
        let mut load = cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(library);
        self.link.ask(&load).await.map_err(failed).map(drop)
    }

    /// Returns whether the write has reached the number of replicas that the options require.
    fn check_replicas(&self, replies: &[Value]) -> Result<(), Error> {
        match (replies.get(1), self.options.replicas) {
            (Some(Value::Int(had)), Some(wanted)) if *had < i64::from(wanted) => Err(Error::unavailable(format!(
                "only {had} of {wanted} replicas have confirmed the invalidation, which is carried out again until they do: \
                 see to the replicas, or ask `durability` for fewer"
            ))),
            _ => Ok(()),
        }
    }

    /// Waits until the write has reached the number of replicas that the options require.
    fn confirmation(&self) -> Option<Cmd> {
        // Shorter than larder's own limit, so that Redis reports how many replicas are missing; never 0, which means indefinitely.
        let limit = self.options.limits.invalidate.mul_f64(0.8).as_millis().max(1);
        let mut wait = cmd("WAIT");
        wait.arg(self.options.replicas?).arg(limit.to_string());
        Some(wait)
    }
}

/// Returns the time at which tags expire in milliseconds, limited to integers that Lua represents exactly; 0 if nothing expires.
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
            // Boxed: rare, and otherwise part of every lookup's future.
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
        Ok(self.validity(born, tags).await? == Some(Validity::Valid))
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
                return Ok(Receipt::new(settled.reading.epoch, tags.len(), Scope::Nodes, self.durability()));
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
        // An error is ignored: a lock that cannot be released expires.
        let _ = self.link.ask(&command).await.map(|(reply, _)| reply);
    }
}
