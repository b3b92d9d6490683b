use redis::Value;

use super::{failure::unexpected, reading::Reading};
use crate::{
    backend::{Announced, Invalidation},
    error::Error,
    tag::Tag,
};

/// As many announcements as are read at once.
pub(super) const BATCH: usize = 1000;

/// Reads what the polling script has answered.
pub(super) fn announced(answer: &Value) -> Result<Announced, Error> {
    let Value::Array(parts) = answer else { return Err(unexpected()) };
    let [Value::BulkString(clock), Value::Array(messages)] = &parts[..] else { return Err(unexpected()) };
    let (reading, _) = Reading::split(clock).ok_or_else(unexpected)?;
    let invalidations = messages.iter().map(|message| invalidation(message).ok_or_else(unexpected)).collect::<Result<_, _>>()?;
    Ok(Announced::new(reading.epoch, reading.sequence, invalidations))
}

/// `12-0`, and `w hard t posts t post:7`.
fn invalidation(message: &Value) -> Option<(u64, Invalidation)> {
    let Value::Array(parts) = message else { return None };
    let [id, Value::Array(fields)] = &parts[..] else { return None };
    let number = text(id)?.split('-').next()?.parse().ok()?;
    let (pairs, []) = fields.as_chunks::<2>() else { return None };
    let [what, tags @ ..] = pairs else { return None };
    let tags = || tags.iter().map(|[_, tag]| Some(Tag::unchecked(text(tag)?))).collect::<Option<Vec<_>>>();
    let invalidation = match text(&what[1])? {
        "hard" => Invalidation::Tags(tags()?),
        "soft" => Invalidation::ExpireTags(tags()?),
        "all" => Invalidation::Everything,
        _ => return None,
    };
    Some((number, invalidation))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}
