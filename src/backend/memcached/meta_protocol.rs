//! The part of memcached's meta protocol that larder uses: writes commands, and parses replies as they arrive.
//!
//! Each command has exactly one reply, and replies arrive in the order of the commands: larder does not use the quiet mode.

use std::io::Write as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The reply of a server to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The value, its CAS number if that was requested, else 0, and the number that clients store beside a value.
    Value { data: Bytes, cas: u64, flags: u32 },
    /// The command was carried out; with the CAS number of the new value if that was requested, else 0.
    Done { cas: u64 },
    /// There is no value under the key.
    Miss,
    /// The value was not stored, since there is a value under the key.
    NotStored,
    /// The value was not stored, since the value under the key has another CAS number.
    Changed,
    /// The server failed: the value is too large, or there is no memory for it.
    Refused(Bytes),
    /// The command is malformed, or not applicable to the value under the key.
    Rejected(Bytes),
}

/// The condition on which a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// There is no value under the key.
    Absent,
    /// The value under the key has this CAS number.
    Unchanged(u64),
}

/// A value to be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'v> {
    pub(crate) data: &'v [u8],
    /// A number beside the value, which an increment leaves as it is.
    pub(crate) flags: u32,
}

/// Whether the reply to [`get`] contains the CAS number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cas {
    Wanted,
    Omitted,
}

/// The result of parsing the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// The first reply, which was removed from the bytes.
    Reply(Reply),
    /// The first reply is incomplete, by at least this many bytes.
    NeedMore(usize),
}

/// The bytes are not a reply, so the beginning of the next reply is unknown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Desynchronized(pub(crate) &'static str);

/// The number of bits of a CAS number that belong to the server. The others hold the id of the connection: a server that restarts
/// counts from the beginning, so that another value may get the same number, and no connection outlives a restart.
const CAS_BITS: u32 = 48;

/// A CAS number that no value has.
const NO_CAS: u64 = u64::MAX;

impl Reply {
    /// Puts the id of the connection into the CAS number.
    pub(crate) fn scoped_to(self, connection: u16) -> Self {
        let scoped = |cas| if cas == 0 { 0 } else { cas & ((1 << CAS_BITS) - 1) | u64::from(connection) << CAS_BITS };
        match self {
            Self::Value { data, cas, flags } => Self::Value { data, cas: scoped(cas), flags },
            Self::Done { cas } => Self::Done { cas: scoped(cas) },
            reply => reply,
        }
    }
}

impl Condition {
    /// Removes the id of the connection from the CAS number. The condition is never met if the id is that of another connection.
    pub(crate) fn scoped_to(self, connection: u16) -> Self {
        match self {
            Self::Unchanged(cas) => Self::Unchanged(cas_on(connection, cas)),
            condition => condition,
        }
    }
}

/// Returns the CAS number without the id of the connection; one that no value has if the id is that of another connection.
pub(crate) fn cas_on(connection: u16, cas: u64) -> u64 {
    if cas >> CAS_BITS == u64::from(connection) { cas & ((1 << CAS_BITS) - 1) } else { NO_CAS }
}

/// The longest time to live in seconds. The server takes a larger number for a date.
pub(crate) const MAX_TTL: u32 = 60 * 60 * 24 * 30;

/// The maximum length of a line of a reply; error messages are the longest lines.
pub(super) const MAX_LINE: usize = 2048;

/// The largest value that a server can be configured to store (`-I`).
const MAX_VALUE: usize = 1 << 30;

/// The minimum length of a value that is a slice of the received bytes. A shorter one is copied: a slice would keep the whole
/// buffer in memory.
const MIN_SLICE: usize = 8 << 10;

/// Writes `mg`, which reads the value under `key`.
pub(crate) fn get(into: &mut BytesMut, key: &[u8], cas: Cas) {
    begin(into, b"mg ", key);
    into.put_slice(match cas {
        Cas::Wanted => b" c f v\r\n",
        Cas::Omitted => b" f v\r\n",
    });
}

/// Writes `ms`, which stores a value for `ttl` seconds, at most [`MAX_TTL`], or indefinitely if it is 0, with `flags` beside it. With a
/// condition, the reply contains the new CAS number.
pub(crate) fn set(into: &mut BytesMut, key: &[u8], Value { data, flags }: Value<'_>, ttl: u32, condition: Condition) {
    debug_assert!(ttl <= MAX_TTL, "the server would take it for a date");
    begin(into, b"ms ", key);
    put(into, format_args!(" {} T{ttl}", data.len()));
    if flags != 0 {
        put(into, format_args!(" F{flags}"));
    }
    match condition {
        Condition::Always => into.put_slice(b"\r\n"),
        Condition::Absent => into.put_slice(b" c ME\r\n"),
        Condition::Unchanged(cas) => put(into, format_args!(" c C{cas}\r\n")),
    }
    into.put_slice(data);
    into.put_slice(b"\r\n");
}

/// Writes `ma`, which increments the number under `key`; the reply is the new number.
pub(crate) fn increment(into: &mut BytesMut, key: &[u8]) {
    begin(into, b"ma ", key);
    into.put_slice(b" v\r\n");
}

