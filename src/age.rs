use http::HeaderValue;

/// The `Age` of so many seconds; up to a quarter of an hour it takes no allocation.
pub(crate) fn age_value(seconds: u64) -> HeaderValue {
    match usize::try_from(seconds) {
        Ok(seconds) if seconds < COUNT => HeaderValue::from_static(digits(seconds)),
        _ => HeaderValue::from(seconds),
    }
}

const COUNT: usize = 1000;

/// `000` to `999`, one after the other.
const DIGITS: [u8; 3 * COUNT] = {
    let mut digits = [0; 3 * COUNT];
    let mut number = 0;
    while number < COUNT {
        digits[3 * number] = b'0' + (number / 100) as u8;
        digits[3 * number + 1] = b'0' + (number / 10 % 10) as u8;
        digits[3 * number + 2] = b'0' + (number % 10) as u8;
        number += 1;
    }
    digits
};

static TEXT: &str = match std::str::from_utf8(&DIGITS) {
    Ok(text) => text,
    Err(_) => "",
};

fn digits(number: usize) -> &'static str {
    let leading_zeros = match number {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    &TEXT[3 * number + leading_zeros..3 * number + 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_age_prints_as_its_number() {
        for seconds in (0..2000).chain([86_400, u64::MAX]) {
            assert_eq!(age_value(seconds), seconds.to_string().as_str());
        }
    }
}
