//! What must hold for any text that the manifest reader is given; the fuzz target and a test share it.

use reeve::kinds::Catalog;
use reeve::manifest;
use reeve::plan::desired::Desired;

/// No panic, every place within the text, help for everything, and what loads once loads again as the same.
pub fn check(text: &str) {
    let loaded = manifest::load_str("x", text);
    let (_, found) = Desired::build(&loaded, &Catalog::default());
    let lines = text.split('\n').count();
    for diagnostic in loaded.diagnostics.0.iter().chain(&found.0) {
        let Some(place) = diagnostic.place.as_ref() else { panic!("no place: {diagnostic:?}") };
        assert!(place.line >= 1 && place.line as usize <= lines && place.column >= 1, "{diagnostic:?}");
        assert!(diagnostic.help.is_some(), "{diagnostic:?}");
    }
    for resource in &loaded.resources {
        let document = resource.document().to_string();
        let again = manifest::load_str("y", &document);
        assert!(again.resources.iter().any(|r| r.spec == resource.spec && r.meta == resource.meta), "{document}");
    }
}
