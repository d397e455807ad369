//! `reeve completion`, `man` and `version`.

use clap::CommandFactory as _;
use serde_json::json;

use crate::cli::args::{Cli, Completion, Format, Man, Output};
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;

/// Prints a completion script.
pub fn completion(args: &Completion) -> Result {
    clap_complete::generate(args.shell, &mut Cli::command(), "reeve", &mut std::io::stdout());
    Ok(Exit::Done)
}

/// Prints the manual page, or writes one a command.
pub fn man(args: &Man) -> Result {
    match &args.dir {
        None => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?,
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            clap_mangen::generate_to(Cli::command(), dir)
                .map_err(|e| CliError::new(format!("the pages cannot be written to {}: {e}", dir.display())))?;
        }
    }
    Ok(Exit::Done)
}

/// Prints the version.
pub fn version(args: &Output) -> Result {
    let version = env!("CARGO_PKG_VERSION");
    let drivers: Vec<&str> = crate::drivers::storage::TYPES.iter().map(|t| t.name()).collect();
    let libvirt = cfg!(feature = "libvirt");
    match args.output {
        Format::Json => {
            println!("{}", render::json(&json!({"version": version, "libvirt": libvirt, "storage": drivers}))?)
        }
        Format::Yaml => {
            print!("{}", render::yaml(&json!({"version": version, "libvirt": libvirt, "storage": drivers}))?)
        }
        Format::Table | Format::Wide => {
            println!("reeve {version}");
            println!("libvirt: {}", if libvirt { "built in" } else { "left out" });
            println!("storage: {}", drivers.join(", "));
        }
    }
    Ok(Exit::Done)
}
