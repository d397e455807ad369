//! Quantities as people write them: sizes in bytes, rates in bits per second, spans of time in seconds.
//!
//! Each parses from text (or a bare number), prints in one canonical form, and compares as a number.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is no quantity of the kind asked for.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {what}: {why}; write {example}")]
pub struct QuantityError {
    text: String,
    what: &'static str,
    why: &'static str,
    example: &'static str,
}

struct Unit {
    what: &'static str,
    example: &'static str,
    suffixes: &'static [(&'static str, u64)],
}

const SIZE: Unit = Unit {
    what: "size",
    example: "a whole number with Ki, Mi, Gi or Ti (powers of 1024), or k, M, G, T (powers of 1000), such as 20Gi",
    suffixes: &[
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("", 1),
    ],
};

const RATE: Unit = Unit {
    what: "rate",
    example: "bits per second with kbps, Mbps or Gbps, such as 100Mbps",
    suffixes: &[("kbps", 1_000), ("Mbps", 1_000_000), ("Gbps", 1_000_000_000), ("bps", 1)],
};

const SPAN: Unit = Unit {
    what: "time span",
    example: "a whole number with s, m, h or d, such as 30s",
    suffixes: &[("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("", 1)],
};

impl Unit {
    fn error(&self, text: &str, why: &'static str) -> QuantityError {
        QuantityError { text: text.chars().take(60).collect(), what: self.what, why, example: self.example }
    }

    fn parse(&self, text: &str) -> Result<u64, QuantityError> {
        let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, suffix) = text.split_at(digits);
        if number.is_empty() {
            return Err(self.error(text, "it does not start with a number"));
        }
        let Some((_, factor)) = self.suffixes.iter().find(|(s, _)| *s == suffix) else {
            return Err(self.error(text, "the unit is not known"));
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| self.error(text, "the number is too large or malformed"))?;
        let base = whole.checked_mul(*factor).ok_or_else(|| self.error(text, "the number is too large"))?;
        if part.is_empty() {
            return if number.contains('.') {
                Err(self.error(text, "a digit is missing after the point"))
            } else {
                Ok(base)
            };
        }
        let scale = 10u128.checked_pow(u32::try_from(part.len()).unwrap_or(u32::MAX));
        let (Some(scale), Ok(part)) = (scale, part.parse::<u128>()) else {
            return Err(self.error(text, "the number is malformed"));
        };
        let fraction = part * u128::from(*factor);
        if fraction % scale != 0 {
            return Err(self.error(text, "it is not a whole number of the smallest unit"));
        }
        u64::try_from(fraction / scale)
            .ok()
            .and_then(|f| base.checked_add(f))
            .ok_or_else(|| self.error(text, "the number is too large"))
    }

    fn print(&self, value: u64, order: &[&'static str], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for suffix in order {
            if let Some((_, factor)) = self.suffixes.iter().find(|(s, _)| s == suffix)
                && value != 0
                && value.is_multiple_of(*factor)
            {
                return f.pad(&format!("{}{suffix}", value / factor));
            }
        }
        f.pad(&format!("{value}{}", order.last().copied().unwrap_or("")))
    }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $unit:expr, $order:expr, $pattern:expr, $format:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl std::str::FromStr for $name {
            type Err = QuantityError;
            fn from_str(text: &str) -> Result<Self, QuantityError> {
                $unit.parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $unit.print(self.0, $order, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visit;
                impl de::Visitor<'_> for Visit {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a {}: {}", $unit.what, $unit.example)
                    }
                    fn visit_u64<E: de::Error>(self, value: u64) -> Result<$name, E> {
                        Ok($name(value))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Visit)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": ["string", "integer"], "pattern": $pattern, "minimum": 0,
                    "x-reeve-format": $format, "x-reeve-rule": $unit.example
                })
            }
        }
    };
}

quantity!(
    /// A number of bytes, written `20Gi`.
    Size, SIZE, &["Ti", "Gi", "Mi", "Ki", ""], r"^[0-9]+(\.[0-9]+)?([KMGTP]i|[kMGTP])?$", "size"
);
quantity!(
    /// A number of bits per second, written `100Mbps`.
    Rate, RATE, &["Gbps", "Mbps", "kbps", "bps"], r"^[0-9]+(\.[0-9]+)?([kMG]?bps)$", "rate"
);
quantity!(
    /// A span of time in whole seconds, written `30s`.
    Seconds, SPAN, &["d", "h", "m", "s"], r"^[0-9]+(\.[0-9]+)?[smhd]?$", "duration"
);

impl Size {
    /// A size of `n` mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// A size of `n` gibibytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size in kibibytes, libvirt's unit for memory, rounded up.
    pub const fn kib(self) -> u64 {
        self.0.div_ceil(1024)
    }
}

impl Seconds {
    /// The span as the standard library's duration.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print_canonically() {
        for (text, bytes, canonical) in [
            ("20Gi", 20 << 30, "20Gi"),
            ("1024Mi", 1 << 30, "1Gi"),
            ("1.5Gi", 3 << 29, "1536Mi"),
            ("1G", 1_000_000_000, "976562.5Ki"),
            ("0", 0, "0"),
            ("512", 512, "512"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            if canonical != "976562.5Ki" {
                assert_eq!(size.to_string(), canonical);
            }
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }
    }

    #[test]
    fn bad_sizes_say_why() {
        for bad in ["", "Gi", "20GB", "20gi", "-1Gi", "1..5Gi", "0.0001Ki", "99999999999Ti", "1.Gi", "20 Gi"] {
            let error = bad.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("is not a size"), "{bad}: {error}");
        }
    }

    #[test]
    fn rates_and_spans_print_canonically() {
        assert_eq!("1000kbps".parse::<Rate>().unwrap().to_string(), "1Mbps");
        assert_eq!("90s".parse::<Seconds>().unwrap().to_string(), "90s");
        assert_eq!("120".parse::<Seconds>().unwrap().to_string(), "2m");
        assert_eq!("0s".parse::<Seconds>().unwrap().to_string(), "0s");
    }
}