/// Writes `md`, which deletes the value under `key` if it has this CAS number.
pub(crate) fn delete(into: &mut BytesMut, key: &[u8], cas: u64) {
    begin(into, b"md ", key);
    put(into, format_args!(" C{cas}\r\n"));
}

/// Writes `mn`, which has a reply and no effect.
pub(crate) fn no_op(into: &mut BytesMut) {
    into.put_slice(b"mn\r\n");
}

fn begin(into: &mut BytesMut, command: &[u8], key: &[u8]) {
    debug_assert!(!key.is_empty() && key.len() <= 250 && key.iter().all(u8::is_ascii_graphic), "invalid key");
    into.put_slice(command);
    into.put_slice(key);
}

fn put(into: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    into.writer().write_fmt(text).expect("writing to memory does not fail");
}

/// Removes the first reply from the received bytes, if it is complete.
pub(crate) fn take_reply(received: &mut BytesMut) -> Result<Decoded, Desynchronized> {
    let Some(end) = line_end(received)? else { return Ok(Decoded::NeedMore(1)) };
    let line = &received[..end];
    let length = end + b"\r\n".len();
    let (code, rest) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
    let reply = match code {
        b"VA" => {
            let (value, flags) = parse_length(rest)?;
            let numbers = (parse_cas(flags)?, parse_client_flags(flags)?);
            return take_value(received, length, value, numbers);
        }
        b"HD" | b"MN" => Reply::Done { cas: parse_cas(rest)? },
        b"EN" | b"NF" => Reply::Miss,
        b"NS" => Reply::NotStored,
        b"EX" => Reply::Changed,
        b"SERVER_ERROR" => Reply::Refused(Bytes::copy_from_slice(rest.trim_ascii())),
        b"CLIENT_ERROR" | b"ERROR" => Reply::Rejected(Bytes::copy_from_slice(rest.trim_ascii())),
        _ => return Err(Desynchronized("a reply is not of the meta protocol")),
    };
    received.advance(length);
    Ok(Decoded::Reply(reply))
}

/// Returns the end of the first line, if the line is complete.
fn line_end(received: &[u8]) -> Result<Option<usize>, Desynchronized> {
    let start = &received[..received.len().min(MAX_LINE)];
    match start.iter().position(|byte| *byte == b'\n') {
        Some(newline) if newline > 0 && start[newline - 1] == b'\r' => Ok(Some(newline - 1)),
        Some(_) => Err(Desynchronized("a line does not end with CRLF")),
        None if start.len() == MAX_LINE => Err(Desynchronized("a line is too long")),
        None => Ok(None),
    }
}

/// Returns the length of a value, and the flags that follow it.
fn parse_length(rest: &[u8]) -> Result<(usize, &[u8]), Desynchronized> {
    let rest = rest.trim_ascii_start();
    let (digits, flags) = rest.split_at(rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len()));
    let length = parse_number(digits).and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| *length <= MAX_VALUE).ok_or(Desynchronized("a value has an invalid length"))?;
    Ok((length, flags))
}

/// Returns the CAS number among the flags; 0 if there is none.
fn parse_cas(flags: &[u8]) -> Result<u64, Desynchronized> {
    let mut words = flags.split(|byte| *byte == b' ');
    let Some(cas) = words.find_map(|word| word.strip_prefix(b"c")) else { return Ok(0) };
    parse_number(cas).ok_or(Desynchronized("a CAS number is not a number"))
}

/// Returns the number beside the value; 0 if there is none.
fn parse_client_flags(flags: &[u8]) -> Result<u32, Desynchronized> {
    let mut words = flags.split(|byte| *byte == b' ');
    let Some(number) = words.find_map(|word| word.strip_prefix(b"f")) else { return Ok(0) };
    let number = parse_number(number).and_then(|number| u32::try_from(number).ok());
    number.ok_or(Desynchronized("the flags of a value are not a number"))
}

/// Takes a value of this length after a line of this length; `numbers` are its CAS number and its flags.
fn take_value(received: &mut BytesMut, line: usize, length: usize, numbers: (u64, u32)) -> Result<Decoded, Desynchronized> {
    let whole = line + length + b"\r\n".len();
    if let Some(missing) = whole.checked_sub(received.len()).filter(|missing| *missing > 0) {
        return Ok(Decoded::NeedMore(missing));
    }
    if &received[whole - 2..whole] != b"\r\n" {
        return Err(Desynchronized("a value does not end with CRLF"));
    }
    received.advance(line);
    let data = match length {
        ..MIN_SLICE => Bytes::copy_from_slice(&received.split_to(length)),
        MIN_SLICE.. => received.split_to(length).freeze(),
    };
    received.advance(b"\r\n".len());
    let (cas, flags) = numbers;
    Ok(Decoded::Reply(Reply::Value { data, cas, flags }))
}

/// Parses a decimal number of digits only.
pub(crate) fn parse_number(digits: &[u8]) -> Option<u64> {
    let (first, rest) = digits.split_first()?;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    rest.iter().try_fold(digit(first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}
