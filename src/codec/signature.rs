use super::{corrupt::Corrupt, reader::Reader};

/// What all that larder writes begins with.
const MAGIC: u8 = b'L';

/// The version of the format. Whoever changes the format counts it up, and keeps the files in `tests/golden` that older
/// versions wrote: nodes of two versions share a store while one is being deployed.
const VERSION: u8 = 1;

pub(super) fn put_signature(out: &mut Vec<u8>) {
    out.extend_from_slice(&[MAGIC, VERSION]);
}

pub(super) fn check_signature(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    match (reader.u8()?, reader.u8()?) {
        (MAGIC, VERSION) => Ok(()),
        (MAGIC, version) => Err(Corrupt::Version(version)),
        _ => Err(Corrupt::Foreign),
    }
}
