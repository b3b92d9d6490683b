//! The connection to a Redis primary and its handshake.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, ConnectionManager, MultiplexedConnection},
    pipe,
};
use tokio::{sync::Mutex, time::sleep};

use super::{
    clock::{ClockReading, Term},
    connector::Connector,
    script::{Script, ScriptForm},
    seen::Seen,
    sentinels::{PERIOD, Primary, Sentinels},
    version::Version,
};
use crate::backend::{
    lone_task::{LoneTask, Running},
    store_stats::StoreServer,
};

/// The shared connection to one primary. It is established when it is first needed, and replaced when it breaks.
///
/// A command that fails because the connection was already broken is sent once more. Only callers limit the time of a command.
///
/// The handshake precedes every other command: it passes the latest clock that this node observed on any server, and returns the
/// server's term. So every failover, every restart and every return of a former primary is noticed.
pub(super) struct Connection {
    source: Source,
    clock: String,
    handshake: Script,
    state: Arc<RwLock<State>>,
    /// The highest epoch that was observed. Each handshake makes the server's clock continue after it.
    seen: AtomicU64,
    /// Held while a connection is established; the number of the last connection.
    establishing: Mutex<u64>,
    watch: LoneTask,
    limit: Duration,
}

#[derive(Default)]
struct State {
    current: Option<Established>,
    /// The term of the last handshake.
    term: Option<Term>,
}

/// The connection on which a command was sent, and the clock that had been observed before.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentOn {
    number: u64,
    seen: Seen,
}

pub(super) enum Source {
    Client(Box<Client>),
    /// The server that the sentinels report as the primary.
    Sentinel(Arc<Sentinels>),
    /// The application's connection. It reconnects by itself, possibly to another server, and does not report it.
    Manager(ConnectionManager),
    /// The application's pool. Each of its connections may lead to another server.
    Connector(Connector),
}

/// A connection after its handshake.
#[derive(Clone)]
struct Established {
    transport: Transport,
    number: u64,
    term: Term,
    /// The server as the sentinels reported it.
    primary: Option<Arc<Primary>>,
}

#[derive(Clone)]
enum Transport {
    Own(MultiplexedConnection),
    Managed(ConnectionManager, Arc<PrimaryGuard>),
    Lent(Connector, Arc<PrimaryGuard>),
}

/// The script that precedes each command on a connection that may have been moved to another server.
struct PrimaryGuard {
    script: Script,
    /// Before version 7, a replica has its primary's scripts, so their presence proves nothing: the source is sent each time.
    form: ScriptForm,
}

impl Connection {
    /// Creates a connection; `clock` is the key of the clock, and `limit` the time limit for connecting.
    pub(super) fn new(source: Source, clock: &str, limit: Duration) -> Self {
        let (clock, handshake) = (clock.to_owned(), Script::handshake());
        let (state, seen, establishing, watch) = Default::default();
        Self { source, clock, handshake, state, seen, establishing, watch, limit }
    }

