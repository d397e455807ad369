//! The command line: one file per command, one place for exit codes, one for looks.

pub mod args;
pub mod commands;
pub mod config;
pub mod error;
pub mod progress;
pub mod render;
pub mod session;

use clap::Parser as _;

use self::args::{Cli, Command};
use self::commands as c;
use self::error::{CliError, Exit, Result};
use self::session::Session;
use crate::kinds::PowerRequest;

/// Runs the command line of this process and gives the code to end it with.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if !matches!(cli.command, Command::Agent(_)) {
        crate::base::memory::in_large_steps();
    }
    start_log(&cli);
    let session = match Session::new(&cli.global) {
        Ok(session) => session,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Error.into();
        }
    };
    match run(&session, &cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            print_error(&session, &error);
            Exit::Error.into()
        }
    }
}

/// Prints help, or what was typed wrong; the latter is an error like any other, and never looks like "there are changes".
fn usage(error: &clap::Error) -> u8 {
    // Whoever closed the pipe has seen enough.
    let _ = error.print();
    if error.use_stderr() { Exit::Error.into() } else { Exit::Done.into() }
}

fn start_log(cli: &Cli) {
    use std::io::IsTerminal as _;
    // Who keeps the node tells what it does; who asks once wants the answer alone.
    let usual = if matches!(cli.command, Command::Agent(_)) { "reeve=info,warn" } else { "warn" };
    let filter = cli.global.log.as_deref().unwrap_or(usual);
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| "warn".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process is a test's; its own stands.
    let terminal = std::io::stderr().is_terminal();
    let log = log.with_ansi(terminal);
    // The journal has the time itself.
    let _ = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) if !terminal => log.without_time().try_init(),
        _ => log.try_init(),
    };
}

/// Prints what went wrong, and what to do.
pub fn print_error(session: &Session, error: &CliError) {
    match error {
        CliError::Diagnostics(found) => eprint!("{}", render::diagnostics::text(found, session.paint.on())),
        CliError::Fault(fault) => {
            eprintln!("{} {fault}", session.paint.bad("error:"));
            if let Some(help) = &fault.help {
                eprintln!("{} {help}", session.paint.mark("help:"));
            }
        }
    }
}

/// Commands that need no host run at once; the others on a runtime.
fn run(session: &Session, command: &Command) -> Result {
    match command {
        Command::Validate(args) => c::validate::run(session, args),
        Command::Explain(args) => c::explain::run(session, args),
        Command::Schema(args) => c::schema::run(args),
        Command::Completion(args) => c::shell::completion(args),
        Command::Man(args) => c::shell::man(args),
        Command::Version(args) => c::shell::version(args),
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|e| CliError::new(format!("the runtime cannot be started: {e}")))?;
            let result = runtime.block_on(run_async(session, command));
            // A call that hangs outside must not keep the command from ending.
            runtime.shutdown_background();
            result
        }
    }
}

async fn run_async(session: &Session, command: &Command) -> Result {
    match command {
        Command::Plan(args) => c::plan::run(session, args).await,
        Command::Diff(args) => c::diff::run(session, args).await,
        Command::Drift(args) => c::drift::run(session, args).await,
        Command::Apply(args) => c::apply::run(session, args).await,
        Command::Delete(args) => c::delete::run(session, args).await,
        Command::Get(args) => c::get::run(session, args).await,
        Command::Describe(args) => c::describe::run(session, args).await,
        Command::Export(args) => c::export::run(session, args).await,
        Command::Adopt(args) => c::adopt::run(session, args).await,
        Command::Observe(args) => c::observe::run(session, args).await,
        Command::Doctor(args) => c::doctor::run(session, args).await,
        Command::Start(args) => c::power::run(session, args, PowerRequest::Start).await,
        Command::Stop(args) => c::power::run(session, args, PowerRequest::Stop { force: args.force }).await,
        Command::Restart(args) => c::power::run(session, args, PowerRequest::Restart { force: args.force }).await,
        Command::Console(args) => c::console::run(session, args).await,
        Command::Agent(args) => c::agent::run(session, args).await,
        Command::Sync => c::sync::run(session).await,
        Command::Sources => c::sources::list(session).await,
        Command::Suspend(args) => c::sources::suspend(session, args, true).await,
        Command::Resume(args) => c::sources::suspend(session, args, false).await,
        Command::Override(command) => c::overrides::run(session, command).await,
        Command::Events(args) => c::events::run(session, args).await,
        Command::Validate(_)
        | Command::Explain(_)
        | Command::Schema(_)
        | Command::Completion(_)
        | Command::Man(_)
        | Command::Version(_) => run(session, command),
    }
}
