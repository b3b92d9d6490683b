//! The replacement of an entry by compare-and-swap.

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use super::{
    error::malformed_reply,
    options::Options,
    script::{Script, ScriptForm},
};
use crate::{
    backend::contract::PutOutcome,
    codec::{self, entry_head::HEAD_START},
    entry::stored::Stored,
    error::Error,
    key::Key,
};

/// The commands that replace an entry: a read, and a script that stores the new entry if the entry is still the one that was read.
#[derive(Debug)]
pub(super) struct ReplaceCommands {
    script: Script,
}

impl Default for ReplaceCommands {
    fn default() -> Self {
        Self { script: Script::replace() }
    }
}

impl ReplaceCommands {
    /// Returns the command that reads the entry.
    pub(super) fn read(&self, entry: &str) -> Cmd {
        let mut command = cmd("GET");
        command.arg(entry);
        command
    }

    /// Returns the command that replaces the entry; the outcome if that is clear from the reply to the read.
    pub(super) fn swap(
        &self,
        (key, name): (&Key, &str),
        read: Value,
        present: &Stored,
        stored: &Stored,
        options: &Options,
    ) -> Result<Cmd, PutOutcome> {
        let Value::BulkString(found) = read else { return Err(PutOutcome::Invalidated) };
        let found = Bytes::from(found);
        let is_expected =
            codec::decode_whole(key, &found, options.decoding).is_ok_and(|decoded| decoded.is_same_response(present));
        let start = found.get(..HEAD_START).filter(|_| is_expected).ok_or(PutOutcome::Invalidated)?;
        let entry = codec::encode_whole(key, stored, options.compression).ok_or(PutOutcome::TooLarge)?;
        // With its source: it is short, and seldom run.
        let mut command = self.script.command(ScriptForm::Source, &[name]);
        command.arg(start).arg(entry).arg(options.life(stored).as_millis().to_string());
        Ok(command)
    }

    /// Returns the outcome of the command that replaces the entry.
    pub(super) fn outcome(&self, reply: &Value) -> Result<PutOutcome, Error> {
        match reply {
            Value::Int(1) => Ok(PutOutcome::Stored),
            Value::Int(0) => Ok(PutOutcome::Invalidated),
            _ => Err(malformed_reply()),
        }
    }
}
