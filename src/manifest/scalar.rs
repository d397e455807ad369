//! What a plain (unquoted) scalar is: YAML 1.2's core schema, and the words other YAML programs read differently.

/// A plain scalar as YAML 1.2's core schema reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plain {
    /// `null`, `~`, or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; `None` when it is beyond 64 bits.
    Int(Option<i128>),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Anything else.
    Text,
}

/// Reads a plain scalar.
pub fn read(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        _ => {}
    }
    let bytes = text.as_bytes();
    if !matches!(bytes.first(), Some(b'0'..=b'9' | b'+' | b'-' | b'.')) {
        return Plain::Text;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, 8);
    }
    let (negative, number) = match bytes.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
        let value = number.parse::<i128>().ok().map(|n| if negative { -n } else { n });
        return Plain::Int(value.filter(fits));
    }
    match number {
        ".inf" | ".Inf" | ".INF" => return Plain::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        _ => {}
    }
    if is_float(number) { text.parse().map_or(Plain::Text, Plain::Float) } else { Plain::Text }
}

fn fits(n: &i128) -> bool {
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(n)
}

fn based(digits: &str, radix: u32) -> Plain {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Plain::Text;
    }
    Plain::Int(i128::from_str_radix(digits, radix).ok().filter(fits))
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(number: &str) -> bool {
    let (mantissa, exponent) = match number.find(['e', 'E']) {
        Some(at) => (&number[..at], Some(&number[at + 1..])),
        None => (number, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()) && exponent_ok
}

/// What an unquoted text would be read as by some YAML program, where a person may well have meant text.
pub fn surprise(text: &str) -> Option<&'static str> {
    match read(text) {
        Plain::Null => Some("null"),
        Plain::Bool(true) => Some("true"),
        Plain::Bool(false) => Some("false"),
        Plain::Int(_) if text.starts_with("0x") => Some("a hexadecimal number"),
        Plain::Int(_) if text.starts_with("0o") => Some("an octal number"),
        Plain::Int(_) | Plain::Float(_) => Some("a number"),
        Plain::Text => old_word(text),
    }
}

/// What YAML 1.1, which many programs still read, makes of a text that YAML 1.2 leaves alone.
pub fn old_word(text: &str) -> Option<&'static str> {
    if let Some(value) = old_bool(text) {
        return Some(if value { "true" } else { "false" });
    }
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let bytes = number.as_bytes();
    if !bytes.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    if number.strip_prefix("0b").is_some_and(|b| !b.is_empty() && b.bytes().all(|b| matches!(b, b'0' | b'1' | b'_'))) {
        return Some("a binary number");
    }
    if number.contains('_') && is_float(&number.replace('_', "")) {
        return Some("a number");
    }
    if is_sexagesimal(number) {
        return Some("a number in base 60");
    }
    is_date(bytes).then_some("a date")
}

/// A boolean of YAML 1.1: `yes`, `no`, `on`, `off`.
pub fn old_bool(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// `12:30:45`, and with a fraction at the end.
fn is_sexagesimal(number: &str) -> bool {
    let mut parts = number.split(':');
    let first = parts.next().unwrap_or_default();
    let mut more = false;
    first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && parts.all(|part| {
            more = true;
            let whole = part.split_once('.').map_or(part, |(whole, _)| whole);
            whole.len() <= 2 && whole.parse::<u8>().is_ok_and(|n| n < 60)
        })
        && more
}

/// `2024-01-01`, and a time after it.
fn is_date(bytes: &[u8]) -> bool {
    let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
    bytes.len() >= 10
        && digits(0..4)
        && bytes[4] == b'-'
        && digits(5..7)
        && bytes[7] == b'-'
        && digits(8..10)
        && bytes.get(10).is_none_or(|b| matches!(b, b'T' | b't' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_is_read_as_written() {
        for (text, want) in [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("true", Plain::Bool(true)),
            ("FALSE", Plain::Bool(false)),
            ("yes", Plain::Text),
            ("12", Plain::Int(Some(12))),
            ("-7", Plain::Int(Some(-7))),
            ("0x1F", Plain::Int(Some(31))),
            ("0o17", Plain::Int(Some(15))),
            ("0x", Plain::Text),
            ("18446744073709551615", Plain::Int(Some(i128::from(u64::MAX)))),
            ("18446744073709551616", Plain::Int(None)),
            ("1e3", Plain::Float(1000.0)),
            ("1.", Plain::Float(1.0)),
            (".5", Plain::Float(0.5)),
            ("-.inf", Plain::Float(f64::NEG_INFINITY)),
            (".", Plain::Text),
            ("-", Plain::Text),
            ("1.2.3", Plain::Text),
            ("10.0.0.1/24", Plain::Text),
            ("0-1", Plain::Text),
            ("1e", Plain::Text),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn surprises_are_told_from_text() {
        for text in [
            "NO",
            "yes",
            "On",
            "off",
            "0x1F",
            "0o17",
            "1e3",
            "12:30:45",
            "1_000",
            "~",
            "null",
            "2024-01-01",
            "1.0",
            "true",
            "0b101",
            "52:54:00:12:34:56",
            "2024-01-01T10:00:00Z",
        ] {
            assert!(surprise(text).is_some(), "{text}");
        }
        for text in ["web-1", "1.2.3", "10.0.0.1", "52:54:00:ab:34:56", "0-1", "v1", "n", "2024-01", "a_b", "1:99", "-"]
        {
            assert_eq!(surprise(text), None, "{text}");
        }
    }
}
