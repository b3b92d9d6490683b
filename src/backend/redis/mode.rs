//! The mode of all nodes, as kept in Redis: its name under a key of its own, which is read with the clock.

use redis::{Cmd, Value, cmd};

use super::key_names::KeyNames;
use crate::backend::cache_mode::CacheMode;

/// Returns the command that sets the mode. `enabled` is stored, too: so larder needs no right to delete.
pub(super) fn set_mode(names: &KeyNames, mode: CacheMode) -> Cmd {
    let mut set = cmd("SET");
    set.arg(&names.mode).arg(mode.as_str());
    set
}

/// Returns the name of the mode from the end of a script's reply, if there is one.
pub(super) fn mode_in(reply: &Value) -> Option<&[u8]> {
    match reply {
        Value::Array(parts) => match parts.last()? {
            Value::BulkString(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}
