use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd, pipe};

use super::{
    failure::{failed, unexpected},
    link::Link,
    names::Names,
    options::Options,
    reading::{Reading, Term},
    scripts::{Known, Scripts, Sent},
};
use crate::{
    backend::{Backend, Invalidation, Put, Read, Receipt, Scope, Standing, guarded::Remote},
    codec::{self, Head},
    error::Error,
    key::Key,
    stored::{Epoch, Stored},
    tag::Tag,
};

/// One primary, with or without sentinels: its scripts change several keys at once.
#[derive(Debug)]
pub(super) struct Single {
    link: Link,
    names: Names,
    options: Options,
    scripts: Scripts,
    /// The term that this node has last heard of.
    bound: RwLock<Option<Arc<Bound>>>,
}

/// What reads in one term take.
#[derive(Debug)]
struct Bound {
    term: Term,
    script: Known,
    /// Servers before version 7 hand scripts on to their replicas, so having one proves nothing: they are looked at each time.
    always_look: bool,
}

/// How often a read is begun again because the term has changed meanwhile.
const ATTEMPTS: usize = 4;

impl Single {
    pub(super) fn new(link: Link, names: Names, options: Options) -> Self {
        Self { link, names, options, scripts: Scripts::default(), bound: RwLock::default() }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Reads the clock.
    pub(super) async fn reading(&self) -> Result<Reading, Error> {
        let reply = self.read(|command| _ = command.arg("clock"), None).await?;
        reply.reading()
    }

    /// Runs the reading script in the term that holds.
    async fn read(&self, arguments: impl Fn(&mut Cmd), entry: Option<&str>) -> Result<Reply, Error> {
        for _ in 0..ATTEMPTS {
            let bound = self.bound().await?;
            let sent = if bound.always_look { Sent::Whole } else { Sent::ByDigest };
            let mut replies = self.link.run(&mut self.reading_commands(&bound, sent, &arguments, entry)).await.map_err(failed)?;
            if replies.first().is_some_and(is_unknown) {
                let mut whole = self.reading_commands(&bound, Sent::Whole, &arguments, entry);
                replies = self.link.run(&mut whole).await.map_err(failed)?;
            }
            let reply = Reply::of(replies)?;
            if reply.verdict != b'T' {
                return Ok(reply);
            }
            self.forget(&bound);
        }
        Err(Error::unavailable("Redis changes its primary again and again"))
    }

    fn reading_commands(&self, bound: &Bound, sent: Sent, arguments: &impl Fn(&mut Cmd), entry: Option<&str>) -> Pipeline {
        let mut read = bound.script.command(sent, 2);
        read.arg(&self.names.clock).arg(entry.unwrap_or(&self.names.clock));
        read.arg(if sent == Sent::Whole { "1" } else { "" });
        arguments(&mut read);
        let mut commands = pipe();
        commands.add_command(read);
        if let Some(entry) = entry {
            commands.cmd("HGET").arg(entry).arg("b");
        }
        commands
    }

    async fn bound(&self) -> Result<Arc<Bound>, Error> {
        if let Some(bound) = self.bound.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(bound);
        }
        let answer = self.script(&self.scripts.greet, &[&self.names.clock], |_| {}).await?;
        let (reading, version) = Reading::split(&answer).ok_or_else(unexpected)?;
        let always_look = version.first().is_none_or(|version| *version < 7);
        let bound = Arc::new(Bound { term: reading.term, script: Known::bound_to(reading.term), always_look });
        *self.bound.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&bound));
        Ok(bound)
    }

    fn forget(&self, old: &Bound) {
        let mut bound = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        if bound.as_ref().is_some_and(|bound| bound.term == old.term) {
            *bound = None;
        }
    }

    /// Runs one of the scripts that look at the server themselves.
    async fn script(&self, script: &Known, keys: &[&str], arguments: impl Fn(&mut Cmd)) -> Result<Vec<u8>, Error> {
        let mut replies = self.scripts(script, keys, arguments, &[]).await?;
        match replies.swap_remove(0) {
            Ok(Value::BulkString(answer)) => Ok(answer),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(failed(error)),
        }
    }

    /// The same, with further commands behind it.
    async fn scripts(
        &self,
        script: &Known,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
        further: &[Cmd],
    ) -> Result<Vec<RedisResult<Value>>, Error> {
        let commands = |sent| {
            let mut command = script.command(sent, keys.len());
            keys.iter().for_each(|key| _ = command.arg(key));
            arguments(&mut command);
            let mut commands = pipe();
            commands.add_command(command);
            further.iter().for_each(|command| _ = commands.add_command(command.clone()));
            commands
        };
        let replies = self.link.run(&mut commands(Sent::ByDigest)).await.map_err(failed)?;
        let replies = match replies.first() {
            Some(reply) if is_unknown(reply) => self.link.run(&mut commands(Sent::Whole)).await.map_err(failed)?,
            Some(_) => replies,
            None => return Err(unexpected()),
        };
        if replies.len() == 1 + further.len() { Ok(replies) } else { Err(unexpected()) }
    }

    /// Creates the records of these tags that are missing, and reads the epoch for a fetch that is about to begin.
    async fn prepare(&self, tags: &[Tag]) -> Result<Epoch, Error> {
        let life = self.options.record_life().as_millis();
        let arguments = |command: &mut Cmd| {
            command.arg(&self.names.record).arg(life.to_string());
            tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        let answer = self.script(&self.scripts.prepare, &[&self.names.clock], arguments).await?;
        Ok(Reading::split(&answer).ok_or_else(unexpected)?.0.epoch)
    }

    /// The entry, unless it turns out to be somebody else's or damaged.
    fn open(&self, key: &Key, reply: Reply) -> Option<(Arc<Stored>, Standing)> {
        let standing = match reply.verdict {
            b'A' => Standing::Current,
            b'S' => Standing::Expired,
            b'C' => return self.options.note_corrupt(),
            _ => return None,
        };
        let (head, body) = (Head::decode(reply.rest.get(Reading::BYTES..)?), reply.body?);
        match head.and_then(|head| codec::decode(key, head, &body, self.options.decoding)) {
            Ok(stored) => Some((Arc::new(stored), standing)),
            Err(_) => self.options.note_corrupt(),
        }
    }

    /// Waits until as many replicas have an invalidation as the options ask for.
    fn confirmation(&self) -> Option<Cmd> {
        let replicas = self.options.replicas?;
        let mut wait = cmd("WAIT");
        wait.arg(replicas).arg(self.options.limits.invalidate.as_millis().to_string());
        Some(wait)
    }
}

