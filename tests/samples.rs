//! Every sample is valid, every schema file is what the code says, and the JSON Schemas agree with the checker.

use std::path::{Path, PathBuf};

use reeve::cli::commands::schema;
use reeve::kinds::{Catalog, KindName};
use reeve::manifest;
use reeve::plan::desired::Desired;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn every_sample_folder_is_valid_by_itself() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("samples")).unwrap() {
        let path = entry.unwrap().path();
        // Pipelines and units are for other programs.
        if !path.is_dir() || path.ends_with("ci") || path.ends_with("systemd") {
            continue;
        }
        let loaded = manifest::load(std::slice::from_ref(&path));
        let (_, found) = Desired::build(&loaded, &Catalog::default());
        let problems: Vec<String> = loaded.diagnostics.0.iter().chain(&found.0).map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
        assert!(!loaded.resources.is_empty(), "{} holds no manifest", path.display());
        seen += 1;
    }
    assert!(seen >= 2, "only {seen} sample folders were found");
}

#[test]
fn schema_files_are_up_to_date() {
    let mut files: Vec<_> = KindName::ALL.iter().map(|k| (schema::file(*k), schema::document(*k))).collect();
    files.push(("openapi.json".into(), reeve::api::openapi::document()));
    files.push(("reeve.schema.json".into(), schema::all()));
    for (name, document) in files {
        let path = root().join("schemas").join(&name);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let expected = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
        assert!(text == expected, "schemas/{name} is stale: run `make schemas`");
    }
}

#[test]
fn samples_satisfy_the_json_schemas() {
    let mut checked = 0;
    for kind in KindName::ALL {
        let document = schema::document(*kind);
        let validator = jsonschema::validator_for(&document).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let loaded = manifest::load(&[root().join("samples/quickstart"), root().join("samples/storage")]);
        for resource in loaded.resources.iter().filter(|r| r.kind() == *kind) {
            let errors: Vec<String> = validator.iter_errors(&resource.document()).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", resource.reference());
            checked += 1;
        }
        let wrong = serde_json::json!({"apiVersion": "reeve/v1", "kind": kind.as_str(), "metadata": {"name": "x"}, "spec": {"nope": 1}});
        assert!(!validator.is_valid(&wrong), "the schema of {kind} takes an unknown field");
    }
    assert!(checked >= 5, "only {checked} resources were checked");
}
