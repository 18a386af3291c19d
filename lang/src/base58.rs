//! 32 bytes as text in base 58, as Bitcoin writes it: no character that looks like another, a `1` for each leading zero byte.

const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The text.
pub(crate) fn encode(bytes: &[u8; 32]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    // Digits in base 58, the least first; 32 bytes are at most 44 of them.
    let mut digits: Vec<u8> = Vec::with_capacity(44);
    for byte in &bytes[zeros..] {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let ones = std::iter::repeat_n(0, zeros);
    ones.chain(digits.into_iter().rev()).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The bytes, if the text is the one that they have.
pub(crate) fn decode(text: &str) -> Option<[u8; 32]> {
    if text.len() > 44 {
        return None;
    }
    let mut bytes = [0u8; 32];
    for character in text.bytes() {
        let mut carry = u32::try_from(DIGITS.iter().position(|digit| *digit == character)?).ok()?;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `1` is a leading zero byte; the largest number has 44 digits.
    #[test]
    fn text_and_bytes() {
        let mut one = [0; 32];
        one[31] = 58;
        let cases = [
            ([0; 32], "1".repeat(32)),
            (one, "1".repeat(31) + "21"),
            ([255; 32], { "JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFG".to_owned() }),
        ];
        for (bytes, text) in cases {
            assert_eq!(encode(&bytes), text);
            assert_eq!(decode(&text), Some(bytes));
        }
    }

    #[test]
    fn what_is_no_hash() {
        let largest = encode(&[255; 32]);
        let past = largest[..43].to_owned() + "H";
        let long = "1".repeat(33);
        for text in ["", "1", "0OIl", "é", past.as_str(), long.as_str()] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
