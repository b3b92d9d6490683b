use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, ConnectionManager, MultiplexedConnection},
    pipe,
    sentinel::SentinelClient,
};
use tokio::sync::Mutex;

use super::{
    reading::{Reading, Term},
    scripts::{Known, Sent},
};

/// The way to one primary: a connection that is made when it is first needed, shared by all, and made anew after it broke.
///
/// It never retries, and never waits longer than for one connection: whoever asks has a limit of their own. A server is greeted
/// before anything is read from it, so that a failover or a restart does not go unnoticed.
pub(super) struct Link {
    source: Source,
    clock: String,
    greet: Known,
    current: RwLock<Option<Greeted>>,
    /// Held by the one that connects or greets.
    greeting: Mutex<u64>,
    limit: Duration,
}

pub(super) enum Source {
    Client(Client),
    /// Whichever server the sentinels call the primary.
    Sentinel(Mutex<SentinelClient>),
    /// The application's own, which sees to its connections itself, and does not tell when one leads to another server.
    Manager(ConnectionManager),
}

/// A connection to a server that was greeted.
#[derive(Clone)]
struct Greeted {
    way: Way,
    number: u64,
    term: Term,
}

#[derive(Clone)]
enum Way {
    Own(MultiplexedConnection),
    Guarded(ConnectionManager, Arc<Guard>),
}

/// What stands in front of each command on a connection that may lead to another server by now.
struct Guard {
    script: Known,
    /// Servers before version 7 hand scripts on to their replicas, so having one proves nothing: they are looked at each time.
    sent: Sent,
}

impl Link {
    /// `clock` is the name of the clock, and `limit` for making a connection.
    pub(super) fn new(source: Source, clock: &str, limit: Duration) -> Self {
        let (clock, greet) = (clock.to_owned(), Known::greet());
        Self { source, clock, greet, current: RwLock::default(), greeting: Mutex::new(0), limit }
    }

    /// Sends one command to a server that has been greeted in the term that is returned.
    pub(super) async fn ask(&self, command: &Cmd) -> RedisResult<(Value, Term)> {
        let Greeted { way, number, term } = self.greeted().await?;
        let outcome = match way {
            Way::Own(mut connection) => connection.send_packed_command(command).await.and_then(Value::extract_error),
            Way::Guarded(manager, guard) => self.ask_guarded(manager, &guard, command).await,
        };
        if outcome.as_ref().is_err_and(breaks) {
            self.forget(number);
        }
        Ok((outcome?, term))
    }

    /// Sends commands of which the first is a script that looks at the server itself; tells how each of them ended.
    pub(super) async fn run(&self, commands: impl Fn(Sent) -> Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let Greeted { way, number, .. } = self.greeted().await?;
        let outcome = match way {
            Way::Own(mut connection) => run_on(&mut connection, commands).await,
            Way::Guarded(mut manager, _) => run_on(&mut manager, commands).await,
        };
        let broken = match &outcome {
            Err(error) => breaks(error),
            Ok(replies) => replies.iter().any(|reply| reply.as_ref().is_err_and(breaks)),
        };
        if broken {
            self.forget(number);
        }
        outcome
    }

    /// Gives the connection up; the next command makes a new one.
    pub(super) fn reset(&self) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Greets again before the next command, because the clock has shown another term.
    pub(super) fn greet_again(&self, old: Term) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.term == old) {
            *current = None;
        }
    }

    async fn greeted(&self) -> RedisResult<Greeted> {
        match self.current() {
            Some(current) => Ok(current),
            // Rare, and several KiB: it would make every look-up large.
            None => Box::pin(self.connect_and_greet()).await,
        }
    }

    async fn connect_and_greet(&self) -> RedisResult<Greeted> {
        let mut number = self.greeting.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let (way, term) = match &self.source {
            Source::Manager(manager) => {
                let (term, version) = self.greet(&mut manager.clone()).await?;
                let sent = if version < 7 { Sent::Whole } else { Sent::ByDigest };
                (Way::Guarded(manager.clone(), Arc::new(Guard { script: Known::guard(term), sent })), term)
            }
            Source::Client(_) | Source::Sentinel(_) => {
                let mut connection = self.connect().await?;
                let (term, _) = self.greet(&mut connection).await?;
                (Way::Own(connection), term)
            }
        };
        *number += 1;
        let greeted = Greeted { way, number: *number, term };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(greeted.clone());
        Ok(greeted)
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        // How long a command may take is limited by who asks.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.limit)).set_response_timeout(None);
        match &self.source {
            Source::Client(client) => client.get_multiplexed_async_connection_with_config(&config).await,
            Source::Sentinel(client) => client.lock().await.get_async_connection_with_config(&config).await,
            Source::Manager(_) => Err((ErrorKind::Client, "an application's own connection cannot be doubled").into()),
        }
    }

    /// The term of the clock on this server, and the server's major version.
    async fn greet(&self, connection: &mut impl ConnectionLike) -> RedisResult<(Term, u8)> {
        let answer: Vec<u8> = self.greet.command(Sent::Whole, &[&self.clock]).query_async(connection).await?;
        let Some((reading, [version])) = Reading::split(&answer) else {
            return Err((ErrorKind::UnexpectedReturnType, "the clock has another form than expected").into());
        };
        Ok((reading.term, *version))
    }

    async fn ask_guarded(&self, mut manager: ConnectionManager, guard: &Guard, command: &Cmd) -> RedisResult<Value> {
        let commands = |sent| {
            let mut look = guard.script.command(sent, &[&self.clock]);
            look.arg(if sent == Sent::Whole { "1" } else { "" });
            let mut commands = pipe();
            commands.add_command(look).add_command(command.clone());
            commands
        };
        let mut replies = match guard.sent {
            Sent::ByDigest => run_on(&mut manager, commands).await?,
            Sent::Whole => run_on(&mut manager, |_| commands(Sent::Whole)).await?,
        };
        match (replies.pop(), replies.pop()) {
            (Some(reply), Some(Ok(_))) => reply,
            (_, Some(Err(error))) => Err(error),
            _ => Err((ErrorKind::UnexpectedReturnType, "fewer answers than commands").into()),
        }
    }

    fn current(&self) -> Option<Greeted> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another may have made a new one meanwhile, which stays.
    fn forget(&self, number: u64) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.number == number) {
            *current = None;
        }
    }
}

/// Sends the commands with the script's digest, or with the whole script to a server that does not have it.
async fn run_on(
    connection: &mut impl ConnectionLike,
    commands: impl Fn(Sent) -> Pipeline,
) -> RedisResult<Vec<RedisResult<Value>>> {
    let replies: Vec<RedisResult<Value>> = commands(Sent::ByDigest).ignore_errors().query_async(connection).await?;
    let unknown = |error: &RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
    if replies.first().is_some_and(|reply| reply.as_ref().is_err_and(unknown)) {
        return commands(Sent::Whole).ignore_errors().query_async(connection).await;
    }
    Ok(replies)
}

/// Whether a connection is of no more use: it is broken, or leads to a server that is no primary any more.
fn breaks(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::Client(_) => "Link::Client",
            Source::Sentinel(_) => "Link::Sentinel",
            Source::Manager(_) => "Link::Manager",
        })
    }
}
