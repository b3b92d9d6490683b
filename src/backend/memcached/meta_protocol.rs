//! The meta protocol of memcached 1.6, as much of it as larder speaks: commands are written, replies are read as they come in.
//!
//! Each command has exactly one reply, and replies come in the order of the commands: nothing here is quiet.

use std::io::Write as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// What a server says to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The value, and its version if that was asked for.
    Value { data: Bytes, cas: u64 },
    /// It was done; with the version of what is there now, if that was asked for.
    Done { cas: u64 },
    /// There is nothing under the key.
    Miss,
    /// There is something under the key, and there was to be nothing.
    NotStored,
    /// What is under the key is not the version that was named.
    Changed,
    /// The server could not do it: the value is too large, or there is no memory for it.
    Refused(Bytes),
    /// The command makes no sense to the server, or not with what is under the key.
    Rejected(Bytes),
}

/// On what condition a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// There is nothing under the key yet.
    Absent,
    /// What is under the key still has this version.
    Unchanged(u64),
}

/// What a reply to [`get`] tells beside the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cas {
    Wanted,
    Omitted,
}

/// The reader no longer knows where replies begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Desynchronized(pub(crate) &'static str);

/// A version is a count that a server begins anew when it restarts, so that another item may get the same one. Since no connection
/// outlives a restart, those to and from it carry its number above theirs.
const VERSION_BITS: u32 = 48;

/// What nothing has.
const NO_VERSION: u64 = u64::MAX;

impl Reply {
    /// The same, with a version of this connection.
    pub(crate) fn scoped_to(self, connection: u16) -> Self {
        let scoped = |cas| if cas == 0 { 0 } else { cas & ((1 << VERSION_BITS) - 1) | u64::from(connection) << VERSION_BITS };
        match self {
            Self::Value { data, cas } => Self::Value { data, cas: scoped(cas) },
            Self::Done { cas } => Self::Done { cas: scoped(cas) },
            reply => reply,
        }
    }
}

impl Condition {
    /// The same as the server knows it, which is never met if the version is one of another connection.
    pub(crate) fn scoped_to(self, connection: u16) -> Self {
        match self {
            Self::Unchanged(cas) if cas >> VERSION_BITS == u64::from(connection) => {
                Self::Unchanged(cas & ((1 << VERSION_BITS) - 1))
            }
            Self::Unchanged(_) => Self::Unchanged(NO_VERSION),
            condition => condition,
        }
    }
}

/// The longest life that can be told as a number of seconds from now.
pub(crate) const MAX_TTL: u32 = 60 * 60 * 24 * 30;

/// The longest line of a reply; errors are the longest there are.
pub(super) const MAX_LINE: usize = 2048;

/// The largest item that a server can be made to keep (`-I`).
const MAX_VALUE: usize = 1 << 30;

/// From this length on a value is a slice of what was received. A shorter one would keep much more than itself in memory.
const SLICED: usize = 8 << 10;

/// `mg`: the value under `key`.
pub(crate) fn get(into: &mut BytesMut, key: &[u8], cas: Cas) {
    begin(into, b"mg ", key);
    into.put_slice(match cas {
        Cas::Wanted => b" c v\r\n",
        Cas::Omitted => b" v\r\n",
    });
}

/// `ms`: keeps the value for `ttl` seconds, at most [`MAX_TTL`]; for ever if it is 0. Under a condition, the reply tells the new
/// version.
pub(crate) fn set(into: &mut BytesMut, key: &[u8], data: &[u8], ttl: u32, condition: Condition) {
    debug_assert!(ttl <= MAX_TTL, "would be taken for a date");
    begin(into, b"ms ", key);
    match condition {
        Condition::Always => put(into, format_args!(" {} T{ttl}\r\n", data.len())),
        Condition::Absent => put(into, format_args!(" {} T{ttl} c ME\r\n", data.len())),
        Condition::Unchanged(cas) => put(into, format_args!(" {} T{ttl} c C{cas}\r\n", data.len())),
    }
    into.put_slice(data);
    into.put_slice(b"\r\n");
}

