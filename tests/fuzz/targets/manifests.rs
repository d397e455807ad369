//! Feeds the manifest reader any text: no panic, every place within the text, and the same answer twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reeve::kinds::Catalog;
use reeve::manifest;
use reeve::plan::desired::Desired;

fuzz_target!(|text: &str| {
    let loaded = manifest::load_str("x", text);
    let (_, found) = Desired::build(&loaded, &Catalog::default());
    let lines = text.split('\n').count();
    for diagnostic in loaded.diagnostics.0.iter().chain(&found.0) {
        let place = diagnostic.place.as_ref().expect("every diagnostic has a place");
        assert!(place.line >= 1 && place.line as usize <= lines && place.column >= 1, "{diagnostic:?}");
        assert!(diagnostic.help.is_some(), "{diagnostic:?}");
    }
    // What loads without an error loads again from what it became.
    for resource in &loaded.resources {
        let document = serde_json::to_string(&resource.document()).expect("a document is plain data");
        let again = manifest::load_str("y", &document);
        assert!(again.resources.iter().any(|r| r.spec == resource.spec && r.meta == resource.meta), "{document}");
    }
});
