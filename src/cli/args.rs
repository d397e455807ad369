//! What can be typed: every command, its options and an example.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::{Disruption, Seconds};
use crate::kinds::{KindName, Ref};

/// Keeps hypervisors as their manifests say.
#[derive(Debug, Parser)]
#[command(
    name = "reeve",
    version,
    about,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Start with:\n  reeve validate samples/quickstart\n  reeve plan samples/quickstart\n  reeve apply samples/quickstart"
)]
pub struct Cli {
    /// Options every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the help of a command shows the options that all have.
const EVERYWHERE: &str = "Options of every command";

/// Options every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Where Reeve keeps its store, images and seeds [default: /var/lib/reeve]
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "REEVE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The configuration file [default: /etc/reeve/config.yaml, when it is there]
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "REEVE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much to log to standard error, as a level or filter such as `reeve=debug`
    /// [default: warn, and info for the agent]
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "REEVE_LOG", value_name = "LEVEL")]
    pub log: Option<String>,
    /// When to use colours
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// How long to wait for another command that is changing this node
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "REEVE_LOCK_WAIT", default_value = "5m", value_name = "TIME")]
    pub lock_wait: Seconds,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// In a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check manifests without touching anything: syntax, schema, meaning and references
    #[command(after_help = "Example:\n  reeve validate manifests/ extra.yaml\n\nExit status: 0 valid, 1 not.")]
    Validate(Validate),
    /// Show what would change, why, and what it costs the guests
    #[command(
        after_help = "Examples:\n  reeve plan manifests/\n  reeve plan manifests/ --out plan.json\n  reeve plan manifests/ --live state.json -o markdown\n\nWithout PATH: compares what was accepted with what runs.\nExit status: 0 nothing to do, 2 changes, 1 error."
    )]
    Plan(PlanArgs),
    /// Show the same changes as a unified diff of YAML
    #[command(
        after_help = "Example:\n  reeve diff manifests/\n\nExit status: 0 no difference, 2 differences, 1 error."
    )]
    Diff(DiffArgs),
    /// Show what is no longer as it was applied, and the edit of the manifests that would accept it
    #[command(
        after_help = "Examples:\n  reeve drift\n  reeve drift manifests/ --patch | git apply\n\nExit status: 0 nothing has drifted, 2 something has, 1 error."
    )]
    Drift(DriftArgs),
    /// Bring this node to what the manifests say
    #[command(
        after_help = "Examples:\n  reeve apply manifests/\n  reeve apply manifests/ --yes --allow restart\n  reeve apply plan.json\n\nExit status: 0 done, 2 something waits or failed to converge for a stated reason, 1 error."
    )]
    Apply(Apply),
    /// Delete resources
    #[command(
        after_help = "Examples:\n  reeve delete vm/web-1\n  reeve delete vm/web-1 volume/web-data --destroy-data\n  reeve delete --orphan local/vm-web-1-root --destroy-data\n\nDisks are kept as orphans unless --destroy-data is given."
    )]
    Delete(Delete),
    /// List resources, or show one
    #[command(after_help = "Examples:\n  reeve get\n  reeve get vm\n  reeve get vm/web-1 -o yaml\n  reeve get volumes")]
    Get(Get),
    /// Have the agent fetch and read its sources now
    #[command(
        after_help = "Example:\n  reeve sync\n\nExit status: 0 every source is in force, 2 something of one is refused or waits, 1 error."
    )]
    Sync,
    /// Show where the agent takes manifests from, and what became of each
    #[command(after_help = "Example:\n  reeve sources")]
    Sources,
    /// Have the agent take nothing new from a source, also after its next start
    #[command(
        after_help = "Examples:\n  reeve suspend manifests/\n  reeve suspend ssh://git@example.org/manifests.git\n\nWhat was accepted stays in force. Any part of a name that only one source has will do."
    )]
    Suspend(SourceArg),
    /// Have the agent follow a source again
    #[command(after_help = "Example:\n  reeve resume manifests/")]
    Resume(SourceArg),
    /// Have a field be other than its manifest says, for a while
    #[command(
        subcommand,
        after_help = "Examples:\n  reeve override set vm/web-1 spec.memory.size=8Gi --ttl 2h --reason 'load test'\n  reeve override list\n  reeve override clear vm/web-1\n\nThe agent brings it at once, and takes it back when its time is over; without one `reeve apply` does."
    )]
    Override(OverrideCommand),
    /// Show all that is known of one resource
    #[command(after_help = "Example:\n  reeve describe vm/web-1")]
    Describe(One),
    /// Explain a kind or a field: type, default, and what changing it costs
    #[command(
        after_help = "Examples:\n  reeve explain vm\n  reeve explain vm.disks.cache\n  reeve explain storage.dir"
    )]
    Explain(Explain),
    /// Write the manifests of what is managed
    #[command(after_help = "Examples:\n  reeve export > all.yaml\n  reeve export vm/web-1")]
    Export(Export),
    /// Take over an existing virtual machine or container without changing it
    #[command(after_help = "Example:\n  reeve adopt vm/old-server --out manifests/old-server.yaml")]
    Adopt(Adopt),
    /// Write down what runs here, so that `plan --live` needs no host
    #[command(after_help = "Example:\n  reeve observe -o json > state.json")]
    Observe(Observe),
    /// Print the JSON Schema of a kind, or write all to a folder
    #[command(after_help = "Examples:\n  reeve schema vm\n  reeve schema --dir schemas/")]
    Schema(Schema),
    /// Check this host and say what to install
    #[command(
        after_help = "Example:\n  reeve doctor\n\nExit status: 0 well, 2 warnings, 1 something Reeve needs is missing."
    )]
    Doctor(Output),
    /// Start a guest
    #[command(after_help = "Example:\n  reeve start vm/web-1")]
    Start(Power),
    /// Shut a guest down
    #[command(after_help = "Examples:\n  reeve stop vm/web-1\n  reeve stop vm/web-1 --force")]
    Stop(Power),
    /// Shut a guest down and start it again, with what was configured in the meantime
    #[command(after_help = "Example:\n  reeve restart vm/web-1")]
    Restart(Power),
    /// Connect the terminal to a guest's console
    #[command(after_help = "Example:\n  reeve console vm/web-1\n\nLeave with Ctrl-].")]
    Console(One),
    /// Keep this node as the manifests say, until told to stop
    #[command(
        after_help = "Examples:\n  reeve agent manifests/\n  systemctl enable --now reeve\n\nSIGTERM finishes what has begun and ends; SIGHUP looks at everything now."
    )]
    Agent(AgentArgs),
    /// Show what was done, by whom and why
    #[command(after_help = "Examples:\n  reeve events\n  reeve events vm/web-1 -o json")]
    Events(Events),
    /// Print a shell's completion script
    #[command(after_help = "Example:\n  reeve completion bash > /etc/bash_completion.d/reeve")]
    Completion(Completion),
    /// Write the manual pages
    #[command(after_help = "Examples:\n  reeve man | man -l -\n  reeve man --dir /usr/local/share/man/man1")]
    Man(Man),
    /// Print the version and what this binary was built with
    #[command(after_help = "Example:\n  reeve version -o json")]
    Version(Output),
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum Format {
    /// Columns.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// YAML documents.
    Yaml,
    /// One JSON document.
    Json,
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum PlanFormat {
    /// For a terminal.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For a pull request.
    Markdown,
}

/// How diagnostics are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum CheckFormat {
    /// With the source line shown.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Only an output format.
#[derive(Debug, Args)]
pub struct Output {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// `reeve validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// Files and folders with manifests; `-` reads standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How to print what is wrong
    #[arg(short, long, value_enum, default_value_t)]
    pub output: CheckFormat,
}

/// What a plan may do.
#[derive(Debug, Clone, Copy, Args)]
pub struct Allow {
    /// The greatest disruption that may be done now: none, live, restart or migrate
    #[arg(long, default_value = "live", value_parser = allow, value_name = "CLASS")]
    pub allow: Disruption,
    /// Also delete what came from these paths and is in no manifest any more
    #[arg(long)]
    pub prune: bool,
    /// Let --prune delete more than half of what came from these paths
    #[arg(long, requires = "prune")]
    pub prune_all: bool,
}

/// Reads the greatest disruption that may be done.
pub fn allow(text: &str) -> Result<Disruption, String> {
    match text.parse()? {
        Disruption::Destroy => {
            Err("`destroy` cannot be allowed: data is destroyed only by `delete --destroy-data`".into())
        }
        other => Ok(other),
    }
}

/// `reeve plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Files and folders with manifests; `-` reads standard input
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How to print the plan
    #[arg(short, long, value_enum, default_value_t)]
    pub output: PlanFormat,
    /// Also save the plan, so that `apply` does exactly this
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Plan against a state written by `reeve observe -o json`, without a host
    #[arg(long, value_name = "FILE")]
    pub live: Option<PathBuf>,
    /// Show every field of what is created, those at their documented defaults too
    #[arg(long)]
    pub all: bool,
    /// What it may do
    #[command(flatten)]
    pub allow: Allow,
}