/// `ma`: one more than the number under `key`, which is the reply.
pub(crate) fn increment(into: &mut BytesMut, key: &[u8]) {
    begin(into, b"ma ", key);
    into.put_slice(b" v\r\n");
}

/// `mn`: nothing, but a reply.
pub(crate) fn no_op(into: &mut BytesMut) {
    into.put_slice(b"mn\r\n");
}

fn begin(into: &mut BytesMut, command: &[u8], key: &[u8]) {
    debug_assert!(!key.is_empty() && key.len() <= 250 && key.iter().all(u8::is_ascii_graphic), "not a key");
    into.put_slice(command);
    into.put_slice(key);
}

fn put(into: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    into.writer().write_fmt(text).expect("memory takes what is written");
}

/// Takes the next reply off the front of `received`. Without one that is whole, says how many more bytes there will be at
/// least.
pub(crate) fn take_reply(received: &mut BytesMut) -> Result<Result<Reply, usize>, Desynchronized> {
    let Some(end) = line_end(received)? else { return Ok(Err(1)) };
    let line = &received[..end];
    let whole = end + b"\r\n".len();
    let (code, rest) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
    let reply = match code {
        b"VA" => {
            let (length, flags) = parse_length(rest)?;
            let cas = parse_version(flags)?;
            return take_value(received, whole, length, cas);
        }
        b"HD" | b"MN" => Reply::Done { cas: parse_version(rest)? },
        b"EN" | b"NF" => Reply::Miss,
        b"NS" => Reply::NotStored,
        b"EX" => Reply::Changed,
        b"SERVER_ERROR" => Reply::Refused(Bytes::copy_from_slice(rest.trim_ascii())),
        b"CLIENT_ERROR" | b"ERROR" => Reply::Rejected(Bytes::copy_from_slice(rest.trim_ascii())),
        _ => return Err(Desynchronized("a reply is none of the meta protocol's")),
    };
    received.advance(whole);
    Ok(Ok(reply))
}

/// Where the first line ends, if it is there.
fn line_end(received: &[u8]) -> Result<Option<usize>, Desynchronized> {
    let start = &received[..received.len().min(MAX_LINE)];
    match start.iter().position(|byte| *byte == b'\n') {
        Some(newline) if newline > 0 && start[newline - 1] == b'\r' => Ok(Some(newline - 1)),
        Some(_) => Err(Desynchronized("a line does not end as lines do")),
        None if start.len() == MAX_LINE => Err(Desynchronized("a line does not end")),
        None => Ok(None),
    }
}

/// The length of a value, and the flags that follow it.
fn parse_length(rest: &[u8]) -> Result<(usize, &[u8]), Desynchronized> {
    let rest = rest.trim_ascii_start();
    let (digits, flags) = rest.split_at(rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len()));
    let length = parse_number(digits).and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| *length <= MAX_VALUE).ok_or(Desynchronized("a value has no length"))?;
    Ok((length, flags))
}

/// The version among the flags; 0, which is none, if it is not there.
fn parse_version(flags: &[u8]) -> Result<u64, Desynchronized> {
    let mut words = flags.split(|byte| *byte == b' ');
    let Some(version) = words.find_map(|word| word.strip_prefix(b"c")) else { return Ok(0) };
    parse_number(version).ok_or(Desynchronized("a version is not a number"))
}

fn take_value(received: &mut BytesMut, line: usize, length: usize, cas: u64) -> Result<Result<Reply, usize>, Desynchronized> {
    let whole = line + length + b"\r\n".len();
    if let Some(missing) = whole.checked_sub(received.len()).filter(|missing| *missing > 0) {
        return Ok(Err(missing));
    }
    if &received[whole - 2..whole] != b"\r\n" {
        return Err(Desynchronized("a value does not end where it should"));
    }
    received.advance(line);
    let data = match length {
        ..SLICED => Bytes::copy_from_slice(&received.split_to(length)),
        SLICED.. => received.split_to(length).freeze(),
    };
    received.advance(b"\r\n".len());
    Ok(Ok(Reply::Value { data, cas }))
}

/// A decimal number of digits alone.
pub(crate) fn parse_number(digits: &[u8]) -> Option<u64> {
    let (first, rest) = digits.split_first()?;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    rest.iter().try_fold(digit(first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}
