//! Lines of LXC's configuration: keys and values, with LXC's own rules for quotes.

use crate::base::{Fault, FaultKind};

/// Keys and values in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(Vec<(String, String)>);

impl Lines {
    /// Reads a file; comments and empty lines are dropped.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                return None;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            Some((key.trim().to_owned(), unwrap(value.trim()).to_owned()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// Adds a line.
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    /// Takes the lines that `choose` wants, given key and value.
    pub fn take(&mut self, mut choose: impl FnMut(&str, &str) -> bool) -> Vec<(String, String)> {
        let (taken, kept) = std::mem::take(&mut self.0).into_iter().partition(|(k, v)| choose(k, v));
        self.0 = kept;
        taken
    }

    /// Takes the lines with this key; the last one's value is in force.
    pub fn last(&mut self, key: &str) -> Option<String> {
        self.take(|k, _| k == key).pop().map(|(_, value)| value)
    }

    /// Takes exactly this line; whether it was there.
    pub fn has(&mut self, key: &str, value: &str) -> bool {
        !self.take(|k, v| k == key && v == value).is_empty()
    }

    /// What nobody took, as lines.
    pub fn rest(&self) -> Vec<String> {
        self.0.iter().map(|(key, value)| format!("{key} = {}", wrap(value))).collect()
    }

    /// The file; a value that cannot stand in one is refused.
    pub fn text(&self) -> Result<String, Fault> {
        if let Some((key, value)) = self.0.iter().find(|(_, v)| v.chars().any(|c| c.is_control() && c != '\t')) {
            let message = format!("{value:?} cannot be written to LXC's configuration as {key}");
            return Err(Fault::new(FaultKind::Invalid, message).help("take line breaks and control characters out"));
        }
        Ok(self.rest().join("\n"))
    }
}

/// A value as LXC reads it back: it trims spaces, and takes one pair of quotes off.
fn wrap(value: &str) -> String {
    let quoted = value.starts_with(['"', '\'']);
    if quoted || value.trim() != value { format!("\"{value}\"") } else { value.to_owned() }
}

fn unwrap(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|v| v.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

/// A list of words as one value, as LXC splits it: each word may stand in one pair of quotes.
pub fn join_words(words: &[String]) -> Result<String, Fault> {
    let quote = |word: &String| {
        let plain = !word.is_empty() && !word.chars().any(|c| c.is_whitespace() || c == '"' || c == '\'');
        match (plain, word.contains('"'), word.contains('\'')) {
            (true, ..) => Ok(word.clone()),
            (_, false, _) => Ok(format!("\"{word}\"")),
            (_, true, false) => Ok(format!("'{word}'")),
            (_, true, true) => Err(Fault::new(
                FaultKind::Invalid,
                format!("LXC cannot be given the argument {word:?}, which has both sorts of quotes"),
            )
            .help("put the command into a script in the container, and name the script")),
        }
    };
    Ok(words.iter().map(quote).collect::<Result<Vec<_>, _>>()?.join(" "))
}

/// The words of such a value.
pub fn split_words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = value.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' | '\'' => rest[1..].split_once(first).unwrap_or((&rest[1..], "")),
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_lxcs_quoting() {
        for value in ["", "x", " x ", "\"x\"", "\"a b\" \"c\"", "'x", "a\"b", "A= x "] {
            let mut lines = Lines::default();
            lines.put("k", value);
            let mut back = Lines::parse(&lines.text().unwrap());
            assert_eq!(back.last("k").as_deref(), Some(value), "{}", lines.text().unwrap());
        }
        let mut lines = Lines::default();
        lines.put("k", "a\nlxc.hook.start = evil");
        assert!(lines.text().is_err());
    }

    #[test]
    fn words_survive_lxcs_splitting() {
        let words: Vec<String> = ["/bin/sh", "-c", "echo 'a b'", "", "say \"x\""].map(String::from).into();
        assert_eq!(split_words(&join_words(&words).unwrap()), words);
        assert!(join_words(&["'\"".into()]).is_err());
    }
}
