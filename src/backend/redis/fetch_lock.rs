//! The fetch locks of this node in Redis.

use std::time::Duration;

use redis::{Cmd, Value};

use super::script::{Script, ScriptForm};
use crate::backend::contract::FetchLock;

/// The commands for the fetch locks of this node. A lock has the node's unique token, so that no other node can release it, and a number of
/// the attempt: over a connection that has broken, or to a server without the guard's script, a command is sent twice.
#[derive(Debug)]
pub(super) struct FetchLockCommands {
    node: String,
    acquire: Script,
    release: Script,
}

impl Default for FetchLockCommands {
    fn default() -> Self {
        Self { node: format!("{:016x}", fastrand::u64(..)), acquire: Script::acquire(), release: Script::release() }
    }
}

impl FetchLockCommands {
    pub(super) fn lock_fetch(&self, name: &str, life: Duration) -> Cmd {
        let mut command = self.acquire.command(ScriptForm::Source, &[name]);
        command.arg(format!("{}{:016x}", self.node, fastrand::u64(..))).arg(life.as_millis().max(1).to_string());
        command
    }

    pub(super) fn unlock_fetch(&self, name: &str) -> Cmd {
        let mut command = self.release.command(ScriptForm::Source, &[name]);
        command.arg(&self.node);
        command
    }

    pub(super) fn outcome(&self, reply: &Value) -> FetchLock {
        if *reply == Value::Int(1) { FetchLock::Acquired } else { FetchLock::Held }
    }
}
