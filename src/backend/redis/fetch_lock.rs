//! The fetch locks of this node in Redis.

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::script::{Script, ScriptForm};
use crate::backend::contract::FetchLock;

/// The commands for the fetch locks of this node. A lock has the node's unique token, so that no other node can release it.
#[derive(Debug)]
pub(super) struct FetchLockCommands {
    node: String,
    release: Script,
}

impl Default for FetchLockCommands {
    fn default() -> Self {
        Self { node: format!("{:016x}", fastrand::u64(..)), release: Script::release() }
    }
}

impl FetchLockCommands {
    pub(super) fn lock_fetch(&self, name: &str, life: Duration) -> Cmd {
        let mut command = cmd("SET");
        command.arg(name).arg(&self.node).arg("NX").arg("PX").arg(life.as_millis().max(1).to_string());
        command
    }

    pub(super) fn unlock_fetch(&self, name: &str) -> Cmd {
        let mut command = self.release.command(ScriptForm::Source, &[name]);
        command.arg(&self.node);
        command
    }

    pub(super) fn outcome(&self, reply: &Value) -> FetchLock {
        if *reply == Value::Nil { FetchLock::Held } else { FetchLock::Acquired }
    }
}
