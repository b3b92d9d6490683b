//! Numbers as header values, from a table instead of formatting.

use http::HeaderValue;

/// Returns a number as a header value. Up to four digits, as in most `Age` and `Content-Length` fields, need no allocation, and
/// clones of the value count no references.
pub(crate) fn decimal(number: u64) -> HeaderValue {
    match usize::try_from(number) {
        Ok(number) if number < COUNT => HeaderValue::from_static(digits(number)),
        _ => HeaderValue::from(number),
    }
}

const COUNT: usize = 10_000;

/// `0000` to `9999`, concatenated: 40 KB.
static TEXT: &str = match std::str::from_utf8(&DIGITS) {
    Ok(text) => text,
    Err(_) => "",
};

static DIGITS: [u8; 4 * COUNT] = {
    let mut digits = [0; 4 * COUNT];
    let mut number = 0;
    while number < COUNT {
        digits[4 * number] = b'0' + (number / 1000) as u8;
        digits[4 * number + 1] = b'0' + (number / 100 % 10) as u8;
        digits[4 * number + 2] = b'0' + (number / 10 % 10) as u8;
        digits[4 * number + 3] = b'0' + (number % 10) as u8;
        number += 1;
    }
    digits
};

fn digits(number: usize) -> &'static str {
    let leading_zeros = match number {
        0..10 => 3,
        10..100 => 2,
        100..1000 => 1,
        _ => 0,
    };
    &TEXT[4 * number + leading_zeros..4 * number + 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_prints_as_itself() {
        for number in (0..20_000).chain([86_400, u64::MAX]) {
            assert_eq!(decimal(number), number.to_string().as_str());
        }
    }
}