/// `reeve diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Files and folders with manifests; `-` reads standard input
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Compare with a state written by `reeve observe -o json`, without a host
    #[arg(long, value_name = "FILE")]
    pub live: Option<PathBuf>,
}

/// `reeve drift`.
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Files and folders with manifests; what was accepted when left out
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print a patch that makes the manifests say what there is, for `git apply`
    #[arg(long)]
    pub patch: bool,
    /// Compare with a state written by `reeve observe -o json`, without a host
    #[arg(long, value_name = "FILE")]
    pub live: Option<PathBuf>,
}

/// `reeve apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Files and folders with manifests, or one saved plan
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How many resources to work on at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    /// What it may do
    #[command(flatten)]
    pub allow: Allow,
}

/// `reeve delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The resources, such as vm/web-1
    #[arg(required_unless_present = "orphan", value_name = "KIND/NAME")]
    pub resources: Vec<Ref>,
    /// Delete this volume instead, which no guest needs any more; `reeve get volumes` lists them. Needs --destroy-data
    #[arg(long, value_name = "STORAGE/VOLUME", conflicts_with = "resources")]
    pub orphan: Vec<String>,
    /// Destroy the data of what is deleted as well; it cannot be brought back
    #[arg(long)]
    pub destroy_data: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `reeve get`.