/// What the reading script has answered.
struct Reply {
    verdict: u8,
    /// The clock, and behind it the head of an entry.
    rest: Vec<u8>,
    body: Option<Bytes>,
}

impl Reply {
    fn of(replies: Vec<RedisResult<Value>>) -> Result<Self, Error> {
        let mut replies = replies.into_iter();
        let mut rest = match replies.next() {
            Some(Ok(Value::BulkString(answer))) if !answer.is_empty() => answer,
            Some(Err(error)) => return Err(failed(error)),
            _ => return Err(unexpected()),
        };
        let body = match replies.next() {
            Some(Ok(Value::BulkString(body))) => Some(Bytes::from(body)),
            _ => None,
        };
        let verdict = rest.remove(0);
        Ok(Self { verdict, rest, body })
    }

    fn reading(&self) -> Result<Reading, Error> {
        Ok(Reading::split(&self.rest).ok_or_else(unexpected)?.0)
    }
}

/// Whether the server does not have the script.
fn is_unknown(reply: &RedisResult<Value>) -> bool {
    reply.as_ref().is_err_and(|error: &RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}

#[async_trait]
impl Backend for Single {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<Read, Error> {
        let entry = self.names.entry(key);
        let arguments = |command: &mut Cmd| _ = command.arg("entry").arg(&self.names.record);
        let reply = self.read(arguments, Some(&entry)).await?;
        let epoch = reply.reading()?.epoch;
        if let Some(found) = self.open(key, reply) {
            return Ok(Read { found: Some(found), epoch: Some(epoch) });
        }
        // The earlier reading would do, but for records that are created now.
        let epoch = if known.is_empty() { epoch } else { self.prepare(known).await? };
        Ok(Read { found: None, epoch: Some(epoch) })
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<Put, Error> {
        let Some(life) = self.options.life(&stored) else { return Ok(Put::Refused) };
        let Some(encoded) = codec::encode(key, &stored, self.options.compression) else { return Ok(Put::Refused) };
        let entry = self.names.entry(key);
        let arguments = |command: &mut Cmd| {
            command.arg(&self.names.record).arg((life + self.options.record_life()).as_millis().to_string());
            command.arg(&encoded.head).arg(&encoded.body).arg(life.as_millis().to_string());
        };
        match self.scripts(&self.scripts.put, &[&self.names.clock, &entry], arguments, &[]).await?.swap_remove(0) {
            Ok(Value::BulkString(answer)) if answer == b"K" => Ok(Put::Kept),
            Ok(Value::BulkString(answer)) if answer == b"D" => Ok(Put::Dead),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        let arguments = |command: &mut Cmd| {
            let born = [born.incarnation().to_be_bytes(), born.get().to_be_bytes()].concat();
            command.arg("alive").arg(&self.names.record).arg(born);
            tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        Ok(self.read(arguments, None).await?.verdict == b'A')
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let (what, tags): (_, &[Tag]) = match invalidation {
            Invalidation::Tags(tags) => ("hard", tags),
            Invalidation::ExpireTags(tags) => ("soft", tags),
            Invalidation::Everything => ("all", &[]),
        };
        let arguments = |command: &mut Cmd| {
            command.arg(what).arg(&self.names.record).arg(self.options.stream_length).arg(self.options.stream_life().as_secs());
            tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        let wait = self.confirmation();
        let keys = [self.names.clock.as_str(), self.names.stream.as_str()];
        let mut replies = self.scripts(&self.scripts.invalidate, &keys, arguments, wait.as_slice()).await?.into_iter();
        let answer = match replies.next() {
            Some(Ok(Value::BulkString(answer))) => answer,
            Some(Err(error)) => return Err(failed(error)),
            _ => return Err(unexpected()),
        };
        let (reading, _) = Reading::split(&answer).ok_or_else(unexpected)?;
        if let (Some(reply), Some(wanted)) = (replies.next(), self.options.replicas) {
            let had = redis::from_redis_value::<u32>(reply.map_err(failed)?).map_err(|_| unexpected())?;
            if had < wanted {
                return Err(Error::unavailable(format!("only {had} of {wanted} replicas have confirmed the invalidation")));
            }
        }
        Ok(Receipt::new(reading.epoch, tags.len(), Scope::Nodes, self.options.replicas.is_some()))
    }
}

#[async_trait]
impl Remote for Single {
    async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(self.reading().await?.epoch)
    }

    fn reset(&self) {
        self.link.reset();
    }
}