    /// Sends one command, after a handshake if the connection is new.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<(Value, SentOn)> {
        let may_be_old = self.may_be_old();
        match self.send_once(command).await {
            Err(error) if may_be_old && breaks(&error) => self.send_once(command).await,
            outcome => outcome,
        }
    }

    /// Sends commands, and returns the outcome of each. The first one is a script that checks the server itself; its first argument is
    /// the observed clock.
    pub(super) async fn run(
        &self,
        commands: impl Fn(ScriptForm, &[u8]) -> Pipeline,
    ) -> RedisResult<(Vec<RedisResult<Value>>, SentOn)> {
        let may_be_old = self.may_be_old();
        let outcome = self.run_once(&commands).await;
        let broken = match &outcome {
            Err(error) => breaks(error),
            Ok((replies, _)) => broken_in(replies),
        };
        if broken && may_be_old { self.run_once(&commands).await } else { outcome }
    }

    /// Returns the clock if the values that were read with it may be used: its term is that of the handshake, and it has not gone back.
    /// Otherwise, the next command begins with a new handshake.
    pub(super) fn accept_read(&self, sent_on: SentOn, reading: Option<ClockReading>) -> Option<ClockReading> {
        let usable = reading.filter(|reading| sent_on.seen.is_before(reading));
        match &usable {
            Some(reading) => self.observe(reading),
            None => self.forget(sent_on.number),
        }
        usable
    }

    /// Returns whether a script's writes count: this node still considers the server that ran it the primary.
    pub(super) fn accept_write(&self, sent_on: SentOn, reading: &ClockReading) -> bool {
        // Under the lock, so that the handshake with another server passes this reading.
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let is_current = state.current.as_ref().is_some_and(|current| current.number == sent_on.number);
        let counts = is_current && sent_on.seen.is_before(reading);
        if counts {
            self.observe(reading);
        }
        drop(state);
        if !counts {
            self.forget(sent_on.number);
        }
        counts
    }

    /// Returns whether the sentinels, if there are any, still report the server of this connection as the primary. If not, the next
    /// command connects again.
    pub(super) async fn is_still_primary(&self, sent_on: SentOn) -> RedisResult<bool> {
        let Source::Sentinel(sentinels) = &self.source else { return Ok(true) };
        let current = self.current().filter(|current| current.number == sent_on.number);
        let Some(primary) = current.and_then(|current| current.primary) else { return Ok(false) };
        let is_primary = sentinels.confirm(&primary).await?;
        if !is_primary {
            self.forget(sent_on.number);
        }
        Ok(is_primary)
    }

    pub(super) fn topology(&self) -> &'static str {
        match self.source {
            Source::Client(_) => "single",
            Source::Sentinel(_) => "sentinel",
            Source::Manager(_) | Source::Connector(_) => "connection of the application",
        }
    }

    /// Returns the server of the connection, and the sentinels; nothing of a connection of the application, which does not say.
    pub(super) fn servers(&self) -> Vec<StoreServer> {
        let current = self.current();
        let primary = |address: String| StoreServer::new(address, "primary", Some(current.is_some()));
        match &self.source {
            Source::Client(client) => vec![primary(client.get_connection_info().addr().to_string())],
            Source::Sentinel(sentinels) => sentinels.reported().map(primary).into_iter().chain(sentinels.servers()).collect(),
            Source::Manager(_) | Source::Connector(_) => Vec::new(),
        }
    }

    /// Drops the connection; the next command establishes a new one.
    pub(super) fn reset(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).current = None;
    }

    async fn send_once(&self, command: &Cmd) -> RedisResult<(Value, SentOn)> {
        let Established { transport, number, term, .. } = self.established().await?;
        // Read before the command is sent: however late the reply is, the server's clock was at least this far.
        let sent_on = self.sent_on(number, term);
        let outcome = match transport {
            Transport::Own(mut connection) => connection.send_packed_command(command).await.and_then(Value::extract_error),
            Transport::Managed(mut manager, guard) => self.send_guarded(&mut manager, &guard, command, sent_on.seen).await,
            Transport::Lent(connector, guard) => match connector.lend().await {
                Ok(mut lent) => self.send_guarded(&mut lent, &guard, command, sent_on.seen).await,
                Err(error) => Err(error),
            },
        };
        if outcome.as_ref().is_err_and(breaks) {
            self.forget(number);
        }
        Ok((outcome?, sent_on))
    }

    async fn run_once(
        &self,
        commands: &impl Fn(ScriptForm, &[u8]) -> Pipeline,
    ) -> RedisResult<(Vec<RedisResult<Value>>, SentOn)> {
        let Established { transport, number, term, .. } = self.established().await?;
        let sent_on = self.sent_on(number, term);
        let seen = sent_on.seen.to_bytes(0);
        let commands = |form| commands(form, &seen);
        let outcome = match transport {
            Transport::Own(mut connection) => run_on(&mut connection, commands).await,
            Transport::Managed(mut manager, _) => run_on(&mut manager, commands).await,
            Transport::Lent(connector, _) => match connector.lend().await {
                Ok(mut lent) => run_on(&mut lent, commands).await,
                Err(error) => Err(error),
            },
        };
        let broken = match &outcome {
            Err(error) => breaks(error),
            Ok(replies) => broken_in(replies),
        };
        if broken {
            self.forget(number);
        }
        Ok((outcome?, sent_on))
    }

    fn sent_on(&self, number: u64, term: Term) -> SentOn {
        SentOn { number, seen: Seen { term, number: self.seen.load(Ordering::Acquire) } }
    }

    fn observe(&self, reading: &ClockReading) {
        let number = Seen::of(reading).number;
        // Usually there is nothing to write.
        if self.seen.load(Ordering::Relaxed) < number {
            self.seen.fetch_max(number, Ordering::AcqRel);
        }
    }

    async fn established(&self) -> RedisResult<Established> {
        match self.current() {
            Some(current) => Ok(current),
            // Boxed: rare, and several KiB that would enlarge every lookup's future.
            None => Box::pin(self.establish()).await,
        }
    }

    async fn establish(&self) -> RedisResult<Established> {
        let mut number = self.establishing.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let (transport, term, primary) = match &self.source {
            Source::Manager(manager) => {
                let (term, guard) = self.guarded(&mut manager.clone()).await?;
                (Transport::Managed(manager.clone(), guard), term, None)
            }
            Source::Connector(connector) => {
                let (term, guard) = self.guarded(&mut connector.lend().await?).await?;
                (Transport::Lent(connector.clone(), guard), term, None)
            }
            Source::Client(client) => self.establish_own(client, None).await?,
            Source::Sentinel(sentinels) => {
                self.watch.start(|running| watch(Arc::clone(sentinels), Arc::downgrade(&self.state), running));
                let primary = sentinels.primary().await?;
                self.establish_own(&sentinels.client(&primary)?, Some(primary)).await?
            }
        };
        *number += 1;
        let established = Established { transport, number: *number, term, primary };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { current: Some(established.clone()), term: Some(term) };
        Ok(established)
    }

    /// The handshake on a connection of the application, and the check that precedes each later command.
    async fn guarded(&self, connection: &mut impl ConnectionLike) -> RedisResult<(Term, Arc<PrimaryGuard>)> {
        let (term, version) = self.handshake(connection, 0).await?;
        let form = if version.replicates_scripts() { ScriptForm::Source } else { ScriptForm::Sha };
        Ok((term, Arc::new(PrimaryGuard { script: Script::guard(term), form })))
    }

    async fn establish_own(
        &self,
        client: &Client,
        primary: Option<Arc<Primary>>,
    ) -> RedisResult<(Transport, Term, Option<Arc<Primary>>)> {
        // The caller limits the time of each command.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.limit)).set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let rule = primary.as_ref().map_or(0, |primary| primary.config_epoch);
        let (term, _) = self.handshake(&mut connection, rule).await?;
        Ok((Transport::Own(connection), term, primary))
    }

    /// Passes the latest observed clock to a server, and returns its term and the server's version. Fails if the version is too old.
    async fn handshake(&self, connection: &mut impl ConnectionLike, rule: u64) -> RedisResult<(Term, Version)> {
        let last = self.state.read().unwrap_or_else(PoisonError::into_inner).term;
        let seen = last.map_or(Seen::NOTHING, |term| Seen { term, number: self.seen.load(Ordering::Acquire) });
        let mut handshake = self.handshake.command(ScriptForm::Source, &[&self.clock]);
        let answer: Vec<u8> = handshake.arg(&seen.to_bytes(rule)[..]).query_async(connection).await?;
        let decoded = ClockReading::split(&answer).and_then(|(reading, version)| Some((reading, Version::parse(version)?)));
        let Some((reading, version)) = decoded else {
            return Err((ErrorKind::UnexpectedReturnType, "the clock is malformed").into());
        };
        let version = version.check()?;
        self.observe(&reading);
        Ok((reading.term, version))
    }

    async fn send_guarded(
        &self,
        connection: &mut impl ConnectionLike,
        guard: &PrimaryGuard,
        command: &Cmd,
        seen: Seen,
    ) -> RedisResult<Value> {
        let seen = seen.to_bytes(0);
        let commands = |form| {
            let mut check = guard.script.command(form, &[&self.clock]);
            check.arg(if form == ScriptForm::Source { "1" } else { "" }).arg(&seen[..]);
            let mut commands = pipe();
            commands.add_command(check).add_command(command.clone());
            commands
        };
        let mut replies = match guard.form {
            ScriptForm::Sha => run_on(connection, commands).await?,
            ScriptForm::Source => run_on(connection, |_| commands(ScriptForm::Source)).await?,
        };
        match (replies.pop(), replies.pop()) {
            (Some(reply), Some(Ok(_))) => reply,
            (_, Some(Err(error))) => Err(error),
            _ => Err((ErrorKind::UnexpectedReturnType, "fewer replies than commands").into()),
        }
    }

    /// Returns whether the connection is old enough that it may have been closed, or that its runtime may have ended.
    fn may_be_old(&self) -> bool {
        matches!(self.source, Source::Manager(_) | Source::Connector(_)) || self.current().is_some()
    }

    fn current(&self) -> Option<Established> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// A newer connection made by a concurrent caller is kept.
    fn forget(&self, number: u64) {
        forget_if(&self.state, |current| current.number == number);
    }
}

