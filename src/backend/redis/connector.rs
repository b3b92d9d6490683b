//! Connections that the application lends, one for each group of commands that is sent.

use std::{fmt, sync::Arc};

use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value, aio::ConnectionLike};

/// The application's function that lends a connection, such as one of a pool.
#[derive(Clone)]
pub(super) struct Connector(Arc<dyn Fn() -> RedisFuture<'static, LentConnection> + Send + Sync>);

/// A connection that goes back to the application when it is dropped.
pub(super) struct LentConnection(Box<dyn ConnectionLike + Send>);

impl Connector {
    pub(super) fn new<C, E, F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        C: ConnectionLike + Send + 'static,
        E: fmt::Display,
        F: Future<Output = Result<C, E>> + Send + 'static,
    {
        Self(Arc::new(move || {
            let connected = connect();
            Box::pin(async move {
                match connected.await {
                    Ok(connection) => Ok(LentConnection(Box::new(connection))),
                    Err(error) => Err(not_lent(&error)),
                }
            })
        }))
    }

    pub(super) async fn lend(&self) -> Result<LentConnection, RedisError> {
        (self.0)().await
    }
}

/// Like a broken connection: nothing was sent.
fn not_lent(error: &dyn fmt::Display) -> RedisError {
    (ErrorKind::Io, "the application's connector failed", error.to_string()).into()
}

impl ConnectionLike for LentConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.0.req_packed_command(command)
    }

    fn req_packed_commands<'a>(&'a mut self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        self.0.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}
