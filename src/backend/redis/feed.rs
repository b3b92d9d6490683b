//! The stream of invalidations in Redis, for near tiers.

use std::{iter, time::Duration};

use redis::Value;

use super::{clock::ClockReading, error::malformed_reply};
use crate::{
    backend::{FeedBatch, contract::Invalidation},
    error::Error,
    tag::Tag,
};

/// The number of bytes of messages that one poll reads: more than the longest message, but few enough not to delay lookups on the same
/// connection.
pub(super) const POLL_BYTES: u64 = 16 << 10;

/// The number of bytes of messages that the stream keeps. A node that is further behind drops its copies, and continues at the end of
/// the stream. Each dropped copy costs one round trip.
pub(super) const STREAM_BYTES: u64 = 256 << 10;

/// The time limit of a poll. No request waits for it.
pub(super) const POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// The length of a message, without its tags.
const OVERHEAD: u64 = 64;

/// Returns the position of the end of the stream.
pub(super) fn position(reading: ClockReading) -> FeedBatch {
    FeedBatch::new(reading.epoch, reading.sequence, Vec::new())
}

/// Decodes the reply of the polling script for the messages after `last`.
pub(super) fn parse_poll(last: u64, reply: &Value) -> Result<FeedBatch, Error> {
    let Value::Array(parts) = reply else { return Err(malformed_reply()) };
    let [Value::BulkString(clock), Value::Array(messages), _mode] = &parts[..] else { return Err(malformed_reply()) };
    let (reading, _) = ClockReading::split(clock).ok_or_else(malformed_reply)?;
    let messages = messages.iter().map(|message| Message::parse(message).ok_or_else(malformed_reply));
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let invalidations = if are_gapless(last, &messages) { messages } else { Vec::new() };
    let invalidations = invalidations.into_iter().map(|message| (message.end, message.invalidation)).collect();
    Ok(FeedBatch::new(reading.epoch, reading.sequence, invalidations))
}

/// A published invalidation, with the positions of its begin and end.
struct Message {
    begin: u64,
    end: u64,
    invalidation: Invalidation,
}

fn are_gapless(last: u64, messages: &[Message]) -> bool {
    let ends = iter::once(last).chain(messages.iter().map(|message| message.end));
    messages.iter().zip(ends).all(|(message, end)| message.begin == end)
}

impl Message {
    /// Decodes a message: the id `142-0`, and the fields `w hard t` with the tags, each preceded by its length in two bytes.
    fn parse(message: &Value) -> Option<Self> {
        let Value::Array(parts) = message else { return None };
        let [id, Value::Array(fields)] = &parts[..] else { return None };
        let [_, kind, _, Value::BulkString(tags)] = &fields[..] else { return None };
        let end: u64 = text(id)?.split('-').next()?.parse().ok()?;
        let begin = end.checked_sub(OVERHEAD + tags.len() as u64)?;
        let invalidation = match text(kind)? {
            // The near copy is dropped in both cases: only the record says since when the response is stale, and the next read reads it.
            "hard" | "soft" => Invalidation::Tags(unpack_tags(tags)?),
            "all" => Invalidation::Everything,
            _ => return None,
        };
        Some(Self { begin, end, invalidation })
    }
}

pub(super) fn unpack_tags(mut packed: &[u8]) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    while !packed.is_empty() {
        let (length, rest) = packed.split_first_chunk()?;
        let (tag, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        tags.push(Tag::unchecked(std::str::from_utf8(tag).ok()?));
        packed = rest;
    }
    Some(tags)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    /// Returns the ends of the messages that a poll after 100 decodes, for messages with the tag `a` at these ends.
    fn read(ends: &[u64]) -> Vec<u64> {
        let fields = || Value::Array(vec![bulk(b"w"), bulk(b"hard"), bulk(b"t"), bulk(b"\0\x01a")]);
        let message = |end: &u64| Value::Array(vec![bulk(format!("{end}-0").as_bytes()), fields()]);
        let reply = Value::Array(vec![bulk(&[0; 32]), Value::Array(ends.iter().map(message).collect()), Value::Nil]);
        parse_poll(100, &reply).unwrap().invalidations.into_iter().map(|(end, _)| end).collect()
    }

    #[test]
    fn messages_with_a_gap_are_not_read() {
        let length = OVERHEAD + 3;
        let ends = [100 + length, 100 + 2 * length];
        assert_eq!(read(&ends), ends);
        for gap in [&ends[1..], &[ends[0], ends[1] + 1]] {
            assert!(read(gap).is_empty());
        }
    }

    #[test]
    fn truncated_tags_are_rejected() {
        let packed = b"\0\x05posts\0\x06post:7";
        assert_eq!(unpack_tags(packed).unwrap(), ["posts", "post:7"].map(Tag::unchecked));
        for length in (0..packed.len()).filter(|length| ![0, 7].contains(length)) {
            assert_eq!(unpack_tags(&packed[..length]), None);
        }
    }
}
