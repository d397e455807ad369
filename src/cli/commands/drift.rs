//! `reeve drift`: what is no longer as it was applied, and the edit of the manifests that would accept it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::plan::{Prepared, prepare};
use crate::base::Disruption;
use crate::cli::args::{Allow, DriftArgs};
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::render::plan::Shown;
use crate::cli::session::Session;
use crate::kinds::Ref;
use crate::manifest::edit::{Edit, edit};
use crate::plan::model::{Action, Cause, FieldChange, Plan};

/// The line a manifest's name stands on, the resource, and its fields that have drifted.
type Drifted<'a> = (u32, Ref, &'a [FieldChange]);

/// Plans, and prints what has drifted.
pub async fn run(session: &Session, args: &DriftArgs) -> Result {
    let allow = Allow { allow: Disruption::Live, prune: false, prune_all: false };
    let prepared = prepare(session, &args.paths, args.live.as_deref(), allow).await?;
    let plan = drifted(prepared.plan());
    if args.patch {
        let (patch, problems) = patch(&prepared, &plan)?;
        print!("{patch}");
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        if !problems.is_empty() {
            return Ok(Exit::Error);
        }
    } else if plan.is_empty() {
        println!("Nothing has drifted.");
    } else {
        print!("{}", render::plan::text(&plan, Shown::Telling, session.paint));
    }
    Ok(if plan.is_empty() { Exit::Done } else { Exit::Changes })
}

/// The plan with nothing in it but fields that are not as they were applied.
fn drifted(mut plan: Plan) -> Plan {
    plan.steps.retain(|step| step.action == Action::Update);
    for step in &mut plan.steps {
        step.fields.retain(|field| field.cause == Cause::Drift && !field.pending);
    }
    plan.steps.retain(|step| !step.fields.is_empty());
    plan
}

/// The edit of the files that makes the manifests say what there is, and what cannot be said so.
fn patch(prepared: &Prepared, plan: &Plan) -> Result<(String, Vec<String>)> {
    if prepared.loaded.is_none() && !plan.is_empty() {
        return Err(CliError::with_help(
            "a patch changes files, and none were named",
            "name the files or folders with the manifests: reeve drift manifests/ --patch",
        ));
    }
    let mut files: BTreeMap<PathBuf, Vec<Drifted<'_>>> = BTreeMap::new();
    let mut problems = Vec::new();
    for step in &plan.steps {
        match place(prepared, &step.resource) {
            Ok((path, line)) => files.entry(path).or_default().push((line, step.resource.clone(), &step.fields)),
            Err(why) => problems.push(format!("{}: {why}", step.resource)),
        }
    }
    let mut patch = String::new();
    for (path, mut documents) in files {
        let old = std::fs::read_to_string(&path)?;
        let mut new = old.clone();
        // From the last to the first, so that lines stay where they were said to be.
        documents.sort_by_key(|(line, ..)| std::cmp::Reverse(*line));
        for (line, reference, fields) in documents {
            match accept(&new, line, &reference, fields) {
                Ok(text) => new = text,
                Err(why) => problems.push(format!("{}: {reference}: {why}", path.display())),
            }
        }
        let name = path.display();
        let diff = similar::TextDiff::from_lines(&old, &new);
        patch.push_str(&diff.unified_diff().header(&format!("a/{name}"), &format!("b/{name}")).to_string());
    }
    Ok((patch, problems))
}

/// The text with the fields of one manifest as they are live.
fn accept(text: &str, line: u32, reference: &Ref, fields: &[FieldChange]) -> std::result::Result<String, String> {
    let shape = reference.kind.shape();
    if let Some(strange) = fields.iter().find(|field| shape.find(&field.path).is_none()) {
        return Err(format!("{} is not a field of a manifest", strange.path));
    }
    let edits: Vec<Edit<'_>> =
        fields.iter().map(|field| (field.path.as_str(), Some(&field.have).filter(|have| !have.is_null()))).collect();
    edit(text, line, &edits)
}

/// The file below the current folder in which a manifest stands, and its line there.
fn place(prepared: &Prepared, reference: &Ref) -> std::result::Result<(PathBuf, u32), String> {
    let unnamed = || "it does not stand in the files that were named".to_owned();
    let resource = prepared.catalog.get(reference).ok_or_else(unnamed)?;
    let place = resource.place("metadata.name").ok_or_else(unnamed)?;
    if &*place.file == crate::manifest::STDIN {
        return Err("it came from standard input, which cannot be edited".to_owned());
    }
    let path = Path::new(&*place.file);
    let full = std::path::absolute(path).map_err(|e| e.to_string())?;
    let here = std::env::current_dir().map_err(|e| e.to_string())?;
    let plain = |path: &Path| path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
    match full.strip_prefix(&here) {
        Ok(below) if plain(below) => Ok((below.to_owned(), place.line)),
        _ => Err(format!("{} is not below this folder, and a patch reaches no further; run it there", path.display())),
    }
}
