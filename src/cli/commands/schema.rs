//! `reeve schema`: the JSON Schema of whole manifests, for editors and other tools.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::args::Schema;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::kinds::{API_VERSION, KindName, Metadata};

/// Prints or writes schemas.
pub fn run(args: &Schema) -> Result {
    match (&args.dir, args.kind) {
        (Some(dir), _) => write(dir)?,
        (None, Some(kind)) => println!("{}", render::json(&document(kind))?),
        (None, None) => println!("{}", render::json(&all())?),
    }
    Ok(Exit::Done)
}

/// The file a kind's schema is kept in.
pub fn file(kind: KindName) -> String {
    format!("{}.schema.json", kind.short())
}

fn write(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let put = |name: String, schema: &Value| -> Result<()> {
        let text = format!("{}\n", render::json(schema)?);
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|e| CliError::new(format!("{} cannot be written: {e}", path.display())))
    };
    for kind in KindName::ALL {
        put(file(*kind), &document(*kind))?;
    }
    put("openapi.json".into(), &crate::api::openapi::document())?;
    put("reeve.schema.json".into(), &all())
}

/// The schema of a whole manifest of one kind.
pub fn document(kind: KindName) -> Value {
    let mut spec = kind.schema();
    let definitions = spec.as_object_mut().and_then(|s| s.shift_remove("$defs"));
    let meta = schemars::SchemaGenerator::default().into_root_schema_for::<Metadata>().to_value();
    for part in [&mut spec] {
        if let Some(part) = part.as_object_mut() {
            part.shift_remove("$schema");
            part.shift_remove("title");
        }
    }
    let mut meta = meta;
    if let Some(meta) = meta.as_object_mut() {
        meta.shift_remove("$schema");
        meta.shift_remove("title");
    }
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.as_str(),
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.as_str()},
            "metadata": meta,
            "spec": spec,
        },
    });
    if let Some(definitions) = definitions {
        schema["$defs"] = definitions;
    }
    schema
}

/// One schema for a manifest of any kind.
pub fn all() -> Value {
    let files: Vec<Value> = KindName::ALL.iter().map(|k| json!({"$ref": file(*k)})).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Reeve manifest",
        "oneOf": files,
    })
}
