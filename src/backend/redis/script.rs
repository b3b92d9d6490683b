//! The Lua scripts, and the commands that run them.

use std::time::Duration;

use redis::{Cmd, cmd};

use super::clock::Term;
use crate::backend::contract::Invalidation;

const CLOCK: &str = concat!(include_str!("lua/get_string.lua"), include_str!("lua/clock.lua"));
/// The beginning of the scripts of a Cluster that do not use the clock.
const PRIMARY_ID: &str = concat!(include_str!("lua/get_string.lua"), include_str!("lua/primary_id.lua"));
/// Removes the first argument, which precedes the script's own arguments.
const SEEN: &str = "local seen = table.remove(ARGV, 1)\n";
const LEASES: &str = include_str!("lua/leases.lua");
const WRITE_MARKS: &str = include_str!("lua/write_marks.lua");
const INVALIDATE: &str = include_str!("lua/invalidate.lua");

/// Returns the source of a Redis library with a function that other programs can call.
pub(super) fn library(stream_bytes: u64, stream_life: Duration) -> String {
    let function = include_str!("lua/function.lua").replace("@BYTES@", &stream_bytes.to_string());
    let function = function.replace("@LIFE@", &stream_life.as_secs().to_string());
    ["#!lua name=larder\nlocal seen = ''\n", CLOCK, INVALIDATE, &function].concat()
}

/// A script and its digest.
#[derive(Debug, Clone)]
pub(super) struct Script {
    source: String,
    sha: String,
}

/// The form in which a script is sent: its digest, if the server is expected to have it, or its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptForm {
    Sha,
    Source,
}

/// Returns the scripts' name for the kind of an invalidation.
pub(super) fn kind_of(invalidation: &Invalidation) -> &'static str {
    match invalidation {
        Invalidation::Tags(_) => "hard",
        Invalidation::ExpireTags { .. } => "soft",
        Invalidation::Everything => "all",
    }
}

impl Script {
    pub(super) fn handshake() -> Self {
        Self::with_clock(include_str!("lua/handshake.lua"))
    }

    pub(super) fn read_clock() -> Self {
        Self::with_clock(include_str!("lua/read_clock.lua"))
    }

    pub(super) fn prepare() -> Self {
        Self::with_clock(include_str!("lua/prepare.lua"))
    }

    pub(super) fn put() -> Self {
        Self::with_clock(&[WRITE_MARKS, include_str!("lua/put.lua")].concat())
    }

    /// Changes the marks of tags that are being written.
    pub(super) fn mark() -> Self {
        Self::with_clock(&[WRITE_MARKS, include_str!("lua/mark.lua")].concat())
    }

    pub(super) fn invalidate() -> Self {
        Self::with_clock(&[LEASES, INVALIDATE, include_str!("lua/invalidate_now.lua")].concat())
    }

    pub(super) fn advance() -> Self {
        Self::with_clock(include_str!("lua/advance.lua"))
    }

    pub(super) fn renew() -> Self {
        Self::with_clock(include_str!("lua/renew.lua"))
    }

    pub(super) fn publish() -> Self {
        Self::with_clock(&[LEASES, include_str!("lua/publish.lua")].concat())
    }

    pub(super) fn announce() -> Self {
        Self::with_clock(&[LEASES, include_str!("lua/announce.lua")].concat())
    }

    pub(super) fn acquire() -> Self {
        Self::new(include_str!("lua/acquire.lua").to_owned())
    }

    pub(super) fn release() -> Self {
        Self::new(include_str!("lua/release.lua").to_owned())
    }

    pub(super) fn poll() -> Self {
        Self::with_clock(include_str!("lua/poll.lua"))
    }

    pub(super) fn record() -> Self {
        Self::per_node(include_str!("lua/record.lua"))
    }

    pub(super) fn swap() -> Self {
        Self::per_node(include_str!("lua/swap.lua"))
    }

    /// Replaces an entry by compare-and-swap. The only script that needs neither the clock nor the server's id.
    pub(super) fn replace() -> Self {
        Self::new([include_str!("lua/get_string.lua"), include_str!("lua/replace.lua")].concat())
    }

    /// Returns the guard of one term. Each term has a guard with a different digest, so a server never has it by accident.
    pub(super) fn guard(term: Term) -> Self {
        let guard = include_str!("lua/guard.lua").replace("@TERM@", &format!("{term:?}"));
        Self::new(guard.replace("@CLOCK@", CLOCK))
    }

    fn with_clock(body: &str) -> Self {
        Self::new([SEEN, CLOCK, body].concat())
    }

    fn per_node(body: &str) -> Self {
        Self::new([PRIMARY_ID, body].concat())
    }

    fn new(source: String) -> Self {
        let sha = redis::Script::new(&source).get_hash().to_owned();
        Self { source, sha }
    }

    /// Returns the command that runs the script, without arguments.
    pub(super) fn command(&self, form: ScriptForm, keys: &[&str]) -> Cmd {
        let (name, script) = match form {
            ScriptForm::Sha => ("EVALSHA", &self.sha),
            ScriptForm::Source => ("EVAL", &self.source),
        };
        let mut command = cmd(name);
        command.arg(script).arg(keys.len()).arg(keys);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        expiries::{MAX_EXPIRIES, MERGED_WITHIN},
        write_marks::MAX_WRITERS,
    };

    /// The rules of the other stores can read the records that a script writes.
    #[test]
    fn scripts_have_the_limits_of_all_stores() {
        assert!(include_str!("lua/mark.lua").contains(&format!("if #marks < {MAX_WRITERS} then")));
        assert!(INVALIDATE.contains(&format!("if #list > {MAX_EXPIRIES} then merge(1) end")));
        assert!(INVALIDATE.contains(&format!("newer.time < older.time + {MERGED_WITHIN} ")));
        assert!(CLOCK.contains(&format!("#raw > 16 + 16 * {MAX_EXPIRIES} ")));
    }
}
