//! Whatever the input: no panic, and every place lies within the text.

use proptest::prelude::*;
use reeve::kinds::Catalog;
use reeve::manifest::{self, Loaded};
use reeve::plan::desired::Desired;

/// Pieces that make YAML, put together at random; nearer to manifests than random characters are.
const WORDS: &[&str] = &[
    "apiVersion: reeve/v1\n",
    "kind: Storage\n",
    "kind: VirtualMachine\n",
    "metadata: {name: a}\n",
    "metadata:\n",
    "  name: a\n",
    "spec:\n",
    "  driver: dir\n",
    "  options: {path: /a}\n",
    "  content: [images]\n",
    "---\n",
    "...\n",
    "\n",
    "  ",
    "\t",
    "- ",
    "a: ",
    "? ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "!t ",
    "<<: ",
    "%YAML 1.2\n",
    "# c\n",
    "~",
    "null",
    "0x1F",
    "ä",
    "🦀",
    "\r\n",
    "\u{feff}",
];

fn yaml_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![8 => proptest::sample::select(WORDS).prop_map(str::to_owned), 1 => "\\PC{0,4}"];
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

fn whole() -> impl Strategy<Value = String> {
    prop_oneof![
        yaml_like(),
        "\\PC{0,200}",
        proptest::collection::vec(any::<char>(), 0..100).prop_map(String::from_iter)
    ]
}

fn places_lie_within(text: &str, loaded: &Loaded) -> Result<(), TestCaseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
    let places = loaded.diagnostics.0.iter().flat_map(|d| d.place.iter().chain(d.related.iter().map(|(p, _)| p)));
    for place in places {
        prop_assert!(place.line >= 1 && place.column >= 1, "{place:?}");
        let width = lines.get(place.line as usize - 1).copied();
        prop_assert!(width.is_some(), "{place:?} is beyond {} lines", lines.len());
        let end = place.column as usize - 1 + place.length as usize;
        prop_assert!(
            width.is_some_and(|width| end <= width + 1),
            "{place:?} in a line of {width:?}\n{:?}",
            loaded.diagnostics
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered_with_places_within_it(text in whole()) {
        let loaded = manifest::load_str("x", &text);
        places_lie_within(&text, &loaded)?;
        let (_, found) = Desired::build(&loaded, &Catalog::default());
        prop_assert!(found.0.iter().all(|d| d.place.is_some()));
        for diagnostic in &loaded.diagnostics.0 {
            prop_assert!(diagnostic.help.is_some() && !diagnostic.message.is_empty(), "{diagnostic:?}");
        }
        if !loaded.diagnostics.has_errors() && loaded.resources.is_empty() {
            prop_assert!(loaded.broken.is_empty());
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.yaml");
        std::fs::write(&path, &bytes).unwrap();
        let loaded = manifest::load(std::slice::from_ref(&path));
        let shown = reeve::cli::render::diagnostics::text(&loaded.diagnostics, false);
        prop_assert_eq!(shown.is_empty(), loaded.diagnostics.0.is_empty());
    }

    #[test]
    fn the_same_text_gives_the_same_answer(text in yaml_like()) {
        let (one, two) = (manifest::load_str("x", &text), manifest::load_str("x", &text));
        prop_assert_eq!(one.diagnostics, two.diagnostics);
    }
}
