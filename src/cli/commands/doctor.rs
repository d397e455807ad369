//! `reeve doctor`: checks this host and says what to install or do.

use crate::cli::args::{Format, Output};
use crate::cli::error::{Exit, Result};
use crate::cli::render;
use crate::cli::session::Session;
use crate::doctor::{self, State};

/// Checks and prints.
pub async fn run(session: &Session, args: &Output) -> Result {
    let findings = doctor::examine(&session.world()).await;
    let worst = findings.iter().map(|f| f.state).max().unwrap_or(State::Ok);
    match args.output {
        Format::Json => println!("{}", render::json(&serde_json::json!({"findings": findings}))?),
        Format::Yaml => print!("{}", render::yaml(&findings)?),
        Format::Table | Format::Wide => {
            for finding in &findings {
                let (sign, title) = (sign(finding.state, session), session.paint.strong(&finding.title));
                println!("{sign} {title}: {}", finding.found);
                if let Some(advice) = &finding.advice {
                    println!("    {advice}");
                }
            }
        }
    }
    Ok(match worst {
        State::Ok => Exit::Done,
        State::Warn => Exit::Changes,
        State::Fail => Exit::Error,
    })
}

fn sign(state: State, session: &Session) -> String {
    match state {
        State::Ok => session.paint.good("✓"),
        State::Warn => session.paint.warn("!"),
        State::Fail => session.paint.bad("✗"),
    }
}
