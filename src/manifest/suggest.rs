//! The nearest known word to a misspelt one, and lists of words for people.

/// The known word that a person most likely meant, when one is near enough.
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = text.chars().count();
    if length == 0 || length > 100 {
        return None;
    }
    let lower = text.to_lowercase();
    let allowed = (length / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    for word in known {
        if word.chars().count().abs_diff(length) > allowed {
            continue;
        }
        let distance = match word {
            _ if word.eq_ignore_ascii_case(text) => 0,
            _ => strsim::osa_distance(&lower, &word.to_lowercase()).max(1),
        };
        if distance <= allowed && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, word));
        }
    }
    best.map(|(_, word)| word)
}

/// The same for field names, which people also give a plural, a prefix or another case.
pub fn nearest_field<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let bare = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    nearest(text, known.iter().copied()).or_else(|| {
        let text = bare(text);
        known.iter().copied().find(|word| bare(word) == text)
    })
}

/// `a, b and c`, cut after `most`.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] if words.len() <= most => format!("{} and {last}", first.join(", ")),
        _ => format!("{} and {} more", words[..most].join(", "), words.len() - most),
    }
}

/// A text for use within a message: quoted, control characters escaped, cut when long.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({} characters)", &text[..end], text.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_when_it_is_near() {
        let known = ["driver", "options", "content", "nodes"];
        assert_eq!(nearest("drivr", known), Some("driver"));
        assert_eq!(nearest("Driver", known), Some("driver"));
        assert_eq!(nearest("contents", known), Some("content"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest_field("ssh-keys", &["sshKeys"]), Some("sshKeys"));
    }

    #[test]
    fn lists_and_quotes_are_short() {
        assert_eq!(list(["a", "b", "c"], 5), "a, b and c");
        assert_eq!(list(["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert!(quoted(&"x".repeat(300)).ends_with("(300 characters)"));
    }
}
