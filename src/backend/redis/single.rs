//! The store on one Redis primary.

use std::{iter, sync::Arc, time::Duration};

use redis::{Cmd, Value, cmd, pipe};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    batch::{ATTEMPTS, Keys, Read, ReadBatcher},
    clock::{self, ClockReading},
    connection::{Connection, SentOn},
    error::{from_redis, malformed_reply, primary_keeps_changing, primary_unconfirmed},
    feed::{POLL_BYTES, STREAM_BYTES, parse_poll, position, unpack_tags},
    fetch_lock::FetchLockCommands,
    key_names::KeyNames,
    leases::{self, millis},
    mode::{mode_in, set_mode},
    options::Options,
    replace::ReplaceCommands,
    script::{Script, ScriptForm, kind_of, library},
    tag_record::{covers, validity_among, validity_by},
    write_marks::MarkChange,
};
use crate::{
    backend::{
        FeedBatch,
        cache_mode::CacheMode,
        contract::{Durability, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt},
        remote::{
            FetchLocks, RemoteStore, TimeLimit,
            decoded::DecodedEntries,
            shared_mode::SharedMode,
            shared_read::DecodedEntry,
            validated::{ValidAt, Validation, ValidationCache},
            with_deadline_since,
        },
        store_stats::StoreServer,
        validity::Validity,
    },
    codec,
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
pub(super) struct Single {
    connection: Arc<Connection>,
    batcher: Arc<ReadBatcher>,
    names: KeyNames,
    options: Options,
    validated: ValidationCache,
    decoded: DecodedEntries,
    fetch_locks: FetchLockCommands,
    replacing: ReplaceCommands,
    scripts: Scripts,
}

struct Scripts {
    prepare: Script,
    put: Script,
    mark: Script,
    invalidate: Script,
    poll: Script,
    announce: Script,
}

/// The reply of a script on the server of the handshake.
struct ScriptOutcome {
    reading: ClockReading,
    replies: Vec<Value>,
    sent_on: SentOn,
}

/// The entry of a key, as far as this node's remembered validation can decide.
enum ValidatedRead {
    Usable(ReadOutcome),
    Miss(Epoch),
    /// The records of its tags must be read.
    Unvalidated,
}

impl Single {
    pub(super) fn new(connection: Connection, names: KeyNames, options: Options) -> Self {
        let (prepare, put) = (Script::prepare(), Script::put());
        let (poll, announce) = (Script::poll(), Script::announce());
        let scripts = Scripts { prepare, put, mark: Script::mark(), invalidate: Script::invalidate(), poll, announce };
        let connection = Arc::new(connection);
        let batcher = ReadBatcher::new(Arc::clone(&connection), &names, options.limits.read);
        let (validated, decoded, fetch_locks, replacing) = Default::default();
        Self { connection, batcher, names, options, validated, decoded, fetch_locks, replacing, scripts }
    }

    /// Replicas that have confirmed an invalidation keep it over a failover.
    fn durability(&self) -> Durability {
        if self.options.replicas.is_some() { Durability::Durable } else { Durability::Volatile }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn names(&self) -> &KeyNames {
        &self.names
    }

    /// Returns the kind of source of the connection, for `Debug`.
    pub(super) fn topology(&self) -> &'static str {
        self.connection.topology()
    }

    /// Reads the clock, batched with concurrent reads.
    pub(super) async fn clock(&self) -> Result<Epoch, Error> {
        Ok(self.read(Keys::new()).await?.clock.epoch)
    }

    async fn read(&self, names: Keys) -> Result<Read, Error> {
        let read = self.batcher.read(names).await?;
        self.validated.observe_epoch(read.clock.epoch);
        Ok(read)
    }

    /// Returns the entry if the remembered validation is current: while nothing is invalidated, the clock and the entry are enough.
    async fn read_validated(&self, key: &Key, validation: &Validation, entry: String) -> Result<ValidatedRead, Error> {
        let read = self.read(smallvec![entry]).await?;
        let epoch = read.clock.epoch;
        let Some(DecodedEntry { stored, id }) = self.decode(key, &validation.tags, &read) else {
            return Ok(ValidatedRead::Miss(epoch));
        };
        Ok(match validation.holds(ValidAt { id, epoch }) {
            true => ValidatedRead::Usable(ReadOutcome { found: Some((stored, Validity::Valid)), epoch: Some(epoch) }),
            false => ValidatedRead::Unvalidated,
        })
    }

    /// Returns the entry if the records of its tags allow it. The records of known tags are read together with the entry.
    async fn read_and_judge(
        &self,
        key: &Key,
        digest: &[u8; 32],
        known: &[Tag],
        validation: Option<Validation>,
    ) -> Result<ReadOutcome, Error> {
        let tags = validation.as_ref().map_or(known, |validation| &validation.tags);
        let names = iter::once(self.names.entry(digest)).chain(tags.iter().map(|tag| self.names.record(tag)));
        let mut read = self.read(names.collect()).await?;
        let epoch = read.clock.epoch;
        let Some(DecodedEntry { stored, id }) = self.decode(key, tags, &read) else { return self.miss(known, epoch).await };
        let validity = if covers(tags, &stored) {
            validity_among(epoch, &stored, tags, read.values.get(1..).unwrap_or_default())
        } else {
            // This node has not read the entry before, or not with these tags.
            read = self.records(stored.tags()).await?;
            validity_by(read.clock.epoch, stored.born(), &read.values)
        };
        // The records were read together with the clock.
        let valid = (validity == Some(Validity::Valid)).then_some(ValidAt { id, epoch: read.clock.epoch });
        self.validated.remember(hash(digest), stored.tags(), valid);
        match validity {
            Some(validity) => Ok(ReadOutcome { found: Some((stored, validity)), epoch: Some(epoch) }),
            None => self.miss(known, epoch).await,
        }
    }

    /// Prepares a fetch: the records that decide about its response must exist before the handler runs.
    async fn miss(&self, known: &[Tag], epoch: Epoch) -> Result<ReadOutcome, Error> {
        // Read again, since records that are created now have the current epoch.
        let epoch = if known.is_empty() { epoch } else { self.prepare(known).await? };
        Ok(ReadOutcome { found: None, epoch: Some(epoch) })
    }

    async fn records(&self, tags: &[Tag]) -> Result<Read, Error> {
        self.read(tags.iter().map(|tag| self.names.record(tag)).collect()).await
    }

    /// Returns the current validity of a response with these tags that was born at `born`.
    async fn validity(&self, born: Epoch, tags: &[Tag]) -> Result<Option<Validity>, Error> {
        let read = self.records(tags).await?;
        Ok(validity_by(read.clock.epoch, born, &read.values))
    }

    /// Decodes the entry, the first value, unless it belongs to another key or is damaged; `tags` are those that it may have.
    fn decode(&self, key: &Key, tags: &[Tag], read: &Read) -> Option<DecodedEntry> {
        if let Some(decoded) = read.decoded(key) {
            return Some(decoded);
        }
        let entry = read.values.first()?.as_ref()?;
        let decoded =
            self.decoded.decode(key, tags, entry, self.options.decoding).ok().or_else(|| self.options.note_corrupt())?;
        read.memoize(key, &decoded);
        Some(decoded)
    }

    /// Creates the missing records of these tags, and reads the epoch for a fetch that is about to start.
    async fn prepare(&self, tags: &[Tag]) -> Result<Epoch, Error> {
        let life = self.options.record_life().as_millis().to_string();
        let arguments = |command: &mut Cmd| {
            command.arg(&self.names.record).arg(&life);
            tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        Ok(self.run_script(&self.scripts.prepare, &[&self.names.clock], arguments, None).await?.reading.epoch)
    }

    /// Runs a script that returns the clock, followed by a command, until the server is the one of the handshake.
    async fn run_script(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
        then: Option<Cmd>,
    ) -> Result<ScriptOutcome, Error> {
        for _ in 0..ATTEMPTS {
            let (replies, sent_on) = self.run_once(script, keys, &arguments, then.as_ref()).await?;
            let reading = replies.first().and_then(clock::of).ok_or_else(malformed_reply)?;
            if self.connection.accept_write(sent_on, &reading) {
                return Ok(ScriptOutcome { reading, replies, sent_on });
            }
        }
        Err(primary_keeps_changing())
    }

    /// Runs a script, followed by a command.
    async fn run_once(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
        then: Option<&Cmd>,
    ) -> Result<(Vec<Value>, SentOn), Error> {
        let commands = |form, seen: &[u8]| {
            // If the server lacks the script, a blocking command behind it would wait in vain, and wait again on the retry.
            let form = if then.is_some() { ScriptForm::Source } else { form };
            let mut command = script.command(form, keys);
            command.arg(seen);
            arguments(&mut command);
            let mut commands = pipe();
            commands.add_command(command);
            then.iter().for_each(|command| _ = commands.add_command((*command).clone()));
            commands
        };
        let (replies, sent_on) = self.connection.run(commands).await.map_err(from_redis)?;
        Ok((replies.into_iter().collect::<Result<_, _>>().map_err(from_redis)?, sent_on))
    }

    pub(super) async fn invalidations_since(&self, last: u64) -> Result<FeedBatch, Error> {
        let arguments = |command: &mut Cmd| _ = command.arg(last).arg(POLL_BYTES).arg(STREAM_BYTES);
        let keys = [self.names.clock.as_str(), &self.names.stream, &self.names.mode];
        let outcome = self.run_script(&self.scripts.poll, &keys, arguments, None).await?;
        let reply = outcome.replies.first().ok_or_else(malformed_reply)?;
        self.mode().observe_name(mode_in(reply));
        parse_poll(last, reply)
    }

    pub(super) async fn announce_lease(&self, span: Duration, hold: Duration) -> Result<(), Error> {
        let arguments = |command: &mut Cmd| _ = command.arg(millis(span)).arg(millis(hold));
        self.run_script(&self.scripts.announce, &[&self.names.clock, &self.names.leases], arguments, None).await.map(drop)
    }

    /// Reads the position of the end of the invalidation stream.
    pub(super) async fn position(&self) -> Result<FeedBatch, Error> {
        self.batcher.clock().await.map(position)
    }

    /// Registers the function for other programs on the server.
    pub(super) async fn install_function(&self) -> Result<(), Error> {
        let library = library(STREAM_BYTES, self.options.stream_life());
        let mut load = cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(library);
        self.connection.send(&load).await.map_err(from_redis).map(drop)
    }

    async fn mark(&self, change: MarkChange, tags: &[Tag]) -> Result<(), Error> {
        let arguments = |command: &mut Cmd| change.add_to(command, &self.names.writers, tags);
        self.run_script(&self.scripts.mark, &[&self.names.clock], arguments, None).await.map(drop)
    }

    /// Invalidates tags whose writers have not released them, and removes the marks that had lapsed before.
    async fn settle(&self, tags: Vec<Tag>, at: u64) -> Result<(), Error> {
        let invalidation = Invalidation::Tags(tags);
        self.invalidate(&invalidation).await?;
        self.mark(MarkChange::ForgetLapsed { at }, invalidation.tags()).await
    }

    /// Returns whether the write has reached the number of replicas that the options require.
    fn check_replicas(&self, replies: &[Value]) -> Result<(), Error> {
        match (replies.get(1), self.options.replicas) {
            (Some(Value::Int(had)), Some(wanted)) if *had < i64::from(wanted) => Err(Error::unconfirmed(format!(
                "the invalidation was carried out, but only {had} of {wanted} replicas have confirmed it: check the replicas, or set \
                 `durability` to fewer"
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

/// Returns the key's hash in the cache of validations.
fn hash(digest: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*digest.first_chunk().expect("the first 8 of 32 bytes"))
}

/// Returns the time and the tags in the reply that marks have lapsed.
fn lapsed_tags(reply: &[u8]) -> Option<(u64, Vec<Tag>)> {
    let (at, tags) = reply.strip_prefix(b"L")?.split_first_chunk()?;
    Some((u64::from_be_bytes(*at), unpack_tags(tags)?))
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
        let (began, limit) = (Instant::now(), TimeLimit::of_reads(limit));
        let digest = key.storage_digest();
        let validation = self.validated.get(hash(&digest));
        let outcome = match validation.as_ref().filter(|validation| self.validated.maybe_current(validation)) {
            Some(validation) => self.read_validated(key, validation, self.names.entry(&digest)).await?,
            None => ValidatedRead::Unvalidated,
        };
        match outcome {
            ValidatedRead::Usable(read) => Ok(read),
            // Boxed: rare, and otherwise part of every lookup's future.
            ValidatedRead::Miss(epoch) => with_deadline_since(began, limit, Box::pin(self.miss(known, epoch))).await,
            ValidatedRead::Unvalidated => {
                with_deadline_since(began, limit, Box::pin(self.read_and_judge(key, &digest, known, validation))).await
            }
        }
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let life = self.options.life(&stored);
        let Some(entry) = codec::encode_whole(key, &stored, self.options.compression) else { return Ok(PutOutcome::TooLarge) };
        let digest = key.storage_digest();
        let arguments = |command: &mut Cmd| {
            let record_life = life + self.options.record_life();
            command.arg(&self.names.record).arg(record_life.as_millis().to_string());
            command.arg(&entry).arg(life.as_millis().to_string()).arg(&self.names.writers);
        };
        let keys = [self.names.clock.as_str(), &self.names.entry(&digest)];
        let (replies, _) = self.run_once(&self.scripts.put, &keys, arguments, None).await?;
        match replies.first() {
            Some(Value::BulkString(answer)) if answer == b"K" => {
                self.validated.remember(hash(&digest), stored.tags(), None);
                Ok(PutOutcome::Stored)
            }
            Some(Value::BulkString(answer)) if answer == b"D" => Ok(PutOutcome::Invalidated),
            Some(Value::BulkString(answer)) if answer == b"W" => Ok(PutOutcome::PendingWrite),
            Some(Value::BulkString(answer)) if answer.first() == Some(&b'L') => {
                let (at, tags) = lapsed_tags(answer).ok_or_else(malformed_reply)?;
                Box::pin(self.settle(tags, at)).await?;
                Ok(PutOutcome::Invalidated)
            }
            _ => Err(malformed_reply()),
        }
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let digest = key.storage_digest();
        let name = self.names.entry(&digest);
        let read = match self.connection.send(&self.replacing.read(&name)).await {
            Ok((read, _)) => read,
            // The key has a value of another type.
            Err(error) if error.code() == Some("WRONGTYPE") => return Ok(PutOutcome::Invalidated),
            Err(error) => return Err(from_redis(error)),
        };
        let swap = match self.replacing.swap((key, &name), read, present, &stored, &self.options) {
            Ok(swap) => swap,
            Err(outcome) => return Ok(outcome),
        };
        let (reply, _) = self.connection.send(&swap).await.map_err(from_redis)?;
        let outcome = self.replacing.outcome(&reply)?;
        if outcome == PutOutcome::Stored {
            self.validated.remember(hash(&digest), stored.tags(), None);
        }
        Ok(outcome)
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(self.validity(born, tags).await? == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let tags = invalidation.tags();
        let arguments = |command: &mut Cmd| {
            command.arg(kind_of(invalidation)).arg(expired_at(invalidation)).arg(&self.names.record);
            command.arg(STREAM_BYTES).arg(self.options.stream_life().as_secs());
            tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        let keys = [self.names.clock.as_str(), self.names.stream.as_str(), self.names.leases.as_str()];
        for _ in 0..ATTEMPTS {
            let outcome = self.run_script(&self.scripts.invalidate, &keys, arguments, self.confirmation()).await?;
            if self.connection.is_still_primary(outcome.sent_on).await.map_err(primary_unconfirmed)? {
                self.check_replicas(&outcome.replies)?;
                let scope = outcome.replies.first().and_then(leases::scope).ok_or_else(malformed_reply)?;
                return Ok(Receipt::new(outcome.reading.epoch, tags.len(), scope, self.durability()));
            }
        }
        Err(primary_keeps_changing())
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        self.mark(MarkChange::Hold { writer, life }, tags).await
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        self.mark(MarkChange::Release { writer }, tags).await
    }

    async fn set_mode(&self, mode: CacheMode) -> Result<(), Error> {
        self.connection.send(&set_mode(&self.names, mode)).await.map(drop).map_err(from_redis)
    }

    fn mode(&self) -> &SharedMode {
        self.batcher.mode()
    }

    async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(self.batcher.clock().await?.epoch)
    }

    fn reset(&self) {
        self.connection.reset();
    }

    fn servers(&self) -> Vec<StoreServer> {
        self.connection.servers()
    }

    /// A script takes the epoch and writes the records in one step.
    fn reads_are_exact(&self) -> bool {
        true
    }
}

impl FetchLocks for Single {
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let command = self.fetch_locks.lock_fetch(&self.names.fetch_lock(&key.storage_digest()), life);
        let reply = self.connection.send(&command).await.map(|(reply, _)| reply).map_err(from_redis)?;
        Ok(self.fetch_locks.outcome(&reply))
    }

    async fn unlock_fetch(&self, key: &Key) -> Result<(), Error> {
        let command = self.fetch_locks.unlock_fetch(&self.names.fetch_lock(&key.storage_digest()));
        self.connection.send(&command).await.map(drop).map_err(from_redis)
    }
}
