//! The encoding of the content of an entry.

use std::sync::Arc;

use bytes::BufMut as _;

use super::{
    compression::BodyDecoder,
    cursor::{Reader, Write as _},
    error::DecodeError,
    response::{
        put_names, put_response, put_selection, read_names, read_response, read_selection, size_of_fields, size_of_selection,
    },
    value::{put_value, read_value},
};
use crate::{
    clock::Timestamp,
    coding::content_coding::ContentCoding,
    entry::{
        codings::{Coded, Codings, Digest},
        response::StoredResponse,
        stored::Content,
        variants::{VariantId, Variants},
    },
    http::no_vary_search::{Order, Parameters, QueryVariance},
};

const RESPONSE: u8 = 0;
const VARIANTS: u8 = 1;
const QUERY_VARIANCE: u8 = 2;
const TOMBSTONE: u8 = 3;
/// A response with a `Vary`. A kind of its own: to a node of an earlier version, which would serve it to any request, it is a miss.
const VARYING_RESPONSE: u8 = 4;
/// A response that may be served in content codings, with those that were made, and with or without a `Vary` of the handler. To a node of
/// an earlier version, it is a miss.
const CODED_RESPONSE: u8 = 5;
/// A value of the application. To a node of an earlier version, it is a miss.
const VALUE: u8 = 6;

pub(super) fn kind(content: &Content) -> u8 {
    match content {
        Content::Response(response) if response.codings.is_some() => CODED_RESPONSE,
        Content::Response(response) if response.selection.is_some() => VARYING_RESPONSE,
        Content::Response(_) => RESPONSE,
        Content::Variants(_) => VARIANTS,
        Content::QueryVariance(_) => QUERY_VARIANCE,
        Content::Value(_) => VALUE,
        Content::Tombstone => TOMBSTONE,
    }
}

/// Returns the number of bytes to reserve.
pub(super) fn size(content: &Content) -> usize {
    match content {
        Content::Response(response) => {
            let selection = response.selection.as_deref().map_or(0, size_of_selection);
            let codings = response.codings.as_deref().map_or(0, size_of_codings);
            size_of_fields(&response.head.headers) + selection + codings + 64
        }
        Content::Variants(variants) => variants.members.len() * MEMBER + 64,
        Content::Value(value) => value.data.type_name().len() + 64,
        Content::QueryVariance(_) | Content::Tombstone => 64,
    }
}

/// Encodes everything but the body, of `length` bytes, which the caller appends: the HTTP body, or the value.
pub(super) fn put_content(out: &mut Vec<u8>, content: &Content, length: usize) -> Option<()> {
    match content {
        Content::Response(response) => {
            if let Some(codings) = response.codings.as_deref() {
                put_codings(out, codings)?;
                out.put_u8(u8::from(response.selection.is_some()));
            }
            response.selection.as_deref().map_or(Some(()), |selection| put_selection(out, selection))?;
            put_response(out, response)
        }
        Content::Variants(variants) => put_variants(out, variants),
        Content::QueryVariance(rule) => put_rule(out, rule),
        Content::Value(value) => put_value(out, value, length),
        Content::Tombstone => Some(()),
    }
}

pub(super) fn read_content(kind: u8, mut reader: Reader<'_>, decoder: BodyDecoder<'_>) -> Result<Content, DecodeError> {
    let content = match kind {
        RESPONSE => Content::Response(read_response(&mut reader, decoder)?),
        VARYING_RESPONSE => {
            let selection = Some(read_selection(&mut reader)?);
            Content::Response(StoredResponse { selection, ..read_response(&mut reader, decoder)? })
        }
        CODED_RESPONSE => {
            let codings = Some(read_codings(&mut reader, decoder)?);
            let selection = reader.bool()?.then(|| read_selection(&mut reader)).transpose()?;
            Content::Response(StoredResponse { codings, selection, ..read_response(&mut reader, decoder)? })
        }
        VARIANTS => Content::Variants(read_variants(&mut reader)?),
        VALUE => Content::Value(read_value(&mut reader, decoder)?),
        QUERY_VARIANCE => Content::QueryVariance(read_rule(&mut reader)?),
        TOMBSTONE => Content::Tombstone,
        _ => return Err(DecodeError::Malformed),
    };
    reader.end()?;
    Ok(content)
}

const ZSTD: u8 = 0;
const BROTLI: u8 = 1;
const GZIP: u8 = 2;

/// The overhead of a coding: its number, its digest, and the length of its body.
const CODING: usize = 1 + size_of::<Digest>() + 4;

fn size_of_codings(codings: &Codings) -> usize {
    codings.iter().map(|coded| CODING + coded.body.len()).sum()
}

fn put_codings(out: &mut Vec<u8>, codings: &Codings) -> Option<()> {
    out.put_size(codings.iter().len())?;
    codings.iter().try_for_each(|coded| {
        out.put_u8(match coded.coding {
            ContentCoding::Zstd => ZSTD,
            ContentCoding::Brotli => BROTLI,
            ContentCoding::Gzip => GZIP,
        });
        out.extend_from_slice(&coded.digest);
        out.put_length_prefixed(&coded.body)
    })
}

fn read_codings(reader: &mut Reader<'_>, decoder: BodyDecoder<'_>) -> Result<Arc<Codings>, DecodeError> {
    match reader.count(CODING)? {
        0 => Ok(Codings::none()),
        count => Ok(Arc::new((0..count).map(|_| read_coding(reader, decoder)).collect::<Result<_, _>>()?)),
    }
}

fn read_coding(reader: &mut Reader<'_>, decoder: BodyDecoder<'_>) -> Result<Coded, DecodeError> {
    let coding = match reader.u8()? {
        ZSTD => ContentCoding::Zstd,
        BROTLI => ContentCoding::Brotli,
        GZIP => ContentCoding::Gzip,
        _ => return Err(DecodeError::Malformed),
    };
    let digest = reader.array()?;
    Ok(Coded::with_digest(coding, decoder.retain(reader.length_prefixed()?), digest))
}

/// The size of a variant: its id, and when it expires.
const MEMBER: usize = size_of::<VariantId>() + size_of::<u64>();

fn put_variants(out: &mut Vec<u8>, variants: &Variants) -> Option<()> {
    out.put_size(variants.vary_lists.len())?;
    variants.vary_lists.iter().try_for_each(|names| put_names(out, names))?;
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
