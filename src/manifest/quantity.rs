//! Sizes, rates and spans of time with a unit that is not ours: what the person most likely meant.

/// Whether `format` is one of the quantities of `base::size`.
pub fn is_quantity(format: &str) -> bool {
    matches!(format, "size" | "rate" | "duration")
}

/// Checks a quantity; the error says what is wrong and what to write.
pub fn check(format: &str, text: &str) -> Result<(), (String, String)> {
    parse(format, text).map_err(|error| {
        let (message, rule) = error.rsplit_once("; write ").unwrap_or((&error, ""));
        let help = meant(format, text).unwrap_or_else(|| rule.to_owned());
        (message.to_owned(), format!("write {help}"))
    })
}

/// Reads a quantity; the error is the reader's own.
fn parse(format: &str, text: &str) -> Result<(), String> {
    let result = match format {
        "size" => text.parse::<crate::base::Size>().map(drop),
        "rate" => text.parse::<crate::base::Rate>().map(drop),
        _ => text.parse::<crate::base::Seconds>().map(drop),
    };
    result.map_err(|error| error.to_string())
}

/// The quantity in our units, when the text differs from one only in its unit's spelling.
fn meant(format: &str, text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || number.len() > 20 {
        return None;
    }
    let unit = unit.trim();
    match format {
        "size" => size(number, unit),
        "rate" => rate(number, unit),
        _ => span(number, unit),
    }
    .filter(|meant| meant.split(" or ").all(|m| parse(format, m).is_ok()))
}

fn size(number: &str, unit: &str) -> Option<String> {
    let lower = unit.to_ascii_lowercase();
    let letters = lower.trim_end_matches("bytes").trim_end_matches("byte").trim_end_matches('b');
    let (letter, binary) = match letters.strip_suffix('i') {
        Some(letter) => (letter, true),
        None => (letters, false),
    };
    let (decimal, power) = match letter {
        "" if !binary => return Some(number.to_owned()),
        "k" => ("k", "Ki"),
        "m" => ("M", "Mi"),
        "g" => ("G", "Gi"),
        "t" => ("T", "Ti"),
        "p" => ("P", "Pi"),
        _ => return None,
    };
    Some(if binary { format!("{number}{power}") } else { format!("{number}{decimal} or {number}{power}") })
}

fn rate(number: &str, unit: &str) -> Option<String> {
    let lower = unit.to_ascii_lowercase();
    let letter = match lower.as_str() {
        "k" | "kbit" | "kbits" | "kbit/s" | "kbps" | "kb/s" => "k",
        "m" | "mbit" | "mbits" | "mbit/s" | "mbps" | "mb/s" => "M",
        "g" | "gbit" | "gbits" | "gbit/s" | "gbps" | "gb/s" => "G",
        "" | "bit" | "bit/s" | "b/s" => "",
        _ => return None,
    };
    Some(format!("{number}{letter}bps"))
}

fn span(number: &str, unit: &str) -> Option<String> {
    let letter = match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    Some(format!("{number}{letter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_unit_is_answered_with_the_good_one() {
        for (format, text, help) in [
            ("size", "20GB", "write 20G or 20Gi"),
            ("size", "20gb", "write 20G or 20Gi"),
            ("size", "20GiB", "write 20Gi"),
            ("size", "20 Gi", "write 20Gi"),
            ("size", "1.5gi", "write 1.5Gi"),
            ("rate", "100Mbit", "write 100Mbps"),
            ("rate", "100 mbps", "write 100Mbps"),
            ("duration", "5 min", "write 5m"),
            ("duration", "30sec", "write 30s"),
        ] {
            assert_eq!(check(format, text).unwrap_err().1, help, "{text}");
        }
        let (message, help) = check("size", "lots").unwrap_err();
        assert!(message.contains("does not start with a number"), "{message}");
        assert!(help.contains("such as 20Gi"), "{help}");
        assert!(check("size", "20Gi").is_ok());
        // What is no quantity is not what was meant either.
        for text in ["1.3", "1.3b", "0.0000001k", "99999999999999999999", "1..2", "."] {
            assert!(check("size", text).unwrap_err().1.contains("such as 20Gi"), "{text}");
            assert!(check("rate", text).is_err() && check("duration", text).is_err(), "{text}");
        }
    }
}