fn forget_if(state: &RwLock<State>, is_affected: impl FnOnce(&Established) -> bool) {
    let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
    if state.current.as_ref().is_some_and(is_affected) {
        state.current = None;
    }
}

/// Drops the connection when the sentinels report another primary, or the same one after another failover. Ends with the last handle.
async fn watch(sentinels: Arc<Sentinels>, state: Weak<RwLock<State>>, running: Running) {
    loop {
        sleep(PERIOD).await;
        if state.strong_count() == 0 {
            break;
        }
        let Ok(latest) = sentinels.primary().await else { continue };
        let Some(state) = state.upgrade() else { break };
        // Ignore a sentinel with an older config epoch than the previous one.
        let is_left = |primary: &Arc<Primary>| **primary != *latest && latest.config_epoch >= primary.config_epoch;
        forget_if(&state, |current| current.primary.as_ref().is_some_and(is_left));
    }
    drop(running);
}

/// Sends the commands with the script's digest, or with the whole script to a server that does not have it.
async fn run_on(
    connection: &mut impl ConnectionLike,
    commands: impl Fn(ScriptForm) -> Pipeline,
) -> RedisResult<Vec<RedisResult<Value>>> {
    let replies: Vec<RedisResult<Value>> = commands(ScriptForm::Sha).ignore_errors().query_async(connection).await?;
    let unknown = |error: &RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
    if replies.first().is_some_and(|reply| reply.as_ref().is_err_and(unknown)) {
        return commands(ScriptForm::Source).ignore_errors().query_async(connection).await;
    }
    Ok(replies)
}

fn broken_in(replies: &[RedisResult<Value>]) -> bool {
    replies.iter().any(|reply| reply.as_ref().is_err_and(breaks))
}

/// Returns whether a connection is unusable: it is broken, or its server is no longer a primary.
fn breaks(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("topology", &self.topology()).finish_non_exhaustive()
    }
}
