use std::fmt::Write as _;

use redis::{Cmd, Script, cmd};

use super::reading::Term;

const CLOCK: &str = include_str!("lua/clock.lua");

/// A script and its digest.
#[derive(Debug, Clone)]
pub(super) struct Known {
    code: String,
    digest: String,
}

/// The scripts that are the same for everybody.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) greet: Known,
    pub(super) prepare: Known,
    pub(super) put: Known,
    pub(super) invalidate: Known,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            greet: Known::new(include_str!("lua/greet.lua")),
            prepare: Known::new(include_str!("lua/prepare.lua")),
            put: Known::new(include_str!("lua/put.lua")),
            invalidate: Known::new(include_str!("lua/invalidate.lua")),
        }
    }
}

/// Whether a server is expected to have a script already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    ByDigest,
    Whole,
}

impl Known {
    pub(super) fn new(body: &str) -> Self {
        let code = [CLOCK, body].concat();
        let digest = Script::new(&code).get_hash().to_owned();
        Self { code, digest }
    }

    /// The script of reads in one term of the clock: another term has another digest, which no server knows by accident.
    pub(super) fn bound_to(term: Term) -> Self {
        let mut escaped = String::new();
        for byte in term.0 {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\{byte:03}");
        }
        Self::new(&include_str!("lua/bound.lua").replace("@TERM@", &escaped))
    }

    /// The command that runs it, without keys and arguments.
    pub(super) fn command(&self, sent: Sent, keys: usize) -> Cmd {
        let (name, script) = match sent {
            Sent::ByDigest => ("EVALSHA", &self.digest),
            Sent::Whole => ("EVAL", &self.code),
        };
        let mut command = cmd(name);
        command.arg(script).arg(keys);
        command
    }
}
