//! The marks of tags that are being written, on one primary.

use std::time::Duration;

use redis::Cmd;

use super::leases::millis;
use crate::tag::Tag;

/// A change of the marks of tags.
#[derive(Debug, Clone, Copy)]
pub(super) enum MarkChange {
    /// The writer holds the tags for this time.
    Hold {
        writer: u64,
        life: Duration,
    },
    Release {
        writer: u64,
    },
    /// Marks are removed that had lapsed at this time of the server, in milliseconds.
    ForgetLapsed {
        at: u64,
    },
}

/// The time to live of marks: they outlive every fetch that may have begun under them.
const MARK_LIFE: Duration = Duration::from_secs(48 * 3600);

impl MarkChange {
    /// Appends the arguments of the script.
    pub(super) fn add_to(self, command: &mut Cmd, prefix: &str, tags: &[Tag]) {
        let (kind, writer, time) = match self {
            Self::Hold { writer, life } => ("hold", writer, millis(life)),
            Self::Release { writer } => ("release", writer, 0),
            Self::ForgetLapsed { at } => ("lapsed", 0, at),
        };
        let life = match self {
            Self::Hold { life, .. } => MARK_LIFE.saturating_add(life),
            Self::Release { .. } | Self::ForgetLapsed { .. } => MARK_LIFE,
        };
        command.arg(kind).arg(&writer.to_be_bytes()[..]).arg(time).arg(millis(life)).arg(prefix);
        tags.iter().for_each(|tag| _ = command.arg(tag.as_str()));
    }
}