#[derive(Debug, Args)]
pub struct Get {
    /// A kind (vm), a resource (vm/web-1), or several; everything when left out
    #[arg(value_name = "KIND[/NAME]")]
    pub what: Vec<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Go on, and print what the agent tells as it changes
    #[arg(short, long)]
    pub watch: bool,
    /// Only resources with this label, `key=value` or `key`
    #[arg(short = 'l', long, value_name = "LABEL")]
    pub selector: Vec<String>,
}

/// `reeve suspend` and `resume`.
#[derive(Debug, Args)]
pub struct SourceArg {
    /// The source: its folder, or part of its name; `reeve sources` lists them
    #[arg(value_name = "SOURCE")]
    pub source: String,
}

/// `reeve override`.
#[derive(Debug, Subcommand)]
pub enum OverrideCommand {
    /// Override one field for a while
    #[command(
        after_help = "Example:\n  reeve override set vm/web-1 spec.memory.size=8Gi --ttl 2h --reason 'load test'"
    )]
    Set(SetOverride),
    /// List what is overridden
    #[command(after_help = "Example:\n  reeve override list vm/web-1")]
    List(ListOverrides),
    /// Take overrides back before their time is over
    #[command(
        after_help = "Examples:\n  reeve override clear vm/web-1\n  reeve override clear vm/web-1 spec.memory.size"
    )]
    Clear(ClearOverrides),
}

/// `reeve override set`.
#[derive(Debug, Args)]
pub struct SetOverride {
    /// The resource, such as vm/web-1
    #[arg(value_name = "KIND/NAME")]
    pub resource: Ref,
    /// The field and what it shall be, such as spec.memory.size=8Gi; null is its default
    #[arg(value_name = "FIELD=VALUE")]
    pub change: String,
    /// For how long, such as 2h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub ttl: std::time::Duration,
    /// Why
    #[arg(long, value_name = "WORDS")]
    pub reason: String,
}

/// `reeve override list`.
#[derive(Debug, Args)]
pub struct ListOverrides {
    /// Only of this resource
    #[arg(value_name = "KIND/NAME")]
    pub resource: Option<Ref>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// `reeve override clear`.
#[derive(Debug, Args)]
pub struct ClearOverrides {
    /// The resource, such as vm/web-1
    #[arg(value_name = "KIND/NAME")]
    pub resource: Ref,
    /// The fields, such as spec.memory.size; all when left out
    #[arg(value_name = "FIELD")]
    pub fields: Vec<String>,
}

/// One resource.
#[derive(Debug, Args)]
pub struct One {
    /// The resource, such as vm/web-1
    #[arg(value_name = "KIND/NAME")]
    pub resource: Ref,
}

/// `reeve explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// A kind and a field below it, such as vm.disks.cache; all kinds when left out
    #[arg(value_name = "KIND[.FIELD…]")]
    pub path: Option<String>,
    /// Show everything below as well
    #[arg(short, long)]
    pub recursive: bool,
}

/// `reeve export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Kinds or resources; everything when left out
    #[arg(value_name = "KIND[/NAME]")]
    pub what: Vec<String>,
}

/// `reeve adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    /// The guest, such as vm/old-server
    #[arg(value_name = "KIND/NAME")]
    pub resource: Ref,
    /// Write the manifest to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Only write the manifest; do not mark the guest
    #[arg(long)]
    pub dry_run: bool,
}

/// `reeve observe`.
#[derive(Debug, Args)]
pub struct Observe {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Json)]
    pub output: Format,
}

/// `reeve schema`.
#[derive(Debug, Args)]
pub struct Schema {
    /// The kind; all in one document when left out
    #[arg(value_name = "KIND", value_parser = kind)]
    pub kind: Option<KindName>,
    /// Write one file a kind into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "kind")]
    pub dir: Option<PathBuf>,
}

fn kind(text: &str) -> Result<KindName, String> {
    KindName::find(text).ok_or_else(|| format!("{text:?} is no kind; the kinds are {}", KindName::shorts()))
}

/// `reeve start`, `stop` and `restart`.
#[derive(Debug, Args)]
pub struct Power {
    /// The guests, such as vm/web-1
    #[arg(required = true, value_name = "KIND/NAME")]
    pub resources: Vec<Ref>,
    /// Cut the power instead of asking the guest to shut down
    #[arg(long)]
    pub force: bool,
}

/// `reeve agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Files and folders with manifests to follow; those of the configuration when left out
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Delete what is taken out of these paths
    #[arg(long, requires = "paths")]
    pub prune: bool,
    /// How often everything is looked at, such as 5m [default: 5m]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub resync: Option<std::time::Duration>,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::cli::config::duration(text)
}

/// `reeve events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Only of this resource
    #[arg(value_name = "KIND/NAME")]
    pub resource: Option<Ref>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// `reeve completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `reeve man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write one page a command into this folder
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
