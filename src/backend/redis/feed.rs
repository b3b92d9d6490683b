//! The stream of invalidations in Redis, for near tiers.

use std::{iter, time::Duration};

use redis::Value;

use super::{clock::Reading, error::malformed_reply};
use crate::{
    backend::{FeedBatch, contract::Invalidation},
    error::Error,
    tag::Tag,
};

/// How many bytes of announcements are read at once: more than the longest has, and not so many that reads on the same connection
/// have to wait.
pub(super) const BATCH: u64 = 16 << 10;

/// How many bytes of announcements the stream keeps, and a node reads that is behind; one that is further behind begins again where
/// they end. Its copies, which it drops, are read again in one round trip each.
pub(super) const WORTH_READING: u64 = 256 << 10;

/// How long reading announcements may take. No request waits for it.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// How much longer an announcement is than its tags.
const OVERHEAD: u64 = 64;

/// Where the announcements end.
pub(super) fn position(reading: Reading) -> FeedBatch {
    FeedBatch::new(reading.epoch, reading.sequence, Vec::new())
}

/// Reads what the polling script has answered, when asked for what comes after `last`.
pub(super) fn announced(last: u64, answer: &Value) -> Result<FeedBatch, Error> {
    let Value::Array(parts) = answer else { return Err(malformed_reply()) };
    let [Value::BulkString(clock), Value::Array(messages)] = &parts[..] else { return Err(malformed_reply()) };
    let (reading, _) = Reading::split(clock).ok_or_else(malformed_reply)?;
    let messages = messages.iter().map(|message| Message::parse(message).ok_or_else(malformed_reply));
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let invalidations = if are_gapless(last, &messages) { messages } else { Vec::new() };
    let invalidations = invalidations.into_iter().map(|message| (message.end, message.invalidation)).collect();
    Ok(FeedBatch::new(reading.epoch, reading.sequence, invalidations))
}

/// One announcement, with where it begins and ends.
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
    /// `142-0`, and `w hard t` with the tags, each behind its length in two bytes.
    fn parse(message: &Value) -> Option<Self> {
        let Value::Array(parts) = message else { return None };
        let [id, Value::Array(fields)] = &parts[..] else { return None };
        let [_, what, _, Value::BulkString(tags)] = &fields[..] else { return None };
        let end: u64 = text(id)?.split('-').next()?.parse().ok()?;
        let begin = end.checked_sub(OVERHEAD + tags.len() as u64)?;
        let invalidation = match text(what)? {
            // A near copy is dropped in both cases: the next read finds here since when the response is stale.
            "hard" | "soft" => Invalidation::Tags(unpacked(tags)?),
            "all" => Invalidation::Everything,
            _ => return None,
        };
        Some(Self { begin, end, invalidation })
    }
}

fn unpacked(mut packed: &[u8]) -> Option<Vec<Tag>> {
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

    /// What is answered to one who asks for what comes after 100, with the tag `a` announced at each of these ends.
    fn read(ends: &[u64]) -> Vec<u64> {
        let fields = || Value::Array(vec![bulk(b"w"), bulk(b"hard"), bulk(b"t"), bulk(b"\0\x01a")]);
        let message = |end: &u64| Value::Array(vec![bulk(format!("{end}-0").as_bytes()), fields()]);
        let answer = Value::Array(vec![bulk(&[0; 32]), Value::Array(ends.iter().map(message).collect())]);
        announced(100, &answer).unwrap().invalidations.into_iter().map(|(end, _)| end).collect()
    }

    #[test]
    fn announcements_with_a_gap_are_not_read() {
        let length = OVERHEAD + 3;
        let ends = [100 + length, 100 + 2 * length];
        assert_eq!(read(&ends), ends);
        for gap in [&ends[1..], &[ends[0], ends[1] + 1]] {
            assert!(read(gap).is_empty());
        }
    }

    #[test]
    fn tags_that_were_cut_are_none() {
        let packed = b"\0\x05posts\0\x06post:7";
        assert_eq!(unpacked(packed).unwrap(), ["posts", "post:7"].map(Tag::unchecked));
        for length in (0..packed.len()).filter(|length| ![0, 7].contains(length)) {
            assert_eq!(unpacked(&packed[..length]), None);
        }
    }
}
