//! The values of options in a store's URL.

use std::time::Duration;

/// How a value is read, and how an error says that it is written.
pub(crate) struct Kind<T> {
    read: fn(&str) -> Option<T>,
    pub(super) written: &'static str,
}

impl<T> Kind<T> {
    pub(crate) fn parse(&self, value: &str) -> Option<T> {
        (self.read)(value)
    }
}

pub(crate) const NAME: Kind<String> =
    Kind { read: |value| (!value.is_empty()).then(|| value.to_owned()), written: "a name such as `shop`" };

pub(crate) const PATH: Kind<String> = Kind {
    read: |value| (!value.is_empty()).then(|| value.to_owned()),
    written: "the path of a file, such as `/etc/ssl/redis.pem`",
};

pub(crate) const COUNT: Kind<u32> = Kind { read: read_number, written: "a number such as `1`, or `0`" };

pub(crate) const FAILURES: Kind<u32> =
    Kind { read: |value| read_number(value).filter(|count| *count > 0), written: "a number such as `5`, and not zero" };

pub(crate) const TAGS: Kind<usize> = Kind { read: read_number, written: "a number such as `65536`" };

pub(crate) const TAG_CAPACITY: Kind<usize> =
    Kind { read: |value| read_number(value).filter(|count| *count > 0), written: "a number such as `65536`, and not zero" };

pub(crate) const SIZE: Kind<u64> = Kind {
    read: |value| read_size(value).filter(|size| *size > 0),
    written: "a number of bytes, or a size such as `64kb`, `64mb` or `1gb`, and not zero",
};

/// The size of a store in memory. One that could not hold a page was meant in another unit, as `64` for `64mb`.
pub(crate) const MEMORY: Kind<u64> = Kind {
    read: |value| read_size(value).filter(|size| *size >= 16 << 10),
    written: "a size of `16kb` at least, such as `64mb`",
};

/// The size of the memory in front of a store.
pub(crate) const NEAR: Kind<u64> = Kind {
    read: MEMORY.read,
    written: "a size such as `64mb`, and not zero or less than `16kb`: a URL without `tiered+` has no memory in front",
};

/// The crate under the memory store.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum MemoryEngine {
    #[default]
    Moka,
    Quick,
}

pub(crate) const MEMORY_ENGINE: Kind<MemoryEngine> = Kind {
    read: |value| match value {
        "moka" => Some(MemoryEngine::Moka),
        "quick" => Some(MemoryEngine::Quick),
        _ => None,
    },
    written: "`moka` or `quick`",
};

/// A size that fits into memory, or nothing.
pub(crate) const SIZE_OR_OFF: Kind<Option<usize>> = Kind {
    read: |value| match value {
        "off" => Some(None),
        size => Some(Some(usize::try_from(read_size(size)?).ok()?)),
    },
    written: "a size such as `4kb`, or `off`",
};

pub(crate) const DURATION: Kind<Duration> = Kind {
    read: |value| read_duration(value).filter(|duration| !duration.is_zero()),
    written: "a number with the unit `ms`, `s`, `m` or `h`, such as `200ms` or `2s`, and not zero",
};

pub(crate) const DURATION_OR_OFF: Kind<Option<Duration>> = Kind {
    read: |value| match value {
        "off" => Some(None),
        duration => Some(Some((DURATION.read)(duration)?)),
    },
    written: "a duration such as `200ms` or `2s`, or `off` instead of zero",
};

/// Reads `64mb` and the like; units are powers of 1024.
fn read_size(size: &str) -> Option<u64> {
    let (number, unit) = split_unit(size);
    let shift = match &*unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    read_number::<u64>(number)?.checked_mul(1 << shift)
}

fn read_duration(duration: &str) -> Option<Duration> {
    let (number, unit) = split_unit(duration);
    let millis = match &*unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return None,
    };
    Some(Duration::from_millis(read_number::<u64>(number)?.checked_mul(millis)?))
}

fn split_unit(value: &str) -> (&str, String) {
    let number = value.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    (number, value[number.len()..].to_ascii_lowercase())
}

/// Reads digits only: `parse` would accept a sign.
fn read_number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, millis) in [("200ms", 200), ("2s", 2000), ("1m", 60_000), ("3H", 10_800_000), ("0s", 0)] {
            assert_eq!(read_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "2", "s", "-1s", "+1s", "1.5s", "1 s", "1d", "1s2", "18446744073709551615h", "18446744073709551616ms"] {
            assert_eq!(read_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in
            [("0", 0), ("7", 7), ("7b", 7), ("7k", 7 << 10), ("7KiB", 7 << 10), ("7mb", 7 << 20), ("7gb", 7 << 30)]
        {
            assert_eq!(read_size(text), Some(bytes), "{text}");
        }
        for text in ["", "mb", "-1mb", "1.5mb", "1 mb", "1tb", "99999999999gb", "99999999999999999999"] {
            assert_eq!(read_size(text), None, "{text}");
        }
    }
}
