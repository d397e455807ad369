//! `reeve override`: fields that shall for a while be other than their manifests say.

use crate::api::types::{OverrideItem, OverrideWish};
use crate::cli::args::{ClearOverrides, Format, ListOverrides, OverrideCommand, SetOverride};
use crate::cli::commands::apply::who;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::render::plan::value;
use crate::cli::session::Session;
use crate::engine::observe::observe_kinds;
use crate::engine::overrides::Wish;
use crate::plan::overrides::when;

/// Sets, lists or takes back.
pub async fn run(session: &Session, command: &OverrideCommand) -> Result {
    match command {
        OverrideCommand::Set(args) => set(session, args).await,
        OverrideCommand::List(args) => list(session, args).await,
        OverrideCommand::Clear(args) => clear(session, args).await,
    }
}

async fn set(session: &Session, args: &SetOverride) -> Result {
    let Some((field, text)) = args.change.split_once('=') else {
        let message = format!("{:?} does not say what the field shall be", args.change);
        return Err(CliError::with_help(message, "write FIELD=VALUE, such as spec.memory.size=8Gi"));
    };
    let bad = |e: serde_yaml::Error| {
        CliError::with_help(format!("{text:?} is no value: {e}"), "write it as in a manifest; put text in quotes")
    };
    let value: serde_json::Value = serde_yaml::from_str(text).map_err(bad)?;
    let (resource, field, reason) = (&args.resource, field.to_owned(), args.reason.clone());
    let item = match session.agent().await {
        Some(agent) => {
            let wish = OverrideWish { field, value, ttl_seconds: args.ttl.as_secs(), reason };
            agent.set_override(resource, &wish).await?
        }
        None => {
            let ledger = session.store().await?;
            let accepted = ledger.accepted().await?;
            let live = observe_kinds(&session.world(), &accepted.catalog, &[resource.kind]).await;
            let wish = Wish { resource: resource.clone(), field, value, ttl: args.ttl, reason };
            let done = ledger.set_override(&wish, &live, &who()).await?;
            OverrideItem::of(resource, &done.field, &done.set, done.manifest)
        }
    };
    println!("{}", line(&item));
    Ok(Exit::Done)
}

fn line(item: &OverrideItem) -> String {
    let OverrideItem { resource, field, value: is, manifest, until, who, reason, .. } = item;
    let (is, says) = (value(is), value(manifest));
    format!("{resource}: spec.{field} is {is} instead of {says} until {} by {who}: {reason}", when(*until))
}

async fn list(session: &Session, args: &ListOverrides) -> Result {
    let mut items = OverrideItem::all(&session.store_to_read().await?.accepted().await?);
    items.retain(|item| args.resource.as_ref().is_none_or(|only| *only == item.resource));
    match args.output {
        Format::Json => println!("{}", render::json(&serde_json::json!({"overrides": items}))?),
        Format::Yaml => print!("{}", render::yaml(&items)?),
        Format::Table | Format::Wide if items.is_empty() => println!("Nothing is overridden."),
        Format::Table | Format::Wide => {
            let row = |item: &OverrideItem| {
                let field = format!("spec.{}", item.field);
                let (is, says, until) = (value(&item.value), value(&item.manifest), when(item.until));
                vec![item.resource.to_string(), field, is, says, until, item.who.clone(), item.reason.clone()]
            };
            let headings = ["resource", "field", "is", "manifest", "until", "who", "why"];
            print!("{}", render::table::table(&headings, items.iter().map(row).collect()));
        }
    }
    Ok(Exit::Done)
}

async fn clear(session: &Session, args: &ClearOverrides) -> Result {
    let ClearOverrides { resource, fields } = args;
    let gone = match session.agent().await {
        Some(agent) => agent.clear_overrides(resource, fields).await?.fields,
        None => session.store().await?.clear_overrides(resource, fields, &who()).await?,
    };
    for field in gone {
        println!("{resource}: spec.{field} is as its manifest says again");
    }
    Ok(Exit::Done)
}
