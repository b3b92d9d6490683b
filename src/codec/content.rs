//! The encoding of the content of an entry.

use bytes::BufMut as _;
use http::HeaderName;

use super::{
    compression::BodyDecoder,
    cursor::{Reader, Write as _},
    error::DecodeError,
    response::{put_response, read_response, size_of_fields},
};
use crate::{
    clock::Timestamp,
    entry::{
        stored::Content,
        variants::{VariantId, Variants},
    },
    http::no_vary_search::{Order, Parameters, QueryVariance},
};

const RESPONSE: u8 = 0;
const VARIANTS: u8 = 1;
const QUERY_VARIANCE: u8 = 2;
const TOMBSTONE: u8 = 3;

pub(super) fn kind(content: &Content) -> u8 {
    match content {
        Content::Response(_) => RESPONSE,
        Content::Variants(_) => VARIANTS,
        Content::QueryVariance(_) => QUERY_VARIANCE,
        Content::Tombstone => TOMBSTONE,
    }
}

/// Returns the number of bytes to reserve.
pub(super) fn size(content: &Content) -> usize {
    match content {
        Content::Response(response) => size_of_fields(&response.head.headers) + 64,
        Content::Variants(variants) => variants.members.len() * MEMBER + 64,
        Content::QueryVariance(_) | Content::Tombstone => 64,
    }
}

/// Encodes everything but the HTTP body, which the caller appends.
pub(super) fn put_content(out: &mut Vec<u8>, content: &Content) -> Option<()> {
    match content {
        Content::Response(response) => put_response(out, response),
        Content::Variants(variants) => put_variants(out, variants),
        Content::QueryVariance(rule) => put_rule(out, rule),
        Content::Tombstone => Some(()),
    }
}

pub(super) fn read_content(kind: u8, mut reader: Reader<'_>, decoder: BodyDecoder<'_>) -> Result<Content, DecodeError> {
    let content = match kind {
        RESPONSE => Content::Response(read_response(&mut reader, decoder)?),
        VARIANTS => Content::Variants(read_variants(&mut reader)?),
        QUERY_VARIANCE => Content::QueryVariance(read_rule(&mut reader)?),
        TOMBSTONE => Content::Tombstone,
        _ => return Err(DecodeError::Malformed),
    };
    reader.end()?;
    Ok(content)
}

/// The size of a variant: its id, and when it expires.
const MEMBER: usize = size_of::<VariantId>() + size_of::<u64>();

fn put_variants(out: &mut Vec<u8>, variants: &Variants) -> Option<()> {
    out.put_size(variants.vary_lists.len())?;
    for names in &variants.vary_lists {
        out.put_size(names.len())?;
        for name in names {
            out.put_length_prefixed(name.as_str().as_bytes())?;
        }
    }
    out.put_size(variants.members.len())?;
    for (member, expires) in &variants.members {
        out.extend_from_slice(member);
        out.put_u64(expires.as_millis());
    }
    Some(())
}

fn read_variants(reader: &mut Reader<'_>) -> Result<Variants, DecodeError> {
    let vary_lists = (0..reader.count(4)?).map(|_| read_names(reader)).collect::<Result<_, _>>()?;
    let members = (0..reader.count(MEMBER)?).map(|_| read_member(reader)).collect::<Result<_, _>>()?;
    Ok(Variants { vary_lists, members })
}

fn read_names(reader: &mut Reader<'_>) -> Result<Box<[HeaderName]>, DecodeError> {
    let name = |bytes| HeaderName::from_bytes(bytes).map_err(|_| DecodeError::Malformed);
    (0..reader.count(4)?).map(|_| name(reader.length_prefixed()?)).collect()
}

fn read_member(reader: &mut Reader<'_>) -> Result<(VariantId, Timestamp), DecodeError> {
    Ok((reader.array()?, Timestamp::from_millis(reader.u64()?)))
}

const IGNORED: u8 = 0;
const KEPT: u8 = 1;

fn put_rule(out: &mut Vec<u8>, rule: &QueryVariance) -> Option<()> {
    let (parameters, names) = match &rule.parameters {
        Parameters::Ignored(names) => (IGNORED, names),
        Parameters::Kept(names) => (KEPT, names),
    };
    out.put_u8(parameters);
    out.put_u8(u8::from(rule.order == Order::Ignored));
    out.put_size(names.len())?;
    names.iter().try_for_each(|name| out.put_length_prefixed(name.as_bytes()))
}

fn read_rule(reader: &mut Reader<'_>) -> Result<QueryVariance, DecodeError> {
    let (parameters, order) = (reader.u8()?, reader.bool()?);
    let names = (0..reader.count(4)?).map(|_| reader.text().map(str::to_owned)).collect::<Result<_, _>>()?;
    let parameters = match parameters {
        IGNORED => Parameters::Ignored(names),
        KEPT => Parameters::Kept(names),
        _ => return Err(DecodeError::Malformed),
    };
    Ok(QueryVariance { parameters, order: if order { Order::Ignored } else { Order::Matters } })
}
