//! The servers of a Redis Cluster, for people.

use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{Cmd, ConnectionInfo, Value, cmd, from_redis_value_ref};

use crate::backend::store_stats::StoreServer;

/// The servers of a Cluster: those that the URL names, until one of them has said which there are.
#[derive(Debug, Default)]
pub(super) struct Shards(Mutex<Vec<StoreServer>>);

/// Asks a server for the primaries and replicas of all slots. Users for larder have the right, because the client asks the same.
pub(super) fn command() -> Cmd {
    let mut command = cmd("CLUSTER");
    command.arg("SLOTS");
    command
}

impl Shards {
    /// Begins with the servers that a URL names.
    pub(super) fn named(nodes: &[ConnectionInfo]) -> Self {
        Self(Mutex::new(nodes.iter().map(|node| StoreServer::new(node.addr().to_string(), "server", None)).collect()))
    }

    pub(super) fn known(&self) -> Vec<StoreServer> {
        self.lock().clone()
    }

    /// Notes the reply to [`command`]; keeps what is known if it is malformed.
    pub(super) fn note(&self, reply: &Value) {
        let found = servers(reply);
        if !found.is_empty() {
            *self.lock() = found;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StoreServer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns each primary with its replicas, once: a primary may have several ranges of slots.
fn servers(reply: &Value) -> Vec<StoreServer> {
    let Value::Array(ranges) = reply else { return Vec::new() };
    let mut found: Vec<StoreServer> = Vec::new();
    for range in ranges {
        // The first and the last slot, the primary, and its replicas.
        let Value::Array(range) = range else { continue };
        for (at, server) in range.iter().skip(2).enumerate() {
            let Some(address) = address(server) else { continue };
            if found.iter().all(|known| known.address != address) {
                found.push(StoreServer::new(address, if at == 0 { "primary" } else { "replica" }, None));
            }
        }
    }
    found
}

fn address(server: &Value) -> Option<String> {
    let Value::Array(server) = server else { return None };
    let host: String = from_redis_value_ref(server.first()?).ok().filter(|host: &String| !host.is_empty())?;
    let port: u16 = from_redis_value_ref(server.get(1)?).ok()?;
    Some(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: i64) -> Value {
        Value::Array(vec![Value::BulkString(host.into()), Value::Int(port), Value::BulkString("id".into())])
    }

    #[test]
    fn each_server_is_listed_once_and_a_malformed_reply_changes_nothing() {
        let range = |first, servers: &[Value]| Value::Array([&[Value::Int(first), Value::Int(first + 9)], servers].concat());
        let reply = Value::Array(vec![
            range(0, &[server("a", 1), server("b", 2)]),
            range(10, &[server("c", 3), server("", 4)]),
            range(20, &[server("a", 1), server("b", 2)]),
        ]);
        let shards = Shards::default();
        shards.note(&reply);
        shards.note(&Value::Nil);
        let known: Vec<_> = shards.known().into_iter().map(|server| (server.address, server.role)).collect();
        assert_eq!(known, [("a:1".into(), "primary"), ("b:2".into(), "replica"), ("c:3".into(), "primary")]);
    }
}
